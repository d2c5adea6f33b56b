"""Figures of the causal tests: the paired design on shapes, and the attack kept to regions of the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from torch import Tensor

from perceptlib.drawing.figure_rows import nested_rows
from perceptlib.drawing.figures import _LOOKS, WIDTH, Drawing, _styled, grid
from perceptlib.drawing.panels import Panel, amplification, perturbation_panel
from perceptlib.pages.causal import RegionExample
from perceptlib.pages.causal_tables import EFFECTS, REGIONS
from perceptlib.study.factorial import CONDITIONS
from perceptlib.study.localisation import MAPS

_OUTLINE = "#56B4E9"
# Colour and marker of each region.
_REGION_LOOKS = {
    "top": ("#D55E00", "^"),
    "bottom": ("#0072B2", "v"),
    "random": ("#000000", "x"),
    "object": ("#E69F00", "s"),
    "background": ("#009E73", "D"),
}
_FAINT = "#888888"


def scene_panels(maps: Mapping[str, Mapping[str, Tensor]], *, shown: Sequence[str] = ("ssim", "random")) -> Drawing:
    """A scene in its four texture conditions, one a row: the picture and change maps, with the object's outline.

    Parameters
    ----------
    maps
        Of `perceptlib.pages.causal.scene_maps`.
    shown
        Which change maps; all on one scale, of which the brightest hundredth may be cut off.
    """
    white = max(float(entry[name].flatten().quantile(0.99)) for entry in maps.values() for name in shown)
    panels = []
    for condition, entry in maps.items():
        on_object, behind = condition.split("/")
        panels.append(Panel(entry["image"], f"{on_object} object", f"{behind} background"))
        panels += [Panel(entry[name], MAPS[name], white=white) for name in shown]
    figure = grid(panels, num_columns=1 + len(shown))
    masks = [entry["mask"] for entry in maps.values() for _ in range(1 + len(shown))]
    for axes, mask in zip(figure.axes[: len(panels)], masks, strict=True):
        _contour(axes, mask)
    return figure


@_styled
def condition_chart(
    summary: Mapping[str, Mapping[str, Any]], recorded: Mapping[str, Mapping[str, Any]] | None = None
) -> Drawing:
    """Share of each map on the object over chance, a field for each of the four texture conditions.

    Parameters
    ----------
    summary
        Of `perceptlib.study.factorial.factorial_summary`.
    recorded
        The same of recorded scenes, drawn hollow below; None for none.
    """
    figure = Drawing(figsize=(WIDTH, 2 * (0.34 * len(summary) + 0.75) + 0.4), layout="constrained")
    scenes = {"here": summary, "recorded": recorded or {}}
    conditions = {name: {key: entry["conditions"] for key, entry in source.items()} for name, source in scenes.items()}
    figure.rows = nested_rows(conditions, "scenes", "map", "condition")
    fields = figure.subplots(2, 2, sharex=True, sharey=True)
    for field, condition in zip(fields.flatten(), CONDITIONS, strict=True):
        for place, method in enumerate(summary):
            for source, shift, is_hollow in ((summary, -0.15, False), (recorded or {}, 0.2, True)):
                if method in source:
                    colour, marker, _ = _LOOKS[method]
                    entry = source[method]["conditions"][condition]
                    _dot(field, entry, place + shift, colour, marker, is_hollow=is_hollow)
        on_object, behind = condition.split("/")
        field.set_title(f"{on_object} object,\n{behind} background")
        _factor_axis(field)
        field.set_yticks(range(len(summary)), [MAPS[method] for method in summary])
    fields[0, 0].invert_yaxis()
    figure.supxlabel("share on the object over chance", fontsize=12)
    _kinds(figure, has_recorded=bool(recorded))
    return figure


@_styled
def effect_chart(summaries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Drawing:
    """What textures do to every map's share on the object, as factors: a field for each effect, a dot a summary.

    Parameters
    ----------
    summaries
        Name -> `perceptlib.study.factorial.factorial_summary`; the first is drawn filled, the others hollow below it.
    """
    methods = list(dict.fromkeys(method for summary in summaries.values() for method in summary))
    step = 0.8 / max(len(summaries), 1)
    figure = Drawing(figsize=(WIDTH, len(methods) * (0.2 + 0.14 * len(summaries)) + 1.4), layout="constrained")
    effects = {
        name: {key: {effect: entry[effect] for effect in EFFECTS} for key, entry in summary.items()}
        for name, summary in summaries.items()
    }
    figure.rows = nested_rows(effects, "scenes", "map", "effect")
    fields = figure.subplots(1, len(EFFECTS), sharex=True, sharey=True)
    for field, (effect, title) in zip(fields, EFFECTS.items(), strict=True):
        for row, summary in enumerate(summaries.values()):
            for place, method in enumerate(methods):
                if method in summary:
                    colour, marker, _ = _LOOKS[method]
                    height = place - 0.4 + (row + 0.5) * step
                    _dot(field, summary[method][effect], height, colour, marker, is_hollow=row > 0)
        field.set_title(title.replace(" ", "\n"))
        _factor_axis(field)
        field.set_yticks(range(len(methods)), [MAPS[method] for method in methods])
    fields[0].invert_yaxis()
    figure.supxlabel("factor on the share on the object", fontsize=12)
    _kinds(figure, has_recorded=len(summaries) > 1)
    return figure


def region_panels(example: RegionExample) -> Drawing:
    """One picture with each of its regions outlined, and below it the smallest perturbation in there that fools.

    Parameters
    ----------
    example
        Of `perceptlib.pages.causal.region_example`. One factor amplifies all perturbations, named above them if not 1.
    """
    above = [Panel(example.image, REGIONS[name], example.label) for name in example.supports]
    # One scale: the brighter perturbation is the larger one.
    factor = min(amplification(change) for change in example.perturbations.values())
    below = []
    for name, change in example.perturbations.items():
        distance = example.distances[name]
        words = "does not fool" if math.isinf(distance) else f"fools at {distance:.1e}: {example.answers[name]}"
        title = "perturbation" if factor == 1 else f"{factor:g} times"
        below.append(perturbation_panel(change, title, words, factor=factor))
    figure = grid([*above, *below], num_columns=len(above))
    figure.rows = [
        {
            "region": name,
            "area": float(example.supports[name].float().mean()),
            "distance": example.distances[name],
            "largest_change": float(change.abs().max()),
            "answer": example.answers[name],
        }
        for name, change in example.perturbations.items()
    ]
    for place, axes in enumerate(figure.axes[: 2 * len(above)]):
        _contour(axes, list(example.supports.values())[place % len(above)])
    return figure


@_styled
def region_chart(summaries: Mapping[str, Mapping[str, Any]]) -> Drawing:
    """Every region against the top of the CAM, a group of rows for each study: distance that fools, and fooling rate.

    Parameters
    ----------
    summaries
        Name of a study -> `perceptlib.analysis.results.region_summary`.

    Returns
    -------
    Drawing
        Left the distance that fools over the top region's (right of the line: harder), with "not fooled" where most
        pictures were not. Right the fooling rate at every budget, pale to dark as the budget grows.
    """
    lines = [(name, region) for name, summary in summaries.items() for region in summary]
    places = [row + 0.7 * list(summaries).index(name) for row, (name, _) in enumerate(lines)]
    figure = Drawing(figsize=(WIDTH, 0.34 * (max(places) + 1) + 1.1), layout="constrained")
    figure.rows = nested_rows(summaries, "study", "region")
    left, right = figure.subplots(1, 2, sharey=True)
    for place, (name, region) in zip(places, lines, strict=True):
        entry = summaries[name][region]
        colour, marker = _REGION_LOOKS[region]
        if math.isfinite(entry["ratio_to_top"]["value"]):
            _dot(left, entry["ratio_to_top"], place, colour, marker)
        else:
            left.annotate("not fooled", (1, place), fontsize=10, va="center")
        rates = list(entry["rates"].values())
        for number, rate in enumerate(rates):
            alpha = (number + 1) / len(rates)
            shift = (number - (len(rates) - 1) / 2) * 0.24
            _dot(right, rate, place + shift, colour, marker, alpha=alpha)
    _factor_axis(left)
    left.set(xlabel="distance that fools,\nover the top region's")
    right.set(xlabel="fooling rate", xlim=(-0.04, 1.04))
    left.set_yticks(places, [f"{name}: {REGIONS[region]}" for name, region in lines])
    left.set_ylim(max(places) + 0.6, -0.6)
    return figure


def _dot(
    field: Axes,
    entry: Mapping[str, float],
    place: float,
    colour: str,
    marker: str,
    *,
    is_hollow: bool = False,
    alpha: float = 1.0,
) -> None:
    """A dot with its interval; what is infinite or 0 on a logarithmic axis is left to matplotlib to cut off."""
    face = "#ffffff" if is_hollow and marker not in ("x", "+") else colour
    size = 5.5 if is_hollow else 7
    field.plot(
        [entry["low"], entry["high"]], [place, place], color=colour, linewidth=1.2 if is_hollow else 2, alpha=alpha
    )
    field.plot(
        [entry["value"]],
        [place],
        color=colour,
        marker=marker,
        markerfacecolor=face,
        markersize=size,
        linestyle="none",
        alpha=alpha,
    )


def _factor_axis(field: Axes) -> None:
    """Logarithmic, in plain numbers, with a line at 1."""
    field.set_xscale("log")
    low, high = field.get_xlim()
    ticks = [tick for tick in (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100, 1000) if low <= tick <= high]
    field.set_xticks(ticks)
    field.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    field.xaxis.set_minor_locator(NullLocator())
    field.xaxis.set_minor_formatter(NullFormatter())
    field.axvline(1, color="#000000", linewidth=1, linestyle="dashed")


def _kinds(figure: Drawing, *, has_recorded: bool) -> None:
    if has_recorded:
        handles = [
            Line2D([], [], color=_FAINT, marker="o", linestyle="none", label="here"),
            Line2D([], [], color=_FAINT, marker="o", markerfacecolor="#ffffff", linestyle="none", label="recorded"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)


def _contour(axes: Axes, mask: Tensor) -> None:
    """Outline of a region."""
    axes.contour(mask.detach().cpu().double().numpy(), [0.5], colors=[_OUTLINE], linewidths=1.3)
