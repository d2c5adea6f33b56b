"""Figures of the sensitivity: one option changed at a time, and two at once."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from perceptlib.analysis.sensitivity import label_of, one_field_away
from perceptlib.drawing.figure_rows import nested_rows
from perceptlib.drawing.figures import _LOOKS, WIDTH, Drawing, _styled
from perceptlib.study.sensitivity_settings import Setting

_GAP = 0.6  # between the rows of two options
_ROW = 0.27  # inches
_CHANCE = "#999999"


@_styled
def setting_chart(
    summary: Mapping[Setting, Mapping[str, Any]], base: Setting, *, score: str = "energy_in_top_q", name: str
) -> Drawing:
    """A row for each setting one option away from the base: the score and a random direction's, and their difference.

    Parameters
    ----------
    summary
        Of `perceptlib.analysis.sensitivity.sensitivity_summary`.
    base
        The setting that the others change; it must be in the summary.
    score
        A key of `perceptlib.analysis.sensitivity.SCORES`.
    name
        Of the score, below the left field.

    Returns
    -------
    Drawing
        Rows in groups, one an option. Dashed: the base's score and difference. Grey: chance of the energy, which is
        the q of the row. A line at 0 where there is no difference.
    """
    shown = one_field_away(summary, base)
    places = _places(list(shown), base)
    figure = Drawing(figsize=(WIDTH, _ROW * max(places) + 1.5), layout="constrained")
    figure.rows = nested_rows({label_of(setting, base): entry for setting, entry in shown.items()}, "setting")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.15, 1))
    for place, (setting, entry) in zip(places, shown.items(), strict=True):
        _dot(left, place + 0.12, entry[f"random_{score}"], "random")
        _dot(left, place - 0.12, entry[score], "ssim")
        _dot(right, place, entry[f"beyond_{score}"], "ssim")
        if score == "energy_in_top_q":
            left.plot([setting.q], [place], color=_CHANCE, marker="|", markersize=13, linestyle="none")
    for field, key in ((left, score), (right, f"beyond_{score}")):
        field.axvline(shown[base][key]["value"], color=_LOOKS["ssim"][0], linewidth=1, linestyle="dashed")
    right.axvline(0, color="#000000", linewidth=1)
    left.set(xlabel=textwrap.fill(name, 18))
    right.set(xlabel="minus random\ndirection")
    left.set_yticks(places, [label_of(setting, base) for setting in shown])
    left.set_ylim(max(places) + 0.6, -0.6)
    handles = [
        Line2D([], [], color=_LOOKS[key][0], marker=_LOOKS[key][1], label=words)
        for key, words in (("ssim", "SSIM ball"), ("random", "random direction in it"))
    ]
    if score == "energy_in_top_q":
        handles.append(Line2D([], [], color=_CHANCE, marker="|", markersize=13, linestyle="none", label="chance"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, handlelength=1.2, columnspacing=1)
    return figure


@_styled
def heat_maps(
    summary: Mapping[Setting, Mapping[str, Any]],
    base: Setting,
    *,
    rows: str = "budget",
    columns: str = "window",
    scores: Mapping[str, str],
) -> Drawing:
    """Two options changed at once: a field for each score, its median written into every cell.

    Parameters
    ----------
    summary
        Of `perceptlib.analysis.sensitivity.sensitivity_summary`; settings that differ from the base elsewhere are left
        out, combinations that are missing stay white.
    base
        Whose other options are kept.
    rows, columns
        Fields of `perceptlib.study.sensitivity.Setting`.
    scores
        Key of an interval in the summary -> title of its field. The colours begin at 0, so that small differences
        look small.
    """
    import seaborn  # takes a second, and loads pyplot

    kept = {setting: entry for setting, entry in summary.items() if set(setting.varied(base)) <= {rows, columns}}
    down, across = (_values(list(kept), name) for name in (rows, columns))
    figure = Drawing(figsize=(WIDTH, len(scores) * (0.42 * len(down) + 0.6) + 1.3), layout="constrained")
    figure.rows = [
        {rows: str(getattr(setting, rows)), columns: str(getattr(setting, columns))} | row
        for setting, entry in kept.items()
        for row in nested_rows(entry)
    ]
    fields = figure.subplots(len(scores), 1, squeeze=False, sharex=True)[:, 0]
    for field, (score, title) in zip(fields, scores.items(), strict=True):
        values = np.full((len(down), len(across)), np.nan)
        for setting, entry in kept.items():
            values[down.index(getattr(setting, rows)), across.index(getattr(setting, columns))] = entry[score]["value"]
        known = values[~np.isnan(values)]
        seaborn.heatmap(
            values,
            ax=field,
            annot=True,
            fmt=".2f",
            cmap="cividis",
            vmin=min(0.0, known.min()),
            vmax=max(known.max(), 1e-9),
            linewidths=1,
            xticklabels=[str(value) for value in across],
            yticklabels=[f"{value:g}" if isinstance(value, float) else str(value) for value in down],
        )
        field.grid(False)
        field.set(title=title, ylabel=rows)
        field.tick_params(axis="y", rotation=0)
        field.tick_params(axis="x", rotation=30)
    fields[-1].set_xlabel(columns)
    return figure


def _places(settings: Sequence[Setting], base: Setting) -> list[float]:
    """Height of each row, with a gap where another option begins."""
    places, place = [0.0], 0.0
    for before, setting in pairwise(settings):
        place += 1 if before.varied(base) == setting.varied(base) else 1 + _GAP
        places.append(place)
    return places


def _dot(field: Axes, place: float, entry: Mapping[str, float], look: str) -> None:
    colour, marker, _ = _LOOKS[look]
    field.plot([entry["low"], entry["high"]], [place, place], color=colour)
    field.plot([entry["value"]], [place], color=colour, marker=marker, linestyle="none")


def _values(settings: Sequence[Setting], name: str) -> list[Any]:
    """Values of one field; numbers rise, words keep their order."""
    found = list(dict.fromkeys(getattr(setting, name) for setting in settings))
    return sorted(found) if isinstance(found[0], int | float) else found
