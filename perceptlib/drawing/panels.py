"""One place of a figure: a picture or a map with its words and the colour bar of its scale."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from torch import Tensor

from perceptlib.analysis.tables import Row

# One colour map for all maps, so that a reader compares them by eye.
_MAP_COLOURS = "magma"
_MOST_CELLS = 64  # along a side, of a map that is kept as numbers


@dataclass(frozen=True)
class Panel:
    """One picture or map of a grid.

    Attributes
    ----------
    values
        A picture (3, H, W) in [0, 1], or a map (H, W), 0 or more.
    title, words
        Above and below it.
    white
        Value of a map that is drawn white; None for its largest.
    is_log
        Draw the map's logarithm, from its smallest value (black) on.
    reach
        Of a picture of changes about grey: the change that is drawn at the ends of its scale; None for other pictures.
    """

    values: Tensor
    title: str
    words: str = ""
    white: float | None = None
    is_log: bool = False
    reach: float | None = None


def perturbation_panel(perturbation: Tensor, title: str, words: str = "", *, factor: float | None = None) -> Panel:
    """A perturbation (3, H, W) about grey, amplified by a round factor that is told, or by the given one."""
    factor = amplification(perturbation) if factor is None else factor
    amplified = (0.5 + factor * perturbation).clamp(0, 1)
    return Panel(amplified, title, words or f"{factor:g} times; grey: unchanged", reach=0.5 / factor)


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw a panel; a map and a perturbation with a colour bar below."""
    values = panel.values.detach().cpu()
    bar: ScalarMappable | None = None
    ticks: dict[float, str] = {}
    if values.ndim == 3:
        axes.imshow(values.permute(1, 2, 0).numpy(), vmin=0, vmax=1)
        if panel.reach is not None:
            bar = ScalarMappable(Normalize(-panel.reach, panel.reach), "gray")
            ticks = {-panel.reach: f"-{panel.reach:.2g}", 0.0: "0", panel.reach: f"+{panel.reach:.2g}"}
    else:
        largest = float(values.max())
        white = largest if panel.white is None else panel.white
        black = float(values.min()) if panel.is_log else 0.0
        white = white or 1.0  # of a map of nothing
        norm = LogNorm(black, white) if panel.is_log else Normalize(black, white)
        bar = axes.imshow(values.numpy(), cmap=_MAP_COLOURS, norm=norm)
        # What is cut off at white is told.
        ticks = {black: f"{black:.2g}", white: ("≥ " if largest > white * 1.005 else "") + f"{white:.2g}"}
        if panel.is_log and black < 1 < white:
            ticks[1.0] = "1"
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(panel.title)
    # Class names come from a user's file: a dollar sign in them is no formula.
    words = textwrap.fill(panel.words, 24, max_lines=3, placeholder=" …")
    axes.set_xlabel(words, fontsize=10.5, parse_math=False, labelpad=4 if bar is None else 31)
    axes.set_xticks([])
    axes.set_yticks([])
    if bar is not None:
        _draw_bar(axes, bar, ticks)


def amplification(perturbation: Tensor) -> float:
    """Factor 1, 2, 5, 10, ... that brings nearly all changes into plus or minus one half; 1 for none."""
    # The few largest changes may saturate, so that the rest is seen.
    largest = float(perturbation.detach().abs().flatten().quantile(0.995)) if perturbation.numel() else 0.0
    if largest <= 0:
        return 1.0
    room = max(0.5 / largest, 1.0)
    decade = 10.0 ** math.floor(math.log10(room))
    return max(step * decade for step in (1, 2, 5) if step * decade <= room)


def outline(axes: Axes, values: Tensor, colour: str, **line: Any) -> None:
    """Outline of the fifth of the pixels where a map is highest; nothing for a flat map."""
    threshold = float(values.detach().cpu().double().flatten().quantile(0.8))
    if float(values.min()) < threshold < float(values.max()):
        axes.contour(values.detach().cpu().numpy(), [threshold], colors=[colour], **line)


def map_rows(panels: Sequence[Panel]) -> list[Row]:
    """The maps among panels as numbers: a row for each cell, a column for each map, named by its place and title.

    Returns
    -------
    list of dict
        ``row`` and ``column`` in pixels from the upper left corner, and the values, of four digits; of a map with
        more than 64 pixels a side the means over square blocks. A map of another size than the first is left out, and
        pictures are.
    """
    maps = {
        f"{place} {panel.title}": panel.values.detach().cpu()
        for place, panel in enumerate(panels, start=1)
        if panel.values.ndim == 2
    }
    if not maps:
        return []
    height, width = next(iter(maps.values())).shape
    block = math.ceil(max(height, width) / _MOST_CELLS)
    means = {
        name: values[: height // block * block, : width // block * block]
        .unflatten(0, (-1, block))
        .unflatten(2, (-1, block))
        .mean((1, 3))
        .tolist()
        for name, values in maps.items()
        if values.shape == (height, width)
    }
    return [
        {"row": block * row, "column": block * column}
        | {name: float(f"{values[row][column]:.4g}") for name, values in means.items()}
        for row in range(height // block)
        for column in range(width // block)
    ]


def _draw_bar(axes: Axes, bar: ScalarMappable, ticks: dict[float, str]) -> None:
    """A scale across the foot of a panel; its outer numbers stay within its width."""
    place = axes.inset_axes((0.0, -0.1, 1.0, 0.05))
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(bar, cax=place, orientation="horizontal")
    shown = dict(sorted(ticks.items()))
    place.set_xticks(list(shown), list(shown.values()), fontsize=10)
    place.set_xticks([], minor=True)
    place.tick_params(length=2, pad=2)
    labels = place.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")
