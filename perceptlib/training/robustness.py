"""Adversarial training: a threat, the changes inside it that a network does worst on, and what it withstands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perceptlib.attacks import maximize_loss
from perceptlib.attacks.maximize import ascend, default_step
from perceptlib.balls import Ball, L2Ball, LinfBall
from perceptlib.balls.norms import as_radius
from perceptlib.records.modules import evaluating

# At which a network trained as usual gets few pictures right, and one that is trained against it still nearly all that
# are not attacked.
RADII: Mapping[str, Mapping[str, float]] = {
    "shapes": {"l2": 1.0, "linf": 0.02},
    "digits": {"l2": 1.5, "linf": 0.06},
}
_TESTING_STEPS = 20
# Loss, and whether the start is random, of each attack that a picture must withstand.
_TESTS = (("margin", False), ("cross_entropy", False), ("margin", True), ("cross_entropy", True))
TESTED_BY = (
    f"perceptlib.training.robustness.withstands: {len(_TESTS)} attacks of {_TESTING_STEPS} steps, "
    "on the margin and on the cross-entropy, from the picture and from random starts"
)


@dataclass(frozen=True)
class Threat:
    """Every change of a picture in [0, 1] whose norm, "l2" or "linf", is at most the radius.

    ValueError for another norm, and for a radius that is not finite and above 0, of linf also where it is above 1.
    """

    norm: str
    radius: float

    def __post_init__(self) -> None:
        if self.norm not in ("l2", "linf"):
            raise ValueError(f"there is no robust training against {self.norm!r}; l2 and linf are allowed")
        as_radius(self.radius, "radius")
        if self.norm == "linf" and self.radius > 1:
            raise ValueError(f"radius {self.radius} is above 1, the range of a pixel; write {self.radius / 255:.3g}")

    @property
    def ball(self) -> Ball:
        """The same as attacks take it."""
        return L2Ball(self.radius) if self.norm == "l2" else LinfBall(self.radius)


def hardest(
    network: nn.Module,
    logits: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Pictures to train on, (N, C, H, W), in [0, 1]: those of lowest margin that an attack meets.

    Projected gradient descent from a random start (Madry et al. 2018). `logits` calls the network, which is in
    evaluation mode meanwhile.
    """
    ball = threat.ball
    start = _random_start(images, ball, generator)
    with evaluating(network):
        change, _ = ascend(logits, images, labels, ball, steps=steps, step_size=default_step(steps), start=start)
    return (images + change).clamp(0, 1)


def withstands(
    classifier: nn.Module, images: Tensor, labels: Tensor, threat: Threat, *, steps: int = _TESTING_STEPS
) -> Tensor:
    """Which pictures are classified correctly as they are and after each of four attacks inside the threat, (N,), bool.

    `maximize_loss` of 20 steps on the margin and on the cross-entropy, from the picture and from random starts,
    always the same. What withstands them may fall to a stronger attack: robust accuracy by attacks is an upper bound.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        is_right: Tensor = classifier(images).argmax(1) == labels
    for loss, is_random in _TESTS:
        start = _random_start(images, threat.ball, generator) if is_random else None
        left = is_right.nonzero()[:, 0]
        if not len(left):
            break
        start = None if start is None else start[left]
        result = maximize_loss(classifier, images[left], labels[left], threat.ball, steps=steps, loss=loss, start=start)
        is_right[left] = ~result.is_adversarial
    return is_right


def _random_start(images: Tensor, ball: Ball, generator: torch.Generator) -> Tensor:
    """A random direction for each picture, of a size drawn between 0 and the radius."""
    noise = torch.rand(images.shape, generator=generator) * 2 - 1
    size = torch.rand(len(images), generator=generator) / ball.gauge(noise)
    return noise * size.view(-1, 1, 1, 1)
