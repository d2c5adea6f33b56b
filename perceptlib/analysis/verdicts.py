"""The claims of the paper with their verdicts, from the rows that ship with the project and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from perceptlib.analysis.claims import SCORE, Check, Verdict, claim_c, claim_c_together, claim_d
from perceptlib.analysis.costs import (
    MAX_DISTANCE,
    MAX_STEP,
    MIN_MEDIAN,
    MIN_WORST,
    claim_b_summary,
    recorded_benchmark,
    step_ratios,
)
from perceptlib.analysis.programs import MAX_GAP, MAX_OVERRUN, MAX_RESIDUAL, MIN_PROBLEMS, claim_a_verdict
from perceptlib.analysis.results import (
    Summary,
    cascade_summary,
    counts,
    fooling_summary,
    score_summary,
    score_tests,
    search_summary,
)
from perceptlib.analysis.tables import Row, Table, read_rows
from perceptlib.pages.study import finite, recorded_study
from perceptlib.records import data_dir, read_verified
from perceptlib.study.factorial import factorial_effects, factorial_summary
from perceptlib.study.programs import recorded_rows as recorded_problems

STUDIES = {"imagenet": "ImageNet photographs", "shapes": "shapes", "digits": "digits"}
CLAIMS = {
    "a": "finding an adversarial example is a tractable convex program",
    "b": "a fast approximation is like PGD in form and cost",
    "c": "high fooling rate at little cost in perceptual quality",
    "d": "changes fall where the class is decided",
}


def recorded_provenance(name: str) -> Summary:
    """Versions, machine, seed and weights of a recorded study: its last start.

    Raises
    ------
    FileNotFoundError
        It is not recorded.
    """
    path = data_dir() / "recorded" / name / "provenance.json"
    last: Summary = json.loads(read_verified(path))["runs"][-1]
    return last


def recorded_factorial() -> list[Row]:
    """Rows of `perceptlib.study.factorial.factorial_rows` that ship with the project."""
    return read_rows(data_dir() / "recorded" / "shapes" / "factorial.csv")


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
        by_set[name] = claim_c(rows), claim_c(rows, is_rounded=True)
    return claim_c_together(by_set), by_set


def verdict_d() -> Verdict:
    """Claim D, from the recorded study of photographs and the recorded factorial on shapes."""
    effects = factorial_effects(recorded_factorial(), "ssim")
    return claim_d(recorded_study("imagenet"), effects["conditions"], effects)


def all_verdicts() -> dict[str, Verdict]:
    """Claim -> verdict, by the keys of `CLAIMS`."""
    return {"a": verdict_a(), "b": verdict_b(), "c": verdicts_c()[0], "d": verdict_d()}


def verdict_table(verdicts: Mapping[str, Verdict]) -> Table:
    """Claim, verdict, how many of its checks hold, and what decided it."""
    lines = []
    for key, verdict in verdicts.items():
        held = sum(check.is_met is True for check in verdict.checks)
        lines.append(
            (f"{key.upper()}: {CLAIMS[key]}", verdict.verdict, f"{held} of {len(verdict.checks)}", verdict.reason)
        )
    return Table(("claim", "verdict", "checks that hold", "what decided"), tuple(lines))


def check_rows(verdicts: Mapping[str, Verdict]) -> list[Row]:
    """One row for each check: claim, name, numbers, and whether it is met."""
    return [{"claim": key} | asdict(check) for key, verdict in verdicts.items() for check in verdict.checks]


def key_numbers() -> Summary:
    """What the first page quotes of the recorded studies: rates and ratios, energies, their differences, the object."""
    numbers: Summary = {}
    for name in STUDIES:
        rows = recorded_study(name)
        entry: Summary = counts(rows)
        entry["rates"] = fooling_summary(rows)
        for key, method, is_rounded in (("ratios", "ssim", False), ("ratios_8bit", "ssim_8bit", True)):
            found = search_summary(rows, method=method, is_rounded=is_rounded)
            entry[key] = {other: found[other]["ratio"] for other in found if other != method}
        scores = score_summary(rows, [SCORE, "partial_spearman", "shuffled_auc"])
        entry["energies"] = {method: score[SCORE] for method, score in scores.items()}
        entry["partial"] = scores["ssim"]["partial_spearman"]
        entry["shuffled_auc"] = scores["ssim"]["shuffled_auc"]
        entry["differences"] = score_tests(rows, SCORE)
        entry["cascade"] = cascade_summary(rows)
        numbers[name] = entry
    numbers["factorial"] = factorial_summary(recorded_factorial())
    return finite(_named(numbers))


def _named(numbers: Summary) -> Summary:
    """Names of numbers hold no slash, which the conditions of the factorial do."""
    return {
        key.replace("/", "_"): _named(value) if isinstance(value, dict) else value for key, value in numbers.items()
    }


def study_table() -> Table:
    """What the recorded studies were made of: pictures, network, seed, versions, machine and date; a column a study."""
    lines = []
    for name, words in STUDIES.items():
        number, origin = counts(recorded_study(name)), recorded_provenance(name)
        versions = ", ".join(f"{package} {origin['versions'][package]}" for package in ("perceptlib", "torch"))
        lines.append(
            (
                words,
                f"{number['num_images']} ({number['num_misclassified']} named wrongly, {number['num_failed']} failed)",
                f"{origin['weights']['source']}, sha256 {origin['weights']['sha256'][:12]}",
                str(origin["seed"]),
                f"{versions}, Python {origin['python']}",
                origin["machine"],
                origin["date"][:10],
            )
        )
    names = ("study", "pictures", "weights", "seed", "versions", "machine", "date")
    (_, *studies), *rows = zip(names, *lines, strict=True)
    return Table(("", *studies), tuple(rows))


def _bounded(name: str, value: str | float, *, least: float | None = None, most: float | None = None) -> Check:
    number = float(value)
    is_met = (least is None or number >= least) and (most is None or number <= most)
    return Check(name, number, is_met=is_met)
