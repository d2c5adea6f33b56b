"""Sketches: what the pictures of shapes show, drawn from a seed, apart from how it is rendered."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from perceptlib.data.outlines import CLASSES, circumradius
from perceptlib.records import whole_number

SIDE = 64
_AREA = (0.07, 0.18)  # share of the picture
_MID_TONE = (0.4, 0.6)
_COLOUR_OFFSET = (0.20, 0.36)  # of either colour from the mid-tone, to opposite sides
_LIGHT = (-0.05, 0.05)  # change of the light from the middle to an edge
_NUM_UNIFORMS = 32  # per image; the spare ones at the end leave room without changing the pictures


@dataclass(frozen=True)
class Sketch:
    """What is drawn, image by image; independent of the texture condition.

    Attributes
    ----------
    labels
        Shape (N,), int64: index into `CLASSES`.
    areas
        Shape (N,): share of the picture, in [0.07, 0.18].
    angles
        Shape (N,): rotation in radians, in [0, 2 pi).
    centres
        Shape (N, 2): the shape's centroid, x then y, in pixels from the corner.
    object_colours, background_colours
        Shape (N, 3), in [0, 1].
    lights
        Shape (N, 2): change of the light from the middle to the right and the lower edge.
    object_mixes, background_mixes
        Shape (N,), uniform in [0, 1): which contrast "mixed" takes.
    object_textures, background_textures
        Shape (N, 7), uniform in [0, 1): tile, row, column, orientation, tint of three channels.
    """

    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    angles: NDArray[np.float64]
    centres: NDArray[np.float64]
    object_colours: NDArray[np.float64]
    background_colours: NDArray[np.float64]
    lights: NDArray[np.float64]
    object_mixes: NDArray[np.float64]
    background_mixes: NDArray[np.float64]
    object_textures: NDArray[np.float64]
    background_textures: NDArray[np.float64]

    def __getitem__(self, images: slice) -> Sketch:
        """The sketch of some of the images."""
        return replace(self, **{field.name: getattr(self, field.name)[images] for field in fields(self)})


def draw(num_images: int, *, seed: int, first: int = 0) -> Sketch:
    """Draw what the pictures show.

    Parameters
    ----------
    num_images, seed, first
        Whole numbers, 0 or more, as in `scenes.shapes`.

    Returns
    -------
    Sketch
        Image i of it depends on the seed and ``first + i`` alone.

    Raises
    ------
    TypeError
        A number is not a whole one.
    ValueError
        A negative number.
    """
    num_images, seed, first = (
        whole_number("num_images", num_images),
        whole_number("seed", seed),
        whole_number("first", first),
    )
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
        object_colours=mid_tones + offsets,
        background_colours=mid_tones - offsets,
        lights=_between(uniforms[:, 11:13], _LIGHT),
        object_mixes=uniforms[:, 13],
        background_mixes=uniforms[:, 14],
        object_textures=uniforms[:, 15:22],
        background_textures=uniforms[:, 22:29],
    )


def _between(uniforms: NDArray[np.float64], interval: tuple[float, float]) -> NDArray[np.float64]:
    return interval[0] + uniforms * (interval[1] - interval[0])
