"""Does a perturbation follow the object or the texture? The same scenes with object and background smooth or textured.

One seed draws a scene once and renders it in four conditions (`perceptlib.data.scenes`), twins that differ in texture alone.
Whatever moves the object's share of a change map from one twin to another is texture; what stays is the object.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from perceptlib.analysis.statistics import Interval, bootstrap_interval
from perceptlib.analysis.tables import Row, Table
from perceptlib.data import shapes
from perceptlib.study.localisation import MAPS, in_mask, maps_of

TEXTURES = ("smooth", "textured")
CONDITIONS = tuple(f"{on_object}/{behind}" for on_object in TEXTURES for behind in TEXTURES)  # object/background
# Weights of the conditions' values in each contrast.
_CONTRASTS = {
    "object_texture": np.array([-0.5, -0.5, 0.5, 0.5]),
    "background_texture": np.array([-0.5, 0.5, -0.5, 0.5]),
    "interaction": np.array([1.0, -1.0, -1.0, 1.0]),
}


def factorial_rows(
    classifier: nn.Module,
    num_images: int,
    *,
    budget: float,
    methods: Sequence[str] = tuple(MAPS),
    steps: int = 1,
    cg_steps: int = 15,
    seed: int = 0,
    batch_size: int = 64,
) -> list[Row]:
    """Share of every change map that lies on the object, for scenes in four texture conditions.

    Parameters
    ----------
    classifier
        Of the shapes: images in [0, 1] to 8 logits.
    num_images
        Scenes, at least 1.
    budget
        SSIM distance of every perturbation, above 0 and below 1.
    methods
        Keys of `perceptlib.study.localisation.MAPS`: the balls, the random direction, squared gradient and texture.
    steps, cg_steps
        As for `perceptlib.study.localisation.maps_of`.
    seed
        Of scenes and random directions, 0 or more.
    batch_size
        Pictures at once, at least 1.

    Returns
    -------
    list of dict
        One row for each scene, condition and method: ``scene``, ``object_texture``, ``background_texture``,
        ``method``, ``budget``, ``is_named_rightly``, ``share`` of the map on the object (NaN for a map without mass),
        ``mask_share`` (what a map spread evenly has: chance) and ``over_chance``, their ratio.

    Raises
    ------
    ValueError
        No scene, a batch_size below 1, an unknown method; otherwise as `maps_of`.
    """
    if num_images < 1 or batch_size < 1:
        raise ValueError(
            f"num_images {num_images} and batch_size {batch_size} must be at least 1; pass e.g. 200 and 64"
        )
    unknown = [method for method in methods if method not in MAPS]
    if unknown:
        raise ValueError(f"there is no method {unknown[0]!r}; {', '.join(MAPS)} are")
    rows: list[Row] = []
    for first in range(0, num_images, batch_size):
        count = min(batch_size, num_images - first)
        for condition in CONDITIONS:
            on_object, behind = condition.split("/")
            scenes = shapes(count, seed=seed, first=first, object_texture=on_object, background_texture=behind)
            with torch.no_grad():
                is_right = classifier(scenes.images).argmax(1) == scenes.labels
            maps = maps_of(
                classifier, scenes.images, scenes.labels, budget=budget, steps=steps, cg_steps=cg_steps, seed=seed
            )
            for method in methods:
                shares = in_mask(maps[method], scenes.masks)
                for index in range(count):
                    share, chance = (float(shares[key][index]) for key in ("energy_in_mask", "mask_share"))
                    rows.append(
                        {
                            "scene": first + index,
                            "object_texture": on_object,
                            "background_texture": behind,
                            "method": method,
                            "budget": budget,
                            "is_named_rightly": bool(is_right[index]),
                            "share": share,
                            "mask_share": chance,
                            "over_chance": share / chance,
                        }
                    )
    return rows


def factorial_effects(rows: Sequence[Row], method: str) -> dict[str, Any]:
    """What texture does to the object's share of one method's map, over scenes named rightly in all four conditions.

    Parameters
    ----------
    rows
        Of `factorial_rows`.
    method
        Which method's.

    Returns
    -------
    dict
        ``conditions``: condition ("smooth/textured": a smooth object before a textured background) -> interval of the
        median share over chance, 1 being chance. ``object_texture``, ``background_texture`` and ``interaction``:
        intervals of the median effect as a factor on the share, 1 being none; ``background_over_object``: how many
        times as much the background's texture moves the share as the object's own, up or down. ``additive``: the
        three effects in units of chance, 0 being none. ``follows``: `follows` of the conditions. ``num_scenes``, and
        ``num_left_out`` for a wrong name in some condition.

    Raises
    ------
    ValueError
        No row of that method; a scene without its four conditions.

    Notes
    -----
    Effects are contrasts within a scene: of the object's texture the mean over both backgrounds of textured minus
    smooth, of the background's likewise over both objects, the interaction the object's effect before a textured
    background minus that before a smooth one. As factors they are contrasts of logarithms, which is the better scale
    to compare scenes: a share over chance cannot exceed one over the object's area, so that in units of chance the
    background's effect is larger the smaller the object, and half as closely or less tied to it as a factor. No scale
    is free of interaction for every map; read it on both.
    """
    values, num_left_out = _paired(rows, method)
    conditions = {name: bootstrap_interval(values[:, place]) for place, name in enumerate(CONDITIONS)}
    with np.errstate(divide="ignore", invalid="ignore"):  # a share of 0 is infinitely far below chance
        logarithms = np.log(values)
        effects = {name: logarithms @ weights for name, weights in _CONTRASTS.items()}
        behind, own = (
            np.sign(bootstrap_interval(effects[name]).value) * effects[name]
            for name in ("background_texture", "object_texture")
        )
        effects["background_over_object"] = behind - own
    additive = {name: asdict(bootstrap_interval(values @ weights)) for name, weights in _CONTRASTS.items()}
    return {
        "conditions": {name: asdict(interval) for name, interval in conditions.items()},
        **{name: asdict(_factor(bootstrap_interval(effect))) for name, effect in effects.items()},
        "additive": additive,
        "follows": follows(conditions),
        "num_scenes": len(values),
        "num_left_out": num_left_out,
    }


def follows(conditions: Mapping[str, Interval]) -> str:
    """What a map follows, by the ends of the intervals of its share over chance in the four conditions.

    Parameters
    ----------
    conditions
        Condition -> interval.

    Returns
    -------
    str
        "the object": above chance in every condition. "the texture": below chance for a smooth object before a
        textured background and above it for the reverse; "the smooth part": the other way round. Else "undecided".
    """
    if all(interval.low > 1 for interval in conditions.values()):
        return "the object"
    against, along = conditions["smooth/textured"], conditions["textured/smooth"]
    if against.high < 1 < along.low:
        return "the texture"
    return "the smooth part" if along.high < 1 < against.low else "undecided"


def factorial_summary(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Method -> `factorial_effects`, for every method of the rows."""
    return {method: factorial_effects(rows, method) for method in dict.fromkeys(row["method"] for row in rows)}


def factorial_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """Share over chance in each condition (object/background), effects as factors, and what the map follows."""
    effects = {"object_texture": "object's texture", "background_texture": "background's", "interaction": "interaction"}
    rows = [
        (
            MAPS[method],
            *(_with_interval(entry["conditions"][name]) for name in CONDITIONS),
            *(_with_interval(entry[name]) for name in effects),
            entry["follows"],
        )
        for method, entry in summary.items()
    ]
    return Table(("map", *CONDITIONS, *effects.values(), "follows"), tuple(rows))


def _paired(rows: Sequence[Row], method: str) -> tuple[NDArray[np.float64], int]:
    """Share over chance, (scenes, conditions), of the scenes named rightly throughout, and how many were not."""
    scenes: dict[int, dict[str, Row]] = {}
    for row in rows:
        if row["method"] == method:
            scenes.setdefault(row["scene"], {})[f"{row['object_texture']}/{row['background_texture']}"] = row
    if not scenes:
        raise ValueError(f"no row has method {method!r}; check the spelling")
    for scene, twins in scenes.items():
        if set(twins) != set(CONDITIONS):
            raise ValueError(f"scene {scene} has {len(twins)} of {len(CONDITIONS)} conditions; pass all rows of it")
    kept = [twins for twins in scenes.values() if all(row["is_named_rightly"] for row in twins.values())]
    values = [[_number(twins[name]["over_chance"]) for name in CONDITIONS] for twins in kept]
    return np.array(values, dtype=float).reshape(-1, len(CONDITIONS)), len(scenes) - len(kept)


def _number(value: float | None) -> float:
    """NaN for the empty cell of a table read back."""
    return math.nan if value is None else value


def _factor(logarithm: Interval) -> Interval:
    low, value, high = (math.exp(end) for end in (logarithm.low, logarithm.value, logarithm.high))
    return Interval(value, low, high, logarithm.num_values, logarithm.num_undefined)


def _with_interval(entry: Mapping[str, float]) -> str:
    return f"{entry['value']:.2f} ({entry['low']:.2f} to {entry['high']:.2f})"
