"""Notebook 09: one option changed at a time, and two at once."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict

import pandas as pd
import seaborn
from matplotlib.lines import Line2D

from perceptlib.analysis.sensitivity import SCORES, one_field_away, ranges
from perceptlib.drawing.figures import Drawing, dots, drawing, look_of, styled
from perceptlib.drawing.tables import Table, intervals, table
from perceptlib.pages.shared import Column, Columns, part, tabulate
from perceptlib.study.sensitivity import Setting

_GAP = 0.6  # between the rows of two options
_ROW = 0.27  # inches
_CHANCE = "#999999"


def base_table(base: Setting) -> Table:
    """Every field of the base with its value."""
    lines = [(name, str(value) or "the last") for name, value in asdict(base).items()]
    return table(pd.DataFrame(lines, columns=["option", "base"]))


def setting_table(scores: pd.DataFrame) -> Table:
    """A row for each setting one option away: scores, their differences to the random direction, fooling."""
    columns: dict[str, str | Column] = {"changed": "label"}
    for score, words in SCORES.items():
        columns |= {
            words: part(f"{score}.", intervals),
            f"random direction's {words}": part(f"random_{score}.", intervals),
            f"difference in {words}, paired": part(f"beyond_{score}.", intervals),
        }
    columns |= {"fooled": "fooling_rate.value", "undefined pictures": "energy_in_top_q.num_undefined"}
    return tabulate(one_field_away(scores), columns, {"fooled": "{:.0%}"})


def range_table(scores: pd.DataFrame) -> Table:
    """How far each option alone moves the difference to the random direction, and how many settings are above 0."""

    def end(which: str) -> Column:
        return lambda frame: frame[f"{which}.value"].map("{:+.2f}".format) + " (" + frame[f"{which}.setting"] + ")"

    columns: Columns = {
        "option": "option",
        "lowest difference": end("lowest"),
        "highest": end("highest"),
        "above 0": lambda frame: frame["num_above"].astype(str) + " of " + frame["num_settings"].astype(str),
    }
    return tabulate(ranges(scores), columns)


@styled
def setting_chart(scores: pd.DataFrame, *, score: str = "energy_in_top_q") -> Drawing:
    """A row for each setting one option away from the base: the score and a random direction's, and their difference.

    Dashed: the base's score and difference. Grey: chance of the energy, which is the q of the row.
    """
    shown = one_field_away(scores)
    is_new = shown["changed"] != shown["changed"].shift(fill_value="")
    places = shown.index + _GAP * is_new.cumsum()
    figure = drawing(_ROW * places.max() + 1.5, shown)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.15, 1))
    for field, name, method, shift in (
        (left, f"random_{score}", "random", 0.12),
        (left, score, "ssim", -0.12),
        (right, f"beyond_{score}", "ssim", 0),
    ):
        columns = (f"{name}.value", f"{name}.low", f"{name}.high")
        dots(field, shown, places + shift, [look_of(method)] * len(shown), columns=columns)
        if method == "ssim":
            field.axvline(shown.at[0, columns[0]], color=look_of("ssim").colour, linewidth=1, linestyle="dashed")
    right.axvline(0, color="#000000", linewidth=1)
    left.set(xlabel=textwrap.fill(SCORES[score], 18))
    right.set(xlabel="minus random\ndirection")
    left.set_yticks(places, shown["label"])
    left.set_ylim(places.max() + 0.6, -0.6)
    handles = [
        Line2D([], [], color=look_of(method).colour, marker=look_of(method).marker, label=words)
        for method, words in (("ssim", "SSIM ball"), ("random", "random direction in it"))
    ]
    if score == "energy_in_top_q":
        (chance,) = left.plot(
            shown["q"], places, color=_CHANCE, marker="|", markersize=13, linestyle="none", label="chance"
        )
        handles.append(chance)
    figure.legend(handles=handles, loc="outside upper center", ncols=3, handlelength=1.2, columnspacing=1)
    return figure


@styled
def heat_maps(scores: pd.DataFrame, titles: Mapping[str, str]) -> Drawing:
    """Budget and window changed at once: a field for each score (name -> title), its median written into every cell.

    Settings that differ from the base elsewhere are left out, combinations that are missing stay white. The colours
    begin at 0, so that small differences look small.
    """
    kept = scores[[set(names.split(",")) <= {"budget", "window", ""} for names in scores["changed"]]]
    down, across = sorted(kept["budget"].unique()), kept["window"].unique()
    figure = drawing(len(titles) * (0.42 * len(down) + 0.6) + 1.3, kept)
    fields = figure.subplots(len(titles), 1, squeeze=False, sharex=True)[:, 0]
    for field, (score, title) in zip(fields, titles.items(), strict=True):
        wide = kept.pivot(index="budget", columns="window", values=f"{score}.value").loc[down, across]
        least, most = min(0.0, wide.min(axis=None)), max(wide.max(axis=None), 1e-9)
        seaborn.heatmap(wide, ax=field, annot=True, fmt=".2f", cmap="cividis", vmin=least, vmax=most, linewidths=1)
        field.grid(False)
        field.set(title=title, ylabel="budget", xlabel="")
        field.tick_params(axis="y", rotation=0)
        field.tick_params(axis="x", rotation=30)
    fields[-1].set_xlabel("window")
    return figure
