"""Notebook 10: what attacks cost, and claim B by its rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from perceptlib.drawing.tables import Table, table
from perceptlib.study.programs import FORMS

_RULES = {
    "step_ratio": "time of the attack over the l2 ball's (rule: 1.3)",
    "objective_median": "objective over the optimum, median (rule: 0.99)",
    "objective_worst": "objective over the optimum, worst (rule: 0.95)",
    "distance_ratio": "distance that fools over the exact direction's, median (rule: 1.1)",
    "num_not_fooled": "pictures that a direction does not fool up to 0.1",
    "num_images": "pictures",
    "verdict": "claim B",
}


def benchmark_table(benchmark: Mapping[str, Any], start: str) -> Table:
    """The one table of a benchmark whose title starts with some words; ValueError where there is none."""
    for title, lines in benchmark["tables"].items():
        if title.startswith(start):
            frame = pd.DataFrame(lines).reindex(columns=["row", "seconds", "ratio", "peak_mib", "value"])
            frame["row"] = frame["row"].str.replace("peak_mib", "memory")
            frame["seconds"] = frame["seconds"].fillna(frame.pop("value"))  # what grows, by which exponent
            frame.columns = pd.Index([title, "median seconds", "ratio to the first", "peak MiB"])
            kept = frame.dropna(axis="columns", how="all").astype(object)  # not all benchmarks take memory
            return table(kept.where(kept.notna(), None), {"peak MiB": "{:.0f}", "ratio to the first": _ratio})
    raise ValueError(f"no table starts with {start!r}; {', '.join(benchmark['tables'])} are there")


def ratios_table(benchmark: Mapping[str, Any]) -> Table:
    """Every ratio of a benchmark to the first row of its table, with the least and the most, and what was asked."""
    lines = [{"table": title} | line for title, rows in benchmark["tables"].items() for line in rows]
    frame = pd.DataFrame(lines, columns=["table", "row", "ratio", "least", "most", "value", "bound"])
    frame["ratio"] = frame["ratio"].fillna(frame.pop("value"))  # what grows, by which exponent
    kept = frame.rename(columns={"table": "what", "bound": "asked"}).astype(object)
    return table(kept.where(kept.notna(), None), dict.fromkeys(["ratio", "least", "most"], _ratio))


def claim_b_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """What `perceptlib.analysis.programs.claim_b_summary` says, by form."""
    frame = pd.DataFrame(summary, dtype=object).loc[list(_RULES)].rename(index=_RULES, columns=FORMS)
    return table(frame.rename_axis("rule"), dict.fromkeys(frame, "{:.4g}"))


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value > 100 else f"{value:.3g}"
