"""What a convex program returns: one frozen record, with a status that advises."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from perceptlib.convex.window_matrices import Array


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
        Norm of the stationarity condition over the norm of the objective's gradient, or the most negative multiplier
        in the same unit.
    gap : float
        Dual minus primal objective, relative to the objective.
    violation : float
        How far the image x + r is outside the ball (Q or the largest window's true 1 - S, minus the budget; for P3
        the largest unmet share of a gap) or outside [0, 1], at least 0.
    distance, mean_ssim : float
        True SSIM distance D and mean SSIM of the image x + r.
    multipliers : dict
        Arrays, at least 0 up to the residual: "ball", "mean_high", "mean_low", "high", "low", "gaps", as far as the
        program has them; derivatives of the objective by the bounds.
    solve_seconds, compile_seconds : float
        Wall-clock seconds inside the solver, and of everything before and after it in cvxpy.
    solver : str
        Its name in cvxpy.
    num_iterations : int
        Of the solver; 0 where it names none.
    sizes : Sizes
        Of the compiled program.
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
