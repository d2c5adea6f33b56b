"""Shapes: 64x64 RGB pictures of one textured shape on a textured ground, with the shape's mask known.

What is drawn does not depend on the texture switches, so one seed gives twins: the same scenes in every condition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from perceptlib.data.textures import TEXTURES, TextureBank, texture_bank
from perceptlib.records import whole_number

Loop = NDArray[np.float64]

CLASSES = ("disk", "square", "triangle", "star", "cross", "ring", "crescent", "arrow")
EXTENT = 1.0  # a table covers [-EXTENT, EXTENT]^2 in square roots of the shape's area
TABLE_SIDE = 192  # nodes: at the largest area that is drawn they are 0.3 pixels apart
_ARC_POINTS = 64  # a 64-gon stays within 0.02 pixels of its circle

SIDE = 64
SHAPES_MEAN = 0.5  # fixed normalisation of the shapes network's input
SHAPES_STD = 0.25
SMOOTH = 0.012  # contrast: standard deviation of the texture, in the unit of the picture
TEXTURED = 0.12
MAX_CONTRAST = 0.25  # above it, clipping to [0, 1] eats the texture

_BLOCK = 32  # images rendered together: their planes fit the processor's cache
_AREA = (0.07, 0.18)  # share of the picture
_MID_TONE = (0.4, 0.6)
_COLOUR_OFFSET = (0.20, 0.36)  # of either colour from the mid-tone, to opposite sides
_LIGHT = (-0.05, 0.05)  # change of the light from the middle to an edge
_NUM_UNIFORMS = 32  # per image; the spare ones at the end leave room without changing the pictures
_TINT = 0.25  # largest deviation of a channel's texture strength from the others'
_FLAT = 0.05  # deviation of a crop, in those of its tile, below which it is flat and not blown up to noise


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


@dataclass(frozen=True)
class Sketch:
    """What is drawn of N images, whatever the texture condition; an axis of two is the object, then the background."""

    labels: NDArray[np.int64]  # (N,), index into `CLASSES`
    areas: NDArray[np.float64]  # (N,), share of the picture
    angles: NDArray[np.float64]  # (N,), radians
    centres: NDArray[np.float64]  # (N, 2), the shape's centroid: x, y in pixels from the corner
    colours: NDArray[np.float64]  # (N, 2, 3), in [0, 1]
    lights: NDArray[np.float64]  # (N, 2), change from the middle to the right and the lower edge
    mixes: NDArray[np.float64]  # (N, 2), uniform: which contrast "mixed" takes
    textures: NDArray[np.float64]  # (N, 2, 7), uniform: tile, row, column, orientation, tint of three channels

    def __getitem__(self, images: slice) -> Sketch:
        """The sketch of some of the images."""
        return replace(self, **{field.name: getattr(self, field.name)[images] for field in fields(self)})


def draw(num_images: int, *, seed: int, first: int = 0) -> Sketch:
    """Draw what the pictures show; arguments as of `shapes`, image i depends on the seed and ``first + i`` alone."""
    num_images, seed = whole_number("num_images", num_images), whole_number("seed", seed)
    first = whole_number("first", first)
    uniforms = np.empty((num_images, _NUM_UNIFORMS))
    for row, index in enumerate(range(first, first + num_images)):
        # A child seed for each image, as SeedSequence.spawn makes them.
        child = np.random.SeedSequence(seed, spawn_key=(index,))
        uniforms[row] = np.random.Generator(np.random.PCG64(child)).random(_NUM_UNIFORMS)

    areas = _between(uniforms[:, 1], _AREA)
    margins = circumradius() * np.sqrt(areas) * SIDE
    mid_tones = _between(uniforms[:, 5:8], _MID_TONE)
    height, longitude = 2 * uniforms[:, 8] - 1, 2 * math.pi * uniforms[:, 9]
    flat = np.sqrt(1 - height**2)
    direction = np.stack([flat * np.cos(longitude), flat * np.sin(longitude), height], axis=1)
    offsets = _between(uniforms[:, 10:11], _COLOUR_OFFSET) * direction
    return Sketch(
        labels=(uniforms[:, 0] * len(CLASSES)).astype(np.int64),
        areas=areas,
        angles=2 * math.pi * uniforms[:, 2],
        centres=margins[:, None] + uniforms[:, 3:5] * (SIDE - 2 * margins[:, None]),
        colours=np.stack([mid_tones + offsets, mid_tones - offsets], axis=1),
        lights=_between(uniforms[:, 11:13], _LIGHT),
        mixes=uniforms[:, 13:15],
        textures=uniforms[:, 15:29].reshape(-1, 2, 7),
    )


def _between(uniforms: NDArray[np.float64], interval: tuple[float, float]) -> NDArray[np.float64]:
    return interval[0] + uniforms * (interval[1] - interval[0])


@dataclass(frozen=True)
class Scenes:
    """Pictures of shapes with what is known of them."""

    images: torch.Tensor  # (N, 3, 64, 64), float32, in [0, 1]
    labels: torch.Tensor  # (N,), int64: index into `CLASSES`
    masks: torch.Tensor  # (N, 64, 64), bool: pixels at least half inside the shape
    hulls: torch.Tensor  # (N, 64, 64), bool: pixels inside its convex hull
    areas: torch.Tensor  # (N,), float64: share of the picture inside the mask
    object_contrasts: torch.Tensor  # (N,), float32: the texture's standard deviation that was reached, after clipping
    background_contrasts: torch.Tensor
    object_tiles: tuple[str, ...]  # the picture that each texture was cut from
    background_tiles: tuple[str, ...]
    sketch: Sketch


def shapes(
    num_images: int,
    *,
    seed: int,
    object_texture: str | float = "textured",
    background_texture: str | float = "textured",
    textures: Sequence[str] = TEXTURES,
    first: int = 0,
) -> Scenes:
    """Pictures of shapes; the same seed with other texture switches gives the same scenes.

    Image i depends on the seed and i alone, not on how many are made or in what batches.

    Parameters
    ----------
    num_images
        How many, 0 or more.
    seed
        0 or more.
    object_texture, background_texture
        "smooth" (contrast 0.012), "textured" (0.12), "mixed" (by image 40 % smooth, 40 % textured, 20 % in
        between) or a contrast in [0, 0.25]: the texture's standard deviation in the unit of the picture.
    textures
        Pictures to cut textures from, names out of `TEXTURES`.
    first
        Index of the first image: ``shapes(5, seed=0, first=10)`` is images 10 to 14 of ``shapes(15, seed=0)``.

    Returns
    -------
    Scenes
        The pictures, masks and what was drawn.

    Raises
    ------
    TypeError
        A count or the seed is not a whole number, or a texture switch neither a word nor a number.
    ValueError
        A negative count or seed, an unknown word or texture, a contrast outside [0, 0.25].

    Notes
    -----
    Colours, place, area and mean tell nothing of the class; a histogram of a smooth picture tells a little, as the
    number of mixed pixels along the edge is the shape's perimeter. Textures are rescaled to their contrast inside the
    mask and outside it; clipping to [0, 1] takes a little of it again.
    """
    sketch = draw(num_images, seed=seed, first=first)
    bank = texture_bank(textures)
    switches = {"object_texture": object_texture, "background_texture": background_texture}
    contrasts = [_contrasts(*switch, mixes) for switch, mixes in zip(switches.items(), sketch.mixes.T, strict=True)]
    images = np.empty((num_images, 3, SIDE, SIDE), dtype=np.float32)
    masks, hulls = np.empty((2, num_images, SIDE, SIDE), dtype=bool)
    reached = np.empty((2, num_images), dtype=np.float32)
    for start in range(0, num_images, _BLOCK):
        block = slice(start, start + _BLOCK)
        coverage, hulls[block] = cover(sketch[block])
        masks[block] = coverage >= 0.5
        targets = [contrast[block] for contrast in contrasts]
        reached[:, block] = paint(images[block], sketch[block], coverage, targets, bank)
    tiles = [
        tuple(bank.names[tile] for tile in _tiles(uniforms, bank)) for uniforms in np.moveaxis(sketch.textures, 1, 0)
    ]
    return Scenes(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(sketch.labels.copy()),
        masks=torch.from_numpy(masks),
        hulls=torch.from_numpy(hulls),
        areas=torch.from_numpy(masks.mean(axis=(1, 2))),
        object_contrasts=torch.from_numpy(reached[0]),
        background_contrasts=torch.from_numpy(reached[1]),
        object_tiles=tiles[0],
        background_tiles=tiles[1],
        sketch=sketch,
    )


def _contrasts(name: str, texture: str | float, mixes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Contrast of each image under one texture switch, (N,)."""
    if texture == "mixed":
        between = SMOOTH + (mixes - 0.8) / 0.2 * (TEXTURED - SMOOTH)
        return np.where(mixes < 0.4, SMOOTH, np.where(mixes < 0.8, TEXTURED, between)).astype(np.float32)
    advice = f"pass 'smooth', 'textured', 'mixed' or a standard deviation in [0, {MAX_CONTRAST}], such as {TEXTURED}"
    try:
        known = {"smooth": SMOOTH, "textured": TEXTURED}
        contrast = known.get(texture, math.nan) if isinstance(texture, str) else float(texture)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is a {type(texture).__name__}; {advice}") from None
    if not 0 <= contrast <= MAX_CONTRAST:
        raise ValueError(f"{name} is {texture!r}; {advice}")
    return np.full(len(mixes), contrast, dtype=np.float32)


def cover(sketch: Sketch) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Share of each pixel inside the shape, and whether its middle is inside the hull; both (N, 64, 64)."""
    scale = (np.sqrt(sketch.areas) * SIDE).astype(np.float32)[:, None, None]
    cos, sin = (f(sketch.angles).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    pixel = np.arange(SIDE, dtype=np.float32) + 0.5
    x = (pixel - sketch.centres[:, :1]).astype(np.float32)[:, None, :]
    y = (pixel - sketch.centres[:, 1:]).astype(np.float32)[:, :, None]

    # Position in the class's table, in nodes; beyond the table the distance at its edge is far outside anyway.
    nodes_per_pixel = (TABLE_SIDE - 1) / (2 * EXTENT) / scale
    middle, last = (TABLE_SIDE - 1) / 2, TABLE_SIDE - 1.001
    column = np.clip((cos * x + sin * y) * nodes_per_pixel + np.float32(middle), 0, np.float32(last))
    row = np.clip((cos * y - sin * x) * nodes_per_pixel + np.float32(middle), 0, np.float32(last))
    left, top = column.astype(np.int64), row.astype(np.int64)
    right_part, lower_part = column - left.astype(np.float32), row - top.astype(np.float32)
    corner = (sketch.labels[:, None, None] * TABLE_SIDE + top) * TABLE_SIDE + left
    outline, hull = (_interpolate(table.ravel(), corner, right_part, lower_part) * scale for table in distance_tables())
    return np.clip(0.5 - outline, 0, 1), hull <= 0


def _interpolate(
    table: NDArray[np.float32],
    corner: NDArray[np.int64],
    right_part: NDArray[np.float32],
    lower_part: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Bilinear look-up in a flattened table, `corner` being the upper left of four neighbours."""
    upper, lower = table.take(corner), table.take(corner + TABLE_SIDE)
    upper += right_part * (table.take(corner + 1) - upper)
    lower += right_part * (table.take(corner + (TABLE_SIDE + 1)) - lower)
    lower -= upper
    lower *= lower_part
    lower += upper
    return lower


def paint(
    images: NDArray[np.float32],
    sketch: Sketch,
    coverage: NDArray[np.float32],
    contrasts: Sequence[NDArray[np.float32]],
    bank: TextureBank,
) -> NDArray[np.float32]:
    """Fill `images` and return the contrasts reached after clipping, (2, N): object, background."""
    colours, lights = sketch.colours.astype(np.float32), sketch.lights.astype(np.float32)
    regions = np.stack([coverage, 1 - coverage])
    draws = np.moveaxis(sketch.textures, 1, 0)
    textures = [_texture(*args, bank) for args in zip(draws, regions, contrasts, strict=True)]
    tints = [_tint(uniforms) for uniforms in draws]
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    light = lights[:, 0, None, None] * axis + lights[:, 1, None, None] * axis[:, None]
    squared = np.zeros((len(coverage), SIDE, SIDE), dtype=np.float32)
    for channel in range(3):
        step = colours[:, 0, channel] - colours[:, 1, channel]
        plain = coverage * step[:, None, None] + light
        plain += colours[:, 1, channel, None, None]
        painted = plain + textures[0] * tints[0][:, channel, None, None]
        painted += textures[1] * tints[1][:, channel, None, None]
        np.clip(painted, 0, 1, out=images[:, channel])
        squared += (images[:, channel] - plain) ** 2
    # The texture's mean is 0 in its region, so its variance is the mean square.
    inside = (regions == 1).astype(np.float32)
    return np.sqrt(np.einsum("nij,rnij->rn", squared, inside) / (3 * inside.sum((2, 3))))


def _texture(
    uniforms: NDArray[np.float64], region: NDArray[np.float32], contrast: NDArray[np.float32], bank: TextureBank
) -> NDArray[np.float32]:
    """Crops of tiles with mean 0 and standard deviation `contrast` in the region, 0 outside; (N, 64, 64)."""
    tile = _tiles(uniforms, bank)
    starts, heights, widths = bank.starts[tile], bank.heights[tile], bank.widths[tile]
    top = (uniforms[:, 1] * (heights - SIDE + 1)).astype(np.int64)
    left = (uniforms[:, 2] * (widths - SIDE + 1)).astype(np.int64)
    # One of eight orientations: axes swapped or not, either axis run backwards or not.
    orientation = (uniforms[:, 3] * 8).astype(np.int64)
    forward = np.arange(SIDE)
    rows = np.where((orientation & 1)[:, None] == 1, SIDE - 1 - forward, forward) * widths[:, None]
    columns = np.where((orientation & 2)[:, None] == 2, SIDE - 1 - forward, forward)
    is_swapped = (orientation & 4)[:, None] == 4
    first_axis, second_axis = np.where(is_swapped, columns, rows), np.where(is_swapped, rows, columns)
    index = (starts + top * widths + left)[:, None, None] + first_axis[:, :, None] + second_axis[:, None, :]
    crop = bank.values.take(index)

    size = region.sum((1, 2))
    crop -= (np.einsum("nij,nij->n", crop, region) / size)[:, None, None]
    deviation = np.sqrt(np.einsum("nij,nij,nij->n", crop, crop, region) / size)
    crop *= region
    # The contrast of a flat crop stays lower, and is recorded.
    crop *= (contrast / np.maximum(deviation, np.float32(_FLAT)))[:, None, None]
    return crop


def _tint(uniforms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Strength of the texture in each channel, mean square 1; (N, 3)."""
    tint = 1 + _TINT * (2 * uniforms[:, 4:7] - 1)
    return (tint / np.sqrt((tint**2).mean(axis=1, keepdims=True))).astype(np.float32)


def _tiles(uniforms: NDArray[np.float64], bank: TextureBank) -> NDArray[np.int64]:
    """Tile of the bank that each texture is cut from, (N,)."""
    return (uniforms[:, 0] * len(bank.starts)).astype(np.int64)
