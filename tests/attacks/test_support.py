"""Balls and programs on a support: dense truth, cvxpy, and attacks that leave the rest of the picture alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import reference
import torch
from ball_samples import BALLS, dot, noise, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from perceptlib.attacks import maximize_loss, smallest
from perceptlib.balls import Ball, L2Ball, LinfBall, SSIMBall
from perceptlib.convex import ConvexStatus
from perceptlib.convex import programs as convex

SUPPORTED = {name: make for name, make in BALLS.items() if "support" in name}
SOLVED = 1e-6  # relative, in the objective


def some_pixels(like: Tensor, seed: int, share: float) -> Tensor:
    """A support of a share of all entries, scattered, at least one of each image."""
    ranks = noise(like, seed).flatten(1).argsort(1).argsort(1).view_as(like)
    return ranks < max(1, share * like[0].numel())


@pytest.mark.parametrize("make", SUPPORTED.values(), ids=list(SUPPORTED))
def test_ball_with_support_holds_nothing_outside(make: Callable[[Tensor], Ball]) -> None:
    images = pictures()
    ball, gradient = make(images), noise(images, 11)
    outside = ~ball.support.expand_as(images) if ball.support.ndim == 4 else ~ball.support[:, None].expand_as(images)  # type: ignore[attr-defined]
    for inside in (ball.steepest(gradient), ball.project(gradient), ball.pull_back(0.1 * gradient)):
        assert bool((inside[outside] == 0).all())
        assert float((inside[~outside] != 0).double().mean()) > 0.8  # pull_back clips some to [0, 1]
        assert bool(torch.isfinite(ball.gauge(inside)).all()) and bool(torch.isfinite(ball.measure(inside)).all())
    one_pixel = torch.where(outside & (outside.flatten(1).cumsum(1).view_as(outside) == 1), 1e-9, 0.0).double()
    assert bool((ball.gauge(one_pixel) == torch.inf).all()) and bool((ball.measure(one_pixel) == torch.inf).all())
    unseen = torch.where(outside, 1e6 * gradient, gradient)  # what is outside neither counts nor scales
    assert torch.allclose(ball.steepest(unseen), ball.steepest(gradient), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("make", SUPPORTED.values(), ids=list(SUPPORTED))
def test_ball_with_support_gauge_is_homogeneous_and_convex(make: Callable[[Tensor], Ball]) -> None:
    ball = make(pictures())
    first, second = ball.steepest(noise(pictures(), 12)), 0.2 * ball.steepest(noise(pictures(), 13))
    assert torch.allclose(ball.gauge(2.5 * first), 2.5 * ball.gauge(first), rtol=1e-10)
    assert bool((ball.gauge(first + second) <= ball.gauge(first) + ball.gauge(second) + 1e-9).all())


def test_ball_with_full_support_is_the_ball() -> None:
    images, gradient = pictures(), noise(pictures(), 14)
    everywhere = torch.ones(2, 14, 17, dtype=torch.bool)
    assert torch.equal(
        SSIMBall(images, 0.01, support=everywhere).steepest(gradient), SSIMBall(images, 0.01).steepest(gradient)
    )
    assert torch.equal(L2Ball(0.5, support=everywhere).steepest(gradient), L2Ball(0.5).steepest(gradient))
    assert torch.equal(LinfBall(0.5, support=everywhere).project(gradient), LinfBall(0.5).project(gradient))


@pytest.mark.parametrize("coupling", ["full", "diagonal"])
@pytest.mark.parametrize("parts", ["both", "luminance", "contrast_structure"])
def test_ssim_ball_with_support_is_the_dense_block(coupling: str, parts: str) -> None:
    images = pictures(1, 2, 12, 13)
    support = noise(images, 5) > 0
    options: dict[str, Any] = {"coupling": coupling, "components": parts}
    whole = SSIMBall(images, 0.01, **options)
    impulses = torch.eye(images.numel(), dtype=torch.float64).view(-1, *images.shape)
    dense = np.stack([whole.apply(impulse).numpy().ravel() for impulse in impulses]) / images.numel()
    inside = support.numpy().ravel()
    gradient = noise(images, 6)
    g = gradient.numpy().ravel()[inside]
    solved = np.linalg.solve(dense[np.ix_(inside, inside)], g)
    expected = np.zeros(inside.size)
    expected[inside] = np.sqrt(0.01 / (g @ solved)) * solved
    ball = SSIMBall(images, 0.01, cg_steps=3000, tolerance=1e-13, support=support, **options)
    assert np.abs(ball.steepest(gradient).numpy().ravel() - expected).max() < 1e-5 * np.abs(expected).max()
    masked = support * whole.steepest(gradient)
    masked = masked / whole.gauge(masked).view(-1, 1, 1, 1)
    best, after = float(dot(gradient, ball.steepest(gradient))), float(dot(gradient, masked))
    # without coupling between pixels the mask may as well come afterwards
    assert best > 1.001 * after if coupling == "full" else best == pytest.approx(after, rel=1e-9)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 25), share=st.floats(0.05, 0.95))
def test_ssim_ball_with_support_gap_bound_is_never_below_the_true_gap(seed: int, steps: int, share: float) -> None:
    images = pictures(1, 1, 13, 12)
    gradient = noise(images, seed)
    support = some_pixels(images, seed + 1, share)
    exact = SSIMBall(images, 0.01, cg_steps=500, tolerance=1e-13, support=support)
    rough = SSIMBall(images, 0.01, cg_steps=steps, support=support).steepest(gradient)
    gap = 1 - dot(gradient, rough) / exact.gauge(rough) / dot(gradient, exact.steepest(gradient))
    assert float(exact.gap_bound(gradient, rough)) >= float(gap) - 1e-12
    assert float(exact.gap_bound(gradient, exact.steepest(gradient))) < 1e-9
    assert float(exact.gap_bound(gradient, gradient)) == 1  # not in any multiple of the ball


class Linear(torch.nn.Module):
    """Logits <g, x> - c, its negative and one far below, with the plane half way between two images."""

    def __init__(self, gradient: Tensor, images: Tensor) -> None:
        super().__init__()
        self.gradient = gradient
        self.centre = dot(images, gradient).mean()

    def forward(self, images: Tensor) -> Tensor:
        value = dot(images, self.gradient) - self.centre
        return torch.stack([value, -value, torch.full_like(value, -100)], 1)


@pytest.mark.parametrize("make", SUPPORTED.values(), ids=list(SUPPORTED))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attack_with_support_leaves_the_rest_bit_identical(make: Callable[[Tensor], Ball], dtype: torch.dtype) -> None:
    images = pictures().to(dtype)
    ball = make(images)
    classifier = Linear(noise(images, 15)[:1], images)
    labels = classifier(images).argmax(1)
    outside = ball.steepest(noise(images, 16)) == 0
    largest = maximize_loss(classifier, images, labels, ball, steps=3, loss="margin")
    nearest = smallest(classifier, images, labels, ball, steps=20)
    for result in (largest, nearest):
        assert torch.equal(result.adversarial[outside], images[outside])
        assert not torch.equal(result.adversarial, images)
    assert bool((largest.violation == 0).all())
    if isinstance(ball, SSIMBall):
        assert bool((largest.distance <= torch.as_tensor(ball.budget, dtype=torch.float64)).all())
    assert bool((largest.margin_after < largest.margin_before).all()) and nearest.fooling_rate == 1


def test_ball_refuses_a_support_of_another_dtype() -> None:
    for make in (lambda mask: LinfBall(1.0, support=mask), lambda mask: SSIMBall(pictures(), 0.1, support=mask)):
        with pytest.raises(TypeError, match=r"support is torch.float32; pass a bool mask, .*: support > 0"):
            make(torch.ones(2, 14, 17))


def test_norm_ball_refuses_a_support_of_other_images() -> None:
    ball = L2Ball(1.0, support=torch.ones(2, 14, 17, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"support has shape \(2, 14, 17\) for images of shape \(1, 3, 14, 17\)"):
        ball.steepest(pictures(1))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda x: L2Ball(1.0, support=torch.ones(3, 4).bool()), r"support has shape \(3, 4\) for .* pass \(N, H, W\)"),
        (lambda x: LinfBall(1.0, support=torch.zeros(2, 14, 17).bool()), "support of image 0 is empty; allow it a pix"),
        (lambda x: SSIMBall(x, 0.1, support=torch.arange(2)[:, None, None] < x[:, 0]), "support of image 1 is empty"),
        (lambda x: SSIMBall(x, 0.1, support=x[:1] > -1), r"\(1, 3, 14, 17\) for images of shape \(2, 3, 14, 17\)"),
        (lambda x: convex.maximize_linear(x[:1], x[:1], 0.1, support=x[:1] > 1), "support of image 0 is empty"),
        (lambda x: convex.smallest_linear(x[:1], x[:1], x[0, 0, 0, :1], support=x > -1), r"images of shape \(1, 3, 1"),
        (lambda x: convex.maximize_linear(x[:1], 0.0 + (x[:1] > 2), 0.1, support=x[:1] > 0.5), "gradient is zero"),
    ],
)
def test_support_is_refused(make: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(pictures())


def constrained(images: Tensor, support: Tensor) -> tuple[Any, list[Any], Any]:
    """Variable, constraints r = 0 outside and in the box, and the root of Q, from the dense matrix of naive loops."""
    matrix = reference.quadratic_matrix(
        images[0].numpy(), reference.window_matrix(*images.shape[-2:], reference.window_weights())
    )
    variable, x = cp.Variable(images.numel()), images.numpy().ravel()
    constraints = [variable[~support.numpy().ravel()] == 0, x + variable >= 0, x + variable <= 1]
    return variable, constraints, cp.norm(np.linalg.cholesky(matrix).T @ variable)


@settings(deadline=None, max_examples=10)
@given(
    seed=st.integers(0, 10**6),
    share=st.floats(0.05, 0.95),
    budget=st.sampled_from([1e-4, 0.01]),
    steps=st.integers(1, 12),
    coupling=st.sampled_from(["full", "full", "diagonal"]),
)
def test_steepest_on_a_support_agrees_with_the_program(
    seed: int, share: float, budget: float, steps: int, coupling: str
) -> None:
    images = pictures(1, 1, 12, 12)
    gradient, support = noise(images, seed), some_pixels(images, seed + 1, share)
    solution = convex.maximize_linear(images, gradient, budget, support=support, coupling=coupling, box=False)
    assert solution.status is ConvexStatus.OPTIMAL
    assert max(solution.primal_residual, solution.gap, solution.violation) <= SOLVED and solution.dual_residual <= 1e-4
    assert bool((solution.perturbation[~support] == 0).all())
    ball = SSIMBall(images, budget, cg_steps=500, tolerance=1e-12, support=support, coupling=coupling)
    assert float(dot(gradient, ball.steepest(gradient))) == pytest.approx(solution.objective, rel=SOLVED)
    rough = SSIMBall(images, budget, cg_steps=steps, support=support, coupling=coupling).steepest(gradient)
    assert float(ball.gap_bound(gradient, rough)) >= 1 - float(dot(gradient, rough)) / solution.objective - SOLVED
    if coupling == "full":
        free = SSIMBall(images, budget, cg_steps=500, tolerance=1e-12)
        masked = support * free.steepest(gradient)
        assert float(dot(gradient, masked / free.gauge(masked))) < solution.objective


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_programs_on_a_support_meet_equality_constraints(share: float) -> None:
    images = pictures(1, 1, 12, 12)
    gradient, support = noise(images, 1), some_pixels(images, 2, share)
    flat = gradient.numpy().ravel()
    variable, constraints, root = constrained(images, support)
    largest = cp.Problem(cp.Maximize(flat @ variable), [*constraints, root <= 0.1]).solve(solver="CLARABEL")
    found = convex.maximize_linear(images, gradient, 0.01, support=support)
    assert found.objective == pytest.approx(largest, rel=1e-5)  # the solver's own tolerance, unscaled
    assert (
        found.multipliers["high"].shape == flat.shape and not found.multipliers["high"][~support.numpy().ravel()].any()
    )
    gap = 0.3 * largest
    least = cp.Problem(cp.Minimize(root), [*constraints, flat @ variable >= gap]).solve(solver="CLARABEL")
    nearest = convex.smallest_linear(images, gradient, torch.tensor([gap]), support=support)
    assert nearest.objective == pytest.approx(least**2, rel=1e-5)
    for solution in (found, nearest):
        assert solution.status is ConvexStatus.OPTIMAL
        assert max(solution.primal_residual, solution.gap, solution.violation) <= SOLVED
        assert bool((solution.perturbation[~support] == 0).all())


def test_window_ball_on_a_support_gains_less() -> None:
    images = pictures(1, 1, 12, 12)
    gradient, support = noise(images, 3), some_pixels(images, 4, 0.5)
    whole = convex.maximize_linear(images, gradient, 0.02, ball="window")
    part = convex.maximize_linear(images, gradient, 0.02, ball="window", support=support)
    assert part.status is ConvexStatus.OPTIMAL and max(part.primal_residual, part.gap, part.violation) <= SOLVED
    assert bool((part.perturbation[~support] == 0).all())
    assert 0.2 * whole.objective < part.objective < whole.objective
