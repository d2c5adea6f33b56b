"""The ball of the luma: scikit-image's SSIM of the luma, the convex program on grey perturbations, and the attack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
import torch
from ball_samples import dot, noise, pictures, regions
from skimage.color import rgb2ycbcr
from skimage.metrics import structural_similarity
from torch import Tensor

from perceptlib.attacks import maximize_loss
from perceptlib.balls import Ball, LumaBall
from perceptlib.balls.luma import luma
from perceptlib.convex import programs as convex

BALLS: dict[str, dict[str, Any]] = {
    "full": {"cg_steps": 200, "tolerance": 1e-12},
    "diagonal": {"coupling": "diagonal"},
    "support": {"cg_steps": 200, "tolerance": 1e-12, "support": regions(pictures())},
}


@pytest.fixture(params=list(BALLS), scope="module")
def ball(request: pytest.FixtureRequest) -> LumaBall:
    return LumaBall(pictures(), torch.tensor([0.01, 0.02]), **BALLS[request.param])


def expected_luma(images: Tensor) -> np.ndarray:
    """Y of scikit-image's YCbCr, which has it from 16 to 235; (N, H, W)."""
    return (rgb2ycbcr(images.permute(0, 2, 3, 1).numpy())[..., 0] - 16) / 219


def is_grey(perturbation: Tensor) -> bool:
    return torch.equal(perturbation, perturbation[:, :1].expand_as(perturbation))


def test_luma_is_that_of_scikit_image() -> None:
    images = pictures()
    assert np.allclose(luma(images)[:, 0].numpy(), expected_luma(images), atol=1e-6)  # its weights are rounded


def test_measure_is_the_ssim_of_the_luma() -> None:
    images = pictures()
    perturbation = (images + 0.05 * noise(images, 1)).clamp(0, 1) - images
    measured = LumaBall(images, 0.01).measure(perturbation)
    planes = zip(expected_luma(images), expected_luma(images + perturbation), strict=True)
    for value, (before, after) in zip(measured, planes, strict=True):
        _, similarity = structural_similarity(
            *(before, after),
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        assert float(value) == pytest.approx(1 - similarity.mean(), rel=1e-4)


def test_gauge_is_the_dense_quadratic_of_the_luma() -> None:
    images = pictures(1, 3, 12, 13)
    matrix = reference.window_matrix(12, 13, reference.window_weights())
    dense = reference.quadratic_matrix(expected_luma(images), matrix)
    plane = noise(images[:, :1], 2)
    flat = plane.numpy().ravel()
    gauge = LumaBall(images, 0.01).gauge(plane.repeat(1, 3, 1, 1))
    assert float(gauge) == pytest.approx(np.sqrt(flat @ dense @ flat / 0.01), rel=1e-5)


def test_steepest_is_optimal_among_grey_perturbations() -> None:
    images = pictures(1, 3, 12, 12)
    gradient = noise(images, 3)
    for support in (None, regions(images)):
        best = LumaBall(images, 0.01, cg_steps=500, tolerance=1e-12, support=support).steepest(gradient)
        program = convex.maximize_linear(luma(images), gradient.sum(1, keepdim=True), 0.01, support=support, box=False)
        assert float(dot(gradient, best)) == pytest.approx(program.objective, rel=1e-6)
        assert is_grey(best)


def test_steepest_is_on_the_boundary_and_maximises(ball: LumaBall) -> None:
    gradient = noise(pictures(), 4)
    best = ball.steepest(gradient)
    assert torch.allclose(ball.gauge(best), torch.ones(2).double(), atol=1e-6)
    for seed in range(5, 9):
        other = ball.project(0.1 * noise(gradient, seed) + best)
        assert bool((dot(gradient, other) <= dot(gradient, best) * (1 + 1e-9)).all())
    assert bool((ball.steepest(torch.zeros_like(gradient)) == 0).all())


def test_project_is_the_nearest_point(ball: LumaBall) -> None:
    outside = noise(pictures(), 6)
    nearest = ball.project(outside)
    assert is_grey(nearest) and bool((ball.gauge(nearest) <= 1 + 1e-9).all())
    for seed in range(7, 11):
        other = ball.steepest(noise(outside, seed) if seed > 7 else outside - nearest)
        assert bool((dot(outside - nearest, other - nearest) <= 1e-4 * dot(outside, outside)).all())
    assert torch.allclose(ball.project(0.5 * nearest), 0.5 * nearest, atol=1e-15)


def test_pull_back_is_grey_within_budget_and_box(ball: LumaBall) -> None:
    images = pictures()
    for scale in (1e-4, 0.1, 10.0):
        pulled = ball.pull_back((images + scale * noise(images, 8)).clamp(0, 1) - images)
        assert is_grey(pulled)
        assert bool((ball.measure(pulled) <= torch.tensor([0.01, 0.02]).double()).all())
        assert float((images + pulled).min()) >= 0 and float((images + pulled).max()) <= 1
        assert bool((ball.measure(pulled) > 1e-4).all())


def test_select_is_the_ball_of_those_images(ball: LumaBall) -> None:
    gradient = noise(pictures(), 10)
    chosen = ball.select(torch.tensor([1]))
    assert torch.allclose(chosen.steepest(gradient[1:]), ball.steepest(gradient)[1:], atol=1e-5)
    assert torch.allclose(chosen.pull_back(gradient[1:]), ball.pull_back(gradient)[1:])
    assert torch.as_tensor(chosen.radius).tolist() == pytest.approx([0.02]) and chosen.window is ball.window


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attack_stays_grey_and_within_budget(ball: LumaBall, dtype: torch.dtype) -> None:
    images = pictures().to(dtype)
    torch.manual_seed(0)
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(images[0].numel(), 3, dtype=dtype))
    attacked: Ball = LumaBall(images, 0.01, support=ball.inner.support)
    result = maximize_loss(classifier, images, classifier(images).argmax(1), attacked, steps=3, loss="margin")
    assert bool((result.margin_after < result.margin_before).all())
    assert bool((result.violation == 0).all())
    change = result.adversarial.double() - images.double()
    assert torch.allclose(change, change[:, :1].expand_as(change), atol=1e-7)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda x: LumaBall(x[:, :2], 0.1), r"images have shape \(2, 2, 14, 17\); the luma needs red, green and blue"),
        (lambda x: LumaBall(x + 1, 0.1), r"images hold values from .*; \[0, 1\] is allowed"),
        (lambda x: LumaBall(x, 0.0), "budget 0.0 is not a finite number above 0"),
        (lambda x: LumaBall(x, 0.1, support=x > -1), r"support has shape \(2, 3, 14, 17\) for images of shape \(2, 1"),
    ],
)
def test_luma_ball_refuses(make: Callable[[Tensor], LumaBall], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(pictures())


def test_luma_ball_refuses_integers() -> None:
    with pytest.raises(TypeError, match="images have dtype int64; float32 or float64 with values"):
        LumaBall(pictures().long(), 0.1)
