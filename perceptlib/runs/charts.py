"""Figures of a sweep: a number over the grid of parameters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from perceptlib.drawing.style import STYLE, WIDTH, Drawing, Look, looks_of, styled
from perceptlib.records import replacing
from perceptlib.runs.sweep import Grid, SweepRow

# From this ratio of the largest to the smallest value on, an axis is logarithmic.
_LOG_RATIO = 10


def axis_of(grid: Grid) -> str:
    """The parameter on the horizontal axis: the first of several numbers, else of several values, else the first."""
    several = [name for name, values in grid.items() if len(values) > 1]
    return next((name for name in several if _are_numbers(grid[name])), (several or list(grid))[0])


@styled
def sweep_chart(rows: Sequence[SweepRow], grid: Grid, number: str) -> Drawing:
    """One number over a parameter, a line for every setting of the others that vary.

    Parameters
    ----------
    rows
        Of the sweep; those without the number, or where it is undefined, leave a gap.
    grid
        Parameter -> values.
    number
        Name of a number, groups joined by dots.
    """
    along = axis_of(grid)
    places = list(grid[along]) if _are_numbers(grid[along]) else list(range(len(grid[along])))
    others = {name: values for name, values in grid.items() if name != along and len(values) > 1}
    settings = [dict(zip(others, values, strict=True)) for values in itertools.product(*others.values())]
    figure = Drawing(figsize=(WIDTH, 3.9 + 0.25 * ((len(settings) + 1) // 2)), layout="constrained")
    axes = figure.subplots()
    for setting, look in zip(settings, _looks(settings), strict=True):
        values = [_value(rows, setting | {along: value}, number) for value in grid[along]]
        points = sorted(zip(places, values, strict=True))
        line = look.line if _are_numbers(grid[along]) else "none"
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": line}
        axes.plot(*zip(*points, strict=True), label=_plain_text(setting_text(setting)), **style)
    axes.set_xlabel(along, parse_math=False)
    axes.set_ylabel(number, parse_math=False)
    if not _are_numbers(grid[along]):
        axes.set_xticks(places, [_plain_text(shown(value)) for value in grid[along]])
    elif min(places) > 0 and max(places) >= _LOG_RATIO * min(places):
        axes.set_xscale("log")
    if others:
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def chart_words(rows: Sequence[SweepRow], grid: Grid, number: str) -> str:
    """What `perceptlib.runs.charts.sweep_chart` shows, in words: its alt text."""
    along = axis_of(grid)
    others = [name for name, values in grid.items() if name != along and len(values) > 1]
    defined = [(value, row) for row in rows if (value := _value([row], {}, number)) == value]  # without NaN
    words = f"{number} for {along} = {', '.join(map(shown, grid[along]))}"
    words += f", one line for every setting of {' and '.join(others)}." if others else "."
    if defined:
        (low, where_low), (high, where_high) = (choose(defined, key=lambda pair: pair[0]) for choose in (min, max))
        words += f" Least {low:.4g} at {setting_text(where_low.parameters)}"
        words += f", greatest {high:.4g} at {setting_text(where_high.parameters)}."
    missing = len(rows) - len(defined)
    return words + (f" Undefined in {missing} of {len(rows)} runs." if missing else "")


def setting_text(parameters: Mapping[str, Any]) -> str:
    """Parameters as ``name = value``, apart by commas."""
    return ", ".join(f"{name} = {shown(value)}" for name, value in parameters.items())


def save_chart(figure: Drawing, stem: Path) -> None:
    """Write a figure as SVG and PNG, each whole or not at all."""
    with matplotlib.rc_context(STYLE):
        for suffix, settings in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 190})):
            # Not with_suffix: a number's name may hold a dot.
            with replacing(stem.with_name(stem.name + suffix)) as temporary:
                figure.savefig(temporary, **settings)


def _looks(settings: Sequence[Mapping[str, Any]]) -> list[Look]:
    """A method's own look, else looks in turn."""
    names = [str(next(iter(setting.values()))) if len(setting) == 1 else "" for setting in settings]
    return looks_of(names)


def _value(rows: Sequence[SweepRow], parameters: Mapping[str, Any], number: str) -> float:
    for row in rows:
        if all(row.parameters[name] == value for name, value in parameters.items()):
            value = row.numbers.get(number)
            return float(value) if isinstance(value, int | float) else float("nan")
    return float("nan")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(map(_is_number, values))


def shown(value: Any) -> str:
    """A parameter's value, short."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain_text(text: str) -> str:
    """A text of a user for matplotlib: a dollar sign in it is no formula."""
    return text.replace("$", r"\$")
