"""Scenes: twins over the texture conditions, masks by geometry, contrasts, and nothing that gives the class away.

Sketches and painting against slow references.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.stats import binom
from skimage.morphology import convex_hull_image
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from perceptlib.data import shapes
from perceptlib.data.scenes import (
    CLASSES,
    EXTENT,
    SIDE,
    SMOOTH,
    TABLE_SIDE,
    TEXTURED,
    Scenes,
    Sketch,
    circumradius,
    cover,
    distance_tables,
    draw,
    outlines,
    paint,
    polygon_moments,
    signed_distance,
)
from perceptlib.data.textures import TextureBank

CONDITIONS = [(o, b) for o in ("smooth", "textured") for b in ("smooth", "textured")]
# One node of the table is 0.3 pixels; linear look-up between nodes rounds a corner by about as much.
EDGE_TOLERANCE_PIXELS = 0.3
# In a leak test, chance is exceeded by luck once in a million runs.
LUCK = 1e-6
# Linear look-up in the table rounds a corner by a third of a pixel at most; along the edges it is far closer.
CORNER_TOLERANCE = 0.35
EDGE_TOLERANCE = 0.01
NUM_ORIENTATIONS = 8
# Counting nodes, an edge along the grid may gain or lose half a row of 1/95 on the length of every side.
AREA_TOLERANCE = 0.02


def digest(scenes: Scenes) -> str:
    parts = (scenes.images, scenes.labels, scenes.masks, scenes.hulls, scenes.object_contrasts)
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


@pytest.fixture(scope="module")
def conditions() -> dict[tuple[str, str], Scenes]:
    return {(o, b): shapes(64, seed=5, object_texture=o, background_texture=b) for o, b in CONDITIONS}


@pytest.fixture(scope="module")
def many() -> Scenes:
    return shapes(6000, seed=11, object_texture="mixed", background_texture="mixed")


def test_shapes_have_the_promised_form() -> None:
    scenes = shapes(10, seed=0)
    assert scenes.images.shape == (10, 3, 64, 64) and scenes.images.dtype == torch.float32
    assert scenes.images.min() >= 0 and scenes.images.max() <= 1
    assert scenes.labels.shape == (10,) and scenes.labels.dtype == torch.int64
    assert scenes.masks.shape == scenes.hulls.shape == (10, 64, 64)
    assert scenes.masks.dtype == scenes.hulls.dtype == torch.bool
    assert len(scenes.object_tiles) == len(scenes.background_tiles) == 10
    torch.testing.assert_close(scenes.areas, scenes.masks.double().mean((1, 2)))


def test_shapes_of_no_image_are_empty() -> None:
    scenes = shapes(0, seed=0)
    assert scenes.images.shape == (0, 3, 64, 64) and scenes.masks.shape == (0, 64, 64)


@given(first=st.integers(0, 60), num_images=st.integers(1, 40), seed=st.integers(0, 2**70))
@settings(max_examples=15, deadline=None)
def test_shapes_of_an_image_do_not_depend_on_its_batch(first: int, num_images: int, seed: int) -> None:
    part = shapes(num_images, seed=seed, first=first, background_texture="mixed")
    alone = shapes(1, seed=seed, first=first + num_images - 1, background_texture="mixed")
    assert torch.equal(part.images[-1:], alone.images)
    assert torch.equal(part.masks[-1:], alone.masks) and torch.equal(part.hulls[-1:], alone.hulls)
    assert torch.equal(part.background_contrasts[-1:], alone.background_contrasts)


def test_shapes_are_the_same_for_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        digests = []
        for num_threads in (1, 2):
            torch.set_num_threads(num_threads)
            with threadpool_limits(num_threads):
                digests.append(digest(shapes(70, seed=8)))
    finally:
        torch.set_num_threads(before)
    assert digests[0] == digests[1]


def test_twins_differ_in_the_switched_texture_alone(conditions: dict[tuple[str, str], Scenes]) -> None:
    plain = conditions["smooth", "smooth"]
    coverage = torch.from_numpy(cover(plain.sketch)[0])
    for (object_texture, background_texture), twin in conditions.items():
        assert torch.equal(plain.masks, twin.masks) and torch.equal(plain.hulls, twin.hulls)
        assert torch.equal(plain.labels, twin.labels)
        assert plain.object_tiles == twin.object_tiles and plain.background_tiles == twin.background_tiles
        changed = (plain.images != twin.images).any(1)
        assert changed[coverage == 1].any() == (object_texture == "textured")
        assert changed[coverage == 0].any() == (background_texture == "textured")


def test_masks_and_hulls_are_the_outlines_turned_scaled_and_placed() -> None:
    scenes = shapes(24, seed=2)
    sketch = scenes.sketch
    pixel = np.arange(64) + 0.5
    points = np.stack(np.meshgrid(pixel, pixel), axis=-1).reshape(-1, 2)
    for index in range(24):
        angle, scale = sketch.angles[index], math.sqrt(sketch.areas[index]) * 64
        turn = np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
        loops = tuple(loop @ turn * scale + sketch.centres[index] for loop in outlines()[CLASSES[sketch.labels[index]]])
        hull = (loops[0][ConvexHull(loops[0]).vertices],)
        for polygon, found in ((loops, scenes.masks[index]), (hull, scenes.hulls[index])):
            distance = signed_distance(points, polygon).reshape(64, 64)
            is_clear = np.abs(distance) > EDGE_TOLERANCE_PIXELS
            np.testing.assert_array_equal(found.numpy()[is_clear], (distance < 0)[is_clear])


def test_masks_have_the_drawn_area_in_every_class(many: Scenes) -> None:
    error = many.areas.numpy() / many.sketch.areas - 1
    assert np.abs(error).max() < 0.1  # whole pixels: a straight edge along the grid gains or loses half a row
    for label in range(len(CLASSES)):
        assert abs(error[many.labels.numpy() == label].mean()) < 0.003, CLASSES[label]


def test_hulls_hold_the_hulls_of_the_masks() -> None:
    scenes = shapes(40, seed=4)
    assert (scenes.hulls | ~scenes.masks).all()
    for mask, hull in zip(scenes.masks.numpy(), scenes.hulls.numpy(), strict=True):
        inner = convex_hull_image(mask, offset_coordinates=False)
        assert (inner & ~hull).sum() <= 2  # rounding on the edge


def test_contrasts_reach_their_target(conditions: dict[tuple[str, str], Scenes]) -> None:
    target = {"smooth": SMOOTH, "textured": TEXTURED}
    for (object_texture, background_texture), scenes in conditions.items():
        for name, reached in (
            (object_texture, scenes.object_contrasts),
            (background_texture, scenes.background_contrasts),
        ):
            assert float(reached.median()) == pytest.approx(target[name], rel=0.05)
            assert float(reached.max()) <= 1.1 * target[name]


def test_contrasts_are_those_of_the_picture() -> None:
    scenes = shapes(6, seed=9, object_texture=0.2, background_texture=0.05)
    flat = shapes(6, seed=9, object_texture=0.0, background_texture=0.0)
    residual = (scenes.images - flat.images).square().mean(1)
    coverage = torch.from_numpy(cover(scenes.sketch)[0])
    for reached, region in ((scenes.object_contrasts, coverage == 1), (scenes.background_contrasts, coverage == 0)):
        for index in range(6):
            expected = residual[index][region[index]].mean().sqrt()
            assert float(reached[index]) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(flat.object_contrasts, torch.zeros(6))


def test_mixed_contrasts_are_two_fifths_smooth_and_two_fifths_textured(many: Scenes) -> None:
    for contrasts in (many.object_contrasts, many.background_contrasts):
        is_smooth = (contrasts < 1.1 * SMOOTH).double().mean()
        assert float(is_smooth) == pytest.approx(0.4, abs=5 * math.sqrt(0.4 * 0.6 / len(contrasts)) + 0.01)
    both = torch.stack([many.object_contrasts, many.background_contrasts])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 5 / math.sqrt(len(many.labels))


def leaks(scenes: Scenes) -> dict[str, NDArray[Any]]:
    """What must not tell the class."""
    images, masks = scenes.images.numpy(), scenes.masks.numpy()
    pixel = np.arange(64) + 0.5
    size = masks.sum((1, 2))
    place = [(masks * pixel).sum((1, 2)) / size, (masks * pixel[:, None]).sum((1, 2)) / size]
    background = ~masks[:, None]
    return {
        "colours": np.hstack(
            [
                (images * masks[:, None]).sum((2, 3)) / size[:, None],
                (images * background).sum((2, 3)) / background.sum((2, 3)),
            ]
        ),
        "place and area": np.stack([*place, scenes.areas.numpy()], axis=1),
        "mean": images.mean((2, 3)),
        "contrasts": torch.stack([scenes.object_contrasts, scenes.background_contrasts], 1).numpy(),
    }


def accuracy(features: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Accuracy of a small classifier on the second half, after training on the first."""
    half = len(labels) // 2
    model = HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=15, random_state=0)
    return float(model.fit(features[:half], labels[:half]).score(features[half:], labels[half:]))


def test_class_is_not_told_by_colour_place_mean_or_contrast(many: Scenes) -> None:
    labels = many.labels.numpy()
    num_tested = len(labels) - len(labels) // 2
    bound = float(binom.ppf(1 - LUCK, num_tested, 1 / len(CLASSES))) / num_tested
    for name, features in leaks(many).items():
        assert accuracy(features, labels) <= bound, name
    # The classifier would find it: how much of the hull is filled is the shape's own, and tells far above chance.
    told = np.stack([many.hulls.double().mean((1, 2)).numpy(), many.areas.numpy()], axis=1)
    assert accuracy(told, labels) > 3 * bound


def test_classes_are_equally_frequent(many: Scenes) -> None:
    counts = np.bincount(many.labels.numpy(), minlength=len(CLASSES))
    low, high = binom.ppf((LUCK, 1 - LUCK), len(many.labels), 1 / len(CLASSES))
    assert low <= counts.min() and counts.max() <= high


def test_shapes_cut_textures_from_the_named_pictures_only() -> None:
    scenes = shapes(30, seed=0, textures=["brick", "page"])
    assert set(scenes.object_tiles) == set(scenes.background_tiles) == {"brick", "page"}


@pytest.mark.parametrize("name", ["object_texture", "background_texture"])
def test_shapes_refuse_a_wrong_texture_switch(name: str) -> None:
    wrong: dict[Any, tuple[type[Exception], str]] = {
        "rough": (ValueError, rf"{name} is 'rough'; pass 'smooth', 'textured', 'mixed' or a standard deviation"),
        0.5: (ValueError, rf"{name} is 0.5; pass 'smooth', 'textured', 'mixed' or a standard deviation in \[0, 0.25\]"),
        -0.1: (ValueError, rf"{name} is -0.1"),
        math.nan: (ValueError, rf"{name} is nan"),
        None: (TypeError, rf"{name} is a NoneType; pass 'smooth'"),
    }
    for texture, (error, message) in wrong.items():
        with pytest.raises(error, match=message):
            shapes(1, seed=0, **{name: texture})


def test_shapes_refuse_a_negative_count_and_an_unknown_picture() -> None:
    with pytest.raises(ValueError, match="num_images is -3; pass a whole number, 0 or more"):
        shapes(-3, seed=0)
    with pytest.raises(TypeError, match="seed is '0', a str; pass a whole number"):
        shapes(1, seed="0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown texture 'velvet'"):
        shapes(1, seed=0, textures=["velvet"])


def assert_same(one: Sketch, other: Sketch) -> None:
    for field in fields(Sketch):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def test_draw_of_an_image_depends_on_seed_and_index_alone() -> None:
    many = draw(20, seed=3)
    assert_same(many[7:12], draw(5, seed=3, first=7))
    assert_same(many[:4], draw(4, seed=3))
    assert (many.areas != draw(20, seed=4).areas).all()


def test_draw_stays_in_its_ranges() -> None:
    sketch = draw(2000, seed=0)
    assert sketch.labels.min() == 0 and sketch.labels.max() == len(CLASSES) - 1
    assert sketch.areas.min() >= 0.07 and sketch.areas.max() <= 0.18
    assert sketch.colours.min() >= 0 and sketch.colours.max() <= 1
    distance = np.linalg.norm(sketch.colours[:, 0] - sketch.colours[:, 1], axis=1)
    assert distance.min() >= 0.4 and distance.max() <= 0.72


def test_draw_keeps_every_shape_inside_the_picture() -> None:
    sketch = draw(500, seed=1)
    for label, area, angle, centre in zip(sketch.labels, sketch.areas, sketch.angles, sketch.centres, strict=True):
        turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        corners = outlines()[CLASSES[label]][0] @ turn * np.sqrt(area) * SIDE + centre
        assert corners.min() >= -1e-9 and corners.max() <= SIDE + 1e-9


def test_draw_of_nothing_is_empty() -> None:
    assert len(draw(0, seed=0).labels) == 0


@pytest.mark.parametrize("name", ["num_images", "seed", "first"])
def test_draw_refuses_a_negative_or_broken_number(name: str) -> None:
    arguments: dict[str, Any] = {"num_images": 2, "seed": 0}
    with pytest.raises(ValueError, match=rf"{name} is -1; pass a whole number, 0 or more"):
        draw(**(arguments | {name: -1}))
    with pytest.raises(TypeError, match=rf"{name} is 1.5, a float; pass a whole number, 0 or more"):
        draw(**(arguments | {name: 1.5}))


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
    grey = np.full((num_images, 2, 3), 0.5)
    untinted = np.concatenate([sketch.textures[..., :4], grey], axis=-1)
    return replace(sketch, colours=grey, lights=np.zeros((num_images, 2)), textures=untinted)


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


def test_polygon_moments_of_a_triangle_are_exact() -> None:
    area, centroid = polygon_moments(np.array([(0.0, 0.0), (4.0, 0.0), (0.0, 3.0)]))
    assert area == pytest.approx(6, rel=1e-12)
    np.testing.assert_allclose(centroid, (4 / 3, 1), rtol=1e-12)


@pytest.mark.parametrize("name", CLASSES)
def test_outlines_have_area_one_about_their_centroid(name: str) -> None:
    moments = [polygon_moments(loop) for loop in outlines()[name]]
    signs = [1, -1][: len(moments)]
    assert sum(sign * area for sign, (area, _) in zip(signs, moments, strict=True)) == pytest.approx(1, rel=1e-12)
    centroid = sum(sign * area * middle for sign, (area, middle) in zip(signs, moments, strict=True))
    np.testing.assert_allclose(centroid, 0, atol=1e-12)


def test_signed_distance_to_a_square_is_its_closed_form() -> None:
    square = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    points = np.random.default_rng(0).uniform(-3, 3, (500, 2))
    beyond = np.abs(points) - 1
    expected = np.hypot(*np.maximum(beyond, 0).T) + np.minimum(beyond.max(1), 0)
    np.testing.assert_allclose(signed_distance(points, (square,)), expected, atol=1e-12)


def test_signed_distance_is_positive_in_a_hole() -> None:
    outer = np.array([(-2.0, -2.0), (2.0, -2.0), (2.0, 2.0), (-2.0, 2.0)])
    points = np.array([(0.0, 0.0), (1.5, 0.0), (3.0, 0.0)])
    np.testing.assert_allclose(signed_distance(points, (outer, outer / 2)), (1, -0.5, 1), atol=1e-12)


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
def test_distance_tables_hold_the_area_and_a_hull_around_it(label: int) -> None:
    outline, hull = distance_tables()[:, label]
    cell = (2 * EXTENT / (TABLE_SIDE - 1)) ** 2
    assert (outline < 0).sum() * cell == pytest.approx(1, abs=AREA_TOLERANCE)
    assert (hull <= outline + 1e-6).all()
    is_convex = CLASSES[label] in ("disk", "square", "triangle")
    assert ((hull < 0).sum() == (outline < 0).sum()) == is_convex


def test_circumradius_fits_the_tables_and_is_one_for_all_classes() -> None:
    radii = [np.hypot(*np.concatenate(loops).T).max() for loops in outlines().values()]
    assert circumradius() == max(radii)
    assert circumradius() < EXTENT
