"""P1 by cvxpy with Clarabel, compiled before, against the fast attack certified to 1e-6, with and without the box."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from perceptlib.balls import SSIMBall
from perceptlib.boxed import steepest_in_box
from perceptlib.convex import LargestLinear
from perceptlib.convex_study import random_problem

SIDES = (12, 16, 20, 24, 32)  # 432 to 3072 variables
BUDGET, TOLERANCE = 0.01, 1e-6
WAYS = ("fast", "fast in the box", "cvxpy", "cvxpy in the box")


@lru_cache(maxsize=2)
def compiled(side: int, box: bool) -> LargestLinear:
    """A program that has been solved once for another gradient, so that only the solver's time is left."""
    problem = random_problem("photograph, white noise", side=side, seed=0)
    program = LargestLinear(problem.images, box=box)
    program.solve(torch.flip(problem.gradient, (0, 1, 2, 3)), BUDGET)
    return program


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("repeat", range(2))
def bench_convex(benchmark, side: int, way: str, repeat: int) -> None:
    problem = random_problem("photograph, white noise", side=side, seed=0)
    images, gradient = problem.images, problem.gradient
    ball = SSIMBall(images, BUDGET, cg_steps=500, tolerance=TOLERANCE)
    info = {"table": f"P1, {images.numel()} variables, float64", "row": way, "repeat": repeat}
    benchmark.extra_info.update(info)
    if way.startswith("cvxpy"):
        program = compiled(side, way.endswith("box"))
        benchmark.pedantic(program.solve, args=(gradient, BUDGET), rounds=1)
    elif way == "fast":
        assert float(ball.gap_bound(gradient, ball.steepest(gradient))) <= TOLERANCE
        benchmark.pedantic(ball.steepest, args=(gradient,), rounds=20, warmup_rounds=3)
    else:
        assert float(steepest_in_box(ball, gradient, tolerance=TOLERANCE).gap) <= TOLERANCE
        options = {"tolerance": TOLERANCE}
        benchmark.pedantic(steepest_in_box, args=(ball, gradient), kwargs=options, rounds=10, warmup_rounds=2)
