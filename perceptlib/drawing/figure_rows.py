"""The numbers that a figure shows, as rows: what is drawn can be downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perceptlib.analysis.tables import Row

Points = tuple[Sequence[float], Sequence[float]]


def nested_rows(nested: Mapping[Any, Any], *names: str) -> list[Row]:
    """Rows of mappings within mappings.

    Parameters
    ----------
    nested
        As deep as there are names, or deeper.
    names
        Column of the keys of each level.

    Returns
    -------
    list of dict
        A row for each mapping below the named levels: its numbers and words, those of deeper mappings under names
        joined by ``_``. What is no number and no text is left out.
    """
    if not names:
        return [_flat(nested)]
    return [
        {names[0]: str(key)} | row for key, inner in nested.items() for row in nested_rows(inner, *names[1:]) if inner
    ]


def curve_rows(series: Mapping[str, Points], intervals: Mapping[str, Points] | None = None) -> list[Row]:
    """Points of lines: ``series``, ``x``, ``y``, and ``low`` and ``high`` where there is an interval."""
    rows: list[Row] = []
    for key, points in series.items():
        ends = (intervals or {}).get(key)
        for place, (x, y) in enumerate(zip(*points, strict=True)):
            row: Row = {"series": key, "x": float(x), "y": float(y)}
            rows.append(row if ends is None else row | {"low": float(ends[0][place]), "high": float(ends[1][place])})
    return rows


def _flat(nested: Mapping[Any, Any]) -> Row:
    row: Row = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            row |= {f"{key}_{inner}": deeper for inner, deeper in _flat(value).items()}
        elif value is None or isinstance(value, bool | int | float | str):
            row[str(key)] = value
    return row
