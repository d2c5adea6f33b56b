"""The claims of the paper with their verdicts, from the rows that ship with the project and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from perceptlib.analysis.causal import factorial_effects
from perceptlib.analysis.claims import Check, Verdict, claim_c, claim_c_together, claim_d
from perceptlib.analysis.costs import (
    MAX_DISTANCE,
    MAX_STEP,
    MIN_MEDIAN,
    MIN_WORST,
    claim_b_summary,
    recorded_benchmark,
    step_ratios,
)
from perceptlib.analysis.fooling import rate_differences, search_distances
from perceptlib.analysis.programs import MAX_GAP, MAX_OVERRUN, MAX_RESIDUAL, MIN_PROBLEMS, claim_a_verdict
from perceptlib.analysis.recorded import recorded_factorial, recorded_study
from perceptlib.records import data_dir
from perceptlib.records.frames import read_csv
from perceptlib.study.programs import recorded_rows as recorded_problems

STUDIES = {"imagenet": "ImageNet photographs", "shapes": "shapes", "digits": "digits"}
CLAIMS = {
    "a": "finding an adversarial example is a tractable convex program",
    "b": "a fast approximation is like PGD in form and cost",
    "c": "high fooling rate at little cost in perceptual quality",
    "d": "changes fall where the class is decided",
}


def verdict_a() -> Verdict:
    """Claim A, from the recorded random problems."""
    found = claim_a_verdict(recorded_problems())
    bounds = {
        f"problems at budgets up to 0.01, at least {MIN_PROBLEMS}": ("problems_in_rule", MIN_PROBLEMS, math.inf),
        "problems that ended optimal: all": ("solved", float(found["problems"]), math.inf),
        f"largest relative gap up to {MAX_GAP:g}": ("worst_gap", -math.inf, MAX_GAP),
        f"largest residual of the optimality conditions up to {MAX_RESIDUAL:g}": (
            "worst_dual_residual",
            -math.inf,
            MAX_RESIDUAL,
        ),
        f"largest distance over budget up to {MAX_OVERRUN:g}": ("worst_distance_over_budget", -math.inf, MAX_OVERRUN),
    }
    return Verdict(str(found["verdict"]), "by the rule of claim A", _checks(found, bounds))


def verdict_b() -> Verdict:
    """Claim B of the form with 5 conjugate-gradient steps, from the recorded benchmark and directions."""
    rows = read_csv(data_dir() / "recorded" / "bench" / "claim_b.csv")
    summary = claim_b_summary(rows, step_ratios(recorded_benchmark()))
    bounds = {
        f"time of a step over the l2 loop's up to {MAX_STEP:g}": ("step_ratio", -math.inf, MAX_STEP),
        f"objective over the optimum, median, at least {MIN_MEDIAN:g}": ("objective_median", MIN_MEDIAN, math.inf),
        f"objective over the optimum, worst, at least {MIN_WORST:g}": ("objective_worst", MIN_WORST, math.inf),
        f"distance that fools over the exact direction's up to {MAX_DISTANCE:g}": (
            "distance_ratio",
            -math.inf,
            MAX_DISTANCE,
        ),
    }
    reason = f"with 5 conjugate-gradient steps; the diagonal form: {summary['diagonal']['verdict']}"
    return Verdict(summary["five"]["verdict"], reason, _checks(summary["five"], bounds))


def verdicts_c() -> tuple[Verdict, dict[str, tuple[Verdict, Verdict]]]:
    """Claim C over the recorded studies, and by data set before and after rounding to 8 bits."""
    by_set = {}
    for name in STUDIES:
        rows = recorded_study(name)
        differences, rounded = rate_differences(rows), search_distances(rows, method="ssim_8bit", is_rounded=True)
        by_set[name] = claim_c(differences, search_distances(rows)), claim_c(differences, rounded, is_rounded=True)
    return claim_c_together(by_set), by_set


def verdict_d() -> Verdict:
    """Claim D, from the recorded study of photographs and the recorded factorial on shapes."""
    scenes = recorded_factorial()
    return claim_d(recorded_study("imagenet"), None if scenes is None else factorial_effects(scenes))


def all_verdicts() -> dict[str, Verdict]:
    """Claim -> verdict, by the keys of `CLAIMS`."""
    return {"a": verdict_a(), "b": verdict_b(), "c": verdicts_c()[0], "d": verdict_d()}


def _checks(found: Mapping[str, Any], bounds: Mapping[str, tuple[str, float, float]]) -> tuple[Check, ...]:
    """A check for each bound: what is asked -> name of the number, and what it must lie between."""
    numbers = {asked: float(found[name]) for asked, (name, _, _) in bounds.items()}
    return tuple(
        Check(asked, numbers[asked], is_met=least <= numbers[asked] <= most)
        for asked, (_, least, most) in bounds.items()
    )
