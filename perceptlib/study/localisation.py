"""Where perturbations change a picture, against where its class is found and where its object and texture are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from perceptlib.attacks import margin, rescale_to_distance
from perceptlib.balls import Ball
from perceptlib.data import shapes
from perceptlib.maps import agreement, class_activation_map, random_direction
from perceptlib.maps.cam import Method
from perceptlib.maps.controls import squared_gradient, texture
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import BALLS, attack_at_distance, ball_of
from perceptlib.study.presets import Study

# Perturbations at equal distance, then maps that no perturbation makes.
RANDOM = {"random": "ssim", "multiscale_random": "multiscale"}  # random direction -> its ball
MAPS = BALLS | {
    "random": "random in SSIM ball",
    "multiscale_random": "random in multi-scale ball",
    "squared_gradient": "squared gradient",
    "texture": "texture",
}
SCORES = {
    "energy_in_top_q": "energy in the CAM's top 20 %",
    "spearman": "Spearman",
    "auc": "AUC",
    "iou_top_q": "IoU of the top 20 %",
    "pointing_hit": "pointing hit",
}
# Texture of object/background: twins of one scene. What moves the object's share of a map between them is texture.
CONDITIONS = ("smooth/smooth", "smooth/textured", "textured/smooth", "textured/textured")
Q = 0.2
CHANCE = {"energy_in_top_q": Q, "spearman": 0.0, "auc": 0.5, "iou_top_q": Q / (2 - Q), "pointing_hit": Q}


def margin_gradient(classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Gradient of minus the margin with respect to the images, (N, C, H, W): the direction that fools soonest."""
    images = images.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(-margin(classifier(images), labels).sum(), images)
    return gradient


def steepest_map(gradient: Tensor, images: Tensor, ball: Ball, budget: float, *, seed: int | None = None) -> Tensor:
    """Change map (N, H, W) of a ball's steepest perturbation for a gradient, scaled to an SSIM distance.

    With a seed it is `random_direction`'s, whatever the gradient.
    """
    direction = ball.steepest(gradient) if seed is None else random_direction(images, ball, seed=seed)
    return ssim.change_map(images, rescale_to_distance(images, direction, budget))


def maps_of(
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    budget: float,
    steps: int = 1,
    cg_steps: int = 15,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Maps (N, H, W), 0 or more, for each key of `MAPS`: change maps of every method at one SSIM distance, and others.

    With one step each perturbation is its ball's steepest direction for the margin's gradient at the clean image; with
    more it is the attack of `attack_at_distance`. `seed` is of the random direction.
    """
    gradient = margin_gradient(classifier, images, labels)
    maps = {}
    for method in BALLS:
        if steps == 1:
            maps[method] = steepest_map(gradient, images, ball_of(method, images, 0.01, cg_steps=cg_steps), budget)
        else:
            options: dict[str, Any] = {"steps": steps, "cg_steps": cg_steps}
            result = attack_at_distance(classifier, images, labels, method, budget, **options)
            maps[method] = ssim.change_map(images, result.adversarial)
    for name, method in RANDOM.items():
        ball = ball_of(method, images, budget, cg_steps=cg_steps)
        maps[name] = steepest_map(gradient, images, ball, budget, seed=seed)
    maps["squared_gradient"] = squared_gradient(gradient)
    maps["texture"] = texture(images)
    return maps


def agreement_rows(
    study: Study,
    *,
    budget: float,
    steps: int = 1,
    cg_steps: int = 15,
    cam_method: Method = "cam",
    seed: int = 0,
    batch_size: int = 32,
) -> pd.DataFrame:
    """Score every map of every picture against the CAM of its class, and the object where it is known; a row each."""
    rows = []
    for pictures in study.pictures.batches(batch_size):
        maps = maps_of(
            study.classifier, pictures.images, pictures.labels, budget=budget, steps=steps, cg_steps=cg_steps, seed=seed
        )
        cam = class_activation_map(study.classifier, pictures.images, pictures.labels, method=cam_method)
        for method, change in maps.items():
            scores = agreement(change, cam, q=Q)
            if pictures.masks is not None:
                scores |= in_mask(change, pictures.masks)
            columns = {"image": pictures.ids, "method": method, "budget": budget}
            rows.append(pd.DataFrame(columns | {score: values.double().tolist() for score, values in scores.items()}))
    return pd.concat(rows, ignore_index=True)


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


def cam_energy_in_mask(study: Study, *, cam_method: Method = "cam", batch_size: int = 32) -> pd.Series:
    """Share of each picture's CAM that lies on the object: what a perfect agreement would give; empty where unknown."""
    shares: list[float] = []
    for pictures in study.pictures.batches(batch_size):
        if pictures.masks is not None:
            cam = class_activation_map(study.classifier, pictures.images, pictures.labels, method=cam_method)
            shares += in_mask(cam, pictures.masks)["energy_in_mask"].tolist()
    return pd.Series(shares, dtype=float)


def in_mask(maps: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Share of a map inside the object, NaN for a map without mass, and the object's share of the picture."""
    values, inside = maps.double(), masks.double()
    return {"energy_in_mask": (values * inside).sum((1, 2)) / values.sum((1, 2)), "mask_share": inside.mean((1, 2))}
