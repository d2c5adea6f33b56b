"""Single pictures to look at: attacked, and with the maps of every method beside them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perceptlib.attacks import round_to_8bit, smallest
from perceptlib.drawing.panels import Panel
from perceptlib.maps import class_activation_map
from perceptlib.networks import Classifier
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import METHODS, attack_at_distance, ball_of
from perceptlib.study.localisation import MAPS, maps_of
from perceptlib.study.presets import Pictures, Study

_TIMES_MEAN = 20.0  # a change map is drawn white from so many times its mean on


def attacked_example(
    study: Study, index: int, *, budget: float, method: str = "ssim", steps: int = 10, cg_steps: int = 15
) -> dict[str, Any]:
    """One example attacked in a ball: what `perceptlib.drawing.figures.attack_panel` draws.

    Parameters
    ----------
    study
        Network and examples.
    index
        Which of ``study.examples``, counted round.
    budget, method, steps, cg_steps
        As for `perceptlib.study.comparison.attack_at_distance`.

    Returns
    -------
    dict
        The arguments of `attack_panel`. The adversarial image is the one rounded to 8 bits, as it would be saved. The
        change map's scale ends at twenty times the budget, its mean: examples at one budget share it.

    Raises
    ------
    ValueError
        As `attack_at_distance`.
    """
    picture = _example(study, index)
    classifier, images, labels = study.classifier, picture.images, picture.labels
    result = attack_at_distance(classifier, images, labels, method, budget, steps=steps, cg_steps=cg_steps)
    shown = _panel_of(classifier, picture, round_to_8bit(result.adversarial))
    return shown | {"change_white": _TIMES_MEAN * budget}


def smallest_example(study: Study, index: int, *, method: str = "ssim", candidates: int = 10) -> dict[str, Any]:
    """One example with the smallest perturbation found whose 8-bit picture fools: arguments of `attack_panel`.

    Parameters
    ----------
    study
        Network and examples.
    index
        Which of ``study.examples``, counted round.
    method
        A key of `perceptlib.study.comparison.METHODS`.
    candidates
        As for `perceptlib.attacks.maximize.smallest`.

    Raises
    ------
    ValueError
        An unknown method; as `perceptlib.attacks.maximize.smallest`.
    """
    picture = _example(study, index)
    ball = ball_of(method, picture.images, 0.01)  # its radius does not matter
    result = smallest(study.classifier, picture.images, picture.labels, ball, candidates=candidates, eight_bit=True)
    return _panel_of(study.classifier, picture, result.adversarial)


def map_panels(
    study: Study, index: int, *, budget: float, steps: int = 1, cg_steps: int = 15, seed: int = 0
) -> list[Panel]:
    """One example with its CAM and the map of every method: what `perceptlib.drawing.figures.grid` draws.

    The change maps share one scale; the CAM, the squared gradient and the texture have units of their own.

    Raises
    ------
    ValueError
        As `perceptlib.study.localisation.maps_of`.
    """
    picture = _example(study, index)
    classifier, images, labels = study.classifier, picture.images, picture.labels
    maps = maps_of(classifier, images, labels, budget=budget, steps=steps, cg_steps=cg_steps, seed=seed)
    # Single pixels reach far above the rest: they may be white, so that the rest is seen.
    white = max(_nearly_largest(maps[method]) for method in (*METHODS, "random"))
    panels = [
        Panel(images[0], "image", _short(classifier, int(labels))),
        Panel(class_activation_map(classifier, images, labels)[0], "CAM"),
    ]
    for name, values in maps.items():
        is_change = name in METHODS or name == "random"
        panels.append(Panel(values[0], MAPS[name], white=white if is_change else _nearly_largest(values)))
    return panels


def _example(study: Study, index: int) -> Pictures:
    """Counted round, so that a notebook's third example is there with any number of pictures."""
    return study.examples.select(torch.tensor([index % len(study.examples)]))


def _nearly_largest(values: Tensor) -> float:
    return float(values.flatten().quantile(0.99))


@torch.no_grad()
def _answer(classifier: Classifier, images: Tensor) -> str:
    probability, index = classifier(images)[0].softmax(0).max(0)
    return f"{_short(classifier, int(index))}, {float(probability):.2f}"


def _short(classifier: Classifier, index: int) -> str:
    return classifier.class_names[index].partition(",")[0]


def _panel_of(classifier: Classifier, picture: Pictures, saved: Tensor) -> dict[str, Any]:
    return {
        "image": picture.images[0],
        "adversarial": saved[0],
        "change_map": ssim.change_map(picture.images, saved)[0],
        "cam": class_activation_map(classifier, picture.images, picture.labels)[0],
        "label": _answer(classifier, picture.images),
        "label_after": _answer(classifier, saved),
        "cam_label": _short(classifier, int(picture.labels)),
    }
