"""The answer of a check as tables, sentences and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from perceptlib.analysis.tables import Row, Table
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

_COLUMNS = ("quantity", "recorded", "now", "tolerance", "verdict")
_WORDS = {
    BITWISE: "bit by bit (same processor, versions and threads as at the recording)",
    NUMERIC: "within numeric tolerances (another processor, version or number of threads)",
    STATISTICAL: "with the spread over seeds",
}


def summary_table(outcome: Outcome) -> Table:
    """One row for each layer: how many quantities, and the one that is nearest to its tolerance or past it."""
    rows = []
    for layer in dict.fromkeys(line.layer for line in outcome.lines):
        lines = [line for line in outcome.lines if line.layer == layer]
        bad = [line for line in lines if line.verdict in BAD]
        worst = max(lines, key=lambda line: (line.verdict in BAD, -1 if math.isnan(line.share) else line.share))
        rows.append((layer, str(len(lines)), str(len(bad)), *_cells(worst)))
    return Table(("layer", "quantities", "moved", *_COLUMNS), tuple(rows))


def line_table(lines: Iterable[Line]) -> Table:
    """Quantity, recorded, now, tolerance, verdict."""
    return Table(("layer", *_COLUMNS), tuple((line.layer, *_cells(line)) for line in lines))


def _cells(line: Line) -> tuple[str, ...]:
    return line.name, _text(line.recorded), _text(line.now), _tolerance(line), line.verdict


def _text(value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value if len(value) <= 20 else value[:17] + "..."  # a checksum, and nobody reads it to its end
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def _tolerance(line: Line) -> str:
    if math.isnan(line.tolerance):
        return "equal" if line.verdict in (HOLDS, MOVED) else "–"
    return "same bits" if line.tolerance == 0 else f"{line.tolerance:.2g}"


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


def as_rows(outcome: Outcome) -> list[Row]:
    """A row for each quantity, for `perceptlib.analysis.tables.write_rows`."""
    return [asdict(line) for line in outcome.lines]


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
