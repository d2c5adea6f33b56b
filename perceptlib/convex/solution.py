"""What a convex program returns, with a status that advises, and the conditions that its solution is held to.

The Karush-Kuhn-Tucker conditions are computed from a point and its multipliers alone, without a solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from torch import Tensor

from perceptlib.convex.matrices import Array, Squares


class ConvexStatus(StrEnum):
    """How a solver ended; ``advice`` says what to do about it."""

    OPTIMAL = "optimal"
    INACCURATE = "inaccurate"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    SOLVER_LIMIT = "solver limit"
    FAILED = "solver failed"

    @property
    def advice(self) -> str:
        return {
            ConvexStatus.OPTIMAL: "none: the optimality conditions hold to the solver's tolerance",
            ConvexStatus.INACCURATE: "read residuals and gap; try solver='CLARABEL' or a larger budget",
            ConvexStatus.INFEASIBLE: "lower the gaps, or pass box=False: no image in [0, 1] meets them",
            ConvexStatus.UNBOUNDED: "pass box=True, both components or a floor above 0: nothing bounds r",
            ConvexStatus.SOLVER_LIMIT: "allow more steps in solver_options, e.g. {'max_iter': 200} for CLARABEL",
            ConvexStatus.FAILED: "try another solver, or the fast attack: SSIMBall.steepest, boxed.steepest_in_box",
        }[self]


@dataclass(frozen=True)
class Sizes:
    """Size of the program as the solver gets it: variables, rows of its constraints, nonzeros."""

    variables: int
    constraints: int
    nonzeros: int


@dataclass(frozen=True)
class ConvexSolution:
    """Outcome of a convex program on one image; everything but the status is recomputed from r and the multipliers.

    Attributes
    ----------
    perturbation : Tensor
        r, shape (1, C, H, W), float64; NaN where the solver returned none.
    objective : float
        <g, r> (P1, P2) or Q(r) (P3); NaN without r.
    status : ConvexStatus
        With ``advice``.
    primal_residual : float
        Largest violation of a constraint, relative to its bound (the box in pixel units), at least 0.
    dual_residual : float
        Norm of the stationarity condition, or the most negative multiplier, over the norm of the objective's gradient.
    gap : float
        Dual minus primal objective, relative to the objective.
    violation : float
        How far x + r is outside the ball (for P3 the largest unmet share of a gap) or outside [0, 1], at least 0.
    distance, mean_ssim : float
        True SSIM distance D and mean SSIM of the image x + r.
    multipliers : dict
        Arrays under "ball", "mean_high", "mean_low", "high", "low", "gaps": derivatives of the objective by the bounds.
    solve_seconds, compile_seconds : float
        Wall-clock seconds inside the solver, and of everything before and after it in cvxpy.
    solver, num_iterations, sizes
        Its name in cvxpy, its steps (0 where it names none), and the size of the compiled program.
    """

    perturbation: Tensor
    objective: float
    status: ConvexStatus
    primal_residual: float
    dual_residual: float
    gap: float
    violation: float
    distance: float
    mean_ssim: float
    multipliers: dict[str, Array]
    solve_seconds: float
    compile_seconds: float
    solver: str
    num_iterations: int
    sizes: Sizes


@dataclass(frozen=True)
class Optimality:
    """Residuals of the Karush-Kuhn-Tucker conditions; see `ConvexSolution`."""

    primal_residual: float
    dual_residual: float
    gap: float


def _box_terms(perturbation: Array, multipliers: dict[str, Array], image: Array) -> tuple[Array, float, float]:
    """Pull of the box on stationarity, its part of the dual objective, and its violation."""
    if "high" not in multipliers:
        return np.zeros_like(perturbation), 0.0, 0.0
    high, low = multipliers["high"], multipliers["low"]
    outside = float(np.maximum(image + perturbation - 1, -(image + perturbation)).max())
    return high - low, float(high @ (1 - image) + low @ image), max(outside, 0.0)


def _judged(
    violation: float, rest: Array, gradient: Array, multipliers: dict[str, Array], objectives: tuple[float, float]
) -> Optimality:
    """Residuals from what the conditions leave: ``rest`` of stationarity, primal and dual objective."""
    negative = max((0.0, *(float(-values.min()) for values in multipliers.values())))
    pull = max(float(np.linalg.norm(rest)), negative) / max(float(np.linalg.norm(gradient)), 1e-300)
    primal, dual = objectives
    return Optimality(max(violation, 0.0), pull, abs(dual - primal) / max(abs(primal), 1e-300))


def check_largest_in_ssim_ball(
    squares: Squares, gradient: Array, budget: float, image: Array, perturbation: Array, multipliers: dict[str, Array]
) -> Optimality:
    """Conditions of P1, max <g, r> s.t. sqrt(Q(r)) <= sqrt(budget) (multiplier s) and the box (v+, v-).

    g = s A r / sqrt(Q) + v+ - v-, and the dual objective s sqrt(budget) + <v+, 1 - x> + <v-, x>.
    """
    radius, norm = budget**0.5, squares.quadratic(perturbation) ** 0.5
    force = float(multipliers["ball"][0])
    box_pull, box_value, outside = _box_terms(perturbation, multipliers, image)
    pull = force / max(norm, 1e-300) * squares.apply(perturbation)
    value = float(gradient @ perturbation)
    dual = force * radius + box_value
    rest = gradient - pull - box_pull
    return _judged(max(norm / radius - 1, outside), rest, gradient, multipliers, (value, dual))


def check_smallest_in_ssim_norm(
    squares: Squares, gradients: Array, gaps: Array, image: Array, perturbation: Array, multipliers: dict[str, Array]
) -> Optimality:
    """Conditions of P3, min Q(r) s.t. <g_k, r> >= gap_k (multipliers y_k >= 0) and the box.

    2 A r = sum y_k g_k - v+ + v-, and the dual objective <y, gaps> - <v+, 1 - x> - <v-, x> - Q(r).
    """
    forces = multipliers["gaps"]
    box_pull, box_value, outside = _box_terms(perturbation, multipliers, image)
    gradient = 2 * squares.apply(perturbation)
    value = squares.quadratic(perturbation)
    shortfall = float(((gaps - gradients @ perturbation) / np.maximum(np.abs(gaps), 1e-300)).max())
    dual = float(forces @ gaps) - box_value - value
    rest = gradient - gradients.T @ forces + box_pull
    return _judged(max(shortfall, outside), rest, gradient, multipliers, (value, dual))


def check_largest_in_window_ball(
    squares: Squares,
    gradient: Array,
    centres: Array,
    radii: Array,
    mean_limits: tuple[Array, Array],
    image: Array,
    perturbation: Array,
    multipliers: dict[str, Array],
) -> Optimality:
    """Conditions of P2, max <g, r> s.t. |G_w r - c_w| <= R_w, low_w <= m_w <= high_w, and the box.

    g = sum of s_w G_w'(G_w r - c_w) / |G_w r - c_w| + W'(a+ - a-) + v+ - v-; either group of constraints may be
    missing from the multipliers.
    """
    box_pull, dual, outside = _box_terms(perturbation, multipliers, image)
    pull, violation = box_pull, outside
    if "ball" in multipliers:
        forces = multipliers["ball"]
        offset = squares.forms(perturbation).reshape(len(forces), -1) - centres
        norms = np.linalg.norm(offset, axis=1)
        push = (forces / np.maximum(norms, 1e-300))[:, None] * offset
        pull = pull + squares.adjoint(push.ravel())
        dual += float(forces @ radii + (push * centres).sum())
        violation = max(violation, float((norms / radii).max()) - 1)
    if "mean_high" in multipliers:
        above, below = multipliers["mean_high"], multipliers["mean_low"]
        means = squares.lift[len(perturbation) :]
        low, high = mean_limits
        reached = means @ perturbation
        pull = pull + means.T @ (above - below)
        dual += float(above @ high - below @ low)
        violation = max(violation, float((np.maximum(reached - high, low - reached) / (high - low)).max()))
    value = float(gradient @ perturbation)
    return _judged(violation, gradient - pull, gradient, multipliers, (value, dual))
