"""How much of a score is a choice: the SSIM ball's agreement with a CAM under other budgets, windows, CAMs and colours.

Every score stands beside that of a random direction in the same ball at the same distance, against the same CAM: a
setting that favours any perturbation raises both.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perceptlib.analysis.tables import Row, write_rows
from perceptlib.attacks import rescale_to_distance
from perceptlib.attacks.maximize import ascend, default_step
from perceptlib.maps import class_activation_map, energy_in_top_q, random_direction, spearman
from perceptlib.networks import Classifier
from perceptlib.records import write_json
from perceptlib.records.provenance import provenance
from perceptlib.ssim import measure as ssim
from perceptlib.study.localisation import margin_gradient
from perceptlib.study.presets import Pictures, Study
from perceptlib.study.sensitivity_settings import (
    Setting,
    full_grid,
    one_at_a_time,
    setting_of,
    settings_from,
    settings_of,
    window_of,
)

__all__ = [
    "Setting",
    "full_grid",
    "one_at_a_time",
    "record",
    "sensitivity_rows",
    "setting_of",
    "settings_from",
    "settings_of",
]

# What the perturbation does not know of: its score alone.
_NOT_OF_THE_MAP: dict[str, Any] = {name: getattr(Setting(), name) for name in ("cam_method", "layer", "cam_class", "q")}

_DIRECTION = 0.001  # budget of directions that settings share


def sensitivity_rows(
    study: Study, settings: Sequence[Setting], *, cg_steps: int = 15, batch_size: int = 32, seed: int = 0
) -> list[Row]:
    """Score the SSIM ball's change map of every picture under every setting, a random direction's beside it.

    Parameters
    ----------
    study
        Network and pictures.
    settings
        Each once; what several share is computed once for each batch.
    cg_steps
        Conjugate-gradient steps of each ball with full coupling.
    batch_size
        Pictures at once, 1 or more.
    seed
        Of random directions and random classes, 0 or more; neither depends on the batch.

    Returns
    -------
    list of dict
        One row for each picture and setting: ``image``, the fields of `Setting`, ``energy_in_top_q`` and ``spearman``
        of the ball's map, ``random_energy_in_top_q`` and ``random_spearman`` of the random direction's in the same
        ball at the same distance, ``is_adversarial`` (the perturbed picture fools) and ``distance`` that was reached.

    Raises
    ------
    ValueError
        No setting; a window larger than the pictures; what the ball, the CAM and the preset refuse.
    """
    if not settings:
        raise ValueError("there is no setting; pass at least one, such as Setting()")
    rows: list[Row] = []
    for pictures in study.pictures.batches(batch_size):
        batch = _Batch(study.classifier, pictures, cg_steps=cg_steps, seed=seed)
        for setting in settings:
            scores = batch.scores(setting)
            rows += [
                {"image": name, **asdict(setting)} | {key: values[place] for key, values in scores.items()}
                for place, name in enumerate(pictures.ids)
            ]
    return rows


def record(
    study: Study,
    settings: Sequence[Setting],
    folder: str | Path,
    *,
    preset: str,
    cg_steps: int = 15,
    batch_size: int = 8,
    seed: int = 0,
) -> list[Row]:
    """Write `sensitivity_rows` as ``PRESET.csv``, and ``provenance.json`` beside it; arguments and errors as there.

    Both are written anew after every batch, so that a run that is stopped leaves the pictures that are done.
    """
    rows: list[Row] = []
    seen = study.pictures.listing()
    about = provenance(seed=seed, preset=preset, classifier=study.classifier, pictures=seen) | {"cg_steps": cg_steps}
    for pictures in study.pictures.batches(batch_size):
        part = replace(study, pictures=pictures)
        rows += sensitivity_rows(part, settings, cg_steps=cg_steps, batch_size=batch_size, seed=seed)
        path = write_rows(rows, Path(folder) / f"{preset}.csv")
        write_json(path.with_name("provenance.json"), {"num_images": len(rows) // len(settings)} | about)
    return rows


class _Batch:
    """Some pictures, and what their settings share: gradient, directions, perturbed pictures, change maps and CAMs."""

    def __init__(self, classifier: Classifier, pictures: Pictures, *, cg_steps: int, seed: int) -> None:
        self.classifier, self.pictures = classifier, pictures
        self.cg_steps, self.seed = cg_steps, seed
        self.gradient = margin_gradient(classifier, pictures.images, pictures.labels)
        # Settings that differ in what a step does not look at share its result.
        self._perturbation = cache(self._perturbation)  # type: ignore[method-assign]
        self._perturbed = cache(self._perturbed)  # type: ignore[method-assign]
        self._cam = cache(self._cam)  # type: ignore[method-assign]

    def scores(self, setting: Setting) -> dict[str, list[Any]]:
        made = replace(setting, **_NOT_OF_THE_MAP)
        change, logits = self._perturbed(made, False)
        by_chance, _ = self._perturbed(made, True)
        labels = self.pictures.labels
        others = logits.scatter(1, labels[:, None], -torch.inf)
        classes = {"true": labels, "adversarial": others.argmax(1), "random": self._random_classes()}[setting.cam_class]
        cam = self._cam(setting.cam_method, setting.layer, tuple(classes.tolist()))
        return {
            "energy_in_top_q": energy_in_top_q(change, cam, q=setting.q).tolist(),
            "spearman": spearman(change, cam).tolist(),
            "random_energy_in_top_q": energy_in_top_q(by_chance, cam, q=setting.q).tolist(),
            "random_spearman": spearman(by_chance, cam).tolist(),
            "is_adversarial": (others.amax(1) > logits.gather(1, labels[:, None])[:, 0]).tolist(),
            "distance": change.double().mean((1, 2)).tolist(),
        }

    def _perturbation(self, setting: Setting, is_random: bool) -> Tensor:
        images, labels = self.pictures.images, self.pictures.labels
        ball = setting.ball(images, cg_steps=self.cg_steps)
        if is_random:
            return random_direction(images, ball, seed=self.seed)
        if setting.steps == 1:
            return ball.steepest(self.gradient)
        options: dict[str, Any] = {"step_size": default_step(setting.steps), "loss": "margin"}
        return ascend(self.classifier, images, labels, ball, steps=setting.steps, **options)[0]

    def _perturbed(self, setting: Setting, is_random: bool) -> tuple[Tensor, Tensor]:
        """Change map (N, H, W) and logits (N, K) at the setting's distance."""
        images, window = self.pictures.images, window_of(setting.window)
        # A direction is the same for every budget but for its length, and a random one for every number of steps.
        shared: dict[str, Any] = {"steps": 1} if is_random else {}
        is_direction = is_random or setting.steps == 1
        if is_direction:
            shared |= {"budget": _DIRECTION}
        perturbation = self._perturbation(replace(setting, **shared), is_random)
        if is_direction:  # its length tells where the ray is clipped
            perturbation = perturbation * (setting.budget / _DIRECTION) ** 0.5
        adversarial = rescale_to_distance(images, perturbation, setting.budget, window=window)
        with torch.no_grad():
            logits = torch.empty(0) if is_random else self.classifier(adversarial)
        return ssim.change_map(images, adversarial, window=window), logits

    def _cam(self, method: Any, layer: str, classes: tuple[int, ...]) -> Tensor:
        if method == "cam" and layer:
            method = "grad-cam"
        chosen = torch.tensor(classes, device=self.pictures.images.device)
        return class_activation_map(self.classifier, self.pictures.images, chosen, method=method, layer=layer)

    def _random_classes(self) -> Tensor:
        """(N,), int64: a class other than the label, by the picture's name and the seed."""
        classes = []
        for name, label in zip(self.pictures.ids, self.pictures.labels.tolist(), strict=True):
            drawn = random.Random(f"{self.seed} {name}").randrange(self.classifier.num_classes - 1)
            classes.append(drawn + (drawn >= label))
        return torch.tensor(classes, device=self.pictures.labels.device)
