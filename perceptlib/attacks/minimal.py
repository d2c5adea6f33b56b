"""The smallest multiple of a ball that holds an adversarial image, in the form of DeepFool."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from perceptlib.attacks.eight_bit import smallest_rounded
from perceptlib.attacks.result import AttackResult, Scalar, attack_margin, measure
from perceptlib.balls import Ball
from perceptlib.records import check_images, check_labels

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
    eight_bit: bool = False,
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
        One of `perceptlib.balls.protocol`, made for these images; only its shape counts, not its radius.
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
    eight_bit : bool
        Search the smallest perturbation whose image lies on the 8-bit grid (`perceptlib.attacks.eight_bit`); it costs as many
        gradients again as the refinements, or as 3 of them where there are fewer.

    Returns
    -------
    AttackResult
        Images already misclassified come back unchanged; `violation` is measured against [0, 1] alone.

    Raises
    ------
    TypeError
        Images or labels of the wrong type or dtype (`perceptlib.records.checks`).
    ValueError
        Images or labels out of range or shape; a target that is the label; steps, candidates, overshoot or
        refinements not allowed; a classifier whose gradient is NaN or infinite.

    Notes
    -----
    A minimal perturbation hardly ever survives rounding to 8 bits: see ``is_adversarial_8bit`` and ``eight_bit``.
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

    search = _Search(classifier, images, labels, targets, ball, num_candidates)
    perturbation, steps_taken, has_gradient = search.deepfool(steps, overshoot)
    perturbation = search.cut_back(perturbation)
    gradients = steps_taken * num_candidates
    moving = (steps_taken > 0).nonzero().flatten()
    adversarial = (images + perturbation).clamp(0, 1)
    if len(moving):
        part, small = search.select(moving), perturbation[moving]
        for _ in range(refinements):
            small = part.refine(small)
        gradients[moving] += refinements * num_candidates
        adversarial[moving] = (images[moving] + small).clamp(0, 1)
        if eight_bit:
            rounds = max(3, refinements)
            adversarial[moving] = smallest_rounded(
                part.fools, part.linearise, images[moving], small, part.ball, rounds=rounds
            )
            gradients[moving] += rounds * num_candidates
    settings: dict[str, Scalar] = {"attack": "smallest", "ball": type(ball).__name__, "num_steps": steps}
    settings |= {"candidates": num_candidates, "overshoot": overshoot, "refinements": refinements}
    return measure(
        classifier,
        images,
        adversarial,
        labels,
        targets=targets,
        steps=steps_taken,
        gradients=gradients,
        has_gradient=has_gradient,
        started=started,
        settings=settings | {"eight_bit": eight_bit},
    )


def check_attack(classifier: nn.Module, images: Tensor, labels: Tensor, targets: Tensor | None, steps: int) -> int:
    """Raise on bad input; return the number of classes."""
    check_images(images)
    with torch.no_grad():
        num_classes = int(classifier(images[:1]).shape[1])
    check_labels(labels, len(images), num_classes)
    if targets is not None:
        check_labels(targets, len(images), num_classes, name="targets")
        if bool((targets == labels).any()):
            first = int((targets == labels).nonzero()[0])
            raise ValueError(f"target {int(targets[first])} of image {first} is its label; pass another class")
    if steps < 1:
        raise ValueError(f"steps {steps} is below 1; pass e.g. steps=10")
    return num_classes


@dataclass(frozen=True)
class _Search:
    """The images, the ball and the candidates of one call; every method works on the whole batch."""

    classifier: nn.Module
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    ball: Ball
    num_candidates: int

    def select(self, index: Tensor) -> _Search:
        targets = None if self.targets is None else self.targets[index]
        return replace(
            self, images=self.images[index], labels=self.labels[index], targets=targets, ball=self.ball.select(index)
        )

    @torch.no_grad()
    def fools(self, adversarial: Tensor) -> Tensor:
        """(N,), bool."""
        return attack_margin(self.classifier(adversarial.clamp(0, 1)), self.labels, self.targets) < 0

    def deepfool(self, steps: int, overshoot: float) -> tuple[Tensor, Tensor, Tensor]:
        """Perturbation that fools, (N, C, H, W), steps taken, (N,), and whether a gradient was found, (N,)."""
        count, device = len(self.images), self.images.device
        perturbation = torch.zeros_like(self.images)
        steps_taken = torch.zeros(count, dtype=torch.int64, device=device)
        has_gradient = torch.ones(count, dtype=torch.bool, device=device)
        active = torch.arange(count, device=device)
        for _ in range(steps):
            active = active[~self.select(active).fools(self.images[active] + perturbation[active])]
            active = active[has_gradient[active]]
            if not len(active):
                break
            part, old = self.select(active), perturbation[active]
            current = (part.images + old).clamp(0, 1)
            step, _, has_step = part.nearest(current, current)
            perturbation[active] = (part.images + old + (1 + overshoot) * step).clamp(0, 1) - part.images
            has_gradient[active] = has_step
            steps_taken[active] += 1
        return perturbation, steps_taken, has_gradient

    def nearest(self, current: Tensor, origin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Nearest boundary linearised at current: step to it from the origin, gradient, whether there is one.

        Shapes (N, C, H, W), (N, C, H, W) and (N,); the gradient is of the label's lead over that candidate, negated.
        """
        current = current.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self.classifier(current)
        own = logits.gather(1, self.labels[:, None])
        others = logits.detach().scatter(1, self.labels[:, None], -torch.inf)
        classes = self.targets[:, None] if self.targets is not None else others.topk(self.num_candidates).indices
        shortest = torch.full((len(current),), torch.inf, device=current.device, dtype=current.dtype)
        step, steepest_gradient = torch.zeros_like(current), torch.zeros_like(current)
        # steps that aim at the boundary itself creep up to it for ever where clipping shortens them
        past = LANDING * (logits.detach().amax(1) - logits.detach().amin(1)).to(current.dtype)
        for rank in range(classes.shape[1]):
            with torch.enable_grad():
                if self.targets is None:
                    gap = (own - logits.gather(1, classes[:, rank : rank + 1]))[:, 0]
                else:  # every class between must be passed, not the label alone
                    gap = attack_margin(logits, self.labels, self.targets)
                (gradient,) = torch.autograd.grad(-gap.sum(), current, retain_graph=rank + 1 < classes.shape[1])
            direction = self.ball.steepest(gradient)
            slope = (gradient * direction).sum(dim=(1, 2, 3))  # <g, u>: fall of the gap per ball
            fall = gap.detach().to(slope) + (gradient * (current.detach() - origin)).sum(dim=(1, 2, 3)) + past
            length = torch.where(slope > 0, fall.clamp_min(0) / torch.where(slope > 0, slope, 1), torch.inf)
            is_shorter = (length < shortest).view(-1, 1, 1, 1)
            step = torch.where(is_shorter, length.view(-1, 1, 1, 1) * direction, step)
            steepest_gradient = torch.where(is_shorter, gradient, steepest_gradient)
            shortest = torch.minimum(shortest, length)
        return step, steepest_gradient, torch.isfinite(shortest)

    def linearise(self, adversarial: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest perturbation of the boundary linearised at adversarial images, and the gradient there."""
        step, gradient, _ = self.nearest(adversarial, self.images)
        return step, gradient

    def refine(self, perturbation: Tensor) -> Tensor:
        """Perturbation that fools with a smaller gauge, or the old one; (N, C, H, W)."""
        nearest, _ = self.linearise((self.images + perturbation).clamp(0, 1))
        # half way damps the swing between planes; 1.3 times that lies past the curved boundary in nearly every case
        trial = (self.images + 0.65 * (perturbation + nearest)).clamp(0, 1) - self.images
        trial = self.cut_back(trial)
        is_better = self.fools(self.images + trial) & (self.ball.gauge(trial) < self.ball.gauge(perturbation))
        return torch.where(is_better.view(-1, 1, 1, 1), trial, perturbation)

    def cut_back(self, perturbation: Tensor) -> Tensor:
        """Shortest point of the ray found by bisection that still fools; r itself where it does not fool."""
        high = torch.ones(len(self.images), dtype=self.images.dtype, device=self.images.device)
        low = torch.zeros_like(high)
        for _ in range(SEARCH_STEPS):
            middle = (low + high) / 2
            is_fooled = self.fools(self.images + middle.view(-1, 1, 1, 1) * perturbation)
            low, high = torch.where(is_fooled, low, middle), torch.where(is_fooled, middle, high)
        return high.view(-1, 1, 1, 1) * perturbation
