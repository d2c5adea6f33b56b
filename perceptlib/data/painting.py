"""Painting of sketches: coverage of the pixels by a shape, textures, and the two put together; numpy, one thread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perceptlib.data.outlines import EXTENT, TABLE_SIDE, distance_tables
from perceptlib.data.sketches import SIDE, Sketch
from perceptlib.data.textures import TextureBank

_TINT = 0.25  # largest deviation of a channel's texture strength from the others'
_FLAT = 0.05  # deviation of a crop, in those of its tile, below which it is flat and not blown up to noise


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
    contrasts: tuple[NDArray[np.float32], NDArray[np.float32]],
    bank: TextureBank,
) -> NDArray[np.float32]:
    """Fill `images` and return the contrasts reached after clipping, (2, N): object, background."""
    object_colours, background_colours, lights = (
        part.astype(np.float32) for part in (sketch.object_colours, sketch.background_colours, sketch.lights)
    )
    regions = np.stack([coverage, 1 - coverage])
    draws = (sketch.object_textures, sketch.background_textures)
    textures = [_texture(*args, bank) for args in zip(draws, regions, contrasts, strict=True)]
    tints = [_tint(uniforms) for uniforms in draws]
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    light = lights[:, 0, None, None] * axis + lights[:, 1, None, None] * axis[:, None]
    squared = np.zeros((len(coverage), SIDE, SIDE), dtype=np.float32)
    for channel in range(3):
        step = object_colours[:, channel] - background_colours[:, channel]
        plain = coverage * step[:, None, None] + light
        plain += background_colours[:, channel, None, None]
        painted = plain + textures[0] * tints[0][:, channel, None, None]
        painted += textures[1] * tints[1][:, channel, None, None]
        np.clip(painted, 0, 1, out=images[:, channel])
        squared += (images[:, channel] - plain) ** 2
    # The texture's mean is 0 in its region, so its variance is the mean square.
    inside = (regions == 1).astype(np.float32)
    return np.sqrt(np.einsum("nij,rnij->rn", squared, inside) / (3 * inside.sum((2, 3))))


def _texture(
    uniforms: NDArray[np.float64],
    region: NDArray[np.float32],
    contrast: NDArray[np.float32],
    bank: TextureBank,
) -> NDArray[np.float32]:
    """Crops of tiles with mean 0 and standard deviation `contrast` in the region, 0 outside; (N, 64, 64)."""
    tile = tile_indices(uniforms, bank)
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


def tile_indices(uniforms: NDArray[np.float64], bank: TextureBank) -> NDArray[np.int64]:
    """Tile of the bank that each texture is cut from, from its uniform numbers (N, 7); (N,)."""
    return (uniforms[:, 0] * len(bank.starts)).astype(np.int64)
