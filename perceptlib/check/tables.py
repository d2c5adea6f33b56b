"""The answer of a check as tables, sentences and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pandas as pd

from perceptlib.check.checking import Outcome
from perceptlib.check.record import (
    BAD,
    BITWISE,
    HOLDS,
    LEFT_OUT,
    MOVED,
    NUMERIC,
    SAFETY,
    SEEDS,
    STATISTICAL,
    Line,
    counts,
)
from perceptlib.drawing.tables import Table, table

_WORDS = {
    BITWISE: "bit by bit (same processor, versions and threads as at the recording)",
    NUMERIC: "within numeric tolerances (another processor, version or number of threads)",
    STATISTICAL: "with the spread over seeds",
}


def line_frame(lines: Iterable[Line]) -> pd.DataFrame:
    """A row for each quantity."""
    return pd.DataFrame([asdict(line) for line in lines])


def summary_table(outcome: Outcome) -> Table:
    """One row for each layer: how many quantities, and the one that is nearest to its tolerance or past it."""
    rows = line_frame(outcome.lines).assign(
        moved=[line.verdict in BAD for line in outcome.lines],
        share=[-1 if math.isnan(line.share) else line.share for line in outcome.lines],
    )
    layers = rows.groupby("layer", sort=False)
    worst = rows.sort_values(["moved", "share"], ascending=False, kind="stable").groupby("layer").head(1)
    shown = _shown(worst.set_index("layer").loc[list(layers.groups)].reset_index())
    shown.insert(1, "quantities", layers.size().to_numpy())
    shown.insert(2, "moved", layers["moved"].sum().to_numpy())
    return table(shown)


def line_table(lines: Iterable[Line]) -> Table:
    """Quantity, recorded, now, tolerance, verdict; one row that says so where there are none."""
    rows = line_frame(lines)
    return table(pd.DataFrame({"layer": ["nothing"]}) if rows.empty else _shown(rows))


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns in words: a layer holds numbers and texts of many kinds."""
    tolerances = [
        ("equal" if verdict in (HOLDS, MOVED) else "–")
        if math.isnan(value)
        else f"{value:.2g}"
        if value
        else "same bits"
        for value, verdict in zip(rows["tolerance"], rows["verdict"], strict=True)
    ]
    return pd.DataFrame(
        {
            "layer": rows["layer"],
            "quantity": rows["name"],
            "recorded": rows["recorded"].map(_text),
            "now": rows["now"].map(_text),
            "tolerance": tolerances,
            "verdict": rows["verdict"],
        }
    )


def _text(value: float | str | None) -> str:
    if isinstance(value, str):
        return value if len(value) <= 20 else value[:17] + "..."  # a checksum, and nobody reads it to its end
    return "–" if pd.isna(value) else f"{value:.12g}"


def sentences(outcome: Outcome) -> list[str]:
    """What was compared how, and where to look."""
    number = counts(outcome.lines)
    lines = [f"{number.get(HOLDS, 0)} of {len(outcome.lines)} quantities hold, compared {_WORDS[outcome.mode]}"]
    if number.get(LEFT_OUT):
        lines.append(f"{number[LEFT_OUT]} differ from seed to seed by their nature and were not compared")
    if outcome.mode == BITWISE and any(line.layer.startswith("study of ") for line in outcome.lines):
        lines.append("the studies' rows within numeric tolerances: they were computed in larger batches")
    lines += [f"not looked at: {text}" for text in outcome.skipped]
    if outcome.mode == NUMERIC:
        lines.append("other than at the recording: " + "; ".join(outcome.why))
    if outcome.bad:
        first = outcome.bad[0]
        lines.append(
            f"{len(outcome.bad)} do not; layers build on each other, so look first at {first.layer}: {first.name}"
        )
    return lines


def numbers(outcome: Outcome) -> dict[str, Any]:
    """What the page quotes."""
    number = counts(outcome.lines)
    layers = dict.fromkeys(line.layer for line in outcome.lines)
    return {
        "mode": outcome.mode,
        "holds": number.get(HOLDS, 0),
        "moved": len(outcome.bad),
        "quantities": len(outcome.lines),
        "safety": SAFETY,
        "num_seeds": 1 + len(SEEDS),
        "layers": {
            layer.replace(" ", "_"): sum(line.layer == layer and line.verdict == HOLDS for line in outcome.lines)
            for layer in layers
        },
    }
