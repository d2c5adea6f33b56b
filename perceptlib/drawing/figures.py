"""The one style of all figures, the look of every method and map, and figures that several pages share.

Colours of Okabe and Ito (2008), and one of Tol's, which colour-blind readers tell apart, each with a marker of its own;
few columns and large letters, so that a figure can be read on a phone. Every figure carries the frame that it shows.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import matplotlib
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

Arguments = ParamSpec("Arguments")

WIDTH = 6.2  # inches; at 350 pixels, the text's width on a phone, letters of 12 points are 9 pixels high
STYLE: Any = seaborn.axes_style("ticks") | {  # matplotlib's own type lists every setting
    "axes.grid": True,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11.5,
    "axes.labelsize": 12,
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that a figure is the same everywhere
    "font.size": 12,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.8,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 7,
    "svg.hashsalt": "perceptlib",  # the same figure gives the same file
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
}


class Look(NamedTuple):
    """Colour, marker, and what is drawn and left out of a line, as seaborn takes it ("" for a solid one)."""

    colour: str
    marker: str
    dash: Any = ""

    @property
    def line(self) -> Any:
        """The line as matplotlib takes it."""
        return "solid" if self.dash == "" else (0, self.dash)


# Of each method and map. A search has the colour of its ball, or one that no ball of its figure has.
LOOKS: dict[str, Look] = {
    "linf": Look("#D55E00", "s", (1, 1.65)),
    "l2": Look("#E69F00", "^", (3.7, 1.6)),
    "ssim_diagonal": Look("#56B4E9", "D", (6.4, 1.6, 1, 1.6)),
    "ssim": Look("#0072B2", "o"),
    "multiscale": Look("#882255", "h", (5, 1, 1, 1, 1, 1)),
    "random": Look("#000000", "X"),
    "squared_gradient": Look("#009E73", "v"),
    "texture": Look("#CC79A7", "P"),
    "fgsm": Look("#CC79A7", "P", (1, 3)),
    "multiscale_random": Look("#777777", "X"),
    "noise": Look("#000000", "P"),
    "edges": Look("#CC79A7", "X"),
    "centre": Look("#000000", "*"),
    "deepfool": Look("#009E73", "v"),
    "carlini_wagner": Look("#CC79A7", "P"),
}
LOOKS |= {f"pgd_{ball}": LOOKS[ball]._replace(dash="") for ball in ("linf", "l2", "ssim")}
LOOKS |= {f"{ball}_8bit": LOOKS[ball]._replace(dash="") for ball in ("linf", "l2", "ssim", "multiscale")}
_NUM_COLOURS = 8  # of the first in the list
_SPARE = Look("#000000", "X")
_LONG = re.compile(r"(\.\d\d)\d+")
_FEW_DECADES = 50  # an axis whose ends are a smaller factor apart shows plain numbers


class Drawing(Figure):
    """A figure that notebooks show by themselves, with the numbers that it shows, which a run leaves as CSV.

    It is not registered with pyplot: nothing to close.
    """

    is_line_art = True  # shown as SVG; else as JPEG of twice the screen's density
    frame: pd.DataFrame | None = None

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str | bytes]:
        numbers: dict[str, str | bytes] = {}
        if self.frame is not None and len(self.frame):
            has_index = self.frame.index.names != [None]
            numbers["text/csv"] = self.frame.to_csv(index=has_index, float_format="%.6g", lineterminator="\n")
        file = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            if self.is_line_art:
                self.savefig(file, format="svg", metadata={"Date": None})
                # matplotlib writes paths to a millionth of a point; less than a hundredth is not seen
                svg = re.sub(r' d="[^"]*"', lambda path: _LONG.sub(r"\1", path[0]), file.getvalue().decode())
                return {"image/svg+xml": svg} | numbers
            self.savefig(file, format="jpeg", dpi=190, pil_kwargs={"quality": 85, "optimize": True})
            return {"image/jpeg": file.getvalue()} | numbers


def drawing(height: float, frame: pd.DataFrame) -> Drawing:
    """An empty figure of so many inches that shows a frame."""
    figure = Drawing(figsize=(WIDTH, height), layout="constrained")
    figure.frame = frame
    return figure


def styled(draw: Callable[Arguments, Drawing]) -> Callable[Arguments, Drawing]:
    """Decorate a function that draws: in the one style."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Drawing:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def look_of(method: str) -> Look:
    """Of a method or map; black for one that has none of its own."""
    return LOOKS.get(method, _SPARE)


def looks_of(methods: Sequence[str]) -> list[Look]:
    """Their own looks where all have one, else looks in turn; of the eighth the colour comes again, not the marker."""
    if all(method in LOOKS for method in methods):
        return [LOOKS[method] for method in methods]
    first = list(LOOKS.values())[:_NUM_COLOURS]
    turns = [divmod(place, len(first)) for place in range(len(methods))]
    return [Look(first[place].colour, *first[(place + turn) % len(first)][1:]) for turn, place in turns]


def looks(methods: Sequence[str]) -> dict[str, Any]:
    """Their `palette`, `markers` and `dashes`, as seaborn takes them for its hue and style."""
    chosen, names = looks_of(methods), ("palette", "markers", "dashes")
    return {
        name: {method: look[place] for method, look in zip(methods, chosen, strict=True)}
        for place, name in enumerate(names)
    }


def fields(
    titles: Iterable[str], frame: pd.DataFrame, *, height: float, columns: int = 2, extra: float = 0.0, **shared: Any
) -> tuple[Drawing, dict[str, Axes]]:
    """A figure that shows a frame, with a titled field of so many inches for each title, `extra` ones for a legend."""
    names = list(titles)
    columns = max(1, min(columns, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = drawing(rows * height + extra, frame)
    places = figure.subplots(rows, columns, squeeze=False, **shared).flatten().tolist()
    for place in places[len(names) :]:
        place.remove()
    for place, name in zip(places, names, strict=False):
        place.set_title(name)
    return figure, dict(zip(names, places, strict=False))


def dots(
    axes: Axes,
    frame: pd.DataFrame,
    heights: Iterable[float],
    looks: Iterable[Look],
    *,
    columns: tuple[str, str, str] = ("value", "low", "high"),
    is_hollow: bool = False,
    alpha: float = 1.0,
) -> None:
    """A dot with its interval for every row of a frame; nothing for a value that is missing."""
    ends = frame[list(columns)].astype(float).itertuples(index=False)
    for (value, low, high), height, look in zip(ends, heights, looks, strict=True):
        face = "#ffffff" if is_hollow else look.colour
        axes.plot([low, high], [height] * 2, color=look.colour, linewidth=1.2 if is_hollow else 2, alpha=alpha)
        point: dict[str, Any] = {"marker": look.marker, "markerfacecolor": face, "markersize": 5.5 if is_hollow else 7}
        axes.plot([value], [height], color=look.colour, linestyle="none", alpha=alpha, **point)


def name_rows(axes: Axes, names: Iterable[str]) -> None:
    """Names beside the rows 0, 1, 2 and so on, from the top."""
    labels = list(names)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)


def legend(figure: Figure, names: Mapping[str, str], *, columns: int = 3) -> None:
    """A legend of methods (method -> its name) above all fields."""
    handles = []
    for look, name in zip(looks_of(list(names)), names.values(), strict=True):
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.line, label=name))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handlelength=3)


def legend_of_kinds(figure: Figure, filled: str, hollow: str) -> None:
    """A legend of what filled and hollow dots are."""
    handles = [
        Line2D([], [], color="#000000", marker="o", linestyle="none", markerfacecolor=face, label=label)
        for face, label in (("#000000", filled), ("#ffffff", hollow))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)


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
    """Lines over a logarithmic axis, one for each value of the column `by`, which `names` has for the legend.

    `band` is two columns, the ends of an interval. Steps, for cumulative shares, have no markers. `level` is a
    horizontal line.
    """
    figure = drawing(4.3, frame)
    axes = figure.subplots()
    own = looks(list(names))
    way: dict[str, Any] = {"markers": False, "drawstyle": "steps-post"} if is_step else {}
    options: dict[str, Any] = {"markeredgewidth": 0, "estimator": None, "sort": False, "legend": False, "ax": axes}
    seaborn.lineplot(frame, x=x, y=y, hue=by, style=by, **own | way | options)
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
    """A dot with its interval for every `map` of a frame, a field for every named `score`, a dashed line at chance."""
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
