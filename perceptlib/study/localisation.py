"""Where perturbations change a picture, against where its class is found: change maps and controls beside CAMs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from perceptlib.analysis.statistics import Interval, bootstrap_interval
from perceptlib.analysis.tables import Row, Table, column
from perceptlib.attacks import margin, rescale_to_distance
from perceptlib.maps import agreement, class_activation_map, random_direction
from perceptlib.maps.cam import Method
from perceptlib.maps.controls import squared_gradient, texture
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import METHODS, attack_at_distance, ball_of
from perceptlib.study.presets import Study

# Perturbations at equal distance, then maps that no perturbation makes.
MAPS = METHODS | {
    "random": "random in SSIM ball",
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
Q = 0.2
CHANCE = {"energy_in_top_q": Q, "spearman": 0.0, "auc": 0.5, "iou_top_q": Q / (2 - Q), "pointing_hit": Q}
# The median of hits and misses says nothing.
_STATISTIC = {"pointing_hit": "mean"}


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
    """Change maps of every method at one SSIM distance, and the two maps that no perturbation makes.

    Parameters
    ----------
    classifier
        Images in [0, 1] to logits.
    images, labels
        (N, C, H, W) in [0, 1], and (N,) int64.
    budget
        SSIM distance, above 0 and below 1, that each perturbation is scaled to.
    steps
        1: each ball's steepest direction for the margin's gradient at the clean image. More: the attack of
        `perceptlib.study.comparison.attack_at_distance`.
    cg_steps
        Conjugate-gradient steps of the SSIM ball.
    seed
        Of the random direction, 0 or more.

    Returns
    -------
    dict
        A map (N, H, W), 0 or more, for each key of `MAPS`. "squared_gradient" is the sum of the gradient's squares
        over channels; "texture" the mean of 2 var_x + C2, the SSIM ball's local width.

    Raises
    ------
    ValueError
        As `ball_of` and `attack_at_distance`.
    """
    gradient = margin_gradient(classifier, images, labels)
    maps = {}
    for method in METHODS:
        if steps == 1:
            perturbation = ball_of(method, images, 0.01, cg_steps=cg_steps).steepest(gradient)
            adversarial = rescale_to_distance(images, perturbation, budget)
        else:
            adversarial = attack_at_distance(
                classifier, images, labels, method, budget, steps=steps, cg_steps=cg_steps
            ).adversarial
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
) -> list[Row]:
    """Score every map of every picture against the class activation map of its class.

    Parameters
    ----------
    study
        Network and pictures.
    budget, steps, cg_steps, seed
        As for `maps_of`.
    cam_method
        As for `perceptlib.maps.cam.class_activation_map`.
    batch_size
        Pictures at once.

    Returns
    -------
    list of dict
        One row for each picture and map: ``image``, ``method``, ``budget``, every score of
        `perceptlib.maps.scores.agreement`, and where the object is known ``energy_in_mask`` with its chance
        ``mask_share``, the object's share of the picture.

    Raises
    ------
    ValueError
        As `maps_of` and `perceptlib.maps.cam.class_activation_map`.
    """
    rows: list[Row] = []
    for pictures in study.pictures.batches(batch_size):
        maps = maps_of(
            study.classifier,
            pictures.images,
            pictures.labels,
            budget=budget,
            steps=steps,
            cg_steps=cg_steps,
            seed=seed,
        )
        cam = class_activation_map(study.classifier, pictures.images, pictures.labels, method=cam_method)
        for method, change in maps.items():
            scores = agreement(change, cam, q=Q)
            if pictures.masks is not None:
                scores |= in_mask(change, pictures.masks)
            rows += [
                {"image": name, "method": method, "budget": budget}
                | {score: float(values[index]) for score, values in scores.items()}
                for index, name in enumerate(pictures.ids)
            ]
    return rows


def cam_energy_in_mask(study: Study, *, cam_method: Method = "cam", batch_size: int = 32) -> Interval | None:
    """Median share of the CAM itself that lies on the object: what a perfect agreement would give; None unknown."""
    shares: list[float] = []
    for pictures in study.pictures.batches(batch_size):
        if pictures.masks is None:
            return None
        cam = class_activation_map(study.classifier, pictures.images, pictures.labels, method=cam_method)
        shares += in_mask(cam, pictures.masks)["energy_in_mask"].tolist()
    return bootstrap_interval(shares)


def agreement_summary(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Map -> score -> median over pictures (mean for hits) with its interval and the number of undefined ones."""
    scores = [*SCORES, *(["energy_in_mask"] if "energy_in_mask" in rows[0] else [])]
    return {
        method: {
            score: asdict(
                bootstrap_interval(column(rows, score, method=method), statistic=_STATISTIC.get(score, "median"))
            )
            for score in scores
        }
        for method in dict.fromkeys(row["method"] for row in rows)
    }


def paired_differences(rows: Sequence[Row], score: str, *, method: str = "ssim") -> dict[str, dict[str, Any]]:
    """Other map -> median over pictures of the method's score minus the other's, with its interval.

    Raises
    ------
    ValueError
        No row has the method.
    """
    own = torch.tensor(column(rows, score, method=method))
    return {
        other: asdict(bootstrap_interval((own - torch.tensor(column(rows, score, method=other))).tolist()))
        for other in dict.fromkeys(row["method"] for row in rows)
        if other != method
    }


def agreement_table(summary: dict[str, dict[str, dict[str, Any]]]) -> Table:
    """Every score of every map: value and 95 % interval; the last row is chance."""
    scores = next(iter(summary.values())).keys() & SCORES.keys()
    ordered = [score for score in SCORES if score in scores]
    rows = [(MAPS[method], *(_with_interval(entry[score]) for score in ordered)) for method, entry in summary.items()]
    chance = ("chance", *(f"{CHANCE[score]:.2f}" for score in ordered))
    return Table(("map", *(SCORES[score] for score in ordered)), (*rows, chance))


def difference_table(differences: dict[str, dict[str, Any]], *, method: str = "ssim") -> Table:
    """How far the method's score is above each other map's."""
    rows = [(MAPS[other], _with_interval(entry), str(entry["num_undefined"])) for other, entry in differences.items()]
    return Table((f"{MAPS[method]} against", "median paired difference (95 %)", "undefined pictures"), tuple(rows))


def object_table(summary: dict[str, dict[str, dict[str, Any]]], cam: Interval | None, mask_share: float) -> Table:
    """Share of every map that lies on the object, beside the CAM's own and the object's share of the picture."""
    headings = ("map", "energy on the object (95 %)")
    if cam is None:
        return Table(headings, (("not measured", "the objects of these pictures are not outlined"),))
    rows = [(MAPS[method], _with_interval(entry["energy_in_mask"])) for method, entry in summary.items()]
    own = ("the CAM itself", _with_interval(asdict(cam)))
    return Table(headings, (*rows, own, ("chance: the object's area", f"{mask_share:.2f}")))


def object_share(rows: Sequence[Row]) -> float:
    """Median share of the pictures that the object covers; NaN where it is not known."""
    return float(torch.tensor([row.get("mask_share", math.nan) for row in rows]).nanmedian())


def in_mask(maps: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Share of a map inside the object, NaN for a map without mass, and the object's share of the picture."""
    values, inside = maps.double(), masks.double()
    return {
        "energy_in_mask": (values * inside).sum((1, 2)) / values.sum((1, 2)),
        "mask_share": inside.mean((1, 2)),
    }


def _with_interval(entry: dict[str, Any]) -> str:
    return f"{entry['value']:.2f} ({entry['low']:.2f} to {entry['high']:.2f})"
