"""Does a perturbation follow the object or the texture? The same scenes with object and background smooth or textured.

One seed draws a scene once and renders it in four conditions (`perceptlib.data.scenes`), twins that differ in texture
alone. Whatever moves the object's share of a change map from one twin to another is texture; what stays is the object.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn

from perceptlib.data import shapes
from perceptlib.study.localisation import MAPS, in_mask, maps_of

TEXTURES = ("smooth", "textured")
CONDITIONS = tuple(f"{on_object}/{behind}" for on_object in TEXTURES for behind in TEXTURES)  # object/background


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
) -> pd.DataFrame:
    """Share of every change map that lies on the object, a row for each scene, texture condition and method of `MAPS`.

    ``share`` is NaN for a map without mass, ``mask_share`` what a map spread evenly has (chance), ``is_named_rightly``
    whether the scene is classified correctly. Other arguments as of `maps_of`; the seed is also that of the scenes.
    """
    if num_images < 1 or batch_size < 1:
        raise ValueError(f"num_images {num_images} and batch_size {batch_size} must be at least 1; pass e.g. 200, 64")
    unknown = [method for method in methods if method not in MAPS]
    if unknown:
        raise ValueError(f"there is no method {unknown[0]!r}; {', '.join(MAPS)} are")
    parts = []
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
            about = {"scene": range(first, first + count), "object_texture": on_object, "background_texture": behind}
            for method in methods:
                shares = in_mask(maps[method], scenes.masks)
                named = {"method": method, "budget": budget, "is_named_rightly": is_right.tolist()}
                share = {"share": shares["energy_in_mask"].tolist(), "mask_share": shares["mask_share"].tolist()}
                parts.append(pd.DataFrame(about | named | share))
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(over_chance=rows["share"] / rows["mask_share"])
