"""The claims of the paper with their verdicts, by rules that were stated before the study was run.

A claim is judged on checks, each with the numbers that decide it. What no rule names is no part of a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from perceptlib.analysis import programs
from perceptlib.analysis.causal import factorial_effects
from perceptlib.analysis.comparison import rate_differences, search_ratios
from perceptlib.analysis.controls import SCORE, map_rows
from perceptlib.analysis.frames import attacked, paired
from perceptlib.analysis.recorded import recorded_factorial, recorded_studies, recorded_study
from perceptlib.analysis.statistics import holm, paired_test
from perceptlib.analysis.verdicts import LIMITED, NOT_SUPPORTED, NOT_TESTABLE, SUPPORTED, Check, Verdict
from perceptlib.records import data_dir
from perceptlib.records.frames import read_csv
from perceptlib.study.localisation import CHANCE, CONDITIONS
from perceptlib.study.localisation import RANDOM as DIRECTIONS
from perceptlib.study.programs import recorded_rows as recorded_problems

CLAIMS = {
    "a": "finding an adversarial example is a tractable convex program",
    "b": "a fast approximation is like PGD in form and cost",
    "c": "high fooling rate at little cost in perceptual quality",
    "d": "changes fall where the class is decided",
}
MARGIN = -0.02  # of a rate: as much below another method's as still counts as not below
DIFFERENCE, LEVEL = 0.03, 0.05  # claim D: least difference of the energies, largest adjusted p-value
RIVALS = ("l2", "linf")  # claim C: whose fooling rates are compared
BASELINES = ("pgd_l2", "pgd_linf", "deepfool", "carlini_wagner")  # claim C: whose distances are
CONTROLS = ("texture", "edges", "centre", "squared_gradient")  # claim D, beside the random direction
BALLS = ("l2", "linf")
RANDOM = {ball: random for random, ball in DIRECTIONS.items()}  # ball -> random direction in it
_ASKED = {  # claim D: what is not the difference to a ball or a control
    "chance": "energy in the CAM's top 20 % above chance",
    "partial": "partial correlation given local variance above 0",
    "randomised": "falls when all weights are randomised",
}


def claim_a() -> Verdict:
    """Claim A, from the recorded random problems, by `perceptlib.analysis.programs.claim_a_verdict`."""
    found = programs.claim_a_verdict(recorded_problems())
    are_solved = found["solved"] == found["problems"]
    residual = "largest residual of the optimality conditions"
    checks = (
        _at_least(programs.MIN_PROBLEMS, "problems at budgets up to 0.01,", found["problems_in_rule"]),
        Check("problems that ended optimal: all", float(found["solved"]), is_met=are_solved),
        _at_most(programs.MAX_GAP, "largest relative gap", found["worst_gap"]),
        _at_most(programs.MAX_RESIDUAL, residual, found["worst_dual_residual"]),
        _at_most(programs.MAX_OVERRUN, "largest distance over budget", found["worst_distance_over_budget"]),
    )
    return Verdict(found["verdict"], "by the rule of claim A", checks)


def claim_b() -> Verdict:
    """Claim B of the form with 5 conjugate-gradient steps, by `perceptlib.analysis.programs.claim_b_summary`."""
    rows = read_csv(data_dir() / "recorded" / "bench" / "claim_b.csv")
    steps = programs.step_ratios(map(programs.recorded_benchmark, programs.BENCHMARKS))
    summary = programs.claim_b_summary(rows, steps)
    found, farther = summary["five"], "distance that fools over the exact direction's"
    checks = (
        _at_most(programs.MAX_STEP, "time of a step over the l2 loop's", found["step_ratio"]),
        _at_least(programs.MIN_MEDIAN, "objective over the optimum, median,", found["objective_median"]),
        _at_least(programs.MIN_WORST, "objective over the optimum, worst,", found["objective_worst"]),
        _at_most(programs.MAX_DISTANCE, farther, found["distance_ratio"]),
    )
    reason = f"with 5 conjugate-gradient steps; the diagonal form: {summary['diagonal']['verdict']}"
    return Verdict(found["verdict"], reason, checks)


def claims_c() -> tuple[Verdict, dict[str, tuple[Verdict, Verdict]]]:
    """Claim C over the data sets with their own networks, and of each before and after rounding to 8 bits."""
    by_set = {name: claim_c_of(recorded_study(name)) for name in dict.fromkeys(name for name, _ in recorded_studies())}
    return claim_c_together(by_set), by_set


def claim_c_of(rows: pd.DataFrame) -> tuple[Verdict, Verdict]:
    """Claim C of one study, before and after rounding to 8 bits."""
    rows = rows[rows["method"].isin(("ssim", "ssim_8bit", *RIVALS, *BASELINES))]  # no other takes part
    differences, rounded = rate_differences(rows), search_ratios(rows, method="ssim_8bit", is_rounded=True)
    return claim_c(differences, search_ratios(rows)), claim_c(differences, rounded, is_rounded=True)


def claim_c(differences: pd.DataFrame, searches: pd.DataFrame, *, is_rounded: bool = False) -> Verdict:
    """Fooling rate against perceptual quality, on one data set, before or after rounding to 8 bits.

    At every matched distance the SSIM ball's rate is not below l2's and linf's (lower end of the difference above
    -0.02), at one at least above (lower end above 0); and the distance that fools is smaller (ratio's interval below 1)
    than that of l2 PGD, linf PGD, DeepFool and Carlini-Wagner. With limits where one baseline alone does not hold.
    The frames are `rate_differences` and `search_distances` (compared with "ssim", or rounded with "ssim_8bit").
    """
    ending = "_8bit" if is_rounded else ""
    rates = [check for rival in RIVALS for check in _rate_checks(differences, rival, ending)]
    ratios = searches.set_index("method").filter(like="ratio.").rename(columns=lambda name: name.partition(".")[2])
    distances = []
    for name in BASELINES:
        asked = f"distance that fools over {name}'s below 1"
        ratio = ratios.loc[name] if name in ratios.index else {"value": math.nan}
        distances.append(Check.of(asked, ratio, None if math.isnan(ratio["value"]) else bool(ratio["high"] < 1)))
    checks = (*rates, *distances)
    if all(check.is_met is None for check in distances):
        return Verdict(NOT_TESTABLE, "rows are missing", checks)
    if any(check.is_met is False for check in rates):
        return Verdict(NOT_SUPPORTED, "fooling rates are below a norm's, or above at no distance", checks)
    if any(check.is_met is None for check in rates):
        return Verdict(NOT_TESTABLE, "rows are missing", checks)
    missed = [check for check in distances if check.is_met is not True]
    if not missed:
        return Verdict(SUPPORTED, "every check holds", checks)
    if len(missed) == 1:
        return Verdict(LIMITED, f"holds against all baselines but one: {missed[0].name}", checks)
    return Verdict(NOT_SUPPORTED, f"{len(missed)} of {len(distances)} baselines are not beaten or not there", checks)


def claim_c_together(verdicts: Mapping[str, tuple[Verdict, Verdict]]) -> Verdict:
    """Claim C over data sets: supported where each is, before and after rounding; with limits where some hold."""
    checks = tuple(check for before, after in verdicts.values() for check in (*before.checks, *after.checks))
    words = {name: tuple(one.verdict for one in both) for name, both in verdicts.items()}
    words = {name: both for name, both in words.items() if both[0] != NOT_TESTABLE}
    if not words:
        return Verdict(NOT_TESTABLE, "rows are missing", checks)
    if all(word == SUPPORTED for both in words.values() for word in both):
        return Verdict(SUPPORTED, "on every data set, before and after rounding", checks)
    holding = [name for name, (before, _) in words.items() if before in (SUPPORTED, LIMITED)]
    if not holding:
        return Verdict(NOT_SUPPORTED, "on no data set", checks)
    said = "; ".join(f"{name}: {before} before rounding, {after} after" for name, (before, after) in words.items())
    return Verdict(LIMITED, said, checks)


def claim_d(rows: pd.DataFrame, effects: pd.DataFrame | None, *, ball: str = "ssim") -> Verdict:
    """Do changes fall where the class is decided? From rows of photographs, and `factorial_effects` of shapes, if any.

    `ball` is that whose map is judged: "ssim", or "multiscale" with a random direction of its own.

    The rule: energy in the CAM's top 20 % above chance, above l2's and linf's at equal distance and above each control,
    by at least 0.03 with an adjusted p-value below 0.05; partial correlation given local variance above 0; a fall when
    weights are randomised; on shapes the object's share above chance in all four texture conditions. With limits: above
    chance, l2 and the random direction, but some other check fails, or on shapes the background's texture moves the
    share by more than the object's own does. Not supported: not above those three.
    """
    maps = map_rows(rows)
    own, random = maps[maps["method"] == ball], RANDOM[ball]
    if own.empty:
        return Verdict(NOT_TESTABLE, "rows are missing", ())
    cascade = attacked(rows[rows["method"] == ball], "cascade")
    last = 0 if cascade.empty else int(cascade["stage"].max())
    pairs = {"chance": (own[SCORE], np.full(len(own), CHANCE["energy_in_top_q"]))}
    pairs |= {name: paired(own, maps[maps["method"] == name], SCORE) for name in (*BALLS, random, *CONTROLS)}
    pairs["partial"] = own["partial_spearman"], np.zeros(len(own))
    if last:
        trained, randomised = (cascade[cascade["stage"] == stage] for stage in (0, last))
        pairs["randomised"] = paired(trained, randomised, SCORE)
    tests = {name: paired_test(*both, alternative="greater") for name, both in pairs.items()}
    p_values = holm(pd.Series({name: test.p_value for name, test in tests.items()}))
    checks = {}
    for name, test in tests.items():
        least = 0.0 if name in _ASKED else DIFFERENCE
        asked = _ASKED.get(name, f"energy above that of {name.replace('_', ' ')} by {least:g}")
        is_above = test.value >= least and test.value > 0 and p_values[name] < LEVEL
        is_met = bool(is_above) if test.num_values else None
        checks[name] = Check(asked, test.value, test.low, test.high, float(p_values[name]), is_met)
    if not last:
        checks["randomised"] = Check(_ASKED["randomised"], math.nan)
    shapes, moved = _shape_checks(effects, ball)
    every = (*checks.values(), *shapes, moved)
    needed = [checks[name] for name in (random, "chance", "l2")]
    failed = [check.name for check in every if check.is_met is False]
    unknown = [check.name for check in every if check.is_met is None]
    if checks[random].is_met is False:
        return Verdict(NOT_SUPPORTED, "not above the random direction in the same ball", every)
    if not (failed or unknown):
        return Verdict(SUPPORTED, "every check holds", every)
    missing = [check.name for check in needed if check.is_met is None]
    if missing and all(check.is_met is not False for check in needed):
        return Verdict(NOT_TESTABLE, f"not measured: {'; '.join(missing)}", every)
    is_limited = all(check.is_met for check in needed)
    both = ("does not hold", failed), ("not measured", unknown)
    reason = "; ".join(f"{words}: {'; '.join(names)}" for words, names in both if names)
    return Verdict(LIMITED if is_limited else NOT_SUPPORTED, reason, every)


def all_verdicts() -> dict[str, Verdict]:
    """Claim -> verdict, by the keys of `CLAIMS`; D's from the recorded photographs and scenes of shapes."""
    scenes = recorded_factorial()
    d = claim_d(recorded_study("imagenet"), None if scenes is None else factorial_effects(scenes))
    return {"a": claim_a(), "b": claim_b(), "c": claims_c()[0], "d": d}


def _rate_checks(differences: pd.DataFrame, rival: str, ending: str) -> list[Check]:
    checks = []
    for entry in differences[differences["method"] == rival].to_dict("records"):
        value, low, high = (entry[f"{name}{ending}"] for name in ("value", "low", "high"))
        name = f"rate minus {rival}'s at {entry['budget']:g} not below {MARGIN}"
        checks.append(Check(name, value, low, high, is_met=None if math.isnan(low) else low > MARGIN))
    above = f"rate above {rival}'s at one distance at least"
    if any(check.is_met is None for check in checks) or not checks:
        return [*checks, Check(above, math.nan)]
    best = max(checks, key=lambda check: check.low)
    return [*checks, Check(above, best.value, best.low, best.high, is_met=best.low > 0)]


def _shape_checks(effects: pd.DataFrame | None, ball: str) -> tuple[list[Check], Check]:
    name = "on shapes the object's texture moves the share at least as much as the background's"
    if effects is None or ball not in set(effects["method"]):
        return [Check("on shapes above chance in all four texture conditions", math.nan)], Check(name, math.nan)
    intervals = effects[effects["method"] == ball].set_index("effect")[["value", "low", "high"]]
    shapes = []
    for condition in CONDITIONS:
        share = intervals.loc[f"conditions.{condition}"]
        words = f"on shapes, object/background {condition}: share over chance above 1"
        shapes.append(Check.of(words, share, bool(share["low"] > 1)))
    ratio = intervals.loc["background_over_object"]
    return shapes, Check.of(name, ratio, not ratio["low"] > 1)


def _at_least(bound: float, asked: str, value: float) -> Check:
    return Check(f"{asked} at least {bound:g}", float(value), is_met=value >= bound)


def _at_most(bound: float, asked: str, value: float) -> Check:
    return Check(f"{asked} up to {bound:g}", float(value), is_met=value <= bound)
