"""Figures of numbers that several pages share: lines over a logarithmic axis, and dots with their intervals."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import seaborn
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from perceptlib.drawing.style import WIDTH, Drawing, dots, fields, legend, look_of, looks, name_rows, styled

_FEW_DECADES = 50  # an axis whose ends are a smaller factor apart shows plain numbers


@styled
def curves(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    by: str,
    names: Mapping[str, str],
    labels: tuple[str, str],
    band: tuple[str, str] | None = None,
    is_log_y: bool = False,
    is_step: bool = False,
    level: float | None = None,
) -> Drawing:
    """Lines over a logarithmic axis, one for each value of a column.

    `names` are those of the legend, by value of the column `by`; `labels` those of the axes, with units; `band` two
    columns, the ends of an interval. Steps, for cumulative shares, have no markers. `level` is a horizontal line.
    """
    figure = Drawing(figsize=(WIDTH, 4.3), layout="constrained")
    figure.frame = frame
    axes = figure.subplots()
    own = looks(list(names))
    seaborn.lineplot(
        frame,
        x=x,
        y=y,
        hue=by,
        style=by,
        **own | ({"markers": False} if is_step else {}),
        markeredgewidth=0,
        drawstyle="steps-post" if is_step else "default",
        estimator=None,
        sort=False,
        legend=False,
        ax=axes,
    )
    for key, points in frame.groupby(by, sort=False) if band else ():
        low, high = (points[end] for end in band or ())
        axes.fill_between(points[x], low, high, color=own["palette"][key], alpha=0.15, linewidth=0)
    if level is not None:
        axes.axhline(level, color="#000000", linewidth=1, linestyle="dashed")
    axes.set(xscale="log", xlabel=labels[0], ylabel=labels[1])
    if len(frame) and frame[x].max() < _FEW_DECADES * frame[x].min():  # powers of ten would be one or two
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if is_log_y:
        axes.set_yscale("log")
    legend(figure, names, columns=2)
    return figure


@styled
def interval_chart(
    frame: pd.DataFrame, *, names: Mapping[str, str], scores: Mapping[str, str], chance: Mapping[str, float]
) -> Drawing:
    """A dot with its interval for every map, a field for every score, a dashed line at chance.

    The frame has a row for each `map` and `score`, with `value`, `low` and `high`; scores that are not named are left
    out.
    """
    shown = [score for score in scores if (frame["score"] == score).any()]
    maps = frame["map"].unique()
    titles = [scores[score] for score in shown]
    figure, places = fields(titles, frame, height=0.3 * len(maps) + 0.9, sharey=True)
    for score, axes in zip(shown, places.values(), strict=True):
        entries = frame[frame["score"] == score].set_index("map").loc[maps]
        dots(axes, entries, range(len(maps)), map(look_of, maps))
        axes.axvline(chance[score], color="#000000", linewidth=1, linestyle="dashed")
        name_rows(axes, [names[name] for name in maps])
    return figure
