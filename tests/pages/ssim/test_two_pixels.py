"""Two pixels: the drawn ball is the SSIM ball restricted to them, and its marked point raises the loss most."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from perceptlib.balls import SSIMBall
from perceptlib.pages.ssim import two_pixels as page
from perceptlib.pages.ssim.distances import allowed_change
from perceptlib.study import presets

BUDGET = 1e-6
TILTED = np.array([[2.0, -0.7], [-0.7, 0.5]])


@pytest.fixture(scope="module")
def cat() -> presets.Pictures:
    return presets.photograph("cat")


@pytest.fixture(scope="module")
def found(cat: presets.Pictures) -> page.TwoPixels:
    return page.two_pixels(cat, budget=BUDGET)


def changed(found: page.TwoPixels, images: torch.Tensor, change: np.ndarray) -> torch.Tensor:
    perturbation = torch.zeros_like(images)
    for (row, column), value in zip(found.places, change, strict=True):
        perturbation[0, :, row, column] = value
    return perturbation


def test_matrix_is_the_ball_on_changes_of_two_pixels(cat: presets.Pictures, found: page.TwoPixels) -> None:
    images = cat.images.double()
    ball = SSIMBall(images, BUDGET)
    for change in np.random.default_rng(0).normal(size=(4, 2)):
        perturbation = changed(found, images, change)
        assert change @ found.matrix @ change == pytest.approx(float(ball.quadratic(perturbation)))
    for point in found.steepest.values():  # small enough that the expansion is the distance
        assert float(ball.measure(changed(found, images, point))) == pytest.approx(BUDGET, rel=0.01)


def test_pixels_are_those_of_the_shares(cat: presets.Pictures, found: page.TwoPixels) -> None:
    allowed = allowed_change(cat.images.double())[0, 10:-10, 10:-10]
    for share, (row, column) in zip((0.9, 0.1), found.places, strict=True):
        assert float((allowed <= allowed[row - 10, column - 10]).double().mean()) == pytest.approx(share, abs=1e-4)
    middles = [cat.images[0, :, row, column].double().numpy() for row, column in found.places]
    assert all(np.array_equal(patch[10, 10], middle) for patch, middle in zip(found.patches, middles, strict=True))
    numbers = page.numbers(found)
    assert numbers["textured"]["reach"] > numbers["flat"]["reach"]
    assert numbers["flat"]["row"] == found.places[1][0] and numbers["gain"] > 1


@pytest.mark.parametrize("matrix", [np.diag([1.0, 9.0]), TILTED])
@pytest.mark.parametrize("gradient", [(1.0, 1.0), (0.3, -2.0)])
def test_marked_points_raise_the_loss_most(
    found: page.TwoPixels, matrix: np.ndarray, gradient: tuple[float, float]
) -> None:
    own = page.TwoPixels(found.places, found.patches, matrix, 0.04, np.array(gradient))
    angles = np.linspace(0, 2 * math.pi, 100_001)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lengths = {
        "ssim": np.sqrt(0.04 / np.einsum("ki,ij,kj->k", directions, matrix, directions)),
        "l2": np.full(len(angles), np.linalg.norm(own.steepest["l2"])),
    }
    for name, point in own.steepest.items():
        searched = ((lengths[name][:, None] * directions) @ own.gradient).max()
        assert own.gradient @ point == pytest.approx(searched, rel=1e-6)
        assert point @ matrix @ point == pytest.approx(0.04)
    assert own.gain >= 1


def test_outlines_are_the_balls(found: page.TwoPixels) -> None:
    own = page.TwoPixels(found.places, found.patches, TILTED, 0.04, np.array([1.0, 1.0]))
    ellipse, circle = own.outlines["ssim"], own.outlines["l2"]
    np.testing.assert_allclose(np.einsum("ki,ij,kj->k", ellipse, TILTED, ellipse), 0.04)
    np.testing.assert_allclose(np.linalg.norm(circle, axis=1), np.linalg.norm(own.steepest["l2"]))


def test_a_round_ball_gains_nothing(found: page.TwoPixels) -> None:
    own = page.TwoPixels(found.places, found.patches, 3 * np.eye(2), 0.04, np.array([1.0, 2.0]))
    assert own.gain == pytest.approx(1)


def test_figure_shows_both_balls_their_points_and_the_gain(found: page.TwoPixels) -> None:
    figure = page.ball_figure(found)
    textured, field, flat = figure.axes
    assert [axes.get_title() for axes in (textured, flat)] == ["textured pixel", "flat pixel"]
    assert [text.get_text() for text in field.get_legend().get_texts()] == ["l2 ball", "SSIM ball"]
    words = [text.get_text() for text in field.texts]
    assert "loss +1" in words and f"loss +{found.gain:.2g}" in words and "gradient" in words
    assert all(text.get_fontsize() >= 12 for text in field.texts)
    marked = {
        line.get_marker(): (*line.get_xdata(), *line.get_ydata()) for line in field.lines if len(line.get_xdata()) == 1
    }
    assert marked["o"] == pytest.approx(tuple(found.steepest["ssim"] * 255))
    assert figure.frame is not None
    assert figure.frame["what"].unique().tolist() == ["l2 ball", "ssim ball", "steepest, l2", "steepest, ssim"]
    assert "image/svg+xml" in figure._repr_mimebundle_()


def test_what_cannot_be_drawn_is_refused(cat: presets.Pictures) -> None:
    with pytest.raises(ValueError, match="the picture has 20x20 pixels; 21 a side or more are needed"):
        page.two_pixels(presets.Pictures(cat.images[..., :20, :20], cat.labels), budget=BUDGET)
