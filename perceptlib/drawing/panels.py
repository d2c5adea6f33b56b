"""Pictures and maps side by side, each with its words and the colour bar of its scale."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from torch import Tensor
from torch.nn.functional import avg_pool2d

from perceptlib.drawing.figures import WIDTH, Drawing, styled

# One colour map for all maps, so that a reader compares them by eye.
_MAP_COLOURS = "magma"
_MOST_CELLS = 64  # along a side, of a map that is kept as numbers


@dataclass(frozen=True)
class Panel:
    """One picture or map of a grid, with words above and below it."""

    values: Tensor  # a picture (3, H, W) in [0, 1], or a map (H, W), 0 or more
    title: str
    words: str = ""
    white: float | None = None  # value of a map that is drawn white; None for its largest
    is_log: bool = False  # draw the map's logarithm, from its smallest value (black) on
    reach: float | None = None  # of changes about grey: the one that is drawn at the ends of the scale


def perturbation_panel(perturbation: Tensor, title: str, words: str = "", *, factor: float | None = None) -> Panel:
    """A perturbation (3, H, W) about grey, amplified by a round factor that is told, or by the given one."""
    factor = amplification(perturbation) if factor is None else factor
    amplified = (0.5 + factor * perturbation).clamp(0, 1)
    return Panel(amplified, title, words or f"{factor:g} times; grey: unchanged", reach=0.5 / factor)


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
    """One attacked picture: it, the adversarial one, their difference, change map, CAM, and both maps' top fifths.

    The labels are words below; `change_white` is the change that is drawn white, so that figures share a scale.
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


@styled
def grid(panels: Sequence[Panel], *, num_columns: int = 3) -> Drawing:
    """Pictures and maps in rows of `num_columns`."""
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Drawing(figsize=(WIDTH, num_rows * (WIDTH / num_columns + 0.88)), layout="constrained")
    figure.is_line_art = False
    figure.frame = map_frame(panels)
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for place, panel in zip(axes, panels, strict=False):
        draw_panel(place, panel)
    for place in axes[len(panels) :]:
        place.remove()
    return figure


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


def nearly_largest(values: Tensor) -> float:
    """A value to draw white: single pixels of a map reach far above the rest, which would not be seen."""
    return float(values.flatten().quantile(0.99))


def outline(axes: Axes, values: Tensor, colour: str, **line: Any) -> None:
    """Outline of the fifth of the pixels where a map is highest; nothing for a flat map."""
    threshold = float(values.detach().cpu().double().flatten().quantile(0.8))
    if float(values.min()) < threshold < float(values.max()):
        axes.contour(values.detach().cpu().numpy(), [threshold], colors=[colour], **line)


def map_frame(panels: Sequence[Panel]) -> pd.DataFrame:
    """The maps among panels as numbers: a row for each cell, a column for each map, named by its place and title.

    Of a map with more than 64 pixels a side the means over square blocks, named by their upper left pixel. Maps of
    another size than the first are left out.
    """
    maps = {
        f"{place} {panel.title}": panel.values.detach().cpu().double()
        for place, panel in enumerate(panels, start=1)
        if panel.values.ndim == 2
    }
    shape = next(iter(maps.values())).shape if maps else (0, 0)
    block = max(1, math.ceil(max(shape) / _MOST_CELLS))
    kept = {name: values for name, values in maps.items() if values.shape == shape}
    means = {name: avg_pool2d(values[None], block)[0].flatten().numpy() for name, values in kept.items()}
    rows, columns = (range(0, side // block * block, block) for side in shape)
    cells = pd.MultiIndex.from_product([rows, columns], names=["row", "column"])
    return pd.DataFrame(means, index=cells)


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
