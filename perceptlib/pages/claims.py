"""Notebook 11: the verdicts, what decided them, and what the first page quotes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd

from perceptlib.analysis.causal import factorial_answers, factorial_effects, factorial_numbers
from perceptlib.analysis.claims import CLAIMS, STUDIES, Verdict
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
from perceptlib.analysis.recorded import recorded_factorial, recorded_provenance, recorded_study
from perceptlib.drawing.tables import Table, intervals, table
from perceptlib.pages.shared import Columns, blank, tabulate


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
        "p (Holm)": blank(lambda frame: frame["p_value"].map("{:.1g}".format), lambda frame: frame["p_value"].isna()),
        "holds": lambda frame: frame["is_met"].map({True: "yes", False: "no"}).fillna("not measured"),
    }
    return tabulate(check_rows({"": verdict}), columns)


def check_rows(verdicts: Mapping[str, Verdict]) -> pd.DataFrame:
    """A row for each check: claim, name, numbers, and whether it is met."""
    return pd.DataFrame([{"claim": key} | asdict(check) for key, each in verdicts.items() for check in each.checks])


def data_set_table(by_set: Mapping[str, tuple[Verdict, Verdict]]) -> Table:
    """The verdict on claim C by data set, before and after rounding."""
    words = {STUDIES[name]: [one.verdict for one in both] for name, both in by_set.items()}
    columns = ["before rounding", "after rounding to 8 bits"]
    return table(pd.DataFrame.from_dict(words, orient="index", columns=columns).rename_axis("data set"))


def study_table() -> Table:
    """What the recorded studies were made of: pictures, network, seed, versions, machine and date; a column a study."""
    found = {}
    for name, words in STUDIES.items():
        number, origin = counts(recorded_study(name)), recorded_provenance(name)
        versions = ", ".join(f"{package} {origin['versions'][package]}" for package in ("perceptlib", "torch"))
        left_out = f"{number['num_misclassified']} misclassified, {number['num_failed']} failed"
        found[words] = {
            "pictures": f"{number['num_images']} ({left_out})",
            "weights": f"{origin['weights']['source']}, sha256 {origin['weights']['sha256'][:12]}",
            "seed": str(origin["seed"]),
            "versions": f"{versions}, Python {origin['python']}",
            "machine": origin["machine"],
            "date": origin["date"][:10],
        }
    return table(pd.DataFrame(found).rename_axis(""))


def numbers(verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """What ``numbers.json`` keeps: the verdicts, and what other pages quote of recorded studies and scenes."""
    content: dict[str, Any] = {key: verdict.as_dict() for key, verdict in verdicts.items()}
    content |= {name: _study_numbers(recorded_study(name)) for name in STUDIES}
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
