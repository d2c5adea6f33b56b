"""Outlines of the shape classes: polygons of unit area about their centroid, and signed-distance tables of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

CLASSES = ("disk", "square", "triangle", "star", "cross", "ring", "crescent", "arrow")

EXTENT = 1.0  # a table covers [-EXTENT, EXTENT]^2 in square roots of the shape's area
TABLE_SIDE = 192  # nodes: at the largest area that is drawn they are 0.3 pixels apart
_ARC_POINTS = 64  # a 64-gon stays within 0.02 pixels of its circle

Loop = NDArray[np.float64]


@lru_cache(maxsize=1)
def outlines() -> dict[str, tuple[Loop, ...]]:
    """Polygons of every class, of area 1 about their centroid: loops of vertices, (M, 2); the second is a hole."""
    star_radii = np.where(np.arange(10) % 2, 0.45, 1.0)
    cross = [(1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1), (-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1)]
    arrow = [(0, 10), (8, 1), (3, 1), (3, -8), (-3, -8), (-3, 1), (-8, 1)]
    raw: dict[str, tuple[Loop, ...]] = {
        "disk": (_arc(1, 0, 2),),
        "square": (_arc(1, 0, 2, 4),),
        "triangle": (_arc(1, 0, 2, 3),),
        "star": (_arc(1, 0, 2, 10) * star_radii[:, None],),
        "cross": (np.array(cross, dtype=float),),
        "ring": (_arc(1, 0, 2), _arc(0.58, 0, 2)),
        "crescent": (_crescent(0.65, 0.5),),
        "arrow": (np.array(arrow, dtype=float),),
    }
    return {name: _unit_area(loops) for name, loops in raw.items()}


def circumradius() -> float:
    """Largest distance of a vertex from its centroid over all classes: a class's own would tell it by the place."""
    return max(float(np.hypot(*loop.T).max()) for loops in outlines().values() for loop in loops)


@lru_cache(maxsize=1)
def distance_tables() -> NDArray[np.float32]:
    """Signed distances, negative inside, in square roots of the area: (outline and hull, class, row, column)."""
    axis = np.linspace(-EXTENT, EXTENT, TABLE_SIDE)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    tables = np.empty((2, len(CLASSES), TABLE_SIDE, TABLE_SIDE), dtype=np.float32)
    for label, name in enumerate(CLASSES):
        loops = outlines()[name]
        hull = loops[0][ConvexHull(loops[0]).vertices]
        for layer, polygon in enumerate((loops, (hull,))):
            tables[layer, label] = signed_distance(points, polygon).reshape(TABLE_SIDE, TABLE_SIDE)
    tables.setflags(write=False)
    return tables


def signed_distance(points: Loop, loops: tuple[Loop, ...]) -> NDArray[np.float64]:
    """Distance of points (P, 2) to the nearest edge of a polygon with holes, negative inside (even-odd rule); (P,)."""
    x, y = points.T.copy()  # apart: sums over an axis of length 2 are slow
    squared = np.full(len(points), np.inf)
    is_inside = np.zeros(len(points), dtype=bool)
    for loop in loops:
        for start, end in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            edge_x, edge_y = end - start
            offset_x, offset_y = x - start[0], y - start[1]
            along = np.clip((offset_x * edge_x + offset_y * edge_y) / (edge_x**2 + edge_y**2), 0, 1)
            squared = np.minimum(squared, (offset_x - along * edge_x) ** 2 + (offset_y - along * edge_y) ** 2)
            # A ray to the right crosses this edge if the edge straddles the point's height to its right.
            straddles = (start[1] > y) != (end[1] > y)
            is_inside ^= straddles & ((edge_x * offset_y > edge_y * offset_x) == (edge_y > 0))
    return np.where(is_inside, -1, 1) * np.sqrt(squared)


def polygon_moments(loop: Loop) -> tuple[float, Loop]:
    """Area and centroid of one closed polygon (shoelace formula)."""
    following = np.roll(loop, -1, axis=0)
    cross = loop[:, 0] * following[:, 1] - loop[:, 1] * following[:, 0]
    area = cross.sum() / 2
    return abs(float(area)), (loop + following).T @ cross / (6 * area)


def _unit_area(loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    moments = [polygon_moments(loop) for loop in loops]
    signs = [1] + [-1] * (len(loops) - 1)
    area = sum(sign * part for sign, (part, _) in zip(signs, moments, strict=True))
    weighted = (sign * part * centre for sign, (part, centre) in zip(signs, moments, strict=True))
    centroid = np.sum(list(weighted), axis=0) / area
    return tuple((loop - centroid) / np.sqrt(area) for loop in loops)


def _arc(radius: float, start: float, end: float, num_points: int = _ARC_POINTS) -> Loop:
    """Points on a circle about 0; angles in multiples of pi, without the last."""
    angle = np.pi * np.linspace(start, end, num_points, endpoint=False)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _crescent(bite_radius: float, bite_offset: float) -> Loop:
    """Unit disk without a disk about (`bite_offset`, 0)."""
    tip_x = (1 + bite_offset**2 - bite_radius**2) / (2 * bite_offset)
    outer = np.arccos(tip_x) / np.pi
    inner = np.arccos((tip_x - bite_offset) / bite_radius) / np.pi
    bite = _arc(bite_radius, 2 - inner, inner) + np.array([bite_offset, 0])
    return np.concatenate([_arc(1, outer, 2 - outer), bite])
