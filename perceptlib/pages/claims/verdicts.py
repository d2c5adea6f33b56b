"""Notebook 11: the verdicts, what decided them, and what other pages quote of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd

from perceptlib.analysis.causal import factorial_answers, factorial_effects, factorial_numbers
from perceptlib.analysis.claims import CLAIMS
from perceptlib.analysis.comparison import fooling_rates, search_distances
from perceptlib.analysis.controls import (
    SCORE,
    cascade_falls,
    cascade_numbers,
    cascade_scores,
    map_scores,
    score_differences,
)
from perceptlib.analysis.frames import counts, nested
from perceptlib.analysis.judges import JUDGED
from perceptlib.analysis.recorded import (
    DATA_SETS,
    recorded_factorial,
    recorded_provenance,
    recorded_studies,
    recorded_study,
)
from perceptlib.analysis.second_rules import BY_STUDY, SECOND, ByStudy
from perceptlib.analysis.verdicts import Verdict, worst_first
from perceptlib.drawing.tables import Table, intervals, table
from perceptlib.pages.shared import Columns, tabulate

QUESTIONS = JUDGED | SECOND  # of the second rules


def verdict_table(verdicts: Mapping[str, Verdict]) -> Table:
    """Claim, verdict, how many of its checks hold, and what decided it."""
    lines = {
        f"{key.upper()}: {CLAIMS[key]}": {
            "verdict": verdict.verdict,
            "checks that hold": f"{sum(check.is_met is True for check in verdict.checks)} of {len(verdict.checks)}",
            "what decided": verdict.reason,
        }
        for key, verdict in verdicts.items()
    }
    return table(pd.DataFrame.from_dict(lines, orient="index").rename_axis("claim"))


def check_table(verdict: Verdict) -> Table:
    """What decided a verdict: every check with its number."""
    columns: Columns = {
        "check": "name",
        "value (95 %)": partial(intervals, form="{:.3g}"),
        "p (Holm)": lambda frame: frame["p_value"].map("{:.1g}".format).mask(frame["p_value"].isna(), ""),
        "holds": lambda frame: frame["is_met"].map({True: "yes", False: "no"}).fillna("not measured"),
    }
    return tabulate(check_rows({"": verdict}), columns)


def check_rows(verdicts: Mapping[str, Verdict]) -> pd.DataFrame:
    """A row for each check: claim, name, numbers, and whether it is met."""
    return pd.DataFrame([{"claim": key} | asdict(check) for key, each in verdicts.items() for check in each.checks])


def study_verdict_rows(by_study: ByStudy, headings: Mapping[str, str] = BY_STUDY) -> pd.DataFrame:
    """A row for each recorded study with the verdicts on it, by the keys of `headings`."""
    lines = [
        {"data set": DATA_SETS[preset], "network": network} | {headings[key]: one.verdict for key, one in each.items()}
        for (preset, network), each in by_study.items()
    ]
    return pd.DataFrame(lines, columns=["data set", "network", *headings.values()])


def study_verdict_table(by_study: ByStudy) -> Table:
    """`study_verdict_rows` as a table."""
    return table(study_verdict_rows(by_study))


def second_table(verdicts: Mapping[str, Verdict]) -> Table:
    """The verdicts by the second rules with what decided them."""
    lines = {QUESTIONS[key]: {"verdict": one.verdict, "what decided": one.reason} for key, one in verdicts.items()}
    return table(pd.DataFrame.from_dict(lines, orient="index").rename_axis("question"))


def summaries(by_study: ByStudy) -> dict[str, str]:
    """By the keys of `BY_STUDY` one sentence each on all studies, the worst verdict first."""
    return {key: worst_first({study: each[key] for study, each in by_study.items()}) for key in BY_STUDY}


def study_table() -> Table:
    """What the recorded studies were made of: pictures, weights, seed, versions, machine and date; a row a study."""
    found = {}
    for preset, network in recorded_studies():
        number, origin = counts(recorded_study(preset, network)), recorded_provenance(preset, network)
        versions = ", ".join(f"{package} {origin['versions'][package]}" for package in ("perceptlib", "torch"))
        left_out = f"{number['num_misclassified']} misclassified, {number['num_failed']} failed"
        found[f"{DATA_SETS[preset]}, {network}"] = {
            "pictures": f"{number['num_images']} ({left_out})",
            "weights": f"{origin['weights']['source']}, sha256 {origin['weights']['sha256'][:12]}",
            "seed": str(origin["seed"]),
            "versions": f"{versions}, Python {origin['python']}",
            "machine": origin["machine"],
            "date": origin["date"][:10],
        }
    return table(pd.DataFrame.from_dict(found, orient="index").rename_axis("study"))


def numbers(verdicts: dict[str, Verdict], by_study: ByStudy, second: dict[str, Verdict]) -> dict[str, Any]:
    """What ``numbers.json`` keeps: the verdicts, and what other pages quote of recorded studies and scenes.

    Under a preset's name is what its own network's study gives, under "by_study" every study's verdicts in words.
    """
    content: dict[str, Any] = {key: verdict.as_dict() for key, verdict in (verdicts | second).items()}
    content |= {name: _study_numbers(recorded_study(name)) for name in dict.fromkeys(name for name, _ in by_study)}
    words: dict[str, Any] = {}
    for (preset, network), each in by_study.items():
        said = {key: {"verdict": one.verdict, "reason": one.reason} for key, one in each.items()}
        words.setdefault(preset, {})[network] = said
    content |= {"by_study": words, "summary": summaries(by_study)}
    scenes = recorded_factorial()
    if scenes is not None:
        effects = factorial_effects(scenes)
        content["factorial"] = factorial_numbers(effects, factorial_answers(scenes, effects))
    return content


def _study_numbers(rows: pd.DataFrame) -> dict[str, Any]:
    entry: dict[str, Any] = counts(rows) | {"rates": nested(fooling_rates(rows), "method", "budget")}
    for key, method, is_rounded in (("ratios", "ssim", False), ("ratios_8bit", "ssim_8bit", True)):
        found = nested(search_distances(rows, method=method, is_rounded=is_rounded), "method")
        entry[key] = {other: each["ratio"] for other, each in found.items() if other != method}
    entry["energies"] = nested(map_scores(rows), "method")
    for key, score in (("partial", "partial_spearman"), ("shuffled_auc", "shuffled_auc")):
        entry[key] = nested(map_scores(rows, score), "method")["ssim"]
    entry["differences"] = nested(score_differences(rows, SCORE), "method")
    return entry | {"cascade": cascade_numbers(cascade_scores(rows), cascade_falls(rows))}
