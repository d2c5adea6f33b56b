"""How much of a score is a choice: the SSIM ball's agreement with a CAM under other budgets, windows, CAMs and colours.

A setting is one choice of everything that a score may depend on. Every score stands beside that of a random direction
in the same ball at the same distance, against the same CAM: a setting that favours any perturbation raises both.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from perceptlib.attacks import rescale_to_distance
from perceptlib.attacks.maximize import ascend, default_step
from perceptlib.balls import Ball, LumaBall, SSIMBall
from perceptlib.maps import class_activation_map, energy_in_top_q, random_direction, spearman
from perceptlib.maps.cam import METHODS as CAM_METHODS
from perceptlib.networks import Classifier
from perceptlib.records import write_json
from perceptlib.records.frames import write_csv
from perceptlib.records.provenance import provenance
from perceptlib.ssim import Window
from perceptlib.ssim import measure as ssim
from perceptlib.study.localisation import margin_gradient
from perceptlib.study.presets import Pictures, Study

_WORDS: Mapping[str, tuple[str, ...]] = {
    "components": ("both", "luminance", "contrast_structure"),
    "coupling": ("full", "diagonal"),
    "cam_method": CAM_METHODS,
    "cam_class": ("true", "adversarial", "random"),
    "colour": ("channels", "luma"),
}


@dataclass(frozen=True)
class Setting:
    """One choice of everything that the main score may depend on; what is out of range or unknown raises ValueError."""

    budget: float = 0.001  # SSIM distance that the perturbation is scaled to, in (0, 1), of the three channels
    window: str = "gaussian 11 1.5"  # or "uniform SIZE", in pixels; of the SSIM in ball, distance and change map
    components: str = "both"  # of the ball alone, as the next two: distance and change map always have all of it
    coupling: str = "full"
    colour: str = "channels"  # or "luma": `LumaBall`, one grey perturbation
    steps: int = 1  # the ball's steepest direction for the margin's gradient; more: steps of the attack on the margin
    cam_method: str = "cam"  # "cam" of a named layer is Grad-CAM there
    layer: str = ""
    cam_class: str = "true"  # or "adversarial", the perturbed picture's likeliest other class, or "random", any other
    q: float = 0.2  # share of the pixels in the CAM's top set, in (0, 1): chance

    def __post_init__(self) -> None:
        for name in ("budget", "q"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a number between 0 and 1 is allowed, such as 0.2")
        for name, allowed in _WORDS.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; {', '.join(allowed)} are allowed")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; 1 or more is allowed")
        window_of(self.window)

    def ball(self, images: Tensor, *, cg_steps: int = 15) -> Ball:
        """The ball of some images, with the setting's window, components, coupling and colour handling."""
        options = {"components": self.components, "coupling": self.coupling, "cg_steps": cg_steps}
        kind: Callable[..., Ball] = LumaBall if self.colour == "luma" else SSIMBall
        return kind(images, self.budget, window=window_of(self.window), **options)


FIELDS = tuple(entry.name for entry in fields(Setting))


def window_of(words: str) -> Window:
    """The window of "gaussian SIZE SIGMA" or "uniform SIZE"; other words, sizes and sigmas raise ValueError."""
    found = re.fullmatch(r"(gaussian) (\d+) (\d*\.?\d+)|(uniform) (\d+)", " ".join(words.split()))
    if not found:
        raise ValueError(f"window is {words!r}; write 'gaussian SIZE SIGMA' or 'uniform SIZE', in pixels")
    kind, size, *sigma = (part for part in found.groups() if part)
    return Window(int(size), float(sigma[0]) if sigma else 1.5, kind)


def settings_from(tried: Mapping[str, Sequence[Any]], *, grid: Sequence[str] = ()) -> tuple[Setting, list[Setting]]:
    """The base and all settings of lists (field -> values) whose first entry is the base's; none twice.

    The base comes first, then what differs from it in one field, then every combination of the fields in `grid`, the
    last varying fastest. Fields that are missing keep their default.
    """
    for name, values in tried.items():
        if name not in FIELDS:
            raise ValueError(f"a setting has no field {name!r}; {', '.join(FIELDS)} are allowed")
        if len(values) == 0:
            raise ValueError(f"{name} has no value to try; pass at least the base's")
    base = Setting(**{name: values[0] for name, values in tried.items()})
    changes = [{name: value} for name, values in tried.items() for value in values]
    changes += [dict(zip(grid, values, strict=True)) for values in product(*(tried[name] for name in grid))]
    return base, list(dict.fromkeys([base, *(replace(base, **change) for change in changes)]))


# What the perturbation does not know of: its score alone.
_NOT_OF_THE_MAP: dict[str, Any] = {name: getattr(Setting(), name) for name in ("cam_method", "layer", "cam_class", "q")}

_DIRECTION = 0.001  # budget of directions that settings share


def sensitivity_rows(
    study: Study, settings: Sequence[Setting], *, cg_steps: int = 15, batch_size: int = 32, seed: int = 0
) -> pd.DataFrame:
    """Score the SSIM ball's change map of every picture under every setting, a random direction's beside it.

    A row for each picture and setting, with the setting's fields; ``random_`` is of the direction in the same ball at
    the same distance. Seeded directions and classes do not depend on the batch.
    """
    if not settings:
        raise ValueError("there is no setting; pass at least one, such as Setting()")
    parts = []
    for pictures in study.pictures.batches(batch_size):
        batch = _Batch(study.classifier, pictures, cg_steps=cg_steps, seed=seed)
        for setting in settings:
            parts.append(pd.DataFrame({"image": pictures.ids} | asdict(setting) | batch.scores(setting)))
    return pd.concat(parts, ignore_index=True)


def record(
    study: Study,
    settings: Sequence[Setting],
    folder: str | Path,
    *,
    preset: str,
    cg_steps: int = 15,
    batch_size: int = 8,
    seed: int = 0,
) -> pd.DataFrame:
    """Write `sensitivity_rows` as ``PRESET.csv`` with ``provenance.json`` beside it, anew after every batch."""
    parts: list[pd.DataFrame] = []
    seen = study.pictures.listing()
    about = provenance(seed=seed, preset=preset, classifier=study.classifier, pictures=seen) | {"cg_steps": cg_steps}
    for pictures in study.pictures.batches(batch_size):
        part = replace(study, pictures=pictures)
        parts.append(sensitivity_rows(part, settings, cg_steps=cg_steps, batch_size=batch_size, seed=seed))
        rows = pd.concat(parts, ignore_index=True)
        path = write_csv(rows, Path(folder) / f"{preset}.csv")
        write_json(path.with_name("provenance.json"), {"num_images": rows["image"].nunique()} | about)
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
