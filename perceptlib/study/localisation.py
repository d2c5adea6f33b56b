"""Where perturbations change a picture, against where its class is found: change maps and controls beside CAMs."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from perceptlib.attacks import margin, rescale_to_distance
from perceptlib.maps import agreement, class_activation_map, random_direction
from perceptlib.maps.cam import Method
from perceptlib.maps.controls import squared_gradient, texture
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import METHODS, attack_at_distance, ball_of
from perceptlib.study.presets import Study

# Perturbations at equal distance, then maps that no perturbation makes.
MAPS = METHODS | {"random": "random in SSIM ball", "squared_gradient": "squared gradient", "texture": "texture"}
SCORES = {
    "energy_in_top_q": "energy in the CAM's top 20 %",
    "spearman": "Spearman",
    "auc": "AUC",
    "iou_top_q": "IoU of the top 20 %",
    "pointing_hit": "pointing hit",
}
Q = 0.2
CHANCE = {"energy_in_top_q": Q, "spearman": 0.0, "auc": 0.5, "iou_top_q": Q / (2 - Q), "pointing_hit": Q}


def margin_gradient(classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Gradient of minus the margin with respect to the images, (N, C, H, W): the direction that fools soonest."""
    images = images.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(-margin(classifier(images), labels).sum(), images)
    return gradient


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
    for method in METHODS:
        if steps == 1:
            perturbation = ball_of(method, images, 0.01, cg_steps=cg_steps).steepest(gradient)
            adversarial = rescale_to_distance(images, perturbation, budget)
        else:
            options = {"steps": steps, "cg_steps": cg_steps}
            adversarial = attack_at_distance(classifier, images, labels, method, budget, **options).adversarial
        maps[method] = ssim.change_map(images, adversarial)
    noise = random_direction(images, ball_of("ssim", images, budget, cg_steps=cg_steps), seed=seed)
    maps["random"] = ssim.change_map(images, rescale_to_distance(images, noise, budget))
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
