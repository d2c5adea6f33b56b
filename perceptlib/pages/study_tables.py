"""Tables of a study for the pages of claims C and D; what is not recorded is said, not left out in silence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from perceptlib.analysis.claims import RIVALS, Verdict
from perceptlib.analysis.controls import METRICS
from perceptlib.analysis.results import Summary, counts
from perceptlib.analysis.tables import Row, Table
from perceptlib.study.comparison import METHODS
from perceptlib.study.localisation import MAPS

# Attacks, searches and maps, in the order in which tables and figures show them.
NAMES: Mapping[str, str] = (
    {"fgsm": "FGSM"}
    | METHODS
    | {
        "random": MAPS["random"],
        "noise": "equal-SSIM noise",
        "squared_gradient": MAPS["squared_gradient"],
        "texture": MAPS["texture"],
        "edges": "edges",
        "centre": "centre",
        "l2_8bit": "l2, 8-bit grid",
        "ssim_8bit": "SSIM ball, 8-bit grid",
        "pgd_linf": "PGD, linf",
        "pgd_l2": "PGD, l2",
        "pgd_ssim": "PGD, SSIM ball",
        "deepfool": "DeepFool",
        "carlini_wagner": "Carlini-Wagner",
    }
)
MISSING = "not recorded"
_HALVES = {"score": "its own value", "partial": "partial correlation", "fall": "fall when all weights are randomised"}


def data_set_table(studies: Mapping[str, Sequence[Row]]) -> Table:
    """Pictures of each data set: all, named wrongly from the start, failed, compared; and undefined scores."""
    columns = ("data set", "pictures", "named wrongly", "failed", "compared", "rows with an undefined score")
    lines = []
    for name, rows in studies.items():
        number = counts(rows)
        undefined = sum(row["status"].startswith("undefined") for row in rows)
        keys = ("num_images", "num_misclassified", "num_failed", "num_compared")
        lines.append((name, *(str(number[key]) for key in keys), str(undefined)))
    return _table(columns, lines)


def fooling_table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """Rates of `perceptlib.analysis.results.fooling_summary`, by data set, attack and distance, and after rounding."""
    lines = [
        (
            f"{data}: {NAMES[method]}",
            f"{entry['budget']:g}",
            _interval(entry, ("rate", "low", "high")),
            _interval(entry, ("rate_8bit", "low_8bit", "high_8bit")),
            f"{entry['mean_ssim']:.5f}",
            str(entry["num_images"]),
        )
        for data, summary in summaries.items()
        for method, by_budget in _in_order(summary)
        for entry in by_budget.values()
    ]
    columns = (
        "attack",
        "SSIM distance",
        "fooling rate (95 %)",
        "after rounding (95 %)",
        "median mean SSIM",
        "pictures",
    )
    return _table(columns, lines)


def rate_difference_table(summaries: Mapping[str, Mapping[str, Any]], *, rivals: Sequence[str] = RIVALS) -> Table:
    """The SSIM ball's fooling rate minus each rival's, paired by picture.

    Parameters
    ----------
    summaries
        Data set -> `perceptlib.analysis.results.rate_differences`.
    rivals
        Attacks that are shown.
    """
    lines = [
        (
            f"{data}: SSIM ball minus {NAMES[rival]}",
            f"{entry['budget']:g}",
            _interval(entry, sign="+"),
            _interval(entry, ("value_8bit", "low_8bit", "high_8bit"), sign="+"),
            str(entry["num_values"]),
        )
        for data, summary in summaries.items()
        for rival in rivals
        for entry in summary.get(rival, {}).values()
    ]
    columns = ("difference of rates", "SSIM distance", "as found (95 %)", "after rounding (95 %)", "pictures")
    return _table(columns, lines)


def search_table(summary: Mapping[str, Summary], *, method: str = "ssim") -> Table:
    """Distances that fool on one data set, and the method's over each.

    Parameters
    ----------
    summary
        Of `perceptlib.analysis.results.search_summary`.
    method
        The search that the others are compared with there.
    """
    columns = (
        *("search", "median distance (95 %)", f"{NAMES[method]} over it (95 %)", "p (Holm)", "effect"),
        *("gradients", "median l2", "pictures", "not fooled"),
    )
    lines = []
    for name, entry in _in_order(summary):
        is_other = name != method
        lines.append(
            (
                NAMES[name],
                _interval(entry, ("distance", "low", "high"), digits=".2g"),
                _interval(entry["ratio"]) if is_other else "",
                _p_value(entry["p_value"]) if is_other else "",
                _number(entry["effect"], "+.2f") if is_other else "",
                f"{entry['gradients']:g}",
                f"{entry['l2']:.2g}",
                str(entry["num_images"]),
                str(entry["num_not_fooled"]),
            )
        )
    return _table(columns, lines)


def ratio_table(summaries: Mapping[str, Mapping[str, Summary]], *, method: str = "ssim") -> Table:
    """The method's median distance that fools over each other search's, one column a data set; below 1 it is nearer.

    Parameters
    ----------
    summaries
        Data set -> `perceptlib.analysis.results.search_summary`.
    method
        The search that the others are compared with there.
    """
    found_somewhere = {name: name for summary in summaries.values() for name in summary if name != method}
    lines = [
        (
            f"{NAMES[method]} over {NAMES[search]}",
            *(_interval(found[search]["ratio"]) if search in found else MISSING for found in summaries.values()),
        )
        for search, _ in _in_order(found_somewhere)
    ]
    return _table(("ratio of medians (95 %)", *summaries), lines)


def verdict_table(verdicts: Mapping[str, Sequence[Verdict]], columns: Sequence[str]) -> Table:
    """Verdicts in words with the reason for each.

    Parameters
    ----------
    verdicts
        Line, such as a data set -> a verdict for each of the columns, or one for all of them.
    columns
        Headings, such as "as found" and "rounded to 8 bits".
    """
    lines = []
    for key, each in verdicts.items():
        name = key.replace("_", " ")
        words = [f"{verdict.verdict}: {verdict.reason}" for verdict in each]
        lines.append((name, *words, *[""] * (len(columns) - len(words))))
    return _table(("", *columns), lines)


def control_table(numbers: Summary) -> Table:
    """Score of every map and the attack's above it, by `perceptlib.analysis.controls.control_numbers` of one study."""
    (score,) = {name for entry in numbers.get("own", {}).values() for name in entry} or {""}
    columns = (
        *("map", "energy in its own CAM's top 20 %", "SSIM ball minus it (95 %)", "p (Holm)", "effect"),
        *("own minus another's CAM (95 %)", "p (Holm)", "undefined"),
    )
    lines = []
    for name, entry in _in_order(numbers.get("own", {})):
        test, cam = numbers["differences"].get(name), numbers["own_cam"][name]
        compared = ("", "", "") if test is None else _tested(test)
        undefined = str(entry[score]["num_undefined"])
        lines.append((NAMES[name], _interval(entry[score]), *compared, *_tested(cam)[:2], undefined))
    return _table(columns, lines)


def metric_table(numbers: Mapping[str, Mapping[str, Summary]], other: str) -> Table:
    """Every score of the SSIM ball's map against another map's, for each data set.

    Parameters
    ----------
    numbers
        Data set -> `perceptlib.analysis.controls.metric_tests` against that map.
    other
        The map.
    """
    columns = (
        *("score", "chance", "SSIM ball (95 %)", f"{NAMES[other]} (95 %)", "paired difference (95 %)"),
        *("p (Holm)", "effect", "undefined"),
    )
    lines = []
    for data, tests in numbers.items():
        for metric, entry in tests.items():
            title, chance, _ = METRICS[metric]
            lines.append(
                (
                    f"{data}: {title}",
                    "" if chance is None else f"{chance:.2f}",
                    _interval(entry["own"]),
                    _interval(entry["other"]),
                    *_tested(entry),
                    str(entry["num_undefined"]),
                )
            )
    return _table(columns, lines)


def place_table(numbers: Summary) -> Table:
    """What place and texture explain, by `perceptlib.analysis.controls.control_numbers` of one study."""
    columns = (
        *("map", "partial correlation (95 %)", "p (Holm)", "effect"),
        *("pictures with shift p < 0.05 (95 %)", "undefined"),
    )
    lines = []
    for name, entry in _in_order(numbers.get("partial", {})):
        shift = numbers["shifts"][name]
        lines.append((NAMES[name], *_tested(entry), _interval(shift), str(shift["num_undefined"])))
    return _table(columns, [*lines, ("a map that knows nothing", "0", "", "", "0.05", "")] if lines else [])


def cascade_table(summaries: Mapping[str, Mapping[str, Summary]]) -> Table:
    """`perceptlib.analysis.results.cascade_summary` by data set: scores, and how far the trained one is above them."""
    columns = ("stages randomised", "energy in the trained CAM's top 20 %", "fall (95 %)", "p (Holm)", "effect")
    lines = []
    for data, summary in summaries.items():
        for entry in summary.values():
            fall = entry["fall"]
            lines.append(
                (f"{data}: {entry['stage']}", _interval(entry), *(("", "", "") if fall is None else _tested(fall)))
            )
    return _table(columns, lines)


def halves_table(summaries: Mapping[str, Mapping[str, Summary]]) -> Table:
    """`perceptlib.analysis.controls.halves` by data set: both numbers, and whether their intervals overlap."""
    lines = []
    for data, summary in summaries.items():
        for name, entry in summary.items():
            words = _HALVES.get(name) or f"SSIM ball minus {NAMES[name.removeprefix('minus_')]}"
            overlap = {True: "yes", False: "no", None: "no interval"}[entry["is_overlapping"]]
            lines.append((f"{data}: {words}", _interval(entry["even"]), _interval(entry["odd"]), overlap))
    return _table(("number", "even pictures (95 %)", "odd pictures (95 %)", "overlap"), lines)


def _in_order(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Items in the order of `NAMES`."""
    return [(name, entries[name]) for name in NAMES if name in entries]


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    rows = tuple(tuple(line) for line in lines)
    return Table(tuple(columns), rows or ((MISSING, *[""] * (len(columns) - 1)),))


def _interval(
    entry: Mapping[str, float],
    keys: tuple[str, str, str] = ("value", "low", "high"),
    *,
    digits: str = ".2f",
    sign: str = "",
) -> str:
    value, low, high = (_number(entry[key], sign + digits) for key in keys)
    return value if math.isnan(entry[keys[1]]) else f"{value} ({low} to {high})"


def _number(value: float, digits: str) -> str:
    if math.isnan(value):
        return "undefined"
    return "infinite" if math.isinf(value) else format(value, digits)


def _p_value(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.1g}"


def _tested(entry: Summary) -> tuple[str, str, str]:
    return _interval(entry, sign="+"), _p_value(entry["p_value"]), _number(entry["effect"], "+.2f")
