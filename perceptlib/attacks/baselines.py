"""Attacks of other libraries under this library's measurement: foolbox's DeepFool and Carlini-Wagner, adv-lib's ALMA.

Both libraries are optional. Whatever they claim, success, norms and distances are recomputed from the images that they
return; an image that does not fool comes back as the clean one, with its status.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import types
from typing import Any

import torch
from torch import Tensor, nn

from perceptlib.attacks.minimal import check_attack
from perceptlib.attacks.result import AttackResult, Scalar, attack_margin, measure

BLACK = 1e-6  # largest pixel of an all-black image, which foolbox returns where Carlini-Wagner found nothing


class _Counted(nn.Module):
    """A classifier that counts the images whose gradient is asked for, and clips what a library's rounding leaves."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier, self.num_gradients = classifier, 0
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            self.num_gradients += len(images)
        logits: Tensor = self.classifier(images.clamp(0, 1))
        return logits


def deepfool(
    classifier: nn.Module, images: Tensor, labels: Tensor, *, steps: int = 50, candidates: int = 10
) -> AttackResult:
    """foolbox's l2 DeepFool (Moosavi-Dezfooli, Fawzi and Frossard 2016).

    Parameters
    ----------
    classifier : Module
        Images in [0, 1] to logits (N, K).
    images, labels : Tensor
        Shape (N, C, H, W), range [0, 1], float32; (N,), int64.
    steps, candidates : int
        Linearisations at most, and classes that are linearised in each, at least 2: the label, which foolbox counts
        among them, and the most likely others.

    Returns
    -------
    AttackResult
        ``gradients`` counts gradients of the classifier, the mean over the batch for each image.

    Raises
    ------
    ModuleNotFoundError
        foolbox is not installed.
    TypeError, ValueError
        Bad images or labels, as `perceptlib.attacks.maximize.smallest`; fewer than 2 candidates.
    """
    if candidates < 2:
        raise ValueError(f"{candidates} candidates are too few for foolbox's DeepFool, which counts the label: pass 2")
    attacks = _library("foolbox.attacks", "baselines")
    attack = attacks.L2DeepFoolAttack(steps=steps, candidates=candidates)
    settings: dict[str, Scalar] = {"attack": "foolbox DeepFool", "num_steps": steps, "candidates": candidates}
    return _foolbox(attack, classifier, images, labels, settings)


def carlini_wagner(
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 200,
    searches: int = 5,
    step_size: float = 1e-2,
) -> AttackResult:
    """foolbox's l2 Carlini-Wagner (Carlini and Wagner 2017); an all-black image is rejected as a failure.

    Parameters
    ----------
    classifier, images, labels
        As for `deepfool`.
    steps : int
        Steps of Adam in each search.
    searches : int
        Bisections of the trade-off constant.
    step_size : float
        Step size of Adam.

    Returns
    -------
    AttackResult
        As for `deepfool`.

    Raises
    ------
    ModuleNotFoundError
        foolbox is not installed.
    TypeError, ValueError
        Bad images or labels, as `perceptlib.attacks.maximize.smallest`.
    """
    attacks = _library("foolbox.attacks", "baselines")
    attack = attacks.L2CarliniWagnerAttack(steps=steps, binary_search_steps=searches, stepsize=step_size)
    settings: dict[str, Scalar] = {"attack": "foolbox Carlini-Wagner", "num_steps": steps, "searches": searches}
    return _foolbox(attack, classifier, images, labels, settings | {"step_size": step_size})


def alma(
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 1000,
    learning_rate: float = 0.1,
    first_distance: float | None = None,
) -> AttackResult:
    """adv-lib's ALMA with its SSIM distance (Rony, Granger, Pedersoli and Ben Ayed 2021).

    Parameters
    ----------
    classifier, images, labels
        As for `deepfool`.
    steps : int
        Gradient steps (its default is 1000).
    learning_rate : float
        Initial learning rate (its default is 0.1).
    first_distance : float, optional
        The SSIM distance of the first step, which gives every picture an initial learning rate of its own in place of
        the common one (its authors took 1e-4 on ImageNet).

    Returns
    -------
    AttackResult
        As for `deepfool`.

    Raises
    ------
    ModuleNotFoundError
        adv-lib is not installed.
    TypeError, ValueError
        Bad images or labels, as `perceptlib.attacks.maximize.smallest`.

    Notes
    -----
    adv-lib imports visdom for a callback that is not used here; where visdom is missing an empty module stands in.
    """
    started = time.perf_counter()
    check_attack(classifier, images, labels, None, steps)
    if "visdom" not in sys.modules and importlib.util.find_spec("visdom") is None:
        sys.modules["visdom"] = types.ModuleType("visdom")
    attacks = _library("adv_lib.attacks", "adv-lib")
    counted = _Counted(classifier)
    options = {"num_steps": steps, "lr_init": learning_rate, "init_lr_distance": first_distance}
    found = attacks.alma(counted, images, labels, distance="ssim", **options)
    settings: dict[str, Scalar] = {"attack": "adv-lib ALMA", "num_steps": steps}
    settings |= {"learning_rate": learning_rate} if first_distance is None else {"first_distance": first_distance}
    return _measured(counted, images, found.detach(), labels, started, settings)


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        advice = f"pip install 'perceptlib[{extra}]'" if package == "foolbox" else "pip install --no-deps adv-lib"
        raise ModuleNotFoundError(f"{package} is not installed; install it with `{advice}`", name=package) from error


def _foolbox(
    attack: Any, classifier: nn.Module, images: Tensor, labels: Tensor, settings: dict[str, Scalar]
) -> AttackResult:
    started = time.perf_counter()
    check_attack(classifier, images, labels, None, 1)
    counted = _Counted(classifier)
    model = importlib.import_module("foolbox").PyTorchModel(counted, bounds=(0, 1), device=images.device)
    _, found, _ = attack(model, images, labels, epsilons=None)
    return _measured(counted, images, found, labels, started, settings)


def _measured(
    counted: _Counted,
    images: Tensor,
    found: Tensor,
    labels: Tensor,
    started: float,
    settings: dict[str, Scalar],
) -> AttackResult:
    """What was found, measured; failures, black images and what was misclassified before become the clean image."""
    found = torch.where(torch.isfinite(found), found, images).clamp(0, 1)
    with torch.no_grad():
        is_adversarial = attack_margin(counted(found), labels, None) < 0
        is_adversarial &= attack_margin(counted(images), labels, None) >= 0
    is_adversarial &= found.amax(dim=(1, 2, 3)) > BLACK
    adversarial = torch.where(is_adversarial.view(-1, 1, 1, 1), found, images)
    gradients = round(counted.num_gradients / len(images))
    return measure(
        counted.classifier, images, adversarial, labels, gradients=gradients, started=started, settings=settings
    )
