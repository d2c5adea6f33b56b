"""What the rows of the convex programs say: the verdict on claim A, speed, what the box costs, what few steps reach."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pandas as pd

from perceptlib.convex import ConvexStatus

MAX_GAP = 1e-6  # rule of claim A: relative gap of the solver's end
MAX_RESIDUAL = 1e-4  # of the optimality conditions, relative: an interior point method's own accuracy
MAX_OVERRUN = 1.05  # true distance over the budget
RULE_BUDGET = 0.01  # up to which the rule asks for it
LIMIT_BUDGET = 0.05  # up to which "with limits" must say where it fails
MIN_PROBLEMS = 100


def claim_a_verdict(rows: pd.DataFrame) -> dict[str, str | int | float]:
    """The verdict on claim A by the rule that was stated before the study, and the numbers that decided it.

    Supported: at least 100 problems at budgets up to 0.01, each ended optimal with relative gap <= 1e-6, residuals of
    the optimality conditions <= 1e-4, and a true distance <= 1.05 budgets. With limits: optimal throughout, but the
    distance is beyond that at some budget <= 0.05. Not supported: a problem that is not solved.
    """
    is_optimal = rows["status"] == str(ConvexStatus.OPTIMAL)
    is_exact = (rows["gap"] <= MAX_GAP) & (rows[["primal_residual", "dual_residual"]] <= MAX_RESIDUAL).all(axis=1)
    inside = rows[rows["budget"] <= RULE_BUDGET]
    beyond = float(rows.loc[rows["distance_over_budget"] > MAX_OVERRUN, "budget"].min())
    if len(inside) < MIN_PROBLEMS:
        verdict = "too few problems"
    elif not (is_optimal & is_exact).all():
        verdict = "not supported"
    else:
        verdict = "supported with limits" if beyond <= LIMIT_BUDGET else "supported"
    return {
        "verdict": verdict,
        "problems": len(rows),
        "problems_in_rule": len(inside),
        "solved": int(is_optimal.sum()),
        "worst_gap": float(rows["gap"].max()),
        "worst_primal_residual": float(rows["primal_residual"].max()),
        "worst_dual_residual": float(rows["dual_residual"].max()),
        "worst_distance_over_budget": float(inside["distance_over_budget"].max()),
        "largest_distance_over_budget_anywhere": float(rows["distance_over_budget"].max()),
        "smallest_budget_beyond": beyond,
        "worst_fast_difference": float(rows["fast_loss"].abs().max()),
    }


def solving_times(rows: pd.DataFrame) -> pd.DataFrame:
    """Median seconds by number of variables, of cvxpy's solver and of the fast attack."""
    return rows.groupby("variables")[["solve_seconds", "fast_seconds"]].median()


def exponent(seconds: pd.Series) -> float:
    """Slope of the line through the logarithms: seconds grow as the index to this power; NaN for one point."""
    if len(seconds) < 2:
        return math.nan
    return statistics.linear_regression(list(map(math.log, seconds.index)), list(map(math.log, seconds))).slope


def speed_summary(times: pd.DataFrame) -> dict[str, float]:
    """Exponents of `solving_times`, and how many times faster the fast attack is at the largest size."""
    largest = times.index.max()
    return {
        "cvxpy_exponent": exponent(times["solve_seconds"]),
        "fast_exponent": exponent(times["fast_seconds"]),
        "largest": float(largest),
        "ratio_at_largest": float(times["solve_seconds"][largest] / times["fast_seconds"][largest]),
    }


def box_summary(rows: pd.DataFrame) -> dict[str, Any]:
    """What the box costs, over the problems in which it holds a pixel: median and worst of 1 - value / optimum.

    Of clipping alone (``clipped``), of clipping and refilling the budget, and of the active sets.
    """
    held = rows[rows["held_pixels"] > 0]
    if held.empty:
        return {"problems": 0}
    ways = {"clipped_loss": "clipped", "refilled_loss": "refilled", "fast_loss": "active_sets"}
    losses = held[list(ways)].rename(columns=ways).agg(["median", "max"]).rename({"max": "worst"})
    return {"problems": len(held), "held_median": float(held["held_pixels"].median())} | losses.to_dict()


def steps_summary(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Share of the optimum without the box that 5 and 15 conjugate-gradient steps reach: ``median`` and ``worst``.

    Budgets are left out: the share does not depend on them.
    """
    problems = rows.drop_duplicates(["side", "kind", "seed"], keep="last")
    shares = problems[["cg5_ratio", "cg15_ratio"]].agg(["median", "min"]).rename({"min": "worst"})
    return shares.rename(columns={"cg5_ratio": "cg5", "cg15_ratio": "cg15"}).to_dict()
