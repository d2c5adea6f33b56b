"""The convex programs: dense truth, closed forms, optimality conditions, statuses, agreement with the fast attack."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import reference
import torch
from ball_samples import pictures, regions
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from perceptlib.balls import MultiScaleBall, SSIMBall, WindowBall, steepest_in_box
from perceptlib.convex import ConvexStatus, LargestLinear, SmallestLinear
from perceptlib.convex import programs as convex
from perceptlib.convex.programs import check_memory, memory_needed
from perceptlib.ssim import Reference, Window

SOLVED = 1e-6  # relative, in the objective: what the issue asks of solver and conjugate gradients
CONDITIONS = 1e-4  # relative, KKT residuals: an interior point leaves its own 1e-8 times the scaling of the multipliers


def picture(seed: int = 0, channels: int = 2, side: int = 12) -> Tensor:
    """Half textured, half smooth, dark to bright, some pixels at 0 and 1; (1, C, side, side), float64."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(-0.1, 1.1, side, dtype=torch.float64).expand(1, channels, side, side).clone()
    ramp[..., : side // 2, :] += 0.2 * torch.randn(1, channels, side // 2, side, generator=generator).double()
    return ramp.clamp(0, 1)


def noise(like: Tensor, seed: int = 1) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))


def dot(first: Tensor, second: Tensor) -> float:
    return float((first * second).sum())


def dense(images: Tensor) -> np.ndarray:
    matrix = reference.window_matrix(*images.shape[-2:], reference.window_weights())
    return reference.quadratic_matrix(images[0].numpy(), matrix)


def check_solved(solution: convex.ConvexSolution) -> None:
    assert solution.status is ConvexStatus.OPTIMAL
    assert solution.primal_residual <= SOLVED
    assert solution.dual_residual <= CONDITIONS
    assert solution.gap <= SOLVED
    assert solution.violation <= SOLVED


def test_largest_in_ssim_ball_meets_dense_conditions() -> None:
    images = picture()
    gradient, matrix = noise(images), dense(images)
    solution = convex.maximize_linear(images, gradient, 0.01)
    check_solved(solution)
    r, g, x = (values.numpy().ravel() for values in (solution.perturbation, gradient, images))
    # feasibility
    assert r @ matrix @ r <= 0.01 * (1 + SOLVED)
    assert (x + r).min() >= -1e-9 and (x + r).max() <= 1 + 1e-9
    force, high, low = (solution.multipliers[key] for key in ("ball", "high", "low"))
    scale = np.linalg.norm(g)
    # signs, stationarity, complementarity
    assert min(force.min(), high.min(), low.min()) >= -CONDITIONS * scale
    stationarity = g - force * (matrix @ r) / np.sqrt(r @ matrix @ r) - high + low
    assert np.linalg.norm(stationarity) <= CONDITIONS * scale
    slack = high @ (1 - x - r) + low @ (x + r) + float(force[0]) * (0.1 - np.sqrt(r @ matrix @ r))
    assert abs(slack) <= 10 * SOLVED * solution.objective
    assert (high > 1e-3 * scale).any() or (low > 1e-3 * scale).any()  # the box does act here
    assert solution.distance == pytest.approx(float(Reference(images).distance(solution.perturbation)), rel=1e-9)


@pytest.mark.parametrize("budget", [1e-6, 0.01, 0.3])
def test_largest_in_ssim_ball_without_box_is_the_closed_form(budget: float) -> None:
    images = picture()
    gradient = noise(images)
    g = gradient.numpy().ravel()
    solved = np.linalg.solve(dense(images), g)
    expected = np.sqrt(budget / (g @ solved)) * solved
    solution = convex.maximize_linear(images, 1e-20 * gradient, budget, box=False)
    check_solved(solution)
    assert solution.objective == pytest.approx(1e-20 * float(g @ expected), rel=SOLVED)
    assert np.abs(solution.perturbation.numpy().ravel() - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("coupling", ["full", "diagonal"])
@pytest.mark.parametrize("parts", ["both", "luminance", "contrast_structure"])
def test_largest_in_ssim_ball_agrees_with_the_ball(coupling: str, parts: str) -> None:
    images = picture()
    gradient = noise(images)
    ball = SSIMBall(images, 0.01, coupling=coupling, components=parts, cg_steps=3000, tolerance=1e-12)
    solution = convex.maximize_linear(images, gradient, 0.01, coupling=coupling, components=parts, box=False)
    check_solved(solution)
    assert solution.objective == pytest.approx(dot(gradient, ball.steepest(gradient)), rel=SOLVED)
    assert float(ball.quadratic(solution.perturbation)) == pytest.approx(0.01, rel=SOLVED)


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    side=st.integers(11, 14),
    budget=st.sampled_from([1e-4, 1e-2, 0.1]),
    box=st.booleans(),
    steps=st.integers(1, 12),
)
def test_largest_in_ssim_ball_agrees_with_conjugate_gradients(
    seed: int, side: int, budget: float, box: bool, steps: int
) -> None:
    images = picture(seed, 1, side)
    gradient = noise(images, seed + 1)
    best = convex.maximize_linear(images, gradient, budget, box=box).objective
    ball = SSIMBall(images, budget, cg_steps=1000, tolerance=1e-10)
    if box:
        found = steepest_in_box(ball, gradient, tolerance=1e-9)
        assert dot(gradient, found.perturbation) == pytest.approx(best, rel=SOLVED)
        rough = steepest_in_box(ball, gradient, tolerance=1e-9, rounds=steps, cg_steps=steps)
        assert float(rough.gap) >= 1 - dot(gradient, rough.perturbation) / best - SOLVED
    else:
        assert dot(gradient, ball.steepest(gradient)) == pytest.approx(best, rel=SOLVED)
        rough_direction = SSIMBall(images, budget, cg_steps=steps).steepest(gradient)
        gap = 1 - dot(gradient, rough_direction) / best
        assert float(ball.gap_bound(gradient, rough_direction)) >= gap - SOLVED


def test_window_ball_on_disjoint_windows_is_the_closed_form() -> None:
    images = picture(channels=1, side=13)  # 13 = 2 * 5 + 3: smaller windows at the border
    gradient = noise(images)
    solution = convex.maximize_linear(images, gradient, 0.02, ball="window", size=5, box=False)
    check_solved(solution)
    ball = WindowBall(images, 0.02, size=5)
    assert solution.objective == pytest.approx(dot(gradient, ball.steepest(gradient)), rel=SOLVED)
    assert float(ball.measure(solution.perturbation)) == pytest.approx(0.02, rel=1e-4)


@pytest.mark.parametrize("box", [True, False])
def test_window_ball_on_overlapping_windows_keeps_every_window(box: bool) -> None:
    images = picture(channels=1)
    gradient = noise(images)
    solution = convex.maximize_linear(images, gradient, 0.02, ball="window", box=box)
    check_solved(solution)
    luminance, contrast = Reference(images).losses(solution.perturbation)
    limit = 1 - (1 - 0.02) ** 0.5
    assert float(luminance.max()) <= limit * (1 + 1e-5)
    assert float(contrast.max()) <= limit * (1 + 1e-5)
    assert float(contrast.max()) >= limit * 0.99
    # no other point of the ball does better: pull random ones back by bisection
    for seed in range(5):
        trial = solution.perturbation + 0.05 * noise(images, 10 + seed)
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            is_inside = max(float(loss.max()) for loss in Reference(images).losses(middle * trial)) <= limit
            low, high = (middle, high) if is_inside else (low, middle)
        assert low * dot(gradient, trial) <= solution.objective


@pytest.mark.parametrize("parts", ["luminance", "contrast_structure"])
def test_window_ball_of_one_component_leaves_the_other_free(parts: str) -> None:
    images = picture(channels=1)
    solution = convex.maximize_linear(images, noise(images), 0.02, ball="window", size=5, components=parts)
    check_solved(solution)
    assert solution.distance > 0.02


def test_smallest_meets_dense_conditions() -> None:
    images = picture()
    gradients = noise(images.expand(3, -1, -1, -1))
    gaps = torch.tensor([0.6, 0.3, -1.0], dtype=torch.float64)
    solution = convex.smallest_linear(images, gradients, gaps)
    check_solved(solution)
    matrix, r, x = dense(images), solution.perturbation.numpy().ravel(), images.numpy().ravel()
    rows = gradients.numpy().reshape(3, -1)
    slack = rows @ r - gaps.numpy()
    forces, high, low = (solution.multipliers[key] for key in ("gaps", "high", "low"))
    assert slack.min() >= -1e-7
    assert np.abs(forces * slack).max() <= SOLVED * solution.objective * 10
    stationarity = 2 * matrix @ r - rows.T @ forces + high - low
    assert np.linalg.norm(stationarity) <= CONDITIONS * np.linalg.norm(2 * matrix @ r)
    assert min(forces.min(), high.min(), low.min()) >= -CONDITIONS * np.linalg.norm(2 * matrix @ r)
    assert solution.objective == pytest.approx(float(r @ matrix @ r), rel=SOLVED)
    assert (x + r).min() >= -1e-9 and (x + r).max() <= 1 + 1e-9


@pytest.mark.parametrize("gap", [1e-6, 0.5])
def test_smallest_without_box_is_the_closed_form(gap: float) -> None:
    images = picture()
    gradient = noise(images)
    g = gradient.numpy().ravel()
    solved = np.linalg.solve(dense(images), g)
    solution = convex.smallest_linear(images, gradient, torch.tensor([gap]).double(), box=False)
    check_solved(solution)
    assert solution.objective == pytest.approx(gap**2 / (g @ solved), rel=SOLVED)
    assert np.allclose(solution.perturbation.numpy().ravel(), gap / (g @ solved) * solved, atol=1e-4 * gap)


def test_second_gradient_does_not_compile_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from cvxpy.reductions.dcp2cone.cone_matrix_stuffing import ConeMatrixStuffing

    compiled = []
    apply = ConeMatrixStuffing.apply
    monkeypatch.setattr(ConeMatrixStuffing, "apply", lambda self, problem: compiled.append(1) or apply(self, problem))
    images = picture(channels=1)
    largest, smallest = LargestLinear(images), SmallestLinear(images)
    windows = LargestLinear(images, ball="window", size=4)
    for seed, budget in ((1, 0.01), (2, 0.02), (3, 0.002)):
        gradient = noise(images, seed)
        again = largest.solve(gradient, budget)
        assert again.objective == pytest.approx(convex.maximize_linear(images, gradient, budget).objective, rel=SOLVED)
        smallest.solve(gradient, torch.tensor([0.1 * seed]))
        windows.solve(gradient, budget)
    assert len(compiled) == 3 + 3  # one for each program, and the three fresh ones


def test_other_solver_agrees() -> None:
    images = picture(channels=1)
    first = convex.maximize_linear(images, noise(images), 0.01)
    second = convex.maximize_linear(images, noise(images), 0.01, solver="SCS", solver_options={"eps": 1e-8})
    assert second.solver == "SCS" and second.status is ConvexStatus.OPTIMAL
    assert second.objective == pytest.approx(first.objective, rel=1e-5)  # SCS is a first-order method


@pytest.mark.parametrize(
    "solve, status",
    [
        (lambda x: convex.smallest_linear(x, noise(x), torch.tensor([1e4])), ConvexStatus.INFEASIBLE),
        (
            lambda x: convex.maximize_linear(x, noise(x), 0.01, components="contrast_structure", floor=0, box=False),
            ConvexStatus.UNBOUNDED,
        ),
        (
            lambda x: convex.maximize_linear(x, noise(x), 0.01, solver_options={"max_iter": 2}),
            ConvexStatus.SOLVER_LIMIT,
        ),
    ],
)
def test_outcome_is_a_status_with_advice(
    solve: Callable[[Tensor], convex.ConvexSolution], status: ConvexStatus
) -> None:
    images = picture(channels=1)
    solution = solve(images)
    assert solution.status is status
    assert solution.status.advice
    assert solution.perturbation.shape == images.shape


def test_every_status_has_advice() -> None:
    assert all(status.advice for status in ConvexStatus)


def test_solution_counts_what_the_solver_gets() -> None:
    images = picture(channels=1, side=11)
    solution = convex.maximize_linear(images, noise(images), 0.01)
    assert solution.sizes.variables == 3 * 121 + 1
    assert solution.sizes.nonzeros < 100 * 121
    assert solution.solve_seconds > 0 and solution.compile_seconds > 0 and solution.num_iterations > 3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"ball": "l2"}, "ball 'l2' is unknown; pass 'ssim', 'window' or a MultiScaleBall"),
        ({"size": 8}, "size 8 has no meaning for the SSIM ball; pass ball='window' or leave it out"),
        ({"ball": "window", "size": 1}, "window size 1 is below 2; pass e.g. size=8"),
        ({"floor": -1.0}, "floor -1.0 is not at least 0; pass e.g. floor=1e-3"),
        ({"coupling": "half"}, "coupling 'half' is unknown"),
        ({"solver": "NOSUCH"}, r"solver 'NOSUCH' is not installed .*; pass one of \['CLARABEL'"),
        ({"solver": "HIGHS"}, "solver 'HIGHS' is not installed or knows no second-order cones"),
        ({"budget": 0.0}, "budget 0.0 is not a finite number above 0"),
        ({"budget": 1.0}, "budget 1.0 is not below 1; pass an SSIM distance such as 0.01"),
        ({"gradient": torch.zeros(1, 1, 12, 12)}, "gradient is zero, every perturbation is optimal"),
        ({"gradient": torch.full((1, 1, 12, 12), torch.nan)}, "gradient has NaN or infinite entries"),
        ({"gradient": torch.ones(1, 1, 3, 3)}, r"gradient has shape \(1, 1, 3, 3\); pass \(1, 1, 12, 12\)"),
        ({"images": torch.ones(2, 1, 12, 12)}, r"images have shape \(2, 1, 12, 12\); pass one image, images\[i : i"),
    ],
)
def test_maximize_linear_refuses(options: dict[str, Any], message: str) -> None:
    images = picture(channels=1)
    arguments = {"images": images, "gradient": noise(images), "budget": 0.01} | options
    with pytest.raises(ValueError, match=message):
        convex.maximize_linear(**arguments)


@pytest.mark.parametrize(
    "gradients, gaps, message",
    [
        (torch.ones(2, 1, 12, 12), torch.ones(3), r"gradients \(2, 1, 12, 12\) and gaps \(3,\) do not fit"),
        (torch.ones(1, 1, 12, 12), -torch.ones(1), r"gaps \[-1.0\] hold no finite number above 0"),
        (torch.ones(0, 1, 12, 12), torch.ones(0), "num_gradients 0 is below 1; pass one gradient per class"),
    ],
)
def test_smallest_linear_refuses(gradients: Tensor, gaps: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convex.smallest_linear(picture(channels=1), gradients, gaps)


def test_program_too_large_is_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(1, 3, 512, 512)
    message = r"a program of 786432 variables needs about \d+ GB, .* GB are free; use the fast attack"
    for make in (LargestLinear, SmallestLinear):
        with pytest.raises(MemoryError, match=message):
            make(images)
    set_free_memory(monkeypatch, 1 << 20)
    with pytest.raises(MemoryError, match="needs about 0 GB, 0 GB are free"):
        LargestLinear(picture())


def set_free_memory(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(convex.psutil, "virtual_memory", lambda: SimpleNamespace(available=size))


def black(side: int) -> Tensor:
    return torch.zeros(1, 3, side, side)


def test_memory_needed_is_within_its_measurements() -> None:
    for side, measured in ((16, 99e6), (24, 438e6), (32, 1341e6)):  # Clarabel 0.11, three channels
        assert measured / 2 < memory_needed(black(side), Window()) < 2 * measured


def test_memory_needed_grows_with_what_is_coupled() -> None:
    alone = memory_needed(black(32), Window(), is_coupled=False)
    assert memory_needed(black(64), Window(), is_coupled=False) == 4 * alone
    assert alone < memory_needed(black(32), Window()) < memory_needed(black(32), Window(), is_window_ball=True)
    assert memory_needed(black(256), Window(5)) < memory_needed(black(256), Window(11))
    # elimination fills rows of a picture that is much larger than the window: pixels^1.5
    assert memory_needed(black(512), Window()) / memory_needed(black(256), Window()) == pytest.approx(8, rel=0.1)


def test_memory_that_is_needed_must_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = memory_needed(black(64), Window())
    set_free_memory(monkeypatch, needed)
    check_memory(black(64), Window())
    set_free_memory(monkeypatch, needed - 1)
    with pytest.raises(MemoryError, match=rf"12288 variables needs about {needed / 1e9:.0f} GB"):
        check_memory(black(64), Window())
    check_memory(black(64), Window(), is_coupled=False)


@pytest.mark.parametrize("support", [None, regions(pictures(1, 3, 8, 10))], ids=["everywhere", "support"])
@pytest.mark.parametrize("colour", ["opponent", "rgb"])
def test_largest_in_multi_scale_ball_agrees_with_the_ball(colour: str, support: Tensor | None) -> None:
    images = pictures(1, 3, 8, 10)
    gradient = noise(images)
    options: dict[str, Any] = {"window": Window(3), "colour": colour, "support": support}
    ball = MultiScaleBall(images, 0.02, cg_steps=2000, tolerance=1e-13, **options)
    assert ball.scales == (1, 2)
    free = convex.maximize_linear(images, gradient, 0.02, ball=ball, box=False)
    check_solved(free)
    assert free.objective == pytest.approx(dot(gradient, ball.steepest(gradient)), rel=SOLVED)
    assert float(ball.quadratic(free.perturbation)) == pytest.approx(0.02, rel=SOLVED)
    boxed = convex.maximize_linear(images, gradient, 0.02, ball=ball)
    check_solved(boxed)
    found = steepest_in_box(ball, gradient, tolerance=1e-9)
    assert dot(gradient, found.perturbation) == pytest.approx(boxed.objective, rel=SOLVED)
    assert float(ball.gap_bound(gradient, free.perturbation)) < 1e-6
    # Karush, Kuhn and Tucker with the ball's own product
    force, high, low = (boxed.multipliers[key] for key in ("ball", "high", "low"))
    pull = ball.apply(boxed.perturbation).numpy().ravel() / images.numel() / np.sqrt(0.02)
    inside = np.ones(images.numel(), dtype=bool) if support is None else support[0].expand(3, 8, 10).numpy().ravel()
    rest = (gradient.numpy().ravel() - force * pull - high + low)[inside]
    assert np.linalg.norm(rest) <= CONDITIONS * np.linalg.norm(gradient)
    assert min(float(force[0]), high.min(), low.min()) >= -CONDITIONS


def test_smallest_in_multi_scale_norm_is_the_closed_form() -> None:
    images = pictures(1, 3, 8, 10)
    gradient = noise(images)
    ball = MultiScaleBall(images, 0.02, window=Window(3), cg_steps=2000, tolerance=1e-13)
    solution = convex.smallest_linear(images, gradient, torch.tensor([0.5]), ball=ball, box=False)
    check_solved(solution)
    step = ball.steepest(gradient)
    assert solution.objective == pytest.approx(0.02 * (0.5 / dot(gradient, step)) ** 2, rel=SOLVED)


def test_programs_take_a_ball_with_its_own_options() -> None:
    images = pictures(1, 3, 8, 10)
    ball = MultiScaleBall(images, 0.02, window=Window(3))
    for program in (LargestLinear, SmallestLinear):
        with pytest.raises(ValueError, match="a ball that was made has its own window and support; leave all options"):
            program(images, ball=ball, window=Window(3))
    with pytest.raises(ValueError, match="the ball was made for other images"):
        LargestLinear(1 - images, ball=ball)
    with pytest.raises(ValueError, match="ball 'window' has no P3; pass 'ssim' or a MultiScaleBall of the image"):
        SmallestLinear(images, ball="window")
    assert memory_needed(black(64), Window(3), reach=4) > memory_needed(black(64), Window(3))
