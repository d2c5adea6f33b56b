"""Claim D's controls in numbers: every score against a control, its own CAM against another's, texture held constant.

All are paired picture by picture; p-values are Holm's over the family that the function returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from perceptlib.analysis.claims import SCORE
from perceptlib.analysis.results import (
    Summary,
    adjusted_tests,
    cascade_summary,
    pairs,
    score_summary,
    score_tests,
    select,
)
from perceptlib.analysis.statistics import PairedTest, bootstrap_interval, paired_test
from perceptlib.analysis.tables import Row
from perceptlib.study.localisation import CHANCE

# Score -> name, what a map that knows nothing gets (None: it depends on the picture), and whether more is better.
METRICS: Mapping[str, tuple[str, float | None, bool]] = {
    "energy_in_top_q": ("energy in the CAM's top 20 %", CHANCE["energy_in_top_q"], True),
    "spearman": ("Spearman", 0.0, True),
    "pearson": ("Pearson", 0.0, True),
    "auc": ("AUC", 0.5, True),
    "shuffled_auc": ("shuffled AUC", 0.5, True),
    "iou_top_q": ("IoU of the top 20 %", CHANCE["iou_top_q"], True),
    "pointing_hit": ("pointing hit", CHANCE["pointing_hit"], True),
    "nss": ("NSS", 0.0, True),
    "sim": ("SIM", None, True),
    "kl": ("KL (less is better)", None, False),
}
LEVEL = 0.05  # of a shift's p-value


def metric_tests(
    rows: Sequence[Row], other: str, *, method: str = "ssim", metrics: Sequence[str] = tuple(METRICS)
) -> dict[str, Summary]:
    """Score -> both maps' values and the method's minus the other's, tested one-sided in the direction that is better.

    Parameters
    ----------
    rows
        Of a study with the part "agreement".
    other, method
        Maps of `perceptlib.study.config.MAPS`.
    metrics
        Keys of `METRICS`; p-values are Holm's over them.

    Returns
    -------
    dict
        ``own`` and ``other``: interval of the median over pictures (of pointing hits the mean); ``value``, ``low``,
        ``high`` of the paired difference, ``p_value``, ``effect``, ``num_pairs`` and ``num_undefined``. Empty where
        either map was not scored.
    """
    agreement = select(rows, part="agreement", cam="cam")
    if not (select(agreement, method=method) and select(agreement, method=other)):
        return {}
    tests, values = {}, {}
    for metric in metrics:
        statistic = _statistic(metric)
        both = pairs(agreement, metric, {"method": method}, {"method": other})
        alternative = "greater" if METRICS[metric][2] else "less"
        tests[metric] = paired_test(*both, alternative=alternative, statistic=statistic)
        values[metric] = [asdict(bootstrap_interval(side, statistic=statistic)) for side in both]
    return {
        metric: {"own": values[metric][0], "other": values[metric][1]} | entry
        for metric, entry in adjusted_tests(tests).items()
    }


def own_cam_tests(rows: Sequence[Row], score: str = SCORE) -> dict[str, Summary]:
    """Map -> its score against the picture's own CAM minus that against another picture's, tested one-sided."""
    return _for_each_map(rows, lambda method: _against_another(rows, score, method))


def partial_tests(rows: Sequence[Row]) -> dict[str, Summary]:
    """Map -> Spearman's partial correlation with the CAM given log local variance, tested one-sided against 0."""
    agreement = select(rows, part="agreement", cam="cam")

    def test(method: str) -> PairedTest:
        values = [row["partial_spearman"] for row in select(agreement, method=method)]
        return paired_test(values, [0.0] * len(values), alternative="greater")

    return _for_each_map(rows, test)


def shift_shares(rows: Sequence[Row]) -> dict[str, Summary]:
    """Map -> share of pictures whose p-value over toroidal shifts is below 0.05, with its interval.

    A map whose place in the picture says nothing has uniform p-values and so a share of 0.05.
    """
    agreement = select(rows, part="agreement", cam="cam")
    shares = {}
    for method in _maps(rows):
        p_values = np.array([row["shift_p_value"] for row in select(agreement, method=method)], dtype=float)
        is_below = np.where(np.isnan(p_values), math.nan, p_values < LEVEL)
        shares[method] = asdict(bootstrap_interval(is_below, statistic="mean"))
    return shares


def halves(rows: Sequence[Row], score: str = SCORE, *, method: str = "ssim") -> dict[str, Summary]:
    """The same numbers from the pictures at even and at odd positions, which share no picture.

    Parameters
    ----------
    rows
        Of a study with the parts "agreement" and "cascade"; what is missing is left out.
    score
        Column of the rows.
    method
        Whose score is compared.

    Returns
    -------
    dict
        "score" (the method's own), "minus_MAP" for every other map, "partial" (correlation given local variance) and
        "fall" (the trained network's minus that of the network with all its stages randomised) -> ``even`` and
        ``odd`` (``value``, ``low``, ``high``) and ``is_overlapping``, None where either has no interval.

    Notes
    -----
    Two intervals of 95 % from the same law overlap in more than 99 of 100 cases: one that does not is a sign that the
    number depends on the pictures, one that does is weak comfort.
    """
    even, odd = ([row for row in rows if row["position"] % 2 == place] for place in (0, 1))
    first, second = _numbers_of(even, score, method), _numbers_of(odd, score, method)
    return {
        name: {"even": first[name], "odd": second[name], "is_overlapping": _overlaps(first[name], second[name])}
        for name in first
        if name in second
    }


def control_numbers(rows: Sequence[Row]) -> Summary:
    """All of claim D's numbers of one study but its verdict, for the tables, the figures and `numbers.json`.

    Returns
    -------
    dict
        ``own`` and ``another``: `score_summary` of the energy against either CAM; ``differences``: `score_tests`;
        ``own_cam``, ``random``, ``squared_gradient``, ``partial``, ``shifts``, ``cascade`` and ``halves``: of this
        module's functions and `cascade_summary`; empty where the rows are missing.
    """
    return {
        "own": score_summary(rows, [SCORE]),
        "another": score_summary(rows, [SCORE], cam="another"),
        "differences": score_tests(rows, SCORE),
        "own_cam": own_cam_tests(rows),
        "random": metric_tests(rows, "random"),
        "squared_gradient": metric_tests(rows, "squared_gradient"),
        "partial": partial_tests(rows),
        "shifts": shift_shares(rows),
        "cascade": cascade_summary(rows),
        "halves": halves(rows),
    }


def _maps(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in select(rows, part="agreement", cam="cam")))


def _for_each_map(rows: Sequence[Row], test: Callable[[str], PairedTest]) -> dict[str, Summary]:
    return adjusted_tests({method: test(method) for method in _maps(rows)})


def _against_another(rows: Sequence[Row], score: str, method: str) -> PairedTest:
    conditions = ({"part": "agreement", "method": method, "cam": cam} for cam in ("cam", "another"))
    return paired_test(*pairs(rows, score, *conditions), alternative="greater")


def _numbers_of(rows: Sequence[Row], score: str, method: str) -> dict[str, dict[str, float]]:
    """Name -> estimate with its interval, of one half."""
    found: dict[str, Mapping[str, Any]] = {}
    agreement = select(rows, part="agreement", cam="cam")
    if own := select(agreement, method=method):
        found["score"] = asdict(bootstrap_interval([row[score] for row in own]))
        for other in _maps(rows):
            if other != method:
                both = pairs(agreement, score, {"method": method}, {"method": other})
                found[f"minus_{other}"] = asdict(paired_test(*both).difference)
        found["partial"] = asdict(bootstrap_interval([row["partial_spearman"] for row in own]))
    cascade = select(rows, part="cascade")
    if last := max((row["stage"] for row in cascade), default=0):
        found["fall"] = asdict(paired_test(*pairs(cascade, score, {"stage": 0}, {"stage": last})).difference)
    return {name: {key: entry[key] for key in ("value", "low", "high")} for name, entry in found.items()}


def _overlaps(first: Mapping[str, float], second: Mapping[str, float]) -> bool | None:
    if any(math.isnan(entry[end]) for entry in (first, second) for end in ("low", "high")):
        return None
    return max(first["low"], second["low"]) <= min(first["high"], second["high"])


def _statistic(metric: str) -> str:
    """The median of hits and misses is a hit or a miss."""
    return "mean" if metric == "pointing_hit" else "median"
