"""The claims of the paper with their verdicts, from the rows that ship with the project and nothing else."""

from __future__ import annotations

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
from perceptlib.analysis.tables import read_rows
from perceptlib.records import data_dir
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
    checks = [
        _bounded(
            f"problems at budgets up to 0.01, at least {MIN_PROBLEMS}", found["problems_in_rule"], least=MIN_PROBLEMS
        ),
        _bounded("problems that ended optimal: all", found["solved"], least=float(found["problems"])),
        _bounded(f"largest relative gap up to {MAX_GAP:g}", found["worst_gap"], most=MAX_GAP),
        _bounded(
            f"largest residual of the optimality conditions up to {MAX_RESIDUAL:g}",
            found["worst_dual_residual"],
            most=MAX_RESIDUAL,
        ),
        _bounded(
            f"largest distance over budget up to {MAX_OVERRUN:g}", found["worst_distance_over_budget"], most=MAX_OVERRUN
        ),
    ]
    return Verdict(str(found["verdict"]), "by the rule of claim A", tuple(checks))


def verdict_b() -> Verdict:
    """Claim B of the form with 5 conjugate-gradient steps, from the recorded benchmark and directions."""
    rows = read_rows(data_dir() / "recorded" / "bench" / "claim_b.csv")
    summary = claim_b_summary(rows, step_ratios(recorded_benchmark()))
    found = summary["five"]
    checks = (
        _bounded(f"time of a step over the l2 loop's up to {MAX_STEP:g}", found["step_ratio"], most=MAX_STEP),
        _bounded(
            f"objective over the optimum, median, at least {MIN_MEDIAN:g}", found["objective_median"], least=MIN_MEDIAN
        ),
        _bounded(
            f"objective over the optimum, worst, at least {MIN_WORST:g}", found["objective_worst"], least=MIN_WORST
        ),
        _bounded(
            f"distance that fools over the exact direction's up to {MAX_DISTANCE:g}",
            found["distance_ratio"],
            most=MAX_DISTANCE,
        ),
    )
    diagonal = summary["diagonal"]["verdict"]
    return Verdict(found["verdict"], f"with 5 conjugate-gradient steps; the diagonal form: {diagonal}", checks)


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


def _bounded(name: str, value: str | float, *, least: float | None = None, most: float | None = None) -> Check:
    number = float(value)
    is_met = (least is None or number >= least) and (most is None or number <= most)
    return Check(name, number, is_met=is_met)
