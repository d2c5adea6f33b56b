"""What foolbox and adv-lib ask of their attacks, asked of these in every ball, where the answer is a formula.

The classifier is linear, so that the nearest boundary of a ball is a quotient for each other class. Not taken: attacks
by decisions alone, their epsilons as a list, and stochastic restarts, which do not exist here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from perceptlib.attacks import AttackResult, Status, maximize_loss, smallest
from perceptlib.balls import Ball, L2Ball, LinfBall, LumaBall, MultiScaleBall, SSIMBall, WindowBall
from perceptlib.ssim import Window

SIDE, CLASSES, COUNT = 12, 4, 4
SMALL = Window(5)
ALONG_A_RAY = 2e-3  # relative: the bisection of the ray, and a step past the boundary


class Linear(nn.Module):
    """Logits weight x + bias, in the dtype of the images."""

    def __init__(self, num_classes: int = CLASSES) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(num_classes)
        self.weight = torch.randn(num_classes, 3, SIDE, SIDE, generator=generator, dtype=torch.float64) / SIDE
        self.bias = torch.randn(num_classes, generator=generator, dtype=torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.5).flatten(1) @ self.weight.flatten(1).T.to(images) + self.bias.to(images)


def grey(count: int = COUNT, dtype: torch.dtype = torch.float64) -> Tensor:
    """Pictures far from 0 and 1, so that the box plays no part."""
    noise = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    return (0.45 + 0.1 * noise).to(dtype)


def support(images: Tensor) -> Tensor:
    return torch.rand(len(images), SIDE, SIDE, generator=torch.Generator().manual_seed(9)) > 0.5


BALLS: dict[str, Callable[[Tensor], Ball]] = {
    "linf": lambda x: LinfBall(0.01),
    "l2": lambda x: L2Ball(0.1),
    "linf, support": lambda x: LinfBall(0.01, support=support(x)),
    "l2, radii": lambda x: L2Ball(torch.linspace(0.05, 0.2, len(x))),
    "ssim": lambda x: SSIMBall(x, 1e-3, cg_steps=300, tolerance=1e-10),
    "ssim diagonal": lambda x: SSIMBall(x, 1e-3, coupling="diagonal"),
    "ssim luminance": lambda x: SSIMBall(x, 1e-3, components="luminance", coupling="diagonal"),
    "ssim, support": lambda x: SSIMBall(x, 1e-3, cg_steps=300, tolerance=1e-10, support=support(x)),
    "multi-scale": lambda x: MultiScaleBall(x, 1e-3, window=SMALL, cg_steps=300, tolerance=1e-10),
    "luma": lambda x: LumaBall(x, 1e-3, cg_steps=300, tolerance=1e-10),
    "window": lambda x: WindowBall(x, 1e-3, size=4),
}
pytestmark = pytest.mark.parametrize("make", BALLS.values(), ids=list(BALLS))
ATTACKS: dict[str, Callable[..., AttackResult]] = {"maximize_loss": maximize_loss, "smallest": smallest}
both = pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))


def labelled(num_classes: int = CLASSES, dtype: torch.dtype = torch.float64) -> tuple[Linear, Tensor, Tensor]:
    classifier, images = Linear(num_classes), grey(dtype=dtype)
    return classifier, images, classifier(images).argmax(1)


def gauge_of_the_boundary(ball: Ball, classifier: Linear, images: Tensor, labels: Tensor) -> Tensor:
    """Factor by which the ball must be scaled to meet the nearest other class, (N,)."""
    logits, best = classifier(images), torch.full((len(images),), torch.inf, dtype=torch.float64)
    for other in range(len(classifier.bias)):
        slope = (classifier.weight[other] - classifier.weight[labels]).to(images)
        gain = (slope * ball.steepest(slope)).sum(dim=(1, 2, 3))
        gap = logits.gather(1, labels[:, None])[:, 0] - logits[:, other]
        best = torch.where(labels == other, best, torch.minimum(best, (gap / gain.clamp_min(1e-30)).double()))
    return best


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smallest_ends_at_the_nearest_boundary(make: Any, num_classes: int, dtype: torch.dtype) -> None:
    """After adv-lib's test_lp_attack: the ratio to the exact distance."""
    classifier, images, labels = labelled(num_classes, dtype)
    ball = make(images)
    result = smallest(classifier, images, labels, ball)
    expected = gauge_of_the_boundary(ball, classifier, images, labels)
    reached = ball.gauge(result.adversarial - images).double()
    assert bool(result.is_adversarial.all())
    # 1 - S of a window is no norm: scaled, the window ball is only nearly itself
    tolerance = 0.05 if isinstance(ball, WindowBall) else ALONG_A_RAY if dtype == torch.float64 else 0.01
    assert bool((reached <= expected * (1 + tolerance)).all()) and bool((reached >= expected * (1 - tolerance)).all())


@both
def test_images_stay_pictures_and_say_the_truth(make: Any, attack: Any) -> None:
    """After foolbox's test_untargeted_attacks: bounds, and success as the network alone sees it."""
    classifier, images, labels = labelled()
    result = attack(classifier, images, labels, make(images))
    assert float(result.adversarial.min()) >= 0 and float(result.adversarial.max()) <= 1
    assert torch.equal(result.is_adversarial, classifier(result.adversarial).argmax(1) != labels)
    assert bool((result.violation <= 1e-9).all())


@both
def test_what_is_misclassified_already_is_said_so(make: Any, attack: Any) -> None:
    classifier, images, labels = labelled()
    labels[1] = (labels[1] + 1) % CLASSES
    result = attack(classifier, images, labels, make(images))
    assert [status is Status.MISCLASSIFIED_BEFORE for status in result.status] == [False, True, False, False]
    if attack is smallest:
        assert torch.equal(result.adversarial[1], images[1]) and int(result.steps[1]) == 0


def test_targets_are_reached(make: Any) -> None:
    """After foolbox's and adv-lib's targeted tests; the ball of maximize_loss is scaled to hold the target."""
    classifier, images, labels = labelled()
    targets = classifier(images).argmin(1)
    near = smallest(classifier, images, labels, make(images), targets=targets)
    assert torch.equal(classifier(near.adversarial).argmax(1), targets) and near.fooling_rate == 1
    untargeted = smallest(classifier, images, labels, make(images))
    gauges = [make(images).gauge(result.adversarial - images) for result in (untargeted, near)]
    assert bool((gauges[0] <= gauges[1] * (1 + ALONG_A_RAY)).all())
    far = maximize_loss(classifier, images, labels, make(images), targets=targets, steps=3)
    assert bool((far.margin_after < far.margin_before).all())


@both
def test_one_image_is_attacked_as_in_a_batch(make: Any, attack: Any) -> None:
    classifier, images, labels = labelled()
    ball = make(images)
    whole = attack(classifier, images, labels, ball, steps=3)
    for index in range(COUNT):
        place = torch.tensor([index])
        alone = attack(classifier, images[place], labels[place], ball.select(place), steps=3)
        assert alone.adversarial.shape == (1, 3, SIDE, SIDE) and alone.l2.shape == (1,) and len(alone.status) == 1
        torch.testing.assert_close(alone.adversarial, whole.adversarial[place], rtol=0, atol=1e-4)


@both
def test_the_same_call_gives_the_same_bits(make: Any, attack: Any) -> None:
    classifier, images, labels = labelled()
    first, second = (attack(classifier, images, labels, make(images)) for _ in range(2))
    assert torch.equal(first.adversarial, second.adversarial) and torch.equal(first.margin_after, second.margin_after)


def test_more_budget_is_not_less_fooling(make: Any) -> None:
    """After foolbox's robust accuracy, which falls as epsilon grows."""
    classifier, images, labels = labelled()
    ball = make(images)
    margins = []
    for factor in (0.25, 1.0, 4.0):
        scaled = make(images)
        if isinstance(scaled, LinfBall | L2Ball):
            scaled = type(scaled)(factor * ball.radius, support=scaled.support)
        elif isinstance(scaled, LumaBall):
            scaled = LumaBall(images, factor * ball.radius)
        elif isinstance(scaled, MultiScaleBall):
            scaled = scaled.like(images, factor * ball.radius)
        elif isinstance(scaled, WindowBall):
            scaled = WindowBall(images, factor * ball.radius, size=4)
        else:
            options = {name: getattr(ball, name) for name in ("coupling", "components", "support")}
            scaled = SSIMBall(images, factor * ball.radius, **options)
        margins.append(maximize_loss(classifier, images, labels, scaled, steps=3, loss="margin").margin_after)
    assert bool((margins[0] >= margins[1]).all()) and bool((margins[1] >= margins[2]).all())
