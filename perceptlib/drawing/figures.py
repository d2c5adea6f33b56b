"""Figures of results: what is computed elsewhere is drawn here, with matplotlib's object interface alone.

One style for all: colours of Okabe and Ito (2008), which colour-blind readers tell apart, each with a marker of its
own; few columns and large letters, so that a figure can be read on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from torch import Tensor

from perceptlib.drawing.figure_rows import curve_rows, nested_rows
from perceptlib.drawing.panels import Panel, draw_panel, map_rows, outline, perturbation_panel
from perceptlib.drawing.style import LOOKS, WIDTH, Drawing, styled

_FEW_DECADES = 50  # an axis whose ends are a smaller factor apart shows plain numbers
_LINES = {
    "linf": ("#D55E00", "s", "dotted"),
    "l2": ("#E69F00", "^", "dashed"),
    "ssim_diagonal": ("#56B4E9", "D", "dashdot"),
}
# Colour, marker and line of each method and map.
_LOOKS = {name: _LINES.get(name, (look.colour, look.marker, "solid")) for name, look in list(LOOKS.items())[:7]}
_styled = styled


def attack_panel(
    image: Tensor,
    adversarial: Tensor,
    change_map: Tensor,
    cam: Tensor,
    *,
    label: str,
    label_after: str,
    cam_label: str,
    change_white: float | None = None,
) -> Drawing:
    """One attacked image: image, adversarial image, amplified perturbation, change map and CAM.

    Parameters
    ----------
    image, adversarial
        (3, H, W), in [0, 1].
    change_map
        1 - SSIM, (H, W).
    cam
        Class activation map of the clean image, (H, W), >= 0.
    label, label_after
        Words below the two images, such as the class that the network sees and its probability.
    cam_label
        Class of the CAM.
    change_white
        Value of the change map that is drawn white, so that several figures share a scale; None for its largest.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: nothing to close. The sixth place shows the top fifths of both maps as outlines.
    """
    figure = grid(
        [
            Panel(image, "image", label),
            Panel(adversarial, "adversarial image", label_after),
            perturbation_panel(adversarial - image, "perturbation"),
            Panel(change_map, "SSIM change map", white=change_white),
            Panel(cam, "class activation map", cam_label),
            Panel(image, "top 20 % of both", "change map solid, CAM dashed"),
        ]
    )
    outline(figure.axes[5], change_map, "#56B4E9", linestyles="solid", linewidths=1)
    outline(figure.axes[5], cam, "#E69F00", linestyles="dashed", linewidths=3)
    return figure


@_styled
def grid(panels: Sequence[Panel], *, num_columns: int = 3) -> Drawing:
    """Pictures and maps in rows of `num_columns`."""
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Drawing(figsize=(WIDTH, num_rows * (WIDTH / num_columns + 0.88)), layout="constrained")
    figure.is_line_art = False
    figure.rows = map_rows(panels)
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for place, panel in zip(axes, panels, strict=False):
        draw_panel(place, panel)
    for place in axes[len(panels) :]:
        place.remove()
    return figure


@_styled
def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    names: Mapping[str, str],
    x: str,
    y: str,
    intervals: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    is_log_y: bool = False,
    is_step: bool = False,
    level: float | None = None,
) -> Drawing:
    """Lines over a logarithmic axis, one a method.

    Parameters
    ----------
    series
        Key -> x and y of its points; a key of the methods and maps has its own colour and marker.
    names
        Key -> name in the legend.
    x, y
        Labels of the axes, with units.
    intervals
        Key -> lower and upper ends at its points, drawn as a band.
    is_log_y
        Whether the y axis is logarithmic.
    is_step
        Draw steps without markers, for cumulative shares.
    level
        A horizontal line, such as that of no difference.
    """
    figure = Drawing(figsize=(WIDTH, 4.3), layout="constrained")
    figure.rows = curve_rows(series, intervals)
    axes = figure.subplots()
    spare = iter(_LOOKS.values())
    for key, (places, values) in series.items():
        colour, marker, line = _LOOKS[key] if key in _LOOKS else next(spare)
        if is_step:
            axes.step(places, values, where="post", color=colour, linestyle=line, label=names[key])
        else:
            axes.plot(places, values, color=colour, marker=marker, linestyle=line, label=names[key])
        if intervals and key in intervals:
            axes.fill_between(places, *intervals[key], color=colour, alpha=0.15, linewidth=0)
    if level is not None:
        axes.axhline(level, color="#000000", linewidth=1, linestyle="dashed")
    axes.set(xscale="log", xlabel=x, ylabel=y)
    places = [place for points in series.values() for place in points[0]]
    if places and max(places) < _FEW_DECADES * min(places):  # powers of ten would be one or two
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if is_log_y:
        axes.set_yscale("log")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@_styled
def interval_chart(
    summary: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    names: Mapping[str, str],
    scores: Mapping[str, str],
    chance: Mapping[str, float],
) -> Drawing:
    """A dot with its interval for every map, a field for every score, a dashed line at chance.

    Parameters
    ----------
    summary
        Map -> score -> ``value``, ``low`` and ``high``.
    names, scores
        Names of the maps and of the scores; the scores of the summary that are not named are left out.
    chance
        Score -> what a map that knows nothing gets.
    """
    shown = [score for score in scores if score in next(iter(summary.values()))]
    num_rows = math.ceil(len(shown) / 2)
    height = num_rows * (0.3 * len(summary) + 0.9)
    figure = Drawing(figsize=(WIDTH, height), layout="constrained")
    figure.rows = nested_rows(summary, "map", "score")
    fields = figure.subplots(num_rows, 2, squeeze=False, sharey=True).flatten()
    for field, score in zip(fields, shown, strict=False):
        for place, (key, entry) in enumerate(summary.items()):
            colour, marker, _ = _LOOKS[key]
            value, low, high = (entry[score][word] for word in ("value", "low", "high"))
            field.plot([low, high], [place, place], color=colour)
            field.plot([value], [place], color=colour, marker=marker, linestyle="none")
        field.axvline(chance[score], color="#000000", linewidth=1, linestyle="dashed")
        field.set_title(scores[score])
        field.set_yticks(range(len(summary)), [names[key] for key in summary])
    fields[0].invert_yaxis()
    for field in fields[len(shown) :]:
        field.remove()
    return figure
