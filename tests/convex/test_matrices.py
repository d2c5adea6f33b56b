"""Sums of squares against dense matrices built entry by entry, the window ball's cones against loops over windows."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from perceptlib.balls import MultiScaleBall, SSIMBall, WindowBall
from perceptlib.convex.matrices import (
    Squares,
    WindowCones,
    band_matrix,
    multi_scale_squares,
    row_and_column_means,
    ssim_squares,
    window_squares,
)
from perceptlib.ssim import Window

SOLVED = 1e-10  # float64, a few hundred terms


def picture(channels: int = 2, height: int = 12, width: int = 13) -> Tensor:
    return torch.rand(1, channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def dense(squares: Squares) -> np.ndarray:
    forms = (squares.factor @ squares.lift).toarray()
    return forms.T @ forms


def test_band_matrices_make_the_window() -> None:
    within, between = row_and_column_means(Window(), (2, 12, 13))
    expected = reference.window_matrix(12, 13, reference.window_weights())
    assert np.allclose((between @ within).toarray(), np.kron(np.eye(2), expected), atol=SOLVED)
    assert np.allclose(band_matrix(Window(5), 7).sum(axis=1), 1)


def test_ssim_squares_are_the_dense_quadratic() -> None:
    images = picture()
    matrix = reference.window_matrix(12, 13, reference.window_weights())
    squares = ssim_squares(SSIMBall(images, 0.1))
    expected = reference.quadratic_matrix(images[0].numpy(), matrix)
    assert np.abs(dense(squares) - expected).max() < SOLVED * np.abs(expected).max()
    r = np.random.default_rng(0).standard_normal(expected.shape[0])
    assert squares.quadratic(r) == pytest.approx(float(r @ expected @ r), rel=SOLVED)
    assert np.allclose(squares.apply(r), expected @ r, atol=SOLVED * np.abs(expected).max() * 100)


@pytest.mark.parametrize("coupling", ["full", "diagonal"])
@pytest.mark.parametrize("parts", ["both", "luminance", "contrast_structure"])
def test_ssim_squares_are_the_ball(coupling: str, parts: str) -> None:
    images = picture()
    ball = SSIMBall(images, 0.1, coupling=coupling, components=parts)
    squares = ssim_squares(ball)
    r = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert squares.quadratic(r.numpy().ravel()) == pytest.approx(float(ball.quadratic(r)), rel=1e-9)
    if squares.link is not None:
        assert np.abs(squares.link @ (squares.lift @ r.numpy().ravel())).max() < SOLVED


def test_ssim_squares_without_a_floor_leave_the_other_component_free() -> None:
    images = picture()
    contrast = ssim_squares(SSIMBall(images, 0.1, components="contrast_structure"), floor=0)
    assert contrast.quadratic(np.ones(images.numel())) < 1e-20
    luminance = ssim_squares(SSIMBall(images, 0.1, components="luminance"), floor=0)
    assert luminance.factor.shape[0] == images.numel()


def test_ssim_squares_grow_linearly() -> None:
    small, large = (ssim_squares(SSIMBall(picture(1, side, side), 0.1)) for side in (16, 32))
    assert large.factor.nnz + large.link.nnz <= 4.2 * (small.factor.nnz + small.link.nnz)


@pytest.mark.parametrize("windows", [Window(5, 1.0), 4, 5])
def test_window_squares_are_the_variances(windows: Window | int) -> None:
    images = picture(1, 9, 10)
    squares, group = window_squares((1, 9, 10), windows)
    r = np.random.default_rng(1).standard_normal(90)
    variance = (squares.forms(r).reshape(-1, group) ** 2).sum(axis=1)
    if isinstance(windows, Window):
        matrix = reference.window_matrix(9, 10, reference.window_weights(5, 1.0))
        expected = matrix @ r**2 - (matrix @ r) ** 2
    else:
        plane = r.reshape(9, 10)
        expected = np.array(
            [plane[i : i + windows, j : j + windows].var() for i in range(0, 9, windows) for j in range(0, 10, windows)]
        )
    assert np.allclose(variance, expected, atol=SOLVED)
    assert images.numel() == squares.lift.shape[1]


def test_window_cones_measure_as_the_window_ball() -> None:
    images = picture()
    r = 0.05 * torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    cones = WindowCones(images, Window(), 5, "both")
    assert cones.largest_loss(r) == pytest.approx(float(WindowBall(images, 0.02, size=5).measure(r)), rel=1e-10)
    parts = [WindowCones(images, Window(), 5, name).losses(r) for name in ("luminance", "contrast_structure")]
    assert np.allclose(parts[0] + parts[1] - parts[0] * parts[1], cones.losses(r), atol=SOLVED)


C1, C2 = reference.C1, reference.C2
ROUNDING = 1e-10  # float64; the losses divide by C1 at the darkest windows
HEIGHT, WIDTH, CHANNELS = 7, 6, 2
SQUARE = 3  # side of the disjoint windows: 7 rows leave a last one of height 1
PARTS = ("both", "luminance", "contrast_structure")


def small_picture(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64, generator=generator)


def windows(size: int | None) -> np.ndarray:
    """Weights of every window over the pixels of one channel, (windows, H W)."""
    if size is None:
        return reference.window_matrix(HEIGHT, WIDTH, reference.window_weights(5))
    rows = []
    for top in range(0, HEIGHT, size):
        for left in range(0, WIDTH, size):
            mask = np.zeros((HEIGHT, WIDTH))
            mask[top : top + size, left : left + size] = 1
            rows.append(mask.ravel() / mask.sum())
    return np.array(rows)


def cones(size: int | None, parts: str) -> tuple[WindowCones, Tensor]:
    images = small_picture(0)
    return WindowCones(images, Window(5), size, parts), images


@pytest.mark.parametrize("size", [None, SQUARE])
@pytest.mark.parametrize("parts", PARTS)
def test_losses_are_those_of_a_loop_over_the_windows(size: int | None, parts: str) -> None:
    constraints, images = cones(size, parts)
    perturbation = 0.2 * small_picture(1) - 0.1
    expected = []
    for channel in range(CHANNELS):
        x = images[0, channel].numpy().ravel()
        y = x + perturbation[0, channel].numpy().ravel()
        for weights in windows(size):
            mean_x, mean_y = weights @ x, weights @ y
            var_x, var_y = weights @ (x - mean_x) ** 2, weights @ (y - mean_y) ** 2
            luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
            contrast = (2 * (weights @ ((x - mean_x) * (y - mean_y))) + C2) / (var_x + var_y + C2)
            similarity = {"both": luminance * contrast, "luminance": luminance, "contrast_structure": contrast}
            expected.append(1 - similarity[parts])
    found = constraints.losses(perturbation)
    assert constraints.num_windows == len(expected)
    assert np.abs(found - expected).max() < ROUNDING
    assert constraints.largest_loss(perturbation) == found.max()


@pytest.mark.parametrize("size", [None, SQUARE])
@pytest.mark.parametrize("budget", [1e-3, 0.1])
def test_cone_and_interval_are_where_each_component_loses_its_share(size: int | None, budget: float) -> None:
    constraints, images = cones(size, "both")
    share, radii, (low, high) = constraints.limits(budget)
    each = 1 - (1 - budget) ** 0.5
    assert share == pytest.approx(each / (1 - each))
    generator = np.random.default_rng(0)
    index = 0
    for channel in range(CHANNELS):
        x = images[0, channel].numpy().ravel()
        for weights in windows(size):
            mean_x = weights @ x
            deviation = np.sqrt(weights) * (x - mean_x)
            entries = np.sort(constraints.centres[index] ** 2)
            assert np.abs(entries[-(weights > 0).sum() :] - np.sort(deviation[weights > 0] ** 2)).max() < ROUNDING
            # a random deviation on the boundary of the cone: 1 - S2 is the share of the loss
            spread = np.sqrt(weights) * (generator.standard_normal(x.size))
            spread -= np.sqrt(weights) * (np.sqrt(weights) @ spread)
            change = share * deviation + radii[index] * spread / np.linalg.norm(spread)
            var_x, var_y = deviation @ deviation, (deviation + change) @ (deviation + change)
            assert change @ change / (var_x + var_y + C2) == pytest.approx(each, rel=1e-9)
            for mean in (low[index], high[index]):
                loss = mean**2 / (mean_x**2 + (mean_x + mean) ** 2 + C1)
                assert loss == pytest.approx(each, rel=1e-9)
            index += 1
    assert index == constraints.num_windows


def test_one_component_alone_may_lose_the_whole_budget() -> None:
    for parts in PARTS[1:]:
        constraints, _ = cones(SQUARE, parts)
        assert constraints.limits(0.1)[0] == pytest.approx(0.1 / 0.9)
        assert (constraints.has_luminance, constraints.has_contrast) == (parts == "luminance", parts != "luminance")


def test_too_small_a_square_is_refused() -> None:
    with pytest.raises(ValueError, match=r"window size 1 is below 2; pass e\.g\. size=8"):
        cones(1, "both")


@pytest.mark.parametrize("colour", ["opponent", "luma", "rgb"])
def test_multi_scale_squares_are_the_ball(colour: str) -> None:
    images = picture(3, 9, 11)
    ball = MultiScaleBall(images, 0.1, colour=colour, window=Window(3))
    squares = multi_scale_squares(ball)
    r = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    flat = r.numpy().ravel()
    assert squares.quadratic(flat) == pytest.approx(float(ball.quadratic(r)), rel=1e-9)
    assert np.allclose(squares.apply(flat), ball.apply(r).numpy().ravel() / flat.size, rtol=1e-9, atol=1e-9)
    assert np.abs(squares.link @ (squares.lift @ flat)).max() < SOLVED
