"""Figures of a study: fooling rates, distances that fool, the forest plot of claim D, randomised weights.

Each figure has a field for every data set, so that the study of a page stands beside the recorded ones. Summaries come
from `perceptlib.analysis.results`; nothing is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from perceptlib.drawing.figure_rows import nested_rows
from perceptlib.drawing.figures import _LOOKS, WIDTH, Drawing, _styled

Summaries = Mapping[str, Mapping[str, Any]]  # data set -> a summary

_COLUMNS = 2
_SPARE = ("#000000", "X", "solid")
# A search has the colour of its ball, or one that no ball of its figure has.
_MORE_LOOKS = {
    "fgsm": ("#CC79A7", "P", (0, (1, 3))),
    "noise": ("#000000", "P", "solid"),
    "edges": ("#CC79A7", "X", "solid"),
    "centre": ("#000000", "*", "solid"),
    "pgd_linf": ("#D55E00", "s", "solid"),
    "pgd_l2": ("#E69F00", "^", "solid"),
    "pgd_ssim": ("#0072B2", "o", "solid"),
    "l2_8bit": ("#E69F00", "^", "solid"),
    "ssim_8bit": ("#0072B2", "o", "solid"),
    "deepfool": ("#009E73", "v", "solid"),
    "carlini_wagner": ("#CC79A7", "P", "solid"),
}


@_styled
def fooling_curves(summaries: Summaries, *, names: Mapping[str, str]) -> Drawing:
    """Fooling rate against SSIM distance, one line an attack; below each field the same after rounding to 8 bits.

    Parameters
    ----------
    summaries
        Data set -> `perceptlib.analysis.results.fooling_summary`.
    names
        Attack -> name in the legend, in its order.
    """
    blocks = max(1, math.ceil(len(summaries) / _COLUMNS))
    columns = min(_COLUMNS, len(summaries)) or 1
    figure = Drawing(figsize=(WIDTH, 4.4 * blocks + 0.8), layout="constrained")
    figure.rows = nested_rows(summaries, "data_set", "attack", "distance")
    fields = figure.subplots(2 * blocks, columns, squeeze=False, sharey=True)
    for place, (title, summary) in enumerate(summaries.items()):
        block, column = divmod(place, columns)
        for below, suffix in enumerate(("", "_8bit")):
            field = fields[2 * block + below, column]
            _draw_rates(field, {name: summary[name] for name in names if name in summary}, suffix)
            field.set_title(f"{title}, rounded to 8 bits" if suffix else title)
        field.set_xlabel("SSIM distance")
    for field in fields.flatten():
        if not field.get_title():
            field.remove()
    for row in fields[:, 0]:
        row.set(ylabel="fooling rate", ylim=(-0.04, 1.04))
    _legend(figure, _in_order(summaries, names), names)
    return figure


@_styled
def distances_chart(before: Summaries, after: Summaries, *, names: Mapping[str, str]) -> Drawing:
    """Median SSIM distance that fools with its interval, one row a search, on a logarithmic axis.

    Parameters
    ----------
    before, after
        Data set -> `perceptlib.analysis.results.search_summary`, of the pictures as found (filled) and rounded to 8 bits
        (hollow, below). An infinite distance, where half of the pictures are not fooled or more, is an arrow at the
        right edge; an interval may reach it.
    names
        Search -> name beside its row, in their order.
    """
    searches = _in_order(before, names)
    figure, fields = _row_fields(list(before), height=0.42 * len(searches))
    figure.rows = nested_rows({"as found": before, "rounded to 8 bits": after}, "pictures", "data_set", "search")
    for field, title in zip(fields, before, strict=True):
        ends = [
            entry[end]
            for summary in (before[title], after[title])
            for entry in summary.values()
            for end in ("distance", "low", "high")
        ]
        known = [end for end in ends if 0 < end < math.inf]
        field.set_xscale("log")
        if known:
            field.set_xlim(min(known) / 1.6, max(known) * 3)
        edge = max(known, default=1.0) * 2.2
        for summary, shift, is_hollow in ((before[title], -0.13, False), (after[title], 0.17, True)):
            for place, search in enumerate(searches):
                if search in summary:
                    entry = summary[search]
                    value, low, high = (min(entry[end], edge) for end in ("distance", "low", "high"))
                    marker = ">" if math.isinf(entry["distance"]) else None
                    _dot(field, search, (value, low, high), place + shift, is_hollow=is_hollow, marker=marker)
        field.xaxis.set_major_locator(LogLocator(numticks=5))
        field.xaxis.set_minor_formatter(NullFormatter())
        field.set(title=title, xlabel="SSIM distance that fools")
        _name_rows(field, [names[search] for search in searches])
    _two_kinds(figure, "as found", "rounded to 8 bits")
    return figure


@_styled
def forest_plot(own: Summaries, another: Summaries, *, score: str, names: Mapping[str, str], chance: float) -> Drawing:
    """Every map's score with its interval, one row a map and control, and a dashed line at chance.

    Parameters
    ----------
    own, another
        Data set -> `perceptlib.analysis.results.score_summary` against the picture's own CAM (filled) and against another
        picture's (hollow, below).
    score
        Of the summaries.
    names
        Map -> name beside its row, in their order.
    chance
        What a map that knows nothing gets.
    """
    maps = _in_order(own, names)
    figure, fields = _row_fields(list(own), height=0.42 * len(maps))
    figure.rows = nested_rows({"own": own, "another picture's": another}, "cam", "data_set", "map")
    for field, title in zip(fields, own, strict=True):
        for summary, shift, is_hollow in ((own[title], -0.13, False), (another.get(title, {}), 0.17, True)):
            for place, name in enumerate(maps):
                if name in summary:
                    entry = summary[name][score]
                    ends = (entry["value"], entry["low"], entry["high"])
                    _dot(field, name, ends, place + shift, is_hollow=is_hollow)
        field.axvline(chance, color="#000000", linewidth=1, linestyle="dashed")
        field.xaxis.set_major_locator(MaxNLocator(4))
        field.set(title=title, xlabel="share of energy")
        _name_rows(field, [names[name] for name in maps])
    _two_kinds(figure, "its own CAM", "another picture's CAM")
    return figure


@_styled
def cascade_curve(summaries: Summaries, *, y: str, chance: float) -> Drawing:
    """Score against the number of stages randomised from the top, with intervals and a dashed line at chance.

    Parameters
    ----------
    summaries
        Data set -> `perceptlib.analysis.results.cascade_summary`.
    y
        Name of the score.
    chance
        What a map that knows nothing gets.
    """
    rows = max(1, math.ceil(len(summaries) / _COLUMNS))
    columns = min(_COLUMNS, len(summaries)) or 1
    figure = Drawing(figsize=(WIDTH, 2.9 * rows), layout="constrained")
    figure.rows = nested_rows(summaries, "data_set", "stages_randomised")
    fields = figure.subplots(rows, columns, squeeze=False, sharey=True)
    colour, marker, _ = _LOOKS["ssim"]
    for field, (title, summary) in _filled(fields.flatten().tolist(), summaries):
        entries = list(summary.values())
        values, low, high = (np.array([entry[end] for entry in entries]) for end in ("value", "low", "high"))
        field.errorbar(
            range(len(entries)), values, yerr=(values - low, high - values), color=colour, marker=marker, capsize=3
        )
        field.axhline(chance, color="#000000", linewidth=1, linestyle="dashed")
        field.set_xticks(range(len(entries)), [str(entry["stage"]) for entry in entries])
        field.set(title=title, xlabel="stages randomised")
    for field in fields[:, 0]:
        field.set_ylabel(y)
    return figure


def _draw_rates(field: Axes, summary: Mapping[str, Any], suffix: str) -> None:
    """Rates of one data set; attacks stand a little beside each other, so that no interval hides another."""
    for place, (method, by_budget) in enumerate(summary.items()):
        colour, marker, line = _look(method)
        aside = 1.07 ** (place - (len(summary) - 1) / 2)
        budgets = np.array([entry["budget"] for entry in by_budget.values()]) * aside
        rates, low, high = (
            np.array([entry[f"{name}{suffix}"] for entry in by_budget.values()]) for name in ("rate", "low", "high")
        )
        ends = (rates - low, high - rates)
        field.errorbar(budgets, rates, yerr=ends, color=colour, marker=marker, linestyle=line, elinewidth=1)
    field.set_xscale("log")


def _dot(
    field: Axes,
    key: str,
    ends: tuple[float, float, float],
    place: float,
    *,
    is_hollow: bool,
    marker: str | None = None,
) -> None:
    """Value, low and high in one row; nothing for a value that is not there, no line for an interval that is not."""
    colour, own_marker, _ = _look(key)
    value, low, high = ends
    field.plot([low, high], [place, place], color=colour, linewidth=1.2 if is_hollow else 2)
    face = "white" if is_hollow else colour
    marker = marker or own_marker.replace("x", "X")  # the one that has a face
    field.plot([value], [place], color=colour, marker=marker, markerfacecolor=face, linestyle="none")


def _row_fields(titles: Sequence[str], *, height: float) -> tuple[Drawing, list[Axes]]:
    """Fields for charts with one row a method, their names at the left alone."""
    rows = max(1, math.ceil(len(titles) / _COLUMNS))
    columns = min(_COLUMNS, len(titles)) or 1
    figure = Drawing(figsize=(WIDTH, rows * (height + 0.9) + 0.5), layout="constrained")
    fields = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten().tolist()
    for field in fields[len(titles) :]:
        field.remove()
    return figure, fields[: len(titles)]


def _name_rows(field: Axes, names: Sequence[str]) -> None:
    field.set_yticks(range(len(names)), list(names))
    field.set_ylim(max(len(names), 1) - 0.5, -0.5)


def _in_order(summaries: Summaries, names: Mapping[str, str]) -> list[str]:
    """Methods of any data set, in the order of their names."""
    return [name for name in names if any(name in summary for summary in summaries.values())]


def _filled(fields: Sequence[Axes], summaries: Summaries) -> Iterator[tuple[Axes, tuple[str, Mapping[str, Any]]]]:
    """A field for each data set; those left over are removed."""
    for field in fields[len(summaries) :]:
        field.remove()
    yield from zip(fields, summaries.items(), strict=False)


def _legend(figure: Drawing, methods: Sequence[str], names: Mapping[str, str]) -> None:
    lines = []
    for method in methods:
        colour, marker, line = _look(method)
        lines.append(Line2D([], [], color=colour, marker=marker, linestyle=line, label=names[method]))
    figure.legend(handles=lines, loc="outside upper center", ncols=3, handlelength=3)


def _two_kinds(figure: Drawing, filled: str, hollow: str) -> None:
    handles = [
        Line2D([], [], color="#000000", marker="o", linestyle="none", markerfacecolor=face, label=label)
        for face, label in (("#000000", filled), ("white", hollow))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)


def _look(method: str) -> tuple[str, str, Any]:
    return _LOOKS.get(method) or _MORE_LOOKS.get(method, _SPARE)
