"""Shapes: 64x64 RGB pictures of one textured shape on a textured ground, with the shape's mask known.

What is drawn (class, area, angle, place, colours, tiles, light) is drawn apart from how it is rendered and does not
depend on the texture switches. So one seed gives twins: the same scenes in every texture condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from perceptlib.data.outlines import CLASSES
from perceptlib.data.painting import cover, paint, tile_indices
from perceptlib.data.sketches import SIDE, Sketch, draw
from perceptlib.data.textures import TEXTURES, TextureBank, texture_bank

__all__ = ["CLASSES", "SHAPES_MEAN", "SHAPES_STD", "SIDE", "TEXTURES", "Scenes", "render", "shapes"]

SHAPES_MEAN = 0.5  # fixed normalisation of the shapes network's input
SHAPES_STD = 0.25
SMOOTH = 0.012  # contrast: standard deviation of the texture, in the unit of the picture
TEXTURED = 0.12
MAX_CONTRAST = 0.25  # above it, clipping to [0, 1] eats the texture

_BLOCK = 32  # images rendered together: their planes fit the processor's cache


@dataclass(frozen=True)
class Scenes:
    """Pictures with what is known of them.

    Attributes
    ----------
    images
        Shape (N, 3, 64, 64), float32, in [0, 1].
    labels
        Shape (N,), int64: index into `CLASSES`.
    masks, hulls
        Shape (N, 64, 64), bool: pixels at least half inside the shape, and inside its convex hull.
    areas
        Shape (N,), float64: share of the picture inside the mask.
    object_contrasts, background_contrasts
        Shape (N,), float32: the texture's standard deviation that was reached, after clipping.
    object_tiles, background_tiles
        The picture that each texture was cut from, N names.
    sketch
        What was drawn.
    """

    images: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor
    hulls: torch.Tensor
    areas: torch.Tensor
    object_contrasts: torch.Tensor
    background_contrasts: torch.Tensor
    object_tiles: tuple[str, ...]
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
    About 0.2 ms an image on one thread. Colours, place, area and mean tell nothing of the class; a histogram of a
    smooth picture tells a little, as the number of mixed pixels along the edge is the shape's perimeter. Textures are
    rescaled to their contrast inside the mask and outside it; clipping to [0, 1] takes a little of it again:
    `Scenes.object_contrasts` says what was reached.
    """
    return render(
        draw(num_images, seed=seed, first=first),
        object_texture=object_texture,
        background_texture=background_texture,
        textures=textures,
    )


def render(
    sketch: Sketch,
    *,
    object_texture: str | float = "textured",
    background_texture: str | float = "textured",
    textures: Sequence[str] = TEXTURES,
) -> Scenes:
    """Render a sketch in one texture condition; see `shapes` for the arguments and errors."""
    bank = texture_bank(textures)
    num_images = len(sketch.labels)
    contrasts = (
        _contrasts("object_texture", object_texture, sketch.object_mixes),
        _contrasts("background_texture", background_texture, sketch.background_mixes),
    )
    images = np.empty((num_images, 3, SIDE, SIDE), dtype=np.float32)
    masks = np.empty((num_images, SIDE, SIDE), dtype=bool)
    hulls = np.empty_like(masks)
    reached = np.empty((2, num_images), dtype=np.float32)
    for start in range(0, num_images, _BLOCK):
        block = slice(start, start + _BLOCK)
        coverage, hulls[block] = cover(sketch[block])
        masks[block] = coverage >= 0.5
        targets = (contrasts[0][block], contrasts[1][block])
        reached[:, block] = paint(images[block], sketch[block], coverage, targets, bank)
    return Scenes(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(sketch.labels.copy()),
        masks=torch.from_numpy(masks),
        hulls=torch.from_numpy(hulls),
        areas=torch.from_numpy(masks.mean(axis=(1, 2))),
        object_contrasts=torch.from_numpy(reached[0]),
        background_contrasts=torch.from_numpy(reached[1]),
        object_tiles=_tile_names(sketch.object_textures, bank),
        background_tiles=_tile_names(sketch.background_textures, bank),
        sketch=sketch,
    )


def _tile_names(uniforms: NDArray[np.float64], bank: TextureBank) -> tuple[str, ...]:
    return tuple(bank.names[index] for index in tile_indices(uniforms, bank))


def _contrasts(name: str, texture: str | float, mixes: NDArray[np.float64]) -> NDArray[np.float32]:
    """The contrast of each image under one texture switch; (N,)."""
    if texture == "mixed":
        between = SMOOTH + (mixes - 0.8) / 0.2 * (TEXTURED - SMOOTH)
        return np.where(mixes < 0.4, SMOOTH, np.where(mixes < 0.8, TEXTURED, between)).astype(np.float32)
    words = {"smooth": SMOOTH, "textured": TEXTURED}
    if isinstance(texture, str):
        if texture not in words:
            raise ValueError(
                f"{name} is {texture!r}; pass 'smooth', 'textured', 'mixed' or a contrast in [0, {MAX_CONTRAST}]"
            )
        contrast = words[texture]
    else:
        try:
            contrast = float(texture)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} is a {type(texture).__name__}; pass 'smooth', 'textured', 'mixed' or a number in "
                f"[0, {MAX_CONTRAST}]"
            ) from None
    if not 0 <= contrast <= MAX_CONTRAST:
        raise ValueError(
            f"{name} has contrast {contrast:g}, outside [0, {MAX_CONTRAST}]; pass a standard deviation in the unit "
            f"of the picture, such as {TEXTURED}"
        )
    return np.full(len(mixes), contrast, dtype=np.float32)
