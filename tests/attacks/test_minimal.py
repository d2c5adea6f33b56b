"""The smallest perturbation on curved boundaries, and the effort that it reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.nn import functional

from perceptlib.attacks import smallest
from perceptlib.balls import Ball, L2Ball, LinfBall, SSIMBall, WindowBall
from perceptlib.data import digits
from perceptlib.networks import load
from perceptlib.ssim import Window

SIDE = 12


class Ellipsoid(nn.Module):
    """Class 0 inside sum w (x - 0.5)^2 = 1, class 1 outside, class 2 nowhere; counts its gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.logspace(0, 2, SIDE * SIDE, dtype=torch.float64)
        self.gradients = 0

    def forward(self, images: Tensor) -> Tensor:
        value = ((images.double() - 0.5).flatten(1) ** 2 * self.weight).sum(1)
        logits = torch.stack([1 - value, torch.zeros_like(value), -5 - value], dim=1)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.gradients += 1


def inside(count: int = 1) -> Tensor:
    """Pictures within the ellipsoid, off its axes."""
    generator = torch.Generator().manual_seed(2)
    return 0.5 + 0.01 * torch.randn(count, 1, SIDE, SIDE, dtype=torch.float64, generator=generator)


def nearest_of_the_ellipsoid(image: Tensor, weight: Tensor) -> float:
    """Euclidean distance: y = x / (1 + s w) meets the surface for one s in (-1 / max w, 0), by the multiplier rule."""
    x, w = (image - 0.5).numpy().ravel(), weight.numpy()
    s = brentq(lambda s: (w * (x / (1 + s * w)) ** 2).sum() - 1, -(1 - 1e-9) / w.max(), 0)
    return float(np.linalg.norm(x / (1 + s * w) - x))


def zeros(count: int = 1) -> Tensor:
    return torch.zeros(count, dtype=torch.int64)


def test_smallest_comes_near_to_the_nearest_point_of_an_ellipsoid() -> None:
    classifier, images = Ellipsoid(), inside(3)
    truth = torch.tensor([nearest_of_the_ellipsoid(image, classifier.weight) for image in images]).double()
    rough, fine, descended = (
        smallest(classifier, images, zeros(3), L2Ball(1.0), refinements=refinements, descent=descent).l2
        for refinements, descent in ((0, 0), (20, 0), (0, 60))
    )
    assert all(bool((found >= truth).all()) for found in (rough, fine, descended))
    assert bool((fine <= 1.02 * truth).all()) and bool((fine < rough).all())
    assert bool((descended <= 1.0005 * truth).all())


@pytest.mark.parametrize("options", [{}, {"candidates": 1}, {"targets": torch.tensor([1])}])
@pytest.mark.parametrize("refinements, eight_bit", [(0, False), (2, False), (0, True), (5, True)])
def test_smallest_reports_the_gradients_that_it_took(options: dict, refinements: int, eight_bit: bool) -> None:
    classifier = Ellipsoid()
    result = smallest(
        classifier, inside(), zeros(), L2Ball(1.0), refinements=refinements, eight_bit=eight_bit, **options
    )
    assert result.fooling_rate == 1
    assert int(result.gradients) == classifier.gradients


def test_smallest_takes_the_least_options_and_records_them() -> None:
    result = smallest(
        Ellipsoid(), inside(), zeros(), LinfBall(1.0), steps=1, candidates=1, overshoot=0.0, refinements=0
    )
    row = result.rows()[0]
    expected = {"attack": "smallest", "ball": "LinfBall", "num_steps": 1, "candidates": 1, "overshoot": 0.0}
    expected |= {"refinements": 0, "descent": 0, "eight_bit": False}
    assert {name: row[name] for name in expected} == expected
    row = smallest(Ellipsoid(), inside(), zeros(), L2Ball(1.0), steps=2, eight_bit=True).rows()[0]
    # as documented; of ten candidates a classifier of three has two
    expected = {"candidates": 2, "overshoot": 0.02, "refinements": 5, "eight_bit": True, "ball": "L2Ball"}
    assert {name: row[name] for name in expected} == expected


def test_smallest_ends_within_its_bisection_of_the_boundary() -> None:
    classifier, images = Ellipsoid(), inside(3)
    result = smallest(classifier, images, zeros(3), L2Ball(1.0), overshoot=3.0, refinements=0)
    assert bool(result.is_adversarial.all())
    back = images + (1 - 2 / 4096 * 4) * (result.adversarial - images)  # a step past the boundary is cut 4 times
    assert not bool((classifier(back).argmax(1) == 1).any())


def test_smallest_leaves_the_misclassified_alone_beside_others() -> None:
    classifier, images = Ellipsoid(), inside(3)
    images[1] += 0.1
    result = smallest(classifier, images, zeros(3), L2Ball(1.0))
    assert torch.equal(result.adversarial[1], images[1]) and int(result.gradients[1]) == int(result.steps[1]) == 0
    assert result.is_adversarial.tolist() == [True] * 3 and result.fooling_rate == 1
    alone = smallest(classifier, images[2:], zeros(), L2Ball(1.0))
    torch.testing.assert_close(result.adversarial[2:], alone.adversarial)
    assert int(result.gradients[2]) == int(alone.gradients)


class Twelve(nn.Module):
    """Ten classes hang on the right half of a picture; the last, the lowest and the nearest, on the left."""

    def __init__(self, slope: float, gap: float) -> None:
        super().__init__()
        self.slope, self.gap = slope, gap

    def forward(self, images: Tensor) -> Tensor:
        left, right = (half.mean((1, 2, 3)) - 0.5 for half in images.double().split(SIDE // 2, 3))
        others = [10 * right - 1 - rank / 100 for rank in range(10)]
        return torch.stack([0 * left, *others, self.slope * left - self.gap], dim=1)


def test_smallest_considers_the_ten_highest_classes() -> None:
    """As many as DeepFool's authors do; an eleventh is seen by those who ask for it."""
    images = torch.full((1, 1, SIDE, SIDE), 0.5, dtype=torch.float64)
    as_it_is, eleven = (
        smallest(Twelve(20, 1.15), images, zeros(), L2Ball(1.0), steps=1, **o) for o in ({}, {"candidates": 11})
    )
    assert float(eleven.l2) < 0.6 * float(as_it_is.l2)


@pytest.mark.parametrize("gap, is_seen", [(1.19, True), (1.21, False)])
def test_smallest_linearises_what_a_slope_of_a_fifth_more_would_bring_nearest(gap: float, is_seen: bool) -> None:
    """Slopes are not known before; a class that is farther than that is left out, also where it is the nearest."""
    images = torch.full((1, 1, SIDE, SIDE), 0.5, dtype=torch.float64)
    result = smallest(Twelve(20, gap), images, zeros(), L2Ball(1.0), candidates=11, refinements=0)
    assert (float(result.l2) < 0.7 * 0.1 * SIDE / 2**0.5) == is_seen


def linear(num_classes: int, seed: int, side: int = 8) -> tuple[Any, Tensor, Tensor]:
    """Classifier of drawn weights, its weights (K, 3 side side), and pictures far from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(num_classes, 3 * side * side, generator=generator, dtype=torch.float64)
    bias = torch.randn(num_classes, generator=generator, dtype=torch.float64)
    images = 0.3 + 0.4 * torch.rand(4, 3, side, side, generator=generator, dtype=torch.float64)
    return lambda x: (x.to(weight) - 0.5).flatten(1) @ weight.T + bias, weight, images


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_smallest_fools_where_many_pixels_are_saturated(num_classes: int, dtype: torch.dtype) -> None:
    """A share of the logits' range vanishes at the boundary of two classes, and clipping shortens every step."""
    for seed in range(3):
        classifier, _, images = linear(num_classes, seed)
        images = (2 * (images - 0.5) + 0.5 + 0.3 * torch.randn(images.shape, generator=torch.Generator())).clamp(0, 1)
        images = images.to(dtype)
        labels = classifier(images).argmax(1)
        for ball in (L2Ball(0.5), LinfBall(0.02), SSIMBall(images, 0.01, window=Window(7)), WindowBall(images, 0.01)):
            result = smallest(classifier, images, labels, ball)
            assert result.fooling_rate == 1 and int(result.steps.max()) <= 10


def test_smallest_of_two_classes_does_not_depend_on_a_third_that_is_out_of_reach() -> None:
    classifier, _, images = linear(2, 5)
    labels = classifier(images).argmax(1)
    two = smallest(classifier, images, labels, L2Ball(1.0))
    three = smallest(lambda x: functional.pad(classifier(x), (0, 1), value=-50.0), images, labels, L2Ball(1.0))
    torch.testing.assert_close(two.l2, three.l2, rtol=1e-3, atol=0)


@pytest.mark.parametrize("num_classes", [2, 3, 5, 10])
def test_smallest_targeted_comes_near_to_the_best_of_all_planes(num_classes: int) -> None:
    """Least max |r|, and least norm, that bring the target above every rival, by linear and quadratic programs."""
    for seed in range(2):
        classifier, weight, images = linear(num_classes, seed)
        logits = classifier(images)
        labels, targets = logits.argmax(1), logits.argmin(1)
        found = [smallest(classifier, images, labels, ball, targets=targets) for ball in (LinfBall(1.0), L2Ball(1.0))]
        for index, target in enumerate(targets.tolist()):
            r = cp.Variable(weight.shape[1])
            rivals = [other for other in range(num_classes) if other != target]
            lead = (logits[index, rivals] - logits[index, target]).numpy()
            beyond = [(weight[target] - weight[rivals]).numpy() @ r >= lead]
            for result, norm, name in zip(found, ("inf", 2), ("linf", "l2"), strict=True):
                best = cp.Problem(cp.Minimize(cp.norm(r, norm)), beyond).solve(solver="CLARABEL")
                assert bool(result.is_adversarial[index])
                assert best * (1 - 1e-6) <= float(getattr(result, name)[index]) <= 1.05 * best


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("eight_bit", [False, True])
def test_smallest_linearises_the_labels_own_logit_in_every_mode(mode: Any, eight_bit: bool) -> None:
    classifier, _, images = linear(3, 7)
    labels = classifier(images).argmax(1)
    for ball in (L2Ball(1.0), LinfBall(0.1)):
        expected = smallest(classifier, images, labels, ball, eight_bit=eight_bit)
        with mode():
            found = smallest(classifier, images, labels, ball, eight_bit=eight_bit)
        assert torch.equal(found.adversarial, expected.adversarial)
        assert torch.equal(found.steps, expected.steps)


class Counted(nn.Module):
    """A network, with the pictures that it saw and those whose gradient was asked for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.passes, self.gradients = network, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += len(images)
        logits = self.network(images)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


BALLS: dict[str, Callable[[Tensor], Ball]] = {
    "ssim": lambda x: SSIMBall(x, 0.01),
    "ssim diagonal": lambda x: SSIMBall(x, 0.01, coupling="diagonal"),
    "l2": lambda x: L2Ball(1.0),
    "linf": lambda x: LinfBall(0.1),
}
KINDS = {
    "any class": {},
    "targets": {"targets": True},
    "8 bits": {"eight_bit": True},
    "descent": {"refinements": 1, "descent": 9},
    "targets, descent": {"targets": True, "refinements": 1, "descent": 9},
}


@pytest.fixture(scope="module")
def some_digits() -> tuple[nn.Module, Tensor, Tensor]:
    """The last of the pictures are far from the boundary, and need more steps than the first.

    In double precision: in single a rounding error, of another size in a batch, may end a search a step earlier.
    """
    classifier, drawn = load("digits").double(), digits(16, seed=23)
    images = drawn.images.double()
    logits = classifier(images)
    right = (logits.argmax(1) == drawn.labels).nonzero().flatten()
    lead = torch.topk(logits[right], 2).values.diff(dim=1).abs()[:, 0]
    chosen = right[lead.argsort()[[0, 4, -1]]]
    return classifier, images[chosen], drawn.labels[chosen]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ball", BALLS)
def test_smallest_counts_its_effort_and_takes_each_picture_by_itself(some_digits: Any, ball: str, kind: str) -> None:
    classifier, images, labels = some_digits
    network, make, options = Counted(classifier), BALLS[ball], dict(KINDS[kind])
    targets = (labels + 1) % 10 if options.pop("targets", False) else None
    result = smallest(network, images, labels, make(images), targets=targets, **options)
    count = len(images)
    assert int(result.gradients.sum()) == network.gradients
    # the door sees every picture once, the measurement sees it and its rounding
    assert int(result.forward_passes.sum()) == network.passes - 3 * count
    assert bool((result.gradients <= 35).all())
    for index in range(count):
        alone, own = slice(index, index + 1), None if targets is None else targets[index : index + 1]
        single = smallest(classifier, images[alone], labels[alone], make(images[alone]), targets=own, **options)
        torch.testing.assert_close(result.adversarial[alone], single.adversarial, rtol=0, atol=1e-6)
        assert int(result.gradients[index]) == int(single.gradients)


@pytest.mark.parametrize("ball", BALLS)
def test_a_descent_only_gains_and_ends_at_the_boundary(some_digits: Any, ball: str) -> None:
    classifier, images, labels = some_digits
    made = BALLS[ball](images)
    plain, descended = (smallest(classifier, images, labels, made, descent=descent) for descent in (0, 30))
    assert bool(descended.is_adversarial.all())
    size, before = made.gauge(descended.adversarial - images), made.gauge(plain.adversarial - images)
    assert bool((size <= (1 + 1 / 4096) * before).all()) and bool((size < 0.999 * before).any())
    nearer = (images + (1 - 1 / 2048) * (descended.adversarial - images)).clamp(0, 1)
    assert bool((classifier(nearer).argmax(1) == labels).all())
    assert bool((descended.gradients == plain.gradients + 30).all())


@pytest.mark.parametrize("exponent", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("overshoot", [0.0, 0.02, 3.0])
def test_rays_end_where_a_bisection_would_in_fewer_passes(exponent: float, overshoot: float) -> None:
    """The margin of a flat picture's mean is its distance to 0.7 to some power, steep or flat at the boundary."""

    def classifier(images: Tensor) -> Tensor:
        away = images.double().mean((1, 2, 3)) - 0.7
        return torch.stack([-away.sign() * away.abs() ** exponent, 0 * away], dim=1)

    images = torch.full((1, 1, SIDE, SIDE), 0.5, dtype=torch.float64)
    result = smallest(classifier, images, zeros(), LinfBall(1.0), overshoot=overshoot, refinements=0)
    if bool(result.is_adversarial):
        assert 0.2 <= float(result.linf) <= 0.2 * (1 + 1 / 4096)
        assert int(result.forward_passes) - 2 * int(result.steps) <= (12 if exponent >= 1 else 24)
