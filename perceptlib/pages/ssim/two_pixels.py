"""The SSIM ball in two dimensions: of two pixels of a photograph, one in a flat and one in a textured place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from perceptlib.balls import SSIMBall
from perceptlib.drawing.figures import Drawing, drawing, look_of, styled
from perceptlib.pages.ssim.distances import allowed_change
from perceptlib.ssim import Window
from perceptlib.study.presets import Pictures

Array = NDArray[np.float64]
Place = tuple[int, int]  # row and column

STEP = 1 / 255  # of a picture of 8 bits, in which both axes are labelled
_AROUND = 10  # pixels of the surroundings that are shown, on each side: twice the window's border
_NUM_POINTS = 241  # of an outline
_SHARES = (0.9, 0.1)  # of the pixels that allow no more change than the textured and than the flat one
_LETTERS = 12  # points
_FEW_STEPS = 10
_NAMES = {"l2": "l2 ball", "ssim": "SSIM ball"}


@dataclass(frozen=True)
class TwoPixels:
    """Two pixels that change in brightness, all channels alike, while the rest of a picture stays.

    The first is the textured one: axes and arrays are (textured, flat).
    """

    places: tuple[Place, Place]
    patches: tuple[Array, Array]  # the surroundings of both, (side, side, channels)
    matrix: Array  # (2, 2): Q(r) = r'M r for the two changes r
    budget: float  # of the SSIM ball Q(r) <= budget
    gradient: Array  # (2,), of the loss

    @property
    def steepest(self) -> dict[str, Array]:
        """The point of each ball, "l2" and "ssim", that raises the loss most; both have Q(r) = budget."""
        solved: Array = np.linalg.solve(self.matrix, self.gradient).astype(np.float64)
        return {
            name: direction * math.sqrt(self.budget / float(direction @ self.matrix @ direction))
            for name, direction in (("l2", self.gradient), ("ssim", solved))
        }

    @property
    def outlines(self) -> dict[str, Array]:
        """Points around each ball, (number, 2). The l2 ball's radius is the norm of its `steepest` point."""
        angles = np.linspace(0, 2 * math.pi, _NUM_POINTS)
        circle = np.stack([np.cos(angles), np.sin(angles)])
        factor = np.linalg.cholesky(self.matrix)
        radius = float(np.linalg.norm(self.steepest["l2"]))
        return {"l2": radius * circle.T, "ssim": math.sqrt(self.budget) * np.linalg.solve(factor.T, circle).T}

    @property
    def gain(self) -> float:
        """How many times as much the SSIM ball's point raises the loss as the l2 ball's, at one price."""
        rises = {name: float(self.gradient @ point) for name, point in self.steepest.items()}
        return rises["ssim"] / rises["l2"]


def two_pixels(picture: Pictures, *, budget: float) -> TwoPixels:
    """Two pixels of one picture, one that SSIM allows much change and one that it allows little (`allowed_change`).

    The loss rises by both alike.

    Parameters
    ----------
    picture
        One picture, with a pixel at least that is more than ten pixels away from every side.
    budget
        SSIM distance of the ball, over the whole picture, in (0, 1).
    """
    images = picture.images[:1].double()
    allowed = allowed_change(images)[0]
    rows, columns = (side - 2 * _AROUND for side in allowed.shape)
    if min(rows, columns) < 1:
        height, width = allowed.shape
        raise ValueError(f"the picture has {height}x{width} pixels; {2 * _AROUND + 1} a side or more are needed")
    order = allowed[_AROUND : _AROUND + rows, _AROUND : _AROUND + columns].flatten().argsort(stable=True)
    found = [divmod(int(order[round(share * (len(order) - 1))]), columns) for share in _SHARES]
    places = tuple((row + _AROUND, column + _AROUND) for row, column in found)
    ball = SSIMBall(images, budget)
    changes = torch.zeros(2, *images.shape[1:], dtype=images.dtype)
    for change, (row, column) in zip(changes, places, strict=True):
        change[:, row, column] = 1
    priced = torch.cat([ball.apply(change[None]) for change in changes]) / ball.size
    sides = [tuple(slice(middle - _AROUND, middle + _AROUND + 1) for middle in place) for place in places]
    patches = [images[0][:, across, down].permute(1, 2, 0).numpy() for across, down in sides]
    return TwoPixels(
        (places[0], places[1]),
        (patches[0], patches[1]),
        torch.einsum("ichw,jchw->ij", changes, priced).numpy(),
        budget,
        np.ones(2),
    )


def numbers(found: TwoPixels) -> dict[str, Any]:
    """What the prose quotes: places, half the length of the ball along each axis in steps of 8 bits, and the gain."""
    return {
        name: {"row": row, "column": column, "reach": math.sqrt(found.budget / found.matrix[axis, axis]) / STEP}
        for axis, (name, (row, column)) in enumerate(zip(("textured", "flat"), found.places, strict=True))
    } | {"gain": found.gain}


def frame(found: TwoPixels) -> pd.DataFrame:
    """Points of both outlines and the points that raise the loss most, in steps of 8 bits."""
    points = [(f"{name} ball", ball) for name, ball in found.outlines.items()]
    points += [(f"steepest, {name}", point[None]) for name, point in found.steepest.items()]
    return pd.concat(
        [pd.DataFrame(each / STEP, columns=["textured", "flat"]).assign(what=what) for what, each in points],
        ignore_index=True,
    )[["what", "textured", "flat"]]


@styled
def ball_figure(found: TwoPixels) -> Drawing:
    """Both balls over the changes of the two pixels, which stand on the left; where each raises the loss most."""
    figure = drawing(3.8, frame(found))
    places = figure.subplot_mosaic([["textured", "balls"], ["flat", "balls"]], width_ratios=(1, 3.4))
    for name, patch in zip(("textured", "flat"), found.patches, strict=True):
        _draw_patch(places[name], patch, f"{name} pixel")
    axes = places["balls"]
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.07)
    for name, outline in found.outlines.items():
        look = look_of(name)
        axes.fill(*(outline / STEP).T, color=look.colour, alpha=0.15, linewidth=0)
        axes.plot(*(outline / STEP).T, color=look.colour, linestyle=look.line, label=_NAMES[name])
    axes.set(xlabel="change of the textured pixel, 1/255", ylabel="change of the flat pixel")
    axes.tick_params(labelsize=_LETTERS)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, handlelength=2.5, fontsize=_LETTERS)
    figure.draw_without_rendering()  # the limits follow from the shape of the field, and are kept
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    axes.set_aspect("equal", adjustable="box")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(2 if axes.get_xlim()[1] < _FEW_STEPS else 5))
    _draw_levels(axes, found)
    return figure


def _draw_patch(axes: Axes, patch: Array, title: str) -> None:
    """The surroundings of a pixel, with the pixel and the window around it."""
    axes.imshow(patch, vmin=0, vmax=1)
    axes.set_title(title, fontsize=_LETTERS)
    axes.set_axis_off()
    for side in (1, Window().size):
        corner = _AROUND - side / 2
        axes.add_patch(Rectangle((corner, corner), side, side, fill=False, edgecolor="#ffffff", linewidth=2.5))
        axes.add_patch(Rectangle((corner, corner), side, side, fill=False, edgecolor="#000000", linewidth=1))


def _draw_levels(axes: Axes, found: TwoPixels) -> None:
    """The gradient, and through each ball's best point the line along which the loss is the same."""
    top, (across, down) = axes.get_ylim()[1], found.gradient / float(np.abs(found.gradient).max())
    for name, point in found.steepest.items():
        look, (x, y) = look_of(name), point / STEP
        axes.axline((x, y), (x + down, y - across), color="#000000", linewidth=1, dashes=(4, 3))
        axes.plot([x], [y], marker=look.marker, color=look.colour, markersize=10, markeredgecolor="#000000")
        rise, shift, side = (found.gain, 20, "left") if name == "ssim" else (1, -4, "right")
        _beside(axes, f"loss +{rise:.2g}", (x + (y - top) * down / across, top), (shift, -3), side)
    arrow = {"arrowstyle": "-|>", "color": "#000000", "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
    tip = (0.4 * top * across, 0.4 * top * down)
    axes.annotate("", tip, (0, 0), arrowprops=arrow)
    _beside(axes, "gradient", (0, 0), (0, -4), "center")


def _beside(axes: Axes, words: str, point: tuple[float, float], shift: tuple[float, float], side: str) -> None:
    """Words below a point, shifted by so many points of print."""
    options: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "top", "annotation_clip": False}
    axes.annotate(words, point, xytext=shift, **options)
