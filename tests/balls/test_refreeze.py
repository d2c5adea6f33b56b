"""Sequential convex programming on the exact distance: values, stationarity, gain, and its limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from perceptlib.balls import SSIMBall, maximize_exactly
from perceptlib.balls.refreeze import RefrozenBall
from perceptlib.ssim import Reference, distance


def pictures(count: int = 2) -> Tensor:
    return 0.3 + 0.4 * torch.rand(count, 2, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


def noise(like: Tensor, seed: int = 1) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))


def test_refrozen_ball_has_the_value_of_the_distance_where_it_is_frozen() -> None:
    images = pictures()
    at = 0.1 * noise(images)
    ball = RefrozenBall(images, 0.01, at)
    assert torch.allclose(ball.quadratic(at), distance(images, images + at), rtol=1e-10)
    plain = RefrozenBall(images, 0.01, torch.zeros_like(images))
    assert torch.allclose(plain.quadratic(at), SSIMBall(images, 0.01).quadratic(at), rtol=1e-10)


def test_maximize_exactly_ends_stationary_with_a_gain() -> None:
    images = pictures()
    gradient = noise(images)
    found = maximize_exactly(images, gradient, 0.01, steps=8, box=False)
    assert bool((found.stationarity[-1] < 1e-3 * found.stationarity[0]).all())  # g parallel to the gradient of D
    assert bool((found.gain > 0).all())
    reached = distance(images, images + found.perturbation)
    assert torch.allclose(reached, torch.full_like(reached, 0.01), rtol=1e-9)
    values_alone = maximize_exactly(images, gradient, 0.01, steps=8, box=False, is_corrected=False)
    assert bool((values_alone.gain <= found.gain + 1e-9).all())
    assert bool((values_alone.stationarity[-1] > 10 * found.stationarity[-1]).all())


def test_maximize_exactly_gains_more_at_larger_budgets_and_keeps_the_box() -> None:
    images = pictures()
    gradient = noise(images)
    gains = []
    for budget in (1e-4, 1e-3, 1e-2):
        found = maximize_exactly(images, gradient, budget, steps=4)
        assert float((images + found.perturbation).min()) >= 0 and float((images + found.perturbation).max()) <= 1
        assert bool((distance(images, images + found.perturbation) <= budget * (1 + 1e-9)).all())
        assert bool(((found.plain_distance - 1).abs() < 0.3).all())
        gains.append(float(found.gain.mean()))
    assert gains == sorted(gains) and gains[0] < 1e-3


def test_exact_distance_is_unbounded_without_a_box() -> None:
    images = pictures()
    gradient = noise(images)
    plain = SSIMBall(images, 0.3, cg_steps=300, tolerance=1e-8).steepest(gradient)
    spike = torch.zeros_like(images)
    spike[:, :, 8, 8] = 1e4 * gradient[:, :, 8, 8].sign()  # ruins 121 of the 256 windows of a channel, and no more
    clean = Reference(images)
    assert bool((clean.distance(spike) < 1.0).all())
    assert torch.allclose(clean.distance(1e4 * spike), clean.distance(spike), rtol=1e-2)
    value, bounded = ((gradient * r).flatten(1).sum(1) for r in (spike, plain))
    assert bool((value > bounded).all())


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"steps": 0}, ValueError, "steps 0 is below 1; pass e.g. steps=10"),
        ({"images": pictures().float()}, TypeError, "images are torch.float32 and gradient torch.float64; pass both"),
        ({"budget": 1.0}, ValueError, "budget 1.0 is not below 1"),
        ({"gradient": torch.full_like(pictures(), torch.nan)}, ValueError, "gradient has NaN or infinite entries"),
    ],
)
def test_maximize_exactly_refuses(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"images": pictures(), "gradient": noise(pictures()), "budget": 0.01} | change
    with pytest.raises(error, match=message):
        maximize_exactly(**arguments)
