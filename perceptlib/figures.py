"""Figures of results: what is computed elsewhere is drawn here, with matplotlib's object interface alone.

One style for all: colours of Okabe and Ito (2008), which colour-blind readers tell apart, each with a marker of its
own; few columns and large letters, so that a figure can be read on a phone.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from torch import Tensor

Arguments = ParamSpec("Arguments")

WIDTH = 6.2  # inches; at 350 pixels, the text's width on a phone, letters of 12 points are 9 pixels high
# One colour map for all maps, so that a reader compares them by eye.
_MAP_COLOURS = "magma"
_STYLE: Any = {  # matplotlib's own type lists every setting
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11.5,
    "axes.labelsize": 12,
    "font.size": 12,
    "grid.color": "#dddddd",
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 7,
    "svg.hashsalt": "perceptlib",  # the same figure gives the same file
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
}
# Colour, marker and line of each method and map.
_LOOKS = {
    "linf": ("#D55E00", "s", "dotted"),
    "l2": ("#E69F00", "^", "dashed"),
    "ssim_diagonal": ("#56B4E9", "D", "dashdot"),
    "ssim": ("#0072B2", "o", "solid"),
    "random": ("#000000", "x", "solid"),
    "squared_gradient": ("#009E73", "v", "solid"),
    "texture": ("#CC79A7", "P", "solid"),
}


class Drawing(Figure):
    """A figure that notebooks show by themselves: line art as SVG, pictures as JPEG of twice the screen's density."""

    is_line_art = True

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str | bytes]:
        file = io.BytesIO()
        with matplotlib.rc_context(_STYLE):
            if self.is_line_art:
                self.savefig(file, format="svg", metadata={"Date": None})
                return {"image/svg+xml": file.getvalue().decode()}
            self.savefig(file, format="jpeg", dpi=190, pil_kwargs={"quality": 85, "optimize": True})
            return {"image/jpeg": file.getvalue()}


@dataclass(frozen=True)
class Panel:
    """One picture or map of a grid.

    Attributes
    ----------
    values
        A picture (3, H, W) in [0, 1], or a map (H, W), 0 or more.
    title, words
        Above and below it; for a map the words of its scale are added.
    white
        Value of a map that is drawn white; None for its largest.
    is_log
        Draw the map's logarithm, from its smallest value (black) on.
    """

    values: Tensor
    title: str
    words: str = ""
    white: float | None = None
    is_log: bool = False


def _styled(draw: Callable[Arguments, Drawing]) -> Callable[Arguments, Drawing]:
    @wraps(draw)
    def styled(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Drawing:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


def attack_panel(
    image: Tensor,
    adversarial: Tensor,
    change_map: Tensor,
    cam: Tensor,
    *,
    label: str,
    label_after: str,
    cam_label: str,
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

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: nothing to close. The sixth place shows the top fifths of both maps as outlines.
    """
    perturbation = adversarial - image
    factor = _amplification(perturbation)
    figure = grid(
        [
            Panel(image, "image", label),
            Panel(adversarial, "adversarial image", label_after),
            Panel((0.5 + factor * perturbation).clamp(0, 1), "perturbation", f"{factor:g} times, grey = unchanged"),
            Panel(change_map, "SSIM change map"),
            Panel(cam, "class activation map", cam_label),
            Panel(image, "top 20 % of both", "change map solid, CAM dashed"),
        ]
    )
    _outline(figure.axes[5], change_map, "#56B4E9", linestyles="solid", linewidths=1)
    _outline(figure.axes[5], cam, "#E69F00", linestyles="dashed", linewidths=3)
    return figure


@_styled
def grid(panels: Sequence[Panel], *, num_columns: int = 3) -> Drawing:
    """Pictures and maps in rows of `num_columns`."""
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Drawing(figsize=(WIDTH, num_rows * (WIDTH / num_columns + 0.75)), layout="constrained")
    figure.is_line_art = False
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for place, panel in zip(axes, panels, strict=False):
        _draw_panel(place, panel)
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


def _draw_panel(axes: Axes, panel: Panel) -> None:
    values = panel.values.detach().cpu()
    words = panel.words
    if values.ndim == 3:
        axes.imshow(values.permute(1, 2, 0).numpy(), vmin=0, vmax=1)
    else:
        white = float(values.max()) if panel.white is None else panel.white
        black = float(values.min()) if panel.is_log else 0.0
        norm = LogNorm(black, white) if panel.is_log else Normalize(black, white or 1.0)
        axes.imshow(values.numpy(), cmap=_MAP_COLOURS, norm=norm)
        scale = f"black {black:.2g}, white {white:.2g}"
        words = f"{words}; {scale}" if words else scale
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(panel.title)
    # Class names come from a user's file: a dollar sign in them is no formula.
    axes.set_xlabel(textwrap.fill(words, 24, max_lines=3, placeholder=" …"), fontsize=10.5, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])


def _outline(axes: Axes, values: Tensor, colour: str, **line: Any) -> None:
    """Outline of the fifth of the pixels where a map is highest; nothing for a flat map."""
    threshold = float(values.detach().cpu().double().flatten().quantile(0.8))
    if float(values.min()) < threshold < float(values.max()):
        axes.contour(values.detach().cpu().numpy(), [threshold], colors=[colour], **line)


def _amplification(perturbation: Tensor) -> float:
    """Factor 1, 2, 5, 10, ... that brings nearly all changes into plus or minus one half; 1 for none."""
    # The few largest changes may saturate, so that the rest is seen.
    largest = float(perturbation.detach().abs().flatten().quantile(0.995)) if perturbation.numel() else 0.0
    if largest <= 0:
        return 1.0
    room = max(0.5 / largest, 1.0)
    decade = 10.0 ** math.floor(math.log10(room))
    return max(step * decade for step in (1, 2, 5) if step * decade <= room)
