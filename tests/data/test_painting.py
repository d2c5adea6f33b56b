"""Painting against slow references: coverage from exact distances, textures from crops turned and flipped by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from perceptlib.data.outlines import CLASSES, outlines, signed_distance
from perceptlib.data.painting import cover, paint
from perceptlib.data.sketches import SIDE, Sketch, draw
from perceptlib.data.textures import TextureBank

# Linear look-up in the table rounds a corner by a third of a pixel at most; along the edges it is far closer.
CORNER_TOLERANCE = 0.35
EDGE_TOLERANCE = 0.01
NUM_ORIENTATIONS = 8


def bank_of(tile: NDArray[np.float32]) -> TextureBank:
    return TextureBank(
        values=tile.ravel(),
        starts=np.array([0]),
        heights=np.array([tile.shape[0]]),
        widths=np.array([tile.shape[1]]),
        names=("made",),
    )


def plain_sketch(num_images: int) -> Sketch:
    """Grey on grey without light or tint, so that only textures show."""
    sketch = draw(num_images, seed=6)
    untinted = np.full((num_images, 3), 0.5)
    return replace(
        sketch,
        object_colours=untinted,
        background_colours=untinted,
        lights=np.zeros((num_images, 2)),
        object_textures=np.hstack([sketch.object_textures[:, :4], untinted]),
        background_textures=np.hstack([sketch.background_textures[:, :4], untinted]),
    )


def painted(sketch: Sketch, bank: TextureBank, contrast: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The pictures' first channel less the grey, and the contrasts reached."""
    images = np.empty((len(sketch.labels), 3, SIDE, SIDE), dtype=np.float32)
    contrasts = np.full(len(sketch.labels), contrast, dtype=np.float32)
    reached = paint(images, sketch, cover(sketch)[0], (contrasts, contrasts), bank)
    return images[:, 0] - np.float32(0.5), reached


def test_cover_is_half_less_the_distance_in_pixels() -> None:
    sketch = draw(16, seed=2)
    coverage, _ = cover(sketch)
    pixel = np.arange(SIDE) + 0.5
    points = np.stack(np.meshgrid(pixel, pixel), axis=-1).reshape(-1, 2)
    for index, label in enumerate(sketch.labels):
        angle, scale = sketch.angles[index], np.sqrt(sketch.areas[index]) * SIDE
        turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        loops = tuple(loop @ turn * scale + sketch.centres[index] for loop in outlines()[CLASSES[label]])
        expected = np.clip(0.5 - signed_distance(points, loops).reshape(SIDE, SIDE), 0, 1)
        error = np.abs(coverage[index] - expected)
        assert error.max() < CORNER_TOLERANCE
        assert error.mean() < EDGE_TOLERANCE


def test_paint_gives_each_region_mean_zero_and_its_contrast() -> None:
    sketch = plain_sketch(12)
    tile = np.random.default_rng(0).standard_normal((90, 100)).astype(np.float32)
    texture, reached = painted(sketch, bank_of(tile), 0.05)
    for region, is_object in ((cover(sketch)[0] == 1, 0), (cover(sketch)[0] == 0, 1)):
        for index in range(12):
            values = texture[index][region[index]]
            assert values.mean() == pytest.approx(0, abs=0.006)  # the rim belongs to both regions and is left out
            assert values.std() == pytest.approx(0.05, rel=0.1)
            assert reached[is_object, index] == pytest.approx(np.sqrt((values**2).mean()), rel=1e-5)


def test_paint_takes_the_tile_in_all_eight_orientations() -> None:
    num_images = 64
    sketch = plain_sketch(num_images)
    tile = np.random.default_rng(1).standard_normal((SIDE, SIDE)).astype(np.float32)
    texture, _ = painted(sketch, bank_of(tile), 0.05)
    turned = [np.rot90(flipped, turns) for flipped in (tile, tile.T) for turns in range(4)]
    is_background = cover(sketch)[0] == 0
    found = set()
    for index in range(num_images):
        values = texture[index][is_background[index]]
        likeness = [np.corrcoef(values, candidate[is_background[index]])[0, 1] for candidate in turned]
        assert max(likeness) == pytest.approx(1, abs=1e-4)
        found.add(int(np.argmax(likeness)))
    assert found == set(range(NUM_ORIENTATIONS))


def test_paint_leaves_a_flat_crop_flat() -> None:
    texture, reached = painted(plain_sketch(3), bank_of(np.ones((SIDE, SIDE), dtype=np.float32)), 0.12)
    assert np.isfinite(texture).all()
    assert np.abs(texture).max() < 1e-5 and reached.max() < 1e-5
