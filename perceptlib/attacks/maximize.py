"""Two attacks for every ball: the largest loss inside it (PGD form), the smallest multiple of it that fools (DeepFool).

Both use only ``steepest`` and ``gauge`` of the ball, so that l2, linf and SSIM balls run the same code.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from perceptlib.attacks.minimal import smallest
from perceptlib.attacks.network import Classifier, Network, attack_margin, entered
from perceptlib.attacks.result import AttackResult, Scalar, Yardstick, measured
from perceptlib.balls import Ball
from perceptlib.balls.norms import as_change, as_radius
from perceptlib.records.checks import Values, own_mode
from perceptlib.ssim import Reference, Window

__all__ = ["maximize_loss", "rescale_to_distance", "smallest"]


def maximize_loss(
    classifier: Classifier,
    images: Values,
    labels: Values,
    ball: Ball,
    *,
    steps: int = 10,
    step_size: float | None = None,
    loss: str = "cross_entropy",
    targets: Values | None = None,
    start: Values | None = None,
) -> AttackResult:
    """Maximise the loss inside a ball: projected gradient descent whose step is the ball's steepest direction.

    r <- r + step_size * steepest(gradient); clip x + r to [0, 1]; pull r back into the ball by its gauge. The iterate
    of lowest margin is kept and pulled back until its true size (for the SSIM ball: D) is within the radius. With the
    linf ball this is PGD (Madry et al. 2018), with one step FGSM (Goodfellow et al. 2015).

    Parameters
    ----------
    classifier : Module or callable
        Images in [0, 1] to logits (N, K). It is attacked in evaluation mode, and every module gets its mode back.
    images : Tensor or ndarray
        Shape (N, C, H, W), range [0, 1], float32 or float64, in any memory layout.
    labels : Tensor or ndarray
        True classes, shape (N,), int64.
    ball : Ball
        One of `perceptlib.balls.protocol`, made for these images.
    steps : int
        Gradient steps, at least 1.
    step_size : float, optional
        Length of a step in units of the ball, above 0. Default: 1 for one step, otherwise 2.5 / steps.
    loss : {"cross_entropy", "margin"}
        What is maximised; the margin never saturates.
    targets : Tensor, optional
        Wanted classes, shape (N,), int64: a targeted attack, which minimises the loss of the target.
    start : Tensor, optional
        Perturbation to begin with, shape (N, C, H, W), which is cut to [0, 1] and pulled into the ball; default: none.

    Returns
    -------
    AttackResult
        On the device of the images; `violation` is measured against the ball. Neither the caller's autograd mode nor
        autocast changes it.

    Raises
    ------
    TypeError
        Images or labels of the wrong type or dtype (`perceptlib.records.checks`), half precision among them; a
        classifier that returns no tensor of floating-point numbers.
    ValueError
        Images or labels out of range or shape; a target that is the label; steps, step_size or loss not allowed; a
        start of another shape or with NaN or infinite entries; a ball made for other images; a classifier that returns
        no logits (N, K), or whose gradient is missing, NaN or infinite.
    """
    if loss not in ("cross_entropy", "margin"):
        raise ValueError(f"loss {loss!r} is unknown; pass 'cross_entropy' or 'margin'")
    if step_size is not None and not step_size > 0:
        raise ValueError(f"step_size {step_size} is not above 0; pass a share of the ball such as 0.25")
    with entered(classifier, images, labels, targets, ball=ball, steps=steps) as given:
        length = float(step_size or default_step(steps))
        settings: dict[str, Scalar] = {"attack": "maximize_loss", "ball": type(ball).__name__, "num_steps": steps}
        settings |= {"step_size": length, "loss": loss}
        images = given.images
        best, has_gradient = ascend(
            given.network,
            images,
            given.labels,
            ball,
            steps=steps,
            step_size=length,
            loss=loss,
            targets=given.targets,
            start=None if start is None else _finite_change(start, images, "start"),
        )
        best = ball.pull_back(best)
        yardstick = Yardstick(images, ball)
        compared = yardstick.compare(adversarial := (images + best).clamp(0, 1))
        for shrink in (1e-6, 1e-5, 1e-4, 1e-3):
            is_outside = compared.violation > 0
            if not bool(is_outside.any()):
                break
            # the images' own rounding put them past the boundary
            best = torch.where(is_outside.view(-1, 1, 1, 1), (1 - shrink) * best, best)
            compared = yardstick.compare(adversarial := (images + best).clamp(0, 1))
        return measured(
            given,
            adversarial,
            ball=ball,
            yardstick=yardstick,
            compared=compared,
            steps=steps,
            has_gradient=has_gradient,
            settings=settings,
        )


def default_step(steps: int) -> float:
    """Length of a step in units of the ball: the ball itself for one step, else enough to cross it and turn."""
    return 1.0 if steps == 1 else 2.5 / steps


@own_mode()
def ascend(
    classifier: Classifier | Network,
    images: Tensor,
    labels: Tensor,
    ball: Ball,
    *,
    steps: int,
    step_size: float,
    loss: str = "cross_entropy",
    targets: Tensor | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The steps of `maximize_loss` without checks and measurement; arguments as there.

    Returns of all perturbations that were met the one with the lowest margin, (N, C, H, W), inside the ball's gauge and
    [0, 1], and whether any gradient was not zero, (N,), bool.
    """
    network = classifier if isinstance(classifier, Network) else Network(classifier, len(images))
    everywhere = torch.arange(len(images), device="cpu")

    def within(perturbation: Tensor) -> Tensor:
        perturbation = (images + perturbation).clamp(0, 1) - images
        return perturbation / ball.gauge(perturbation).clamp_min(1).view(-1, 1, 1, 1)

    perturbation = torch.zeros_like(images) if start is None else within(start)
    best = perturbation
    lowest = torch.full((len(images),), torch.inf, device=images.device)
    has_gradient = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    for _ in range(steps):
        gradient, margins = _loss_gradient(network, images + perturbation, labels, targets, loss)
        best, lowest = _keep_lower(best, lowest, perturbation, margins)
        has_gradient |= (gradient != 0).flatten(1).any(1)
        perturbation = within(perturbation + step_size * ball.steepest(gradient))
    margins = attack_margin(network((images + perturbation).clamp(0, 1), everywhere), labels, targets)
    best, _ = _keep_lower(best, lowest, perturbation, margins)
    return best, has_gradient


@own_mode()
def rescale_to_distance(
    images: Values, perturbation: Tensor, budget: float | Tensor, *, window: Window = Window()
) -> Tensor:
    """Adversarial images on the clipped ray x + t r at a given SSIM distance: methods compared at equal distance.

    Parameters
    ----------
    images, perturbation : Tensor
        x and r, shape (N, C, H, W), images in [0, 1].
    budget : float or Tensor
        SSIM distance D to reach, above 0; scalar or (N,).
    window : Window
        Window of the SSIM.

    Returns
    -------
    Tensor
        Shape (N, C, H, W), range [0, 1], without a graph; see `perceptlib.ssim.measure.Reference.reach`. The clean
        image where r is zero.

    Raises
    ------
    TypeError, ValueError
        Images that `perceptlib.records.checks.check_images` refuses; a perturbation of another shape or device, or
        with NaN or infinite entries; a budget that is not a finite number above 0; a window larger than the image.
    """
    reference = Reference(cast(Tensor, images), window)
    images, perturbation = reference.images.detach(), _finite_change(perturbation, reference.images, "perturbation")
    reached = reference.reach(perturbation, as_radius(budget, "budget"))
    return (images + reached).clamp(0, 1)


def _finite_change(values: Values, images: Tensor, name: str) -> Tensor:
    change = as_change(values, images).detach()
    if not bool(torch.isfinite(change).all()):
        raise ValueError(f"{name} has NaN or infinite entries; pass finite numbers")
    return change


def _loss_gradient(
    network: Network, current: Tensor, labels: Tensor, targets: Tensor | None, loss: str
) -> tuple[Tensor, Tensor]:
    """Gradient of what is maximised, (N, C, H, W), and the attack's margin, (N,)."""
    everywhere = torch.arange(len(current), device="cpu")
    current = current.clamp(0, 1).requires_grad_(True)
    with torch.enable_grad():
        logits = network(current, everywhere)
        margins = attack_margin(logits, labels, targets)
        if loss == "margin":
            objective = -margins
        elif targets is None:
            objective = functional.cross_entropy(logits, labels, reduction="none")
        else:
            objective = -functional.cross_entropy(logits, targets, reduction="none")
        gradient = network.gradient(objective.sum(), current, everywhere)
    return gradient, margins.detach()


def _keep_lower(best: Tensor, lowest: Tensor, perturbation: Tensor, margins: Tensor) -> tuple[Tensor, Tensor]:
    is_lower = margins < lowest
    return torch.where(is_lower.view(-1, 1, 1, 1), perturbation, best), torch.where(is_lower, margins, lowest)
