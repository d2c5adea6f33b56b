"""The sparse sums of squares against dense matrices built entry by entry, and against the ball itself."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from perceptlib.balls import SSIMBall, WindowBall
from perceptlib.convex.window_cones import WindowCones
from perceptlib.convex.window_matrices import Squares, band_matrix, row_and_column_means, ssim_squares, window_squares
from perceptlib.ssim.measure import Window

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
