from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import Tensor

from perceptlib.attacks import Status, smallest
from perceptlib.attacks import minimal as deepfool
from perceptlib.balls import L2Ball
from perceptlib.data import shapes
from perceptlib.networks import load
from perceptlib.rivals import baselines

COUNT = 6
# Both lengthen a step by 2 % and add a little more for rounding, foolbox to the sum of all steps, we to each.
SAME_STEPS = 0.01


@pytest.fixture(scope="module")
def case() -> tuple:
    scenes = shapes(COUNT, seed=30)
    return load("shapes"), scenes.images, scenes.labels


def test_deepfool_of_foolbox_agrees_with_ours(case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images, labels = case
    theirs = baselines.deepfool(classifier, images, labels)
    assert int(theirs.gradients[0]) > 0
    assert theirs.settings["attack"] == "foolbox DeepFool"
    ours = smallest(classifier, images, labels, L2Ball(1.0), refinements=0)
    monkeypatch.setattr(deepfool.BoundarySearch, "cut_back", lambda self, perturbation: perturbation)
    uncut = smallest(classifier, images, labels, L2Ball(1.0), refinements=0)
    assert theirs.fooling_rate == ours.fooling_rate == uncut.fooling_rate == 1
    assert torch.allclose(uncut.l2, theirs.l2, rtol=SAME_STEPS)
    assert bool((ours.l2 <= uncut.l2).all()) and float((ours.l2 / theirs.l2).median()) < 1


def test_deepfool_of_foolbox_refuses_the_label_alone(case: tuple) -> None:
    with pytest.raises(ValueError, match="1 candidates are too few for foolbox's DeepFool, which counts the label"):
        baselines.deepfool(*case, candidates=1)


def test_carlini_wagner_fools(case: tuple) -> None:
    classifier, images, labels = case
    result = baselines.carlini_wagner(classifier, images[:3], labels[:3], steps=60, searches=3)
    assert result.fooling_rate > 0.6
    assert torch.equal(result.is_adversarial, classifier(result.adversarial).argmax(1) != labels[:3])


def test_black_images_and_failures_are_rejected(case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images, labels = case

    class Empty:
        def __init__(self, **options: object) -> None: ...

        def __call__(self, model: object, images: Tensor, labels: Tensor, epsilons: None) -> tuple:
            found = torch.zeros_like(images)
            found[1], found[2] = images[1], torch.nan
            return found, found, torch.ones(len(images), dtype=torch.bool)  # claims success everywhere

    from foolbox import attacks

    monkeypatch.setattr(attacks, "L2CarliniWagnerAttack", Empty)
    result = baselines.carlini_wagner(classifier, images, labels)
    assert not bool(result.is_adversarial.any())
    assert torch.equal(result.adversarial, images)
    assert set(result.status) == {Status.NOT_FOOLED}


@pytest.mark.parametrize(
    "attack, package, advice",
    [
        (
            baselines.deepfool,
            "foolbox",
            r"foolbox is not installed; install it with `pip install",
        ),
        (baselines.alma, "adv_lib", "adv_lib is not installed; install it with `pip install --no-deps adv-lib`"),
    ],
)
def test_missing_library_is_named(case: tuple, monkeypatch: pytest.MonkeyPatch, attack, package, advice) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=advice):
        attack(*case)


def test_alma_is_measured_by_our_code(case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images, labels = case
    seen: list[object] = []

    def alma(model: torch.nn.Module, inputs: Tensor, labels: Tensor, **options: object) -> Tensor:
        seen.append(options.pop("init_lr_distance"))
        assert options == {"num_steps": 4, "lr_init": 0.2, "distance": "ssim"}
        current = inputs.clone().requires_grad_(True)
        for _ in range(4):
            (gradient,) = torch.autograd.grad(model(current).gather(1, labels[:, None]).sum(), current)
            current = (current - 0.2 * gradient.sign()).detach().requires_grad_(True)
        return current

    package, attacks = types.ModuleType("adv_lib"), types.ModuleType("adv_lib.attacks")
    attacks.alma = alma
    monkeypatch.setitem(sys.modules, "adv_lib", package)
    monkeypatch.setitem(sys.modules, "adv_lib.attacks", attacks)
    result = baselines.alma(classifier, images, labels, steps=4, learning_rate=0.2)
    assert result.gradients.tolist() == [4] * COUNT
    assert float(result.adversarial.max()) <= 1 and result.fooling_rate > 0.5
    assert result.settings["learning_rate"] == 0.2
    other = baselines.alma(classifier, images, labels, steps=4, learning_rate=0.2, first_distance=1e-4)
    assert other.settings["first_distance"] == 1e-4 and "learning_rate" not in other.settings
    assert seen == [None, 1e-4]
