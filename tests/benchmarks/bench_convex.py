"""P1 by cvxpy with Clarabel against the fast attack certified to 1e-6, with and without the box, by kind of gradient.

The fast attack's time counts all that it does for a picture, the ball's set-up too. cvxpy's is told with its set-up,
which builds and compiles the program, and for a program that has been compiled before.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from perceptlib.balls import SSIMBall, steepest_in_box
from perceptlib.convex import LargestLinear
from perceptlib.study.programs import Problem, random_problem

KINDS = {"random gradients": "photograph, white noise", "network's gradients": "shapes, network"}
LARGEST = 32  # pixels a side: 3072 variables
PLACES = [("random gradients", side, 3) for side in (12, 16, 20, 24)] + [(name, LARGEST, 9) for name in KINDS]
CASES = [(name, side, repeat) for name, side, repeats in PLACES for repeat in range(repeats)]
WAYS = {"fast": "fast attack", "anew": "cvxpy with Clarabel, set-up included", "again": "cvxpy with Clarabel"}
BUDGET, TOLERANCE = 0.01, 1e-6


@lru_cache(maxsize=1)
def program(kind: str, side: int, seed: int, box: bool) -> LargestLinear:
    """One of these at a time: what is solved again has been compiled."""
    return LargestLinear(random_problem(kind, side=side, seed=seed).images, box=box)


def anew(problem: Problem, *case: Any) -> None:
    """Build, compile and solve."""
    program.cache_clear()
    program(*case).solve(problem.gradient, BUDGET)


def attack(problem: Problem, box: bool) -> float:
    """The fast attack from picture and gradient, and the gap that it certifies."""
    if box:
        return float(steepest_in_box(SSIMBall(problem.images, BUDGET), problem.gradient, tolerance=TOLERANCE).gap)
    ball = SSIMBall(problem.images, BUDGET, cg_steps=500, tolerance=TOLERANCE)
    return float(ball.gap_bound(problem.gradient, ball.steepest(problem.gradient)))


@pytest.mark.parametrize("name, side, repeat", CASES)
@pytest.mark.parametrize("box", [False, True], ids=["ball", "box"])
@pytest.mark.parametrize("way", WAYS)
def bench_convex(benchmark, name: str, side: int, repeat: int, box: bool, way: str) -> None:
    problem = random_problem(KINDS[name], side=side, seed=repeat)
    case = (KINDS[name], side, repeat, box)
    table = f"{'P1 in the box' if box else 'P1'}, {problem.images.numel()} variables, {name}, float64"
    benchmark.extra_info.update(table=table, row=WAYS[way], repeat=repeat)
    if way == "fast":
        assert attack(problem, box) <= TOLERANCE
        benchmark.pedantic(attack, args=(problem, box), rounds=15, warmup_rounds=2)
    elif way == "anew":
        if side == LARGEST:
            benchmark.extra_info["bound"] = "at least 1000, the least 500"
        benchmark.pedantic(anew, args=(problem, *case), rounds=1)
    else:
        benchmark.pedantic(program(*case).solve, args=(problem.gradient, BUDGET), rounds=1)
