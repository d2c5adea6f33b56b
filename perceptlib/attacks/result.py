"""What an attack returns: one frozen record whose numbers are all measured from the returned images."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor, nn

from perceptlib.balls import Ball
from perceptlib.records import check_labels
from perceptlib.ssim import measure as ssim

Scalar = str | float | int | bool | None


class Status(StrEnum):
    """Outcome of an attack on one image; ``advice`` says what to do about it."""

    FOOLED = "fooled"
    FOOLED_BEFORE_ROUNDING = "fooled before rounding only"
    NOT_FOOLED = "not fooled"
    MISCLASSIFIED_BEFORE = "misclassified before the attack"
    NO_GRADIENT = "no gradient"

    @property
    def advice(self) -> str:
        return {
            Status.FOOLED: "none: the image and its 8-bit rounding both fool the classifier",
            Status.FOOLED_BEFORE_ROUNDING: "raise the budget: the perturbation does not survive rounding to 8 bits",
            Status.NOT_FOOLED: "raise the budget or the number of steps, or try loss='margin'",
            Status.MISCLASSIFIED_BEFORE: "leave the image out of fooling rates: there was nothing to attack",
            Status.NO_GRADIENT: "use loss='margin' or float64: the gradient of the loss vanished",
        }[self]


def round_to_8bit(images: Tensor) -> Tensor:
    """Images as they come back from an 8-bit file: rounded to multiples of 1/255, same shape, dtype and range."""
    return (images * 255).round() / 255


def attack_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Below 0 where the attack has succeeded, shape (N,).

    The margin of the label; with targets the best other logit minus the target's.
    """
    return margin(logits, labels) if targets is None else -margin(logits, targets)


@dataclass(frozen=True)
class AttackResult:
    """Outcome of an attack on N images; every number is recomputed from the returned images in float64.

    Attributes
    ----------
    adversarial : Tensor
        Adversarial images, shape (N, C, H, W), range [0, 1], dtype and device of the images.
    labels : Tensor
        True classes, (N,), int64.
    targets : Tensor or None
        Wanted classes, (N,), int64; None for an untargeted attack.
    margin_before, margin_after : Tensor
        Logit of the label minus the best other one, below 0 when fooled; for a targeted attack the best other logit
        minus the target's, below 0 when the target is reached. (N,).
    is_adversarial, is_adversarial_8bit : Tensor
        margin_after < 0, and the same for the image rounded to 8 bits. (N,), bool.
    distance : Tensor
        SSIM distance D over all windows, (N,).
    distance_8bit : Tensor
        The same for the image rounded to 8 bits.
    mean_ssim : Tensor
        Mean SSIM as scikit-image reports it (border cropped), (N,).
    linf, l2 : Tensor
        Norms of the perturbation in [0, 1] pixel units, (N,).
    violation : Tensor
        How far the image is outside the ball (in the unit of its radius) or outside [0, 1], at least 0, (N,).
    status : tuple of Status
        One per image, with ``advice``.
    steps, gradients : Tensor
        Steps taken, and gradients of the classifier used, (N,), int64.
    seconds : float
        Wall-clock time of the whole batch, measurement included, in seconds.
    settings : dict
        The attack's options, plain scalars.
    """

    adversarial: Tensor
    labels: Tensor
    targets: Tensor | None
    margin_before: Tensor
    margin_after: Tensor
    is_adversarial: Tensor
    is_adversarial_8bit: Tensor
    distance: Tensor
    distance_8bit: Tensor
    mean_ssim: Tensor
    linf: Tensor
    l2: Tensor
    violation: Tensor
    status: tuple[Status, ...]
    steps: Tensor
    gradients: Tensor
    seconds: float
    settings: dict[str, Scalar] = field(default_factory=dict)

    @property
    def fooling_rate(self) -> float:
        """Share of fooled images among those that the attack's margin counted as correct before; NaN if none."""
        was_correct = self.margin_before >= 0
        return float(self.is_adversarial[was_correct].double().mean()) if bool(was_correct.any()) else float("nan")

    def rows(self) -> list[dict[str, Scalar]]:
        """One dictionary of plain scalars per image: what a table needs, without the pictures."""
        columns = {
            name: getattr(self, name).tolist()
            for name in (
                *("labels", "margin_before", "margin_after", "is_adversarial", "is_adversarial_8bit", "distance"),
                *("distance_8bit", "mean_ssim", "linf", "l2", "violation", "steps", "gradients"),
            )
        }
        columns["label"] = columns.pop("labels")
        count = len(self.status)
        columns["target"] = [None] * count if self.targets is None else self.targets.tolist()
        columns["status"] = [str(status) for status in self.status]
        columns["seconds"] = [self.seconds / count] * count
        return [{key: values[index] for key, values in columns.items()} | self.settings for index in range(count)]


@torch.no_grad()
def violation(images: Tensor, adversarial: Tensor, ball: Ball | None = None) -> Tensor:
    """How far adversarial images are outside the ball, in the unit of its radius, or outside [0, 1]: (N,), float64."""
    outside = torch.maximum(-adversarial, adversarial - 1).amax(dim=(1, 2, 3)).clamp_min(0).double()
    if ball is None:
        return outside
    radius = torch.as_tensor(ball.radius, dtype=torch.float64, device=images.device)
    return torch.maximum(outside, (ball.measure(adversarial.double() - images.double()) - radius).clamp_min(0))


@torch.no_grad()
def measure(
    classifier: nn.Module,
    images: Tensor,
    adversarial: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    ball: Ball | None = None,
    steps: Tensor | int = 0,
    gradients: Tensor | int = 0,
    has_gradient: Tensor | None = None,
    started: float | None = None,
    settings: dict[str, Scalar] | None = None,
) -> AttackResult:
    """Measure adversarial images, wherever they come from.

    Parameters
    ----------
    classifier : Module
        Images in [0, 1] to logits.
    images, adversarial : Tensor
        Clean and adversarial images, shape (N, C, H, W), range [0, 1].
    labels, targets : Tensor
        (N,), int64.
    ball : Ball, optional
        Ball that the perturbation must not leave; without one only [0, 1] counts as a violation.
    steps, gradients : Tensor or int
        Effort spent, for the record.
    has_gradient : Tensor, optional
        (N,), bool: False where the attack met a zero gradient.
    started : float, optional
        `time.perf_counter()` at the attack's start.
    settings : dict, optional
        The attack's options.
    """
    before = attack_margin(classifier(images), labels, targets)
    rounded = round_to_8bit(adversarial)
    after, after_8bit = (
        attack_margin(logits, labels, targets)
        for logits in classifier(torch.cat([adversarial, rounded])).split(len(images))
    )
    exact, difference = images.double(), adversarial.double() - images.double()
    reference = ssim.Reference(exact, getattr(ball, "window", ssim.Window()))
    loss = reference.loss_map(difference)
    pad = reference.window.border
    cropped = loss[..., pad:-pad, pad:-pad]
    is_adversarial, is_adversarial_8bit = after < 0, after_8bit < 0
    count = len(images)

    def status(index: int) -> Status:
        if before[index] < 0:
            return Status.MISCLASSIFIED_BEFORE
        if is_adversarial[index]:
            return Status.FOOLED if is_adversarial_8bit[index] else Status.FOOLED_BEFORE_ROUNDING
        if has_gradient is not None and not has_gradient[index]:
            return Status.NO_GRADIENT
        return Status.NOT_FOOLED

    return AttackResult(
        adversarial=adversarial,
        labels=labels.cpu(),
        targets=None if targets is None else targets.cpu(),
        margin_before=before.double().cpu(),
        margin_after=after.double().cpu(),
        is_adversarial=is_adversarial.cpu(),
        is_adversarial_8bit=is_adversarial_8bit.cpu(),
        distance=loss.mean(dim=(1, 2, 3)).cpu(),
        distance_8bit=reference.distance(rounded.double() - exact).cpu(),
        mean_ssim=1 - cropped.mean(dim=(1, 2, 3)).cpu(),
        linf=difference.abs().amax(dim=(1, 2, 3)).cpu(),
        l2=difference.flatten(1).norm(dim=1).cpu(),
        violation=violation(images, adversarial, ball).cpu(),
        status=tuple(status(index) for index in range(count)),
        steps=torch.as_tensor(steps).expand(count).clone().cpu(),
        gradients=torch.as_tensor(gradients).expand(count).clone().cpu(),
        seconds=0.0 if started is None else time.perf_counter() - started,
        settings=dict(settings or {}),
    )


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Logit of the label minus the best other logit; below 0 when fooled.

    Parameters
    ----------
    logits
        (N, K), K at least 2.
    labels
        (N,), int64.

    Returns
    -------
    torch.Tensor
        (N,), differentiable.

    Raises
    ------
    TypeError
        As `checks.check_labels` says.
    ValueError
        As `checks.check_labels` says.
    """
    check_labels(labels, *logits.shape)
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - others.amax(1)
