"""Frames of a study's rows: what was computed, two conditions side by side, one row a group, and numbers for JSON.

A summary's columns with a dot in their name belong together: ``ratio.value``, ``ratio.low`` and ``ratio.high``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from perceptlib.attacks import Status

_UNATTACKED = (str(Status.MISCLASSIFIED_BEFORE), "failed")


def attacked(rows: pd.DataFrame, part: str) -> pd.DataFrame:
    """Rows of one part, without the pictures that the network misclassified from the start or that failed."""
    return rows[(rows["part"] == part) & ~rows["status"].str.startswith(_UNATTACKED)]


def counts(rows: pd.DataFrame) -> dict[str, int]:
    """Pictures of a study: all, misclassified from the start, failed, and those left to compare."""
    wrong, failed = (rows.loc[rows["status"].str.startswith(words), "image"].nunique() for words in _UNATTACKED)
    total = rows["image"].nunique()
    left = total - wrong - failed
    return {"num_images": total, "num_misclassified": wrong, "num_failed": failed, "num_compared": left}


def paired(
    first: pd.DataFrame, second: pd.DataFrame, column: str, *, on: Sequence[str] = ("image",)
) -> tuple[pd.Series, pd.Series]:
    """One column of two frames, of the pictures that both have, in the first one's order."""
    names = [*on, column]
    both = first[names].merge(second[names], on=list(on), suffixes=("", "_other"))
    return both[column], both[f"{column}_other"]


def summarize(
    rows: pd.DataFrame, keys: Sequence[str], record: Callable[[pd.DataFrame], Mapping[str, Any]]
) -> pd.DataFrame:
    """One row a group, in order of appearance: its keys, and what `record` says of it, mappings under dotted names."""
    groups = rows.groupby(list(keys), sort=False)
    found = [{**dict(zip(keys, key, strict=True)), **record(group)} for key, group in groups]
    return pd.json_normalize(found) if found else pd.DataFrame(columns=list(keys))


def stacked(frames: Mapping[str, pd.DataFrame], name: str = "data_set") -> pd.DataFrame:
    """Frames of several studies, one below the other: the first column, ``data_set`` or another, names the study."""
    kept = {key: frame for key, frame in frames.items() if len(frame)}
    if not kept:
        return pd.DataFrame(columns=[name])
    return pd.concat(kept, names=[name]).reset_index(name).reset_index(drop=True)


def over(studies: Mapping[str, pd.DataFrame], summary: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """A summary of each study, `stacked`."""
    return stacked({name: summary(rows) for name, rows in studies.items()})


def nested(frame: pd.DataFrame, *keys: str) -> dict[str, Any]:
    """A frame as mappings in mappings for ``numbers.json``: by the values of the keys, then by dotted names.

    A key that is a number is also kept among the values; infinite numbers, which JSON does not have, become NaN.
    """
    found: dict[str, Any] = {}
    for row in frame.to_dict("records"):
        place = ".".join(f"{row[key]:.0e}" if isinstance(row[key], float) else str(row[key]) for key in keys)
        for name, value in row.items():
            if name not in keys or not isinstance(value, str):
                _put(found, f"{place}.{name}" if keys else str(name), value)
    return found


def keyed(frame: pd.DataFrame) -> dict[str, Any]:
    """`nested` by method, score or number, and budget, as far as a frame has them."""
    return nested(frame, *(name for name in ("method", "score", "number", "budget") if name in frame))


def _put(found: dict[str, Any], path: str, value: Any) -> None:
    *outer, last = (re.sub(r"[^\w-]+", "_", name).strip("_") for name in path.split("."))
    for name in outer:
        found = found.setdefault(name, {})
    found[last] = math.nan if isinstance(value, float) and math.isinf(value) else value
