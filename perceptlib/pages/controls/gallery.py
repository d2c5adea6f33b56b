"""Photographs where the SSIM ball's change agrees with the class activation map, where not, and where texture wins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from perceptlib.drawing.figures import WIDTH, Drawing
from perceptlib.drawing.panels import Panel, grid, nearly_largest, outline
from perceptlib.maps import class_activation_map, energy_in_top_q
from perceptlib.maps.controls import texture
from perceptlib.pages.attack import short_name
from perceptlib.study.comparison import ball_of
from perceptlib.study.localisation import Q, margin_gradient, steepest_map
from perceptlib.study.presets import Study
from perceptlib.study.randomisation import numbers_of_stages, randomise, stages

ROWS = {"agrees": "agrees", "apart": "agrees least", "textured": "follows texture most"}
_SHARES = ("change_in_cam", "change_in_texture", "texture_in_cam")
_OUTLINE: dict[str, Any] = {"colour": "#56B4E9", "linestyles": "dashed", "linewidths": 3}
_STRIP = 4  # panels in a row of the strip
_ABOUT = 0.62  # inches above and below one of them


def photographs(study: Study, *, budget: float, cg_steps: int = 15) -> pd.DataFrame:
    """Every picture of a study with the change of one step in the SSIM ball, scaled to the SSIM distance `budget`.

    A row for each, named by its id: ``label``, ``image`` (3, H, W), the maps ``cam`` of the label, ``change`` and
    ``texture``, each (H, W) and as a study scores them; ``change_in_cam`` and so on are the shares of one map that lie
    in the top fifth of another.
    """
    images, labels = study.pictures.images, study.pictures.labels
    ball = ball_of("ssim", images, budget, cg_steps=cg_steps)
    maps = {
        "cam": class_activation_map(study.classifier, images, labels),
        "change": steepest_map(margin_gradient(study.classifier, images, labels), images, ball, budget),
        "texture": texture(images),
    }
    found = {"label": [short_name(study.classifier, label) for label in labels.tolist()], "image": list(images)}
    found |= {name: list(values) for name, values in maps.items()}
    for share in _SHARES:
        values, other = (maps[name] for name in share.split("_in_"))
        found[share] = energy_in_top_q(values, other, q=Q).tolist()
    return pd.DataFrame(found, index=list(study.pictures.ids))


def chosen(shown: pd.DataFrame) -> dict[str, pd.Series]:
    """One photograph for each row of `ROWS`, by rules that look at shares alone; of equals the first.

    "textured" is the one whose share in the texture's top fifth exceeds its share in the CAM's by most, or falls short
    by least. Of the others, "agrees" has the largest share in the CAM's top fifth, "apart" the smallest.
    """
    if len(shown) < len(ROWS):
        raise ValueError(f"there are {len(shown)} photographs; {len(ROWS)} or more are needed, one for each row")
    textured = (shown["change_in_texture"] - shown["change_in_cam"]).idxmax()
    others = shown["change_in_cam"].drop(textured)
    agrees = others.idxmax()
    names = {"agrees": agrees, "apart": others.drop(agrees).idxmin(), "textured": textured}
    return {row: shown.loc[name] for row, name in names.items()}


def gallery_figure(rows: Mapping[str, pd.Series]) -> Drawing:
    """A row for each photograph: it, the change, the texture, each with an outline of the CAM's top fifth.

    The titles say which share lies within; the changes are on one scale.
    """
    white = max(nearly_largest(one.change) for one in rows.values())
    panels = []
    for row, one in rows.items():
        panels.append(Panel(one.image, one.label, ROWS[row]))
        words = f"in texture's fifth: {one.change_in_texture:.0%}"
        panels.append(Panel(one.change, f"change: {one.change_in_cam:.0%}", words, white=white))
        panels.append(_texture_panel(one))
    figure = grid(panels)
    for axes, one in zip(figure.axes, (one for one in rows.values() for _ in range(3)), strict=False):
        outline(axes, one.cam, **_OUTLINE)
    return figure


def gallery_numbers(rows: Mapping[str, pd.Series]) -> dict[str, dict[str, Any]]:
    """What the prose quotes of each row."""
    return {row: {"photograph": one.name} | one[["label", *_SHARES]].to_dict() for row, one in rows.items()}


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


def strip_figure(one: pd.Series, networks: pd.DataFrame) -> Drawing:
    """The photograph, its change map for every network of `randomised`, and its texture; the CAM's top fifth outlined.

    The titles say how many stages are drawn anew and which share lies within; the changes are on one scale.
    """
    white = max([nearly_largest(one.change), *map(nearly_largest, networks["change"])])
    panels = [Panel(one.image, one.label)]
    for row in networks.itertuples():
        number = "all" if row.is_all else "none" if row.stages == 0 else row.stages
        panels.append(Panel(row.change, f"{number}: {row.share:.0%}", white=white))
    panels.append(_texture_panel(one))
    figure = grid(panels, num_columns=_STRIP)
    figure.set_size_inches(WIDTH, math.ceil(len(panels) / _STRIP) * (WIDTH / _STRIP + _ABOUT))
    for axes in figure.axes[: len(panels)]:
        outline(axes, one.cam, **_OUTLINE | {"linewidths": 2})
    return figure


def _texture_panel(one: pd.Series) -> Panel:
    return Panel(one.texture, f"texture: {one.texture_in_cam:.0%}", white=nearly_largest(one.texture))
