"""Outlines: closed forms for areas, centroids, distances and hulls."""

from __future__ import annotations

import numpy as np
import pytest

from perceptlib.data.outlines import (
    CLASSES,
    EXTENT,
    TABLE_SIDE,
    circumradius,
    distance_tables,
    outlines,
    polygon_moments,
    signed_distance,
)

# Counting nodes, an edge along the grid may gain or lose half a row of 1/95 on the length of every side.
AREA_TOLERANCE = 0.02


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
