"""The convex programs P1, P2 and P3 in cvxpy, float64: the truth that the fast attack is held to.

Each has 0 <= x + r <= 1 as well::

    P1  maximise <g, r>   s.t. Q(r) <= budget (SSIM ball)
    P2  maximise <g, r>   s.t. 1 - S1 <= e and 1 - S2 <= e in every window
    P3  minimise Q(r)     s.t. <g_k, r> >= gap_k

With a support r is 0 outside it: those entries leave the program, and the constraints on the others stay.

All are solved in r / sqrt(budget), with an objective near 1, so that the solver's absolute tolerances mean the same at
every budget. Gradient, bounds and budget are parameters: a program is compiled once for an image.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from perceptlib.balls.ssim_ball import FLOOR
from perceptlib.convex.largest import LargestLinear
from perceptlib.convex.smallest import SmallestLinear
from perceptlib.convex.solution import ConvexSolution, ConvexStatus
from perceptlib.ssim import Window

__all__ = ["ConvexSolution", "ConvexStatus", "LargestLinear", "SmallestLinear", "maximize_linear", "smallest_linear"]


def maximize_linear(
    images: Tensor,
    gradient: Tensor,
    budget: float,
    *,
    ball: str = "ssim",
    window: Window = Window(),
    size: int | None = None,
    coupling: str = "full",
    components: str = "both",
    floor: float = FLOOR,
    box: bool = True,
    support: Tensor | None = None,
    solver: str = "CLARABEL",
    solver_options: dict[str, Any] | None = None,
) -> ConvexSolution:
    """Solve P1 or P2 once; see `LargestLinear`, which solves again without compiling again."""
    program = LargestLinear(
        images,
        ball=ball,
        window=window,
        size=size,
        coupling=coupling,
        components=components,
        floor=floor,
        box=box,
        support=support,
    )
    return program.solve(gradient, budget, solver=solver, solver_options=solver_options)


def smallest_linear(
    images: Tensor,
    gradients: Tensor,
    gaps: Tensor,
    *,
    window: Window = Window(),
    coupling: str = "full",
    components: str = "both",
    floor: float = FLOOR,
    box: bool = True,
    support: Tensor | None = None,
    solver: str = "CLARABEL",
    solver_options: dict[str, Any] | None = None,
) -> ConvexSolution:
    """Solve P3 once; see `SmallestLinear`, which solves again without compiling again."""
    program = SmallestLinear(
        images,
        num_gradients=len(gradients),
        window=window,
        coupling=coupling,
        components=components,
        floor=floor,
        box=box,
        support=support,
    )
    return program.solve(gradients, gaps, solver=solver, solver_options=solver_options)
