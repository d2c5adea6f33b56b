"""What the study's pages share: names of methods, tables of a frame's columns, charts with a row for each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from perceptlib.drawing.figures import Drawing, dots, fields, legend_of_kinds, look_of, looks, name_rows
from perceptlib.drawing.tables import Format, Table, intervals, number, table
from perceptlib.study.comparison import BALLS
from perceptlib.study.localisation import MAPS

Column = Callable[[pd.DataFrame], pd.Series]  # what makes a table's column of a frame
Columns = Mapping[str, str | Column]

# Attacks, searches and maps, in the order in which tables and figures show them.
NAMES: Mapping[str, str] = (
    {"fgsm": "FGSM"}
    | BALLS
    | {"random": MAPS["random"], "multiscale_random": MAPS["multiscale_random"], "noise": "equal-SSIM noise"}
    | {name: MAPS.get(name, name) for name in ("squared_gradient", "texture", "edges", "centre")}
    | {f"{ball}_8bit": f"{BALLS[ball]}, 8-bit grid" for ball in ("linf", "l2", "ssim", "multiscale")}
    | {f"pgd_{ball}": f"PGD, {BALLS[ball]}" for ball in ("linf", "l2", "ssim")}
    | {"deepfool": "DeepFool", "carlini_wagner": "Carlini-Wagner"}
)
TESTED: Mapping[str, Column] = {  # columns of a paired test
    "(95 %)": partial(intervals, form="{:+.2f}"),
    "p (Holm)": lambda frame: frame["p_value"].map(partial(number, form="{:.1g}")),
    "effect": lambda frame: frame["effect"].map(partial(number, form="{:+.2f}")),
}


def tabulate(frame: pd.DataFrame, columns: Columns, formats: Mapping[str, Format] = {}) -> Table:
    """A table by its headings: columns of a frame, or what functions make of it. Without rows it says so."""
    made = {name: frame[made] if isinstance(made, str) else made(frame) for name, made in columns.items() if len(frame)}
    return table(pd.DataFrame(made, columns=list(columns)), formats)


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of each data set in the order of `NAMES`, methods without a name left out."""
    if frame.empty:
        return frame
    kept = frame[frame["method"].isin(list(NAMES))]
    orders = {"data_set": list(frame["data_set"].unique()) if "data_set" in frame else [], "method": list(NAMES)}
    by = [name for name in orders if name in frame]
    return kept.sort_values(by, key=lambda names: names.map(orders[names.name].index), kind="stable", ignore_index=True)


def of(frame: pd.DataFrame, data_set: str) -> pd.DataFrame:
    """Rows of one data set."""
    return frame[frame["data_set"] == data_set].drop(columns="data_set").reset_index(drop=True)


def method_rows(
    filled: pd.DataFrame,
    hollow: pd.DataFrame,
    kinds: tuple[str, str],
    *,
    columns: tuple[str, str, str] = ("value", "low", "high"),
) -> tuple[Drawing, dict[str, Axes]]:
    """A field for each data set, a row for each method: a filled dot with its interval, a hollow one below.

    Frames have ``data_set``, ``method``, the interval's columns, and ``look`` where a dot has not its method's.
    """
    both = pd.concat([filled.assign(kind=kinds[0]), hollow.assign(kind=kinds[1])], ignore_index=True)
    shown = in_order(both)
    methods = [name for name in NAMES if name in set(filled.get("method", ()))]
    height = 0.42 * len(methods) + 0.9
    data_sets = list(dict.fromkeys(filled["data_set"]))
    figure, axes = fields(data_sets, shown.drop(columns="look", errors="ignore"), height=height, extra=0.5, sharey=True)
    for name, field in axes.items():
        for kind, shift in zip(kinds, (-0.13, 0.17), strict=True):
            own = shown[(shown["data_set"] == name) & (shown["kind"] == kind) & shown["method"].isin(methods)]
            looks = own.get("look", own["method"].map(look_of))
            places = [methods.index(method) + shift for method in own["method"]]
            dots(field, own, places, looks, columns=columns, is_hollow=kind == kinds[1])
        name_rows(field, [NAMES[method] for method in methods])
    legend_of_kinds(figure, *kinds)
    return figure, axes


def factor_axis(field: Axes, label: str = "") -> None:
    """A logarithmic axis in plain numbers, with a dashed line at 1."""
    field.set_xscale("log")
    low, high = field.get_xlim()
    field.set_xticks([tick for tick in (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1000) if low <= tick <= high])
    field.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    field.xaxis.set_minor_locator(NullLocator())
    field.xaxis.set_minor_formatter(NullFormatter())
    field.axvline(1, color="#000000", linewidth=1, linestyle="dashed")
    field.set_xlabel(label)


def lines(field: Axes, frame: pd.DataFrame, x: pd.Series, columns: tuple[str, str, str]) -> None:
    """A line for each method of a frame, with the interval at every point."""
    methods = frame["method"]
    hue: dict[str, Any] = {"hue": methods, "style": methods, "legend": False, "errorbar": None, "markeredgewidth": 0}
    value, low, high = (frame[name] for name in columns)
    seaborn.lineplot(x=x, y=value, ax=field, **hue, **looks(methods.unique()))
    field.vlines(x, low, high, colors=[look_of(method).colour for method in methods], linewidth=1.3)


def part(prefix: str, made: Column) -> Column:
    """A column made of the frame's columns with that prefix."""
    return lambda frame: made(frame.filter(regex=f"^{prefix}").rename(columns=lambda name: name.removeprefix(prefix)))


def blank(made: Column, name: str, value: Any) -> Column:
    """The same column, empty where another one has some value."""
    return lambda frame: made(frame).mask(frame[name] == value, "")
