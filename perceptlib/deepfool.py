"""The smallest multiple of a ball that holds an adversarial image, in the form of DeepFool."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from perceptlib.balls import Ball
from perceptlib.checks import check_images, check_labels
from perceptlib.results import AttackResult, Scalar, attack_margin, measure

SEARCH_STEPS = 12  # bisections of the ray: the boundary to 1/4096 of the perturbation
LANDING = 1e-3  # how far past the linearised boundary a step aims, as a share of the logits' range


def smallest(
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    ball: Ball,
    *,
    steps: int = 30,
    candidates: int = 10,
    targets: Tensor | None = None,
    overshoot: float = 0.02,
    refinements: int = 5,
) -> AttackResult:
    """Find the smallest multiple of a ball that holds an adversarial image, in the form of DeepFool.

    At x + r the margin to each candidate class k is linearised, f_k - <g_k, s>, and the class of the smallest step is
    taken: s = (f_k / <g_k, u_k>) u_k with u_k = steepest(g_k); for the SSIM ball f_k^2 / (g_k'A^-1 g_k) is smallest.
    Once fooled, r is cut back along its ray to the boundary. With the l2 ball and no refinements this is DeepFool
    (Moosavi-Dezfooli, Fawzi and Frossard 2016), with the linf ball its linf form. A refinement linearises at the
    boundary, goes half way to the nearest point of that plane as seen from x, cuts back to the boundary and keeps what
    is smaller in the ball's gauge (the idea of FAB, Croce and Hein 2020).

    Parameters
    ----------
    classifier : Module
        Images in [0, 1] to logits (N, K).
    images : Tensor
        Shape (N, C, H, W), range [0, 1], float32 or float64.
    labels : Tensor
        True classes, shape (N,), int64.
    ball : Ball
        One of `perceptlib.balls`, made for these images; only its shape counts, not its radius.
    steps : int
        Linearisations at most, at least 1.
    candidates : int
        Most likely other classes that are linearised, at least 1; each costs a gradient per step.
    targets : Tensor, optional
        Wanted classes, shape (N,), int64: the only candidate of each image.
    overshoot : float
        Relative lengthening of each step, at least 0.
    refinements : int
        Refinements of a perturbation that fools, at least 0; each costs a gradient per candidate.

    Returns
    -------
    AttackResult
        Images already misclassified come back unchanged; `violation` is measured against [0, 1] alone.

    Raises
    ------
    TypeError
        Images or labels of the wrong type or dtype (`perceptlib.checks`).
    ValueError
        Images or labels out of range or shape; a target that is the label; steps, candidates, overshoot or
        refinements not allowed; a classifier whose gradient is NaN or infinite.

    Notes
    -----
    A minimal perturbation hardly ever survives rounding to 8 bits: see ``is_adversarial_8bit``.
    """
    started = time.perf_counter()
    num_classes = check_attack(classifier, images, labels, targets, steps)
    if candidates < 1:
        raise ValueError(f"candidates {candidates} is below 1; pass e.g. candidates=10")
    if not overshoot >= 0:
        raise ValueError(f"overshoot {overshoot} is not at least 0; pass e.g. overshoot=0.02")
    if refinements < 0:
        raise ValueError(
            f"refinements {refinements} is below 0; pass refinements=0 for DeepFool, 5 for a smaller result"
        )
    num_candidates = 1 if targets is not None else min(candidates, num_classes - 1)

    count, device = len(images), images.device
    perturbation = torch.zeros_like(images)
    steps_taken = torch.zeros(count, dtype=torch.int64, device=device)
    has_gradient = torch.ones(count, dtype=torch.bool, device=device)
    active = torch.arange(count, device=device)
    for _ in range(steps + 1):
        current = (images[active] + perturbation[active]).clamp(0, 1)
        target = None if targets is None else targets[active]
        with torch.enable_grad():
            current.requires_grad_(True)
            logits = classifier(current)
            is_done = (attack_margin(logits, labels[active], target) < 0) | (steps_taken[active] >= steps)
            is_done |= ~has_gradient[active]
            if bool(is_done.all()):
                break
            step, has_step = _nearest_boundary(
                current, current.detach(), logits, labels[active], target, ball.select(active), num_candidates
            )
        moving = active[~is_done]
        moved = perturbation[moving] + (1 + overshoot) * step[~is_done]
        perturbation[moving] = (images[moving] + moved).clamp(0, 1) - images[moving]
        has_gradient[moving] = has_step[~is_done]
        steps_taken[moving] += 1
        active = moving
    perturbation = _cut_back(classifier, images, perturbation, labels, targets)
    moving = (steps_taken > 0).nonzero().flatten()
    for _ in range(refinements if len(moving) else 0):
        target = None if targets is None else targets[moving]
        perturbation[moving] = _refine(
            classifier,
            images[moving],
            perturbation[moving],
            labels[moving],
            target,
            ball.select(moving),
            num_candidates,
        )
    adversarial = (images + perturbation).clamp(0, 1)
    settings: dict[str, Scalar] = {"attack": "smallest", "ball": type(ball).__name__, "num_steps": steps}
    return measure(
        classifier,
        images,
        adversarial,
        labels,
        targets=targets,
        steps=steps_taken,
        gradients=(steps_taken + refinements * (steps_taken > 0)) * num_candidates,
        has_gradient=has_gradient,
        started=started,
        settings=settings | {"candidates": num_candidates, "overshoot": overshoot, "refinements": refinements},
    )


def check_attack(classifier: nn.Module, images: Tensor, labels: Tensor, targets: Tensor | None, steps: int) -> int:
    """Raise on bad input; return the number of classes."""
    check_images(images)
    with torch.no_grad():
        num_classes = classifier(images[:1]).shape[1]
    check_labels(labels, len(images), num_classes)
    if targets is not None:
        check_labels(targets, len(images), num_classes, name="targets")
        if bool((targets == labels).any()):
            first = int((targets == labels).nonzero()[0])
            raise ValueError(f"target {int(targets[first])} of image {first} is its label; pass another class")
    if steps < 1:
        raise ValueError(f"steps {steps} is below 1; pass e.g. steps=10")
    return num_classes


def _nearest_boundary(
    current: Tensor,
    origin: Tensor,
    logits: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    ball: Ball,
    num_candidates: int,
) -> tuple[Tensor, Tensor]:
    """Step from the origin to the nearest boundary linearised at current, (N, C, H, W); whether there is one, (N,)."""
    own = logits.gather(1, labels[:, None])
    others = logits.detach().scatter(1, labels[:, None], -torch.inf)
    classes = others.topk(num_candidates, dim=1).indices if targets is None else targets[:, None]
    shortest = torch.full((len(labels),), torch.inf, device=current.device, dtype=current.dtype)
    step = torch.zeros_like(current)
    # steps that aim at the boundary itself creep up to it for ever where clipping shortens them
    past = LANDING * (logits.detach().amax(1) - logits.detach().amin(1)).to(current.dtype)
    for rank in range(classes.shape[1]):
        # with a target every class between must be passed, not the label alone
        rival = logits.gather(1, classes[:, rank : rank + 1])
        gap = (own - rival)[:, 0] if targets is None else attack_margin(logits, labels, targets)
        (gradient,) = torch.autograd.grad(-gap.sum(), current, retain_graph=rank + 1 < classes.shape[1])
        direction = ball.steepest(gradient)
        slope = (gradient * direction).sum(dim=(1, 2, 3))  # <g, u>: fall of the gap per ball
        fall = gap.detach().to(slope) + (gradient * (current.detach() - origin)).sum(dim=(1, 2, 3)) + past
        length = torch.where(slope > 0, fall.clamp_min(0) / torch.where(slope > 0, slope, 1), torch.inf)
        is_shorter = length < shortest
        shortest = torch.where(is_shorter, length, shortest)
        step = torch.where(is_shorter.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1) * direction, step)
    return step, torch.isfinite(shortest)


def _refine(
    classifier: nn.Module,
    images: Tensor,
    perturbation: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    ball: Ball,
    num_candidates: int,
) -> Tensor:
    """Perturbation that fools with a smaller gauge, or the old one; (N, C, H, W)."""
    current = (images + perturbation).clamp(0, 1).requires_grad_(True)
    with torch.enable_grad():
        logits = classifier(current)
        nearest, _ = _nearest_boundary(current, images, logits, labels, targets, ball, num_candidates)
    # half way damps the swing between planes; 1.3 times longer lies past the curved boundary in nearly every case
    trial = (images + 0.65 * (perturbation + nearest)).clamp(0, 1) - images
    trial = _cut_back(classifier, images, trial, labels, targets)
    with torch.no_grad():
        is_fooled = attack_margin(classifier((images + trial).clamp(0, 1)), labels, targets) < 0
    is_better = is_fooled & (ball.gauge(trial) < ball.gauge(perturbation))
    return torch.where(is_better.view(-1, 1, 1, 1), trial, perturbation)


@torch.no_grad()
def _cut_back(
    classifier: nn.Module, images: Tensor, perturbation: Tensor, labels: Tensor, targets: Tensor | None
) -> Tensor:
    """Shortest point of the ray found by bisection that still fools; r itself where it does not fool."""
    high = torch.ones(len(images), dtype=images.dtype, device=images.device)
    low = torch.zeros_like(high)
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        trial = (images + middle.view(-1, 1, 1, 1) * perturbation).clamp(0, 1)
        is_fooled = attack_margin(classifier(trial), labels, targets) < 0
        low, high = torch.where(is_fooled, low, middle), torch.where(is_fooled, middle, high)
    return high.view(-1, 1, 1, 1) * perturbation
