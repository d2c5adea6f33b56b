"""What an attack returns: one frozen record whose numbers are all measured from the returned images."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perceptlib.attacks.network import Classifier, Given, attack_margin, entered
from perceptlib.balls import Ball, SSIMBall
from perceptlib.balls.norms import finite_within
from perceptlib.records import plain, replacing
from perceptlib.records.checks import Values, as_tensor, ordinary, own_mode
from perceptlib.ssim import Reference, Window

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


@dataclass(frozen=True, eq=False)
class AttackResult:
    """Outcome of an attack on N images; every number is recomputed from the returned images in float64.

    Attributes
    ----------
    adversarial : Tensor
        Adversarial images, shape (N, C, H, W), range [0, 1], dtype and device of the images.
    labels, targets : Tensor
        True classes and wanted ones, (N,), int64; targets are None for an untargeted attack.
    margin_before, margin_after : Tensor
        Logit of the label minus the best other one, below 0 when fooled; for a targeted attack the best other logit
        minus the target's, below 0 when the target is reached. (N,).
    is_adversarial, is_adversarial_8bit : Tensor
        margin_after < 0, and the same for the image rounded to 8 bits. (N,), bool.
    distance, distance_8bit, mean_ssim : Tensor
        SSIM distance D over all windows, of the image and of its rounding, and mean SSIM as scikit-image reports it
        (border cropped), (N,): in the ball's window where it has one, NaN for images smaller than the window.
    linf, l2 : Tensor
        Norms of the perturbation in [0, 1] pixel units, (N,).
    violation : Tensor
        How far the image is outside the ball (in the unit of its radius) or outside [0, 1], at least 0, (N,).
    status : tuple of Status
        One per image, with ``advice``.
    steps, gradients, forward_passes : Tensor
        Steps taken, gradients of the classifier and forward passes through it, those of its gradients among them and
        those of the measurement not, (N,), int64.
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
    forward_passes: Tensor
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

    def save(self, path: str | Path) -> None:
        """Write the whole result, pictures included, as one file of torch, whole or not at all."""
        content = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        with replacing(Path(path)) as temporary:
            torch.save(content | {"status": [str(status) for status in self.status]}, temporary)

    @classmethod
    def load(cls, path: str | Path) -> AttackResult:
        """A result that `save` wrote, on the CPU.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            A file of another kind, or damaged.
        """
        content = Path(path).read_bytes()
        try:
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            return cls(**loaded | {"status": tuple(map(Status, loaded["status"]))})
        except Exception as error:  # a damaged file can end in any exception
            raise ValueError(
                f"{path} holds no result of an attack, or a damaged one ({type(error).__name__}); "
                "write one with result.save(path)"
            ) from error

    @classmethod
    def concatenate(cls, results: Iterable[AttackResult]) -> AttackResult:
        """The result of several batches of one attack as if it were one; their seconds are added.

        Raises
        ------
        ValueError
            No result, or results of different settings, of pictures of different shapes, or with and without targets.
        """
        results = list(results)
        if not results:
            raise ValueError("there is no result to concatenate; pass at least one")
        kinds = {(result.adversarial.shape[1:], result.targets is None, str(result.settings)) for result in results}
        if len(kinds) > 1:
            raise ValueError("results of different settings, shapes or kinds of attack cannot be one; keep them apart")
        first, joined = results[0], dict[str, Any]()
        for entry in fields(cls):
            parts = [getattr(result, entry.name) for result in results]
            if isinstance(parts[0], Tensor):
                joined[entry.name] = torch.cat([part.to(parts[0]) for part in parts])
        status = tuple(status for result in results for status in result.status)
        return replace(first, **joined, status=status, seconds=sum(result.seconds for result in results))


@dataclass(frozen=True)
class Compared:
    """Adversarial images beside the clean ones, in float64."""

    difference: Tensor  # (N, C, H, W)
    loss: Tensor | None  # 1 - S, (N, C, H, W); None for images smaller than the window
    violation: Tensor  # how far they are outside the ball, in the unit of its radius, or outside [0, 1], (N,)


class Yardstick:
    """Clean images and their statistics in float64, computed once, with which adversarial ones are compared.

    Without ``is_bounded`` the ball gives its window alone, and only [0, 1] counts as a violation.
    """

    def __init__(self, images: Tensor, ball: Ball | None, *, is_bounded: bool = True) -> None:
        self.images, self.ball = images.double(), ball if is_bounded else None
        self.window = getattr(ball, "window", Window())
        self.reference: Reference | None = None
        if isinstance(ball, SSIMBall):
            self.reference = ball.exact
        elif self.window.size <= min(images.shape[-2:]):
            self.reference = Reference(self.images, self.window)

    @own_mode()
    def compare(self, adversarial: Tensor) -> Compared:
        """Difference, SSIM and violation of adversarial images (N, C, H, W)."""
        difference = adversarial.double() - self.images
        loss = None if self.reference is None else self.reference.loss_map(difference)
        size: Tensor | None = None
        if loss is not None and isinstance(self.ball, SSIMBall) and self.ball.components == "both":
            size = finite_within(difference, loss.mean(dim=(1, 2, 3)), self.ball.support)  # what it would measure
        elif self.ball is not None:
            size = self.ball.measure(difference)
        return Compared(difference, loss, _violation(adversarial, size, self.ball))


def _violation(adversarial: Tensor, size: Tensor | None, ball: Ball | None) -> Tensor:
    lowest, highest = adversarial.amin(dim=(1, 2, 3)), adversarial.amax(dim=(1, 2, 3))
    outside = torch.maximum(-lowest, highest - 1).clamp_min(0).double()
    if ball is None or size is None:
        return outside
    radius = torch.as_tensor(ball.radius, dtype=torch.float64, device=adversarial.device)
    return torch.maximum(outside, (size - radius).clamp_min(0))


def measure(
    classifier: Classifier,
    images: Values,
    adversarial: Values,
    labels: Values,
    *,
    targets: Values | None = None,
    ball: Ball | None = None,
    steps: Tensor | int = 0,
    gradients: Tensor | int = 0,
    forward_passes: Tensor | int = 0,
    has_gradient: Tensor | None = None,
    started: float | None = None,
    settings: dict[str, Scalar] | None = None,
) -> AttackResult:
    """Measure adversarial images, wherever they come from.

    Parameters
    ----------
    classifier, images, labels, targets
        As for `perceptlib.attacks.maximize.maximize_loss`.
    adversarial : Tensor or ndarray
        Of the images' shape and dtype; what it leaves [0, 1] by counts as a violation.
    ball : Ball, optional
        Ball that the perturbation must not leave; without one only [0, 1] counts as a violation.
    steps, gradients, forward_passes : Tensor or int
        Effort spent, for the record.
    has_gradient : Tensor, optional
        (N,), bool: False where the attack met a zero gradient.
    started : float, optional
        `time.perf_counter()` at the attack's start.
    settings : dict, optional
        The attack's options.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.attacks.maximize.maximize_loss`; adversarial images of another shape, dtype or device, or with
        NaN or infinite values.
    """
    with entered(classifier, images, labels, targets, ball=ball) as given:
        changed = as_tensor(adversarial)
        wanted = (given.images.shape, given.images.dtype, given.images.device)
        if (changed.shape, changed.dtype, changed.device) != wanted:
            raise ValueError(
                f"adversarial images have shape {tuple(changed.shape)}, dtype {changed.dtype} on {changed.device}; "
                f"those of the images, {tuple(wanted[0])}, {wanted[1]} on {wanted[2]}, are needed"
            )
        if not bool(torch.isfinite(changed).all()):
            raise ValueError("adversarial images hold NaN or infinite values; pass finite numbers")
        result = measured(
            given,
            ordinary(changed.detach().clone()),
            ball=ball,
            steps=steps,
            gradients=gradients,
            forward_passes=forward_passes,
            has_gradient=has_gradient,
            settings=settings,
        )
        return replace(result, seconds=0.0 if started is None else time.perf_counter() - started)


def measured(
    given: Given,
    adversarial: Tensor,
    *,
    ball: Ball | None,
    is_bounded: bool = True,
    yardstick: Yardstick | None = None,
    compared: Compared | None = None,
    steps: Tensor | int,
    gradients: Tensor | int | None = None,
    forward_passes: Tensor | int | None = None,
    has_gradient: Tensor | None = None,
    settings: dict[str, Scalar] | None = None,
) -> AttackResult:
    """`measure` of what came through the door; effort is what the network counted, if it is not said.

    ``is_bounded`` is that of `Yardstick`; ``yardstick`` and ``compared`` are what an attack has made of them already.
    """
    network, images, labels, targets = given.network, given.images, given.labels, given.targets
    before, count = given.before, len(images)
    rounded = round_to_8bit(adversarial)
    after, after_8bit = (
        attack_margin(logits, labels, targets) for logits in network(torch.cat([adversarial, rounded])).split(count)
    )
    yardstick = yardstick or Yardstick(images, ball, is_bounded=is_bounded)
    compared = compared or yardstick.compare(adversarial)
    difference = compared.difference
    distance = distance_8bit = mean_ssim = difference.new_full((count,), torch.nan)
    if compared.loss is not None and yardstick.reference is not None:
        distance = compared.loss.mean(dim=(1, 2, 3))
        distance_8bit = yardstick.reference.distance(rounded.double() - yardstick.images)
        mean_ssim = 1 - yardstick.window.inside(compared.loss).mean(dim=(1, 2, 3))
    is_adversarial, is_adversarial_8bit = after < 0, after_8bit < 0

    def status(index: int) -> Status:
        if before[index] < 0:
            return Status.MISCLASSIFIED_BEFORE
        if is_adversarial[index]:
            return Status.FOOLED if is_adversarial_8bit[index] else Status.FOOLED_BEFORE_ROUNDING
        if has_gradient is not None and not has_gradient[index]:
            return Status.NO_GRADIENT
        return Status.NOT_FOOLED

    def counted(number: Tensor | int | None, by_network: Tensor) -> Tensor:
        return torch.as_tensor(by_network if number is None else number, device="cpu").expand(count).clone()

    return AttackResult(
        adversarial=adversarial,
        labels=labels.clone().cpu(),
        targets=None if targets is None else targets.clone().cpu(),
        margin_before=before.double().cpu(),
        margin_after=after.double().cpu(),
        is_adversarial=is_adversarial.cpu(),
        is_adversarial_8bit=is_adversarial_8bit.cpu(),
        distance=distance.cpu(),
        distance_8bit=distance_8bit.cpu(),
        mean_ssim=mean_ssim.cpu(),
        linf=difference.abs().amax(dim=(1, 2, 3)).cpu(),
        l2=difference.flatten(1).norm(dim=1).cpu(),
        violation=compared.violation.cpu(),
        status=tuple(status(index) for index in range(count)),
        steps=counted(steps, network.gradients),
        gradients=counted(gradients, network.gradients),
        forward_passes=counted(forward_passes, network.forward_passes),
        seconds=time.perf_counter() - given.started,
        settings=plain(settings or {}),
    )
