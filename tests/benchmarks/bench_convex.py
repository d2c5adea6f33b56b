"""P1 by cvxpy with Clarabel against the fast attack certified to 1e-6, with and without the box, by kind of gradient.

The fast attack's time counts all that it does for a picture, the ball's set-up too; cvxpy's leaves compilation out.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from perceptlib.balls import SSIMBall, steepest_in_box
from perceptlib.convex import LargestLinear
from perceptlib.study.programs import Problem, random_problem

KINDS = {"random gradients": "photograph, white noise", "network's gradients": "shapes, network"}
LARGEST = 32  # pixels a side: 3072 variables
PLACES = [("random gradients", side, 3) for side in (12, 16, 20, 24)] + [(name, LARGEST, 9) for name in KINDS]
CASES = [(name, side, repeat) for name, side, repeats in PLACES for repeat in range(repeats)]
BUDGET, TOLERANCE = 0.01, 1e-6


@lru_cache(maxsize=1)
def compiled(kind: str, side: int, seed: int, box: bool) -> LargestLinear:
    """A program that has been compiled, by one step of the solver for another gradient."""
    problem = random_problem(kind, side=side, seed=seed)
    program = LargestLinear(problem.images, box=box)
    program.solve(torch.flip(problem.gradient, (0, 1, 2, 3)), BUDGET, solver_options={"max_iter": 1})
    return program


def attack(problem: Problem, box: bool) -> float:
    """The fast attack from picture and gradient, and the gap that it certifies."""
    if box:
        return float(steepest_in_box(SSIMBall(problem.images, BUDGET), problem.gradient, tolerance=TOLERANCE).gap)
    ball = SSIMBall(problem.images, BUDGET, cg_steps=500, tolerance=TOLERANCE)
    return float(ball.gap_bound(problem.gradient, ball.steepest(problem.gradient)))


@pytest.mark.parametrize("name, side, repeat", CASES)
@pytest.mark.parametrize("box", [False, True], ids=["ball", "box"])
@pytest.mark.parametrize("way", ["fast", "cvxpy"])
def bench_convex(benchmark, name: str, side: int, repeat: int, box: bool, way: str) -> None:
    kind = KINDS[name]
    problem = random_problem(kind, side=side, seed=repeat)
    table = f"{'P1 in the box' if box else 'P1'}, {problem.images.numel()} variables, {name}, float64"
    row = "fast attack" if way == "fast" else "cvxpy with Clarabel"
    benchmark.extra_info.update(table=table, row=row, repeat=repeat)
    if way == "cvxpy":
        if side == LARGEST:
            benchmark.extra_info["bound"] = "at least 1000, the least 500"
        program = compiled(kind, side, repeat, box)
        benchmark.pedantic(program.solve, args=(problem.gradient, BUDGET), rounds=1)
    else:
        assert attack(problem, box) <= TOLERANCE
        benchmark.pedantic(attack, args=(problem, box), rounds=15, warmup_rounds=2)
