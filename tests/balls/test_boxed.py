"""The box by active sets: certificate, corners, and what is refused. (Against cvxpy: test_convex.py.)"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from perceptlib.balls import SSIMBall, steepest_in_box

ROUNDING = 1e-9


def pictures(seed: int, count: int = 2, side: int = 14) -> Tensor:
    """Noise and a binary picture by turns; float64."""
    values = torch.rand(count, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    values[1::2] = values[1::2].round()
    return values


def noise(like: Tensor, seed: int) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))


def dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).flatten(1).sum(1)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    budget=st.sampled_from([1e-4, 1e-2, 0.05, 0.3]),
    coupling=st.sampled_from(["full", "diagonal"]),
)
def test_steepest_in_box_is_certified_and_feasible(seed: int, budget: float, coupling: str) -> None:
    images = pictures(seed)
    gradient = noise(images, seed + 1)
    ball = SSIMBall(images, budget, coupling=coupling, cg_steps=500, tolerance=1e-9)
    found = steepest_in_box(ball, gradient)
    assert bool((found.gap <= 1e-4).all())
    assert bool((ball.gauge(found.perturbation) <= 1 + ROUNDING).all())
    assert float((images + found.perturbation).min()) >= -ROUNDING
    assert float((images + found.perturbation).max()) <= 1 + ROUNDING
    unboxed = ball.steepest(gradient)
    clipped = (images + unboxed).clamp(0, 1) - images
    clipped = clipped / ball.gauge(clipped).clamp_min(1).view(-1, 1, 1, 1)
    value = dot(gradient, found.perturbation)
    assert bool((value >= dot(gradient, clipped) * (1 - 1e-4)).all())
    assert bool((value <= dot(gradient, unboxed) * (1 + 1e-6)).all())


@pytest.mark.parametrize("parts", ["luminance", "contrast_structure"])
def test_steepest_in_box_of_one_component_is_feasible_with_an_honest_gap(parts: str) -> None:
    images = pictures(3, 4, 12)
    gradient = noise(images, 4)
    ball = SSIMBall(images, 0.01, components=parts)
    few, many = (steepest_in_box(ball, gradient, rounds=rounds) for rounds in (3, 30))
    for found in (few, many):
        assert bool((ball.gauge(found.perturbation) <= 1 + ROUNDING).all())
        assert bool(torch.isfinite(found.perturbation).all())
    best = torch.maximum(dot(gradient, few.perturbation), dot(gradient, many.perturbation))
    assert bool((dot(gradient, few.perturbation) >= (1 - few.gap) * best * (1 - ROUNDING)).all())


def test_steepest_in_box_without_an_active_box_is_the_closed_form() -> None:
    images = 0.3 + 0.4 * pictures(5)
    gradient = noise(images, 6)
    ball = SSIMBall(images, 1e-4, cg_steps=1000, tolerance=1e-12)
    found = steepest_in_box(ball, gradient, tolerance=1e-9)
    assert found.rounds == 1
    assert torch.allclose(dot(gradient, found.perturbation), dot(gradient, ball.steepest(gradient)), rtol=1e-9)


def test_steepest_in_box_takes_the_corner_where_the_ball_holds_it() -> None:
    """A black picture that would have to be darkened: nothing can be won, and nothing need be solved."""
    images = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    gradient = -torch.rand(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = steepest_in_box(SSIMBall(images, 0.5), gradient)
    assert float(found.perturbation.abs().max()) == 0 and float(found.gap) == 0 and found.rounds == 0


def test_steepest_in_box_of_zero_gradient_is_zero() -> None:
    images = pictures(7)
    found = steepest_in_box(SSIMBall(images, 0.01), torch.zeros_like(images))
    assert float(found.perturbation.abs().max()) == 0 and float(found.gap.max()) == 0


def test_steepest_in_box_does_not_depend_on_the_batch() -> None:
    images = pictures(8, 4)
    gradient = noise(images, 9)
    together = steepest_in_box(SSIMBall(images, 0.05), gradient, tolerance=1e-8)
    alone = steepest_in_box(SSIMBall(images[1:2], 0.05), gradient[1:2], tolerance=1e-8)
    assert torch.allclose(dot(gradient, together.perturbation)[1:2], dot(gradient[1:2], alone.perturbation), rtol=1e-7)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tolerance": 0.0}, "tolerance 0.0 is not above 0; pass e.g. tolerance=1e-4"),
        ({"rounds": 0}, "rounds 0 and cg_steps 300 must be at least 1; pass e.g. rounds=30"),
        ({"cg_steps": 0}, "rounds 30 and cg_steps 0 must be at least 1"),
    ],
)
def test_steepest_in_box_refuses(options: dict[str, Any], message: str) -> None:
    images = pictures(0)
    with pytest.raises(ValueError, match=message):
        steepest_in_box(SSIMBall(images, 0.01), images, **options)


def test_steepest_in_box_refuses_a_gradient_with_nan() -> None:
    images = pictures(0)
    with pytest.raises(ValueError, match="gradient has NaN or infinite entries"):
        steepest_in_box(SSIMBall(images, 0.01), torch.full_like(images, torch.nan))


def test_steepest_in_box_on_a_support_is_certified_and_stays_on_it() -> None:
    images = pictures(9)
    gradient = noise(images, 10)
    support = torch.zeros(2, 14, 14, dtype=torch.bool)
    support[:, 3:11, 4:12] = True
    ball = SSIMBall(images, 1e-2, cg_steps=500, tolerance=1e-9, support=support)
    found = steepest_in_box(ball, gradient, tolerance=1e-6)
    assert bool((found.gap <= 1e-6).all())
    assert not bool((found.perturbation * ~support[:, None]).any())
    assert bool((ball.gauge(found.perturbation) <= 1 + ROUNDING).all())
    assert float((images + found.perturbation).clamp(0, 1).sub(images + found.perturbation).abs().max()) < ROUNDING
    assert bool((dot(gradient, found.perturbation) <= dot(gradient, ball.steepest(gradient)) * (1 + 1e-9)).all())
