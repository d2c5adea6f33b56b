"""Verdicts in words with the checks that decided them, and many of them in one sentence that hides none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from perceptlib.analysis.recorded import DATA_SETS
from perceptlib.analysis.statistics import Interval

SUPPORTED, LIMITED, NOT_SUPPORTED = "supported", "supported with limits", "not supported"
REVERSED = "reversed"  # the opposite of what was asked holds
NOT_TESTABLE = "not testable here"
WORST_FIRST = (REVERSED, NOT_SUPPORTED, NOT_TESTABLE, LIMITED, SUPPORTED)


@dataclass(frozen=True)
class Check:
    """One condition of a rule: the number that decides it, its interval and adjusted p-value (NaN for none)."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    is_met: bool | None = None  # None where the rows to tell are missing

    @classmethod
    def of(cls, name: str, row: Mapping[str, Any] | pd.Series, is_met: bool | None) -> Check:
        """A check on a row's interval, if it has one."""
        numbers = {key: float(row[key]) for key in ("value", "low", "high") if key in row}
        return cls(name, **numbers, is_met=is_met)

    @classmethod
    def above(cls, name: str, interval: Interval | None, least: float = 0.0) -> Check:
        """Whether an interval lies above some value; None and one without ends do not tell."""
        if interval is None or math.isnan(interval.low):
            return cls(name, math.nan)
        return cls(name, interval.value, interval.low, interval.high, is_met=interval.low > least)


@dataclass(frozen=True)
class Verdict:
    """A verdict, which part of the rule decided, and every condition that was looked at."""

    verdict: str
    reason: str
    checks: tuple[Check, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers: checks under "check_1", "check_2" and so on."""
        found: dict[str, Any] = {"verdict": self.verdict, "reason": self.reason}
        for place, check in enumerate(self.checks, start=1):  # JSON has no infinity, as a failed search's ratio may be
            items = asdict(check).items()
            found[f"check_{place}"] = {key: None if value in (math.inf, -math.inf) else value for key, value in items}
        return found


def worst_first(verdicts: Mapping[tuple[str, str], Verdict]) -> str:
    """One sentence without its full stop on verdicts by data set and network, the worst first; each network is named.

    Where all networks of a data set have the same verdict, and are several, the data set stands for them.
    """
    if not verdicts:
        return f"{NOT_TESTABLE}: nothing is recorded"
    parts = []
    for word in (*WORST_FIRST, *{one.verdict: "" for one in verdicts.values() if one.verdict not in WORST_FIRST}):
        names = [
            _named(DATA_SETS.get(preset, preset), networks, [other for of, other in verdicts if of == preset])
            for preset, networks in _by_first(key for key, one in verdicts.items() if one.verdict == word).items()
        ]
        parts += [f"{word} on {listed(names)}"] if names else []
    return "; ".join(parts)


def listed(words: Iterable[str], joined_by: str = "and") -> str:
    """Words as a list in prose: "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} {joined_by} {last}" if others else last


def _by_first(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for first, second in pairs:
        found.setdefault(first, []).append(second)
    return found


def _named(data_set: str, networks: list[str], every: list[str]) -> str:
    is_all = len(networks) == len(every) > 1
    return f"{data_set} (all {len(every)} networks)" if is_all else f"{data_set} ({', '.join(networks)})"
