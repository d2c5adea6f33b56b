"""Attacks of other libraries under this library's measurement: foolbox's DeepFool and Carlini-Wagner, adv-lib's ALMA.

Both libraries are optional. Whatever they claim, success, norms and distances are recomputed from the images that they
return; an image that does not fool comes back as the clean one, with its status.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from perceptlib.attacks.network import Classifier, Network, attack_margin, entered
from perceptlib.attacks.result import AttackResult, Scalar, measured
from perceptlib.records.checks import Values
from perceptlib.records.modules import modules_of

BLACK = 1e-6  # largest pixel of an all-black image, which foolbox returns where Carlini-Wagner found nothing


class _Counted(nn.Module):
    """A network that counts the images seen and those whose gradient is asked for, and clips what rounding leaves."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.num_passes, self.num_gradients = network, 0, 0
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        self.num_passes += len(images)
        self.num_gradients += len(images) * images.requires_grad
        return self.network(images.clamp(0, 1))


def deepfool(
    classifier: Classifier, images: Values, labels: Values, *, steps: int = 50, candidates: int = 10
) -> AttackResult:
    """foolbox's l2 DeepFool (Moosavi-Dezfooli, Fawzi and Frossard 2016).

    Parameters
    ----------
    classifier, images, labels
        As for `perceptlib.attacks.maximize.maximize_loss`.
    steps, candidates : int
        Linearisations at most, and classes that are linearised in each, at least 2: the label, which foolbox counts
        among them, and the most likely others.

    Returns
    -------
    AttackResult
        ``gradients`` and ``forward_passes`` are means over the batch for each image.

    Raises
    ------
    ModuleNotFoundError
        foolbox is not installed.
    TypeError, ValueError
        Bad images or labels, as `perceptlib.attacks.maximize.smallest`; fewer than 2 candidates.
    """
    if candidates < 2:
        raise ValueError(f"{candidates} candidates are too few for foolbox's DeepFool, which counts the label: pass 2")
    attacks = library("foolbox.attacks", "baselines")
    attack = attacks.L2DeepFoolAttack(steps=steps, candidates=candidates)
    settings: dict[str, Scalar] = {"attack": "foolbox DeepFool", "num_steps": steps, "candidates": candidates}
    return _measured(partial(run_foolbox, attack), classifier, images, labels, settings)


def carlini_wagner(
    classifier: Classifier,
    images: Values,
    labels: Values,
    *,
    steps: int = 200,
    searches: int = 5,
    step_size: float = 1e-2,
) -> AttackResult:
    """foolbox's l2 Carlini-Wagner (Carlini and Wagner 2017); an all-black image is rejected as a failure.

    Parameters
    ----------
    classifier, images, labels
        As for `deepfool`; so are result and errors.
    steps, searches : int
        Steps of Adam in each search; bisections of the trade-off constant.
    step_size : float
        Step size of Adam.
    """
    attacks = library("foolbox.attacks", "baselines")
    attack = attacks.L2CarliniWagnerAttack(steps=steps, binary_search_steps=searches, stepsize=step_size)
    settings: dict[str, Scalar] = {"attack": "foolbox Carlini-Wagner", "num_steps": steps, "searches": searches}
    settings |= {"step_size": step_size}
    return _measured(partial(run_foolbox, attack), classifier, images, labels, settings)


def alma(
    classifier: Classifier,
    images: Values,
    labels: Values,
    *,
    steps: int = 1000,
    learning_rate: float = 0.1,
    first_distance: float | None = None,
) -> AttackResult:
    """adv-lib's ALMA with its SSIM distance (Rony, Granger, Pedersoli and Ben Ayed 2021).

    Parameters
    ----------
    classifier, images, labels
        As for `deepfool`; so are result and errors.
    steps : int
        Gradient steps (its default is 1000).
    learning_rate : float
        Initial learning rate (its default is 0.1).
    first_distance : float, optional
        The SSIM distance of the first step, which gives every picture an initial learning rate of its own in place of
        the common one (its authors took 1e-4 on ImageNet).

    Notes
    -----
    adv-lib imports visdom for a callback that is not used here; where visdom is missing an empty module stands in.
    """
    attacks = library("adv_lib.attacks", "adv-lib")
    options = {"num_steps": steps, "lr_init": learning_rate, "init_lr_distance": first_distance}
    settings: dict[str, Scalar] = {"attack": "adv-lib ALMA", "num_steps": steps}
    settings |= {"learning_rate": learning_rate} if first_distance is None else {"first_distance": first_distance}

    return _measured(
        partial(attacks.alma, distance="ssim", **options), classifier, images, labels, settings, steps=steps
    )


def library(name: str, extra: str) -> Any:
    if name.startswith("adv_lib") and "visdom" not in sys.modules and importlib.util.find_spec("visdom") is None:
        sys.modules["visdom"] = types.ModuleType("visdom")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        advice = f"pip install 'perceptlib[{extra}]'" if package == "foolbox" else "pip install --no-deps adv-lib"
        raise ModuleNotFoundError(f"{package} is not installed; install it with `{advice}`", name=package) from error


def run_foolbox(attack: Any, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """What an attack object of foolbox finds."""
    model = importlib.import_module("foolbox").PyTorchModel(network, bounds=(0, 1), device=images.device)
    found: Tensor = attack(model, images, labels, epsilons=None)[1]
    return found


def _measured(
    attack: Callable[[nn.Module, Tensor, Tensor], Tensor],
    classifier: Classifier,
    images: Values,
    labels: Values,
    settings: dict[str, Scalar],
    *,
    steps: int = 1,
) -> AttackResult:
    """What was found, measured; failures, black images and what was misclassified before become the clean image."""
    with entered(classifier, images, labels, steps=steps) as given:
        counted, images = _Counted(given.network), given.images
        with torch.enable_grad(), frozen(classifier):
            found = attack(counted, images, given.labels).detach()
        found = torch.where(torch.isfinite(found), found, images).clamp(0, 1)
        is_adversarial = attack_margin(given.network(found), given.labels, None) < 0
        is_adversarial &= (given.before >= 0) & (found.amax(dim=(1, 2, 3)) > BLACK)
        adversarial = torch.where(is_adversarial.view(-1, 1, 1, 1), found, images)
        return measured(
            given,
            adversarial,
            ball=None,
            steps=0,
            gradients=round(counted.num_gradients / len(images)),
            forward_passes=round(counted.num_passes / len(images)),
            settings=settings,
        )


@contextmanager
def frozen(classifier: Classifier) -> Iterator[None]:
    """Parameters that take no gradient: these libraries would leave theirs in a network that is being trained."""
    parameters = [one for module in modules_of(classifier) for one in module.parameters() if one.requires_grad]
    try:
        for one in parameters:
            one.requires_grad_(False)
        yield
    finally:
        for one in parameters:
            one.requires_grad_(True)
