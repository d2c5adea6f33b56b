"""Sketches: each image from its own child seed, every draw in its range, bad counts refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from perceptlib.data.outlines import CLASSES, outlines
from perceptlib.data.sketches import SIDE, Sketch, draw


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
    for colours in (sketch.object_colours, sketch.background_colours):
        assert colours.min() >= 0 and colours.max() <= 1
    distance = np.linalg.norm(sketch.object_colours - sketch.background_colours, axis=1)
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
