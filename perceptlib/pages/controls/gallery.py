"""Photographs where the SSIM ball's change agrees with the class activation map, where not, and where texture wins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from perceptlib.drawing.figures import WIDTH, Drawing
from perceptlib.drawing.panels import Panel, grid, outline
from perceptlib.maps import class_activation_map, energy_in_top_q
from perceptlib.maps.controls import texture
from perceptlib.pages.attack import short_name
from perceptlib.study.comparison import ball_of
from perceptlib.study.localisation import Q, margin_gradient, steepest_map
from perceptlib.study.presets import Study
from perceptlib.study.randomisation import numbers_of_stages, randomise, stages

ROWS = {"agrees": "agrees", "apart": "agrees least", "textured": "follows texture most"}
_OUTLINE: dict[str, Any] = {"colour": "#56B4E9", "linestyles": "dashed", "linewidths": 3}
_STRIP = 4  # panels in a row of the strip
_ABOUT = 0.62  # inches above and below one of them
_SEEN = 0.99  # of a map's pixels are below white: single ones reach far above the rest


@dataclass(frozen=True)
class Photograph:
    """A photograph, three maps of it, and which share of them lies where."""

    name: str
    label: str
    image: Tensor  # (3, H, W)
    cam: Tensor  # (H, W), of the label
    change: Tensor  # of one step in the SSIM ball
    texture: Tensor
    change_in_cam: float  # share of the change in the CAM's top fifth
    change_in_texture: float  # and in the texture's top fifth
    texture_in_cam: float


def photographs(study: Study, *, budget: float, cg_steps: int = 15) -> list[Photograph]:
    """Every picture of a study with the change of one step in the SSIM ball, scaled to the SSIM distance `budget`.

    The maps are those that a study scores.
    """
    images, labels = study.pictures.images, study.pictures.labels
    cams, textures = class_activation_map(study.classifier, images, labels), texture(images)
    ball = ball_of("ssim", images, budget, cg_steps=cg_steps)
    changes = steepest_map(margin_gradient(study.classifier, images, labels), images, ball, budget)
    pairs = (changes, cams), (changes, textures), (textures, cams)
    shares = zip(*(energy_in_top_q(values, other, q=Q).tolist() for values, other in pairs), strict=True)
    names = [short_name(study.classifier, label) for label in labels.tolist()]
    about = zip(study.pictures.ids, names, images, cams, changes, textures, shares, strict=True)
    return [Photograph(*one, *within) for *one, within in about]


def chosen(shown: Sequence[Photograph]) -> dict[str, Photograph]:
    """One photograph for each row of `ROWS`, by rules that look at shares alone; of equals the first.

    "textured" is the one whose share in the texture's top fifth exceeds its share in the CAM's by most, or falls short
    by least. Of the others, "agrees" has the largest share in the CAM's top fifth, "apart" the smallest.
    """
    if len(shown) < len(ROWS):
        raise ValueError(f"there are {len(shown)} photographs; {len(ROWS)} or more are needed, one for each row")
    textured = max(shown, key=lambda one: one.change_in_texture - one.change_in_cam)
    others = [one for one in shown if one is not textured]
    agrees = max(others, key=lambda one: one.change_in_cam)
    apart = min((one for one in others if one is not agrees), key=lambda one: one.change_in_cam)
    return {"agrees": agrees, "apart": apart, "textured": textured}


def gallery_figure(rows: Mapping[str, Photograph]) -> Drawing:
    """A row for each photograph: it, the change, the texture, each with an outline of the CAM's top fifth.

    The titles say which share lies within; the changes are on one scale.
    """
    white = max(_white(one.change) for one in rows.values())
    panels = []
    for row, one in rows.items():
        panels.append(Panel(one.image, one.label, ROWS[row]))
        words = f"in texture's fifth: {one.change_in_texture:.0%}"
        panels.append(Panel(one.change, f"change: {one.change_in_cam:.0%}", words, white=white))
        panels.append(Panel(one.texture, f"texture: {one.texture_in_cam:.0%}", white=_white(one.texture)))
    figure = grid(panels)
    for axes, one in zip(figure.axes, (one for one in rows.values() for _ in range(3)), strict=False):
        outline(axes, one.cam, **_OUTLINE)
    return figure


def gallery_numbers(rows: Mapping[str, Photograph]) -> dict[str, dict[str, Any]]:
    """What the prose quotes of each row."""
    return {
        row: {
            "photograph": one.name,
            "label": one.label,
            "change_in_cam": one.change_in_cam,
            "change_in_texture": one.change_in_texture,
            "texture_in_cam": one.texture_in_cam,
        }
        for row, one in rows.items()
    }


def randomised(
    study: Study, name: str, cascade: Sequence[int], *, budget: float, cg_steps: int = 15, seed: int = 0
) -> pd.DataFrame:
    """Change map of one picture for networks with so many stages drawn anew, and its share in the trained CAM's top.

    A row for each number of stages that the network has, rising (-1 for all): ``stages``, ``change`` (H, W), ``share``,
    ``is_all``. The maps are those of the study's cascade.
    """
    if name not in study.pictures.ids:
        raise ValueError(f"there is no picture {name!r}; {', '.join(study.pictures.ids)} are")
    picture = study.pictures.select(torch.tensor([study.pictures.ids.index(name)]))
    images, labels, most = picture.images, picture.labels, len(stages(study.classifier))
    cam = class_activation_map(study.classifier, images, labels)
    ball = ball_of("ssim", images, budget, cg_steps=cg_steps)
    rows = []
    for number in numbers_of_stages(study.classifier, cascade):
        gradient = margin_gradient(randomise(study.classifier, number, seed=seed), images, labels)
        change = steepest_map(gradient, images, ball, budget)
        share = float(energy_in_top_q(change, cam, q=Q))
        rows.append({"stages": number, "change": change[0], "share": share, "is_all": number == most})
    return pd.DataFrame(rows, columns=["stages", "change", "share", "is_all"])


def strip_figure(one: Photograph, networks: pd.DataFrame) -> Drawing:
    """The photograph, its change map for every network of `randomised`, and its texture; the CAM's top fifth outlined.

    The titles say how many stages are drawn anew and which share lies within; the changes are on one scale.
    """
    white = max([_white(one.change), *map(_white, networks["change"])])
    panels = [Panel(one.image, one.label)]
    for row in networks.itertuples():
        number = "all" if row.is_all else "none" if row.stages == 0 else row.stages
        panels.append(Panel(row.change, f"{number}: {row.share:.0%}", white=white))
    panels.append(Panel(one.texture, f"texture: {one.texture_in_cam:.0%}", white=_white(one.texture)))
    figure = grid(panels, num_columns=_STRIP)
    rows = math.ceil(len(panels) / _STRIP)
    figure.set_size_inches(WIDTH, rows * (WIDTH / _STRIP + _ABOUT))
    for axes in figure.axes[: len(panels)]:
        outline(axes, one.cam, **_OUTLINE | {"linewidths": 2})
    return figure


def _white(values: Tensor) -> float:
    return float(values.flatten().quantile(_SEEN))
