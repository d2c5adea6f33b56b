"""The convex programs and what they cost: verdicts on claims A and B, speed, the box, recorded benchmarks."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.convex import ConvexStatus
from perceptlib.records import data_dir, read_verified

MAX_GAP = 1e-6  # rule of claim A: relative gap of the solver's end
MAX_RESIDUAL = 1e-4  # of the optimality conditions, relative: an interior point method's own accuracy
MAX_OVERRUN = 1.05  # true distance over the budget
RULE_BUDGET = 0.01  # up to which the rule asks for it
LIMIT_BUDGET = 0.05  # up to which "with limits" must say where it fails
MIN_PROBLEMS = 100
BENCHMARKS = ("amd_epyc", "bench")  # recorded, the latest first; claims count the worst
STEP_ROWS = {"diagonal": "ssim diagonal", "five": "ssim full, 5 CG steps", "fifteen": "ssim full, 15 CG steps"}
# The rule of claim B.
MAX_STEP, MIN_MEDIAN, MIN_WORST, MAX_DISTANCE = 1.3, 0.99, 0.95, 1.1


def claim_a_verdict(rows: pd.DataFrame) -> dict[str, Any]:
    """The verdict on claim A by the rule that was stated before the study, and the numbers that decided it.

    Supported: at least 100 problems at budgets up to 0.01, each ended optimal with relative gap <= 1e-6, residuals
    <= 1e-4, and a true distance <= 1.05 budgets. With limits: the distance is beyond that at some budget <= 0.05.
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
    """What each way to keep the box costs, where it holds a pixel: median and worst of 1 - value / optimum."""
    held = rows[rows["held_pixels"] > 0]
    if held.empty:
        return {"problems": 0}
    ways = {"clipped_loss": "clipped", "refilled_loss": "refilled", "fast_loss": "active_sets"}
    losses = held[list(ways)].rename(columns=ways).agg(["median", "max"]).rename({"max": "worst"})
    return {"problems": len(held), "held_median": float(held["held_pixels"].median())} | losses.to_dict()


def steps_summary(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Share of the optimum without the box that 5 and 15 steps of conjugate gradients reach, at any budget."""
    problems = rows.drop_duplicates(["side", "kind", "seed"], keep="last")
    shares = problems[["cg5_ratio", "cg15_ratio"]].agg(["median", "min"]).rename({"min": "worst"})
    return shares.rename(columns={"cg5_ratio": "cg5", "cg15_ratio": "cg15"}).to_dict()


def recorded_benchmark(name: str) -> dict[str, Any]:
    """Tables of `make bench` that ship, one of `BENCHMARKS`, with machine, versions and date."""
    return json.loads(read_verified(data_dir() / "recorded" / "bench" / f"{name}.json"))


def step_ratios(benchmarks: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Time of an attack with each of `perceptlib.study.programs.FORMS` over that with the l2 ball, the worst of all."""
    found: dict[str, float] = {}
    for benchmark in benchmarks:
        (lines,) = (table for title, table in benchmark["tables"].items() if title.startswith("maximize_loss"))
        ratios = {line["row"]: line["ratio"] for line in lines}
        for form, row in STEP_ROWS.items():
            if row in ratios:
                found[form] = max(ratios[row], found.get(form, 0.0))
    return found


def claim_b_summary(rows: pd.DataFrame, steps: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Form -> the numbers of claim B's rule and its verdict.

    Supported: one step costs <= 1.3 of the l2 loop; the objective is >= 0.99 of the optimum in the median and >= 0.95
    at worst; the median distance that fools is <= 1.1 of the exact direction's. With limits: one of the three is
    missed by less than half again.
    """
    summary = {}
    for form, group in rows.groupby("form", sort=False):
        both = np.isfinite(group["distance"]) & np.isfinite(group["exact_distance"])
        step, median, worst = steps[str(form)], float(group["objective"].median()), float(group["objective"].min())
        distance = float((group["distance"] / group["exact_distance"])[both].median())
        misses = [  # 0 within the rule, 1 at half again its slack
            (step - MAX_STEP) / (0.5 * (MAX_STEP - 1)),
            max((MIN_MEDIAN - median) / (0.5 * (1 - MIN_MEDIAN)), (MIN_WORST - worst) / (0.5 * (1 - MIN_WORST))),
            (distance - MAX_DISTANCE) / (0.5 * (MAX_DISTANCE - 1)),
        ]
        missed = [miss for miss in misses if miss > 0]
        is_limited = len(missed) == 1 and missed[0] < 1
        verdict = "not supported" if missed and not is_limited else "supported with limits" if missed else "supported"
        summary[str(form)] = {
            **{"step_ratio": step, "objective_median": median, "objective_worst": worst, "distance_ratio": distance},
            **{"num_images": len(group), "num_not_fooled": int((~both).sum()), "verdict": verdict},
        }
    return summary
