"""P1 by cvxpy with Clarabel, compiled before, against the fast attack certified to 1e-6, with and without the box."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from perceptlib.balls import SSIMBall, steepest_in_box
from perceptlib.convex import LargestLinear
from perceptlib.study.programs import random_problem

SIDES = (12, 16, 20, 24, 32)  # 432 to 3072 variables
KIND = "photograph, white noise"
BUDGET, TOLERANCE = 0.01, 1e-6
REPEATS = 7  # a picture and a gradient of its own in each


@lru_cache(maxsize=1)
def compiled(side: int, seed: int, box: bool) -> LargestLinear:
    """A program that has been solved once for another gradient, so that only the solver's time is left."""
    problem = random_problem(KIND, side=side, seed=seed)
    program = LargestLinear(problem.images, box=box)
    program.solve(torch.flip(problem.gradient, (0, 1, 2, 3)), BUDGET)
    return program


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("box", [False, True], ids=["ball", "box"])
@pytest.mark.parametrize("way", ["fast", "cvxpy"])
@pytest.mark.parametrize("repeat", range(REPEATS))
def bench_convex(benchmark, side: int, box: bool, way: str, repeat: int) -> None:
    problem = random_problem(KIND, side=side, seed=repeat)
    images, gradient = problem.images, problem.gradient
    name = "P1 in the box" if box else "P1"
    row = "fast attack" if way == "fast" else "cvxpy with Clarabel"
    benchmark.extra_info.update(table=f"{name}, {images.numel()} variables, float64", row=row, repeat=repeat)
    if way == "cvxpy":
        program = compiled(side, repeat, box)
        benchmark.pedantic(program.solve, args=(gradient, BUDGET), rounds=1)
    elif box:
        ball = SSIMBall(images, BUDGET)
        assert float(steepest_in_box(ball, gradient, tolerance=TOLERANCE).gap) <= TOLERANCE
        options = {"tolerance": TOLERANCE}
        benchmark.pedantic(steepest_in_box, args=(ball, gradient), kwargs=options, rounds=15, warmup_rounds=2)
    else:
        ball = SSIMBall(images, BUDGET, cg_steps=500, tolerance=TOLERANCE)
        assert float(ball.gap_bound(gradient, ball.steepest(gradient))) <= TOLERANCE
        benchmark.pedantic(ball.steepest, args=(gradient,), rounds=30, warmup_rounds=3)
