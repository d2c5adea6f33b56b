"""The smallest multiple of a ball that holds an adversarial image, in the form of DeepFool."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perceptlib.attacks.eight_bit import smallest_rounded
from perceptlib.attacks.network import Classifier, Network, attack_margin, entered
from perceptlib.attacks.result import AttackResult, Scalar, measured
from perceptlib.balls import Ball
from perceptlib.records.checks import Values, whole_number

SEARCH_STEPS = 12  # bisections of the ray: the boundary to 1/4096 of the perturbation
# How far past the linearised boundary a step aims: a share of the logits' range, and where that vanishes, as at the
# boundary of two classes, what a change of every pixel by this much gains.
LANDING, NUDGE = 1e-3, 1e-6
TURNS = 10  # of the weights of several planes that a step must pass at once: to 1 % of the shortest


def smallest(
    classifier: Classifier,
    images: Values,
    labels: Values,
    ball: Ball,
    *,
    steps: int = 30,
    candidates: int = 10,
    targets: Values | None = None,
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
        Most likely other classes that are linearised, at least 1, with targets the rivals of each; each costs a
        gradient per step.
    targets : Tensor or ndarray, optional
        Wanted classes, shape (N,), int64.
    overshoot : float
        Relative lengthening of each step, at least 0.
    refinements : int
        Refinements of a perturbation that fools, at least 0; each costs a gradient per candidate.
    eight_bit : bool
        Search the smallest perturbation whose image lies on the 8-bit grid (`perceptlib.attacks.eight_bit`); it costs
        as many gradients again as the refinements, or as 3 of them where there are fewer.

    Returns
    -------
    AttackResult
        Images already misclassified come back unchanged; `violation` is measured against [0, 1] alone.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.attacks.maximize.maximize_loss`; candidates, overshoot or refinements not allowed.

    Notes
    -----
    A minimal perturbation hardly ever survives rounding to 8 bits: see ``is_adversarial_8bit`` and ``eight_bit``.
    """
    candidates = whole_number("candidates", candidates, least=1)
    refinements = whole_number("refinements", refinements)
    if not 0 <= overshoot < math.inf:
        raise ValueError(f"overshoot {overshoot} is not a finite number of at least 0; pass e.g. overshoot=0.02")
    with entered(classifier, images, labels, targets, ball=ball, steps=steps) as given:
        network, images, count = given.network, given.images, min(candidates, given.num_classes - 1)
        everywhere = torch.arange(len(images), device=images.device)
        search = _Search(network, everywhere, images, given.labels, given.targets, ball, count)
        perturbation, steps_taken, has_gradient = search.deepfool(steps, overshoot)
        perturbation = search.cut_back(perturbation)
        moving = (steps_taken > 0).nonzero().flatten()
        adversarial = (images + perturbation).clamp(0, 1)
        if len(moving):
            part, small = search.select(moving), perturbation[moving]
            for _ in range(refinements):
                small = part.refine(small)
            adversarial[moving] = (images[moving] + small).clamp(0, 1)
            if eight_bit:
                adversarial[moving] = smallest_rounded(
                    part.fools, part.linearise, images[moving], small, part.ball, rounds=max(3, refinements)
                )
        settings: dict[str, Scalar] = {"attack": "smallest", "ball": type(ball).__name__, "num_steps": steps}
        settings |= {"candidates": count, "overshoot": overshoot, "refinements": refinements, "eight_bit": eight_bit}
        return measured(
            given,
            adversarial,
            ball=ball,
            is_bounded=False,
            steps=steps_taken,
            has_gradient=has_gradient,
            settings=settings,
        )


@dataclass(frozen=True)
class _Search:
    """The images, their places in the batch, the ball and the candidates; every method works on all of them."""

    network: Network
    places: Tensor
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    ball: Ball
    num_candidates: int

    def select(self, index: Tensor) -> _Search:
        return replace(
            self,
            places=self.places[index],
            images=self.images[index],
            labels=self.labels[index],
            targets=None if self.targets is None else self.targets[index],
            ball=self.ball.select(index),
        )

    def fools(self, adversarial: Tensor) -> Tensor:
        """(N,), bool."""
        return attack_margin(self.network(adversarial.clamp(0, 1), self.places), self.labels, self.targets) < 0

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

    def nearest(self, current: Tensor, origin: Tensor, *, holds_label: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Nearest boundary linearised at current: step to it from the origin, gradient, whether there is one.

        Shapes (N, C, H, W), (N, C, H, W) and (N,); the gradient is of the lead over that candidate, negated, or of the
        candidate's logit alone where the label's is held.
        """
        current = current.detach().requires_grad_(True)
        aimed = self.labels if self.targets is None else self.targets
        with torch.enable_grad():
            logits = self.network(current, self.places)
        others = logits.detach().scatter(1, aimed[:, None], -torch.inf)
        classes = others.topk(self.num_candidates).indices
        # steps that aim at the boundary itself creep up to it for ever where clipping shortens them
        highest = logits.detach().amax(1, keepdim=True)
        lowest = torch.where(
            logits.detach() > -torch.inf, logits.detach(), highest
        )  # of classes that are not ruled out
        past = LANDING * (highest[:, 0] - lowest.amin(1)).to(current.dtype)
        gradients, directions, falls = [], [], []
        for rank in range(self.num_candidates):
            with torch.enable_grad():
                if rank and not self.network.keeps_graph:
                    logits = self.network(current, self.places)
                own = logits.gather(1, aimed[:, None])
                own = own.detach() if holds_label and self.targets is None else own
                lead = (own - logits.gather(1, classes[:, rank : rank + 1]))[:, 0]
                gap = lead if self.targets is None else -lead
                is_last = rank + 1 == self.num_candidates
                gradient = self.network.gradient(-gap.sum(), current, self.places, is_last=is_last)
            nudge = NUDGE * gradient.abs().sum(dim=(1, 2, 3))
            fall = gap.detach().to(gradient) + _dot(gradient, current.detach() - origin) + torch.maximum(past, nudge)
            gradients.append(gradient)
            directions.append(self.ball.steepest(gradient))
            falls.append(fall)
        if self.targets is not None and self.num_candidates > 1:
            return _past_all(self.ball, gradients, directions, falls)
        shortest = torch.full((len(current),), torch.inf, device=current.device, dtype=current.dtype)
        step, steepest_gradient = torch.zeros_like(current), torch.zeros_like(current)
        for gradient, direction, fall in zip(gradients, directions, falls, strict=True):
            slope = _dot(gradient, direction)  # <g, u>: fall of the gap per ball
            length = torch.where(slope > 0, fall.clamp_min(0) / torch.where(slope > 0, slope, 1), torch.inf)
            is_shorter = (length < shortest).view(-1, 1, 1, 1)
            step = torch.where(is_shorter, length.view(-1, 1, 1, 1) * direction, step)
            steepest_gradient = torch.where(is_shorter, gradient, steepest_gradient)
            shortest = torch.minimum(shortest, length)
        return step, steepest_gradient, torch.isfinite(shortest)

    def linearise(self, adversarial: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest perturbation of the boundary linearised at adversarial images, and the gradient there.

        It holds the label's logit, as all recorded searches on the 8-bit grid do.
        """
        step, gradient, _ = self.nearest(adversarial, self.images, holds_label=True)
        return step, gradient

    def refine(self, perturbation: Tensor) -> Tensor:
        """Perturbation that fools with a smaller gauge, or the old one; (N, C, H, W)."""
        nearest, _, _ = self.nearest((self.images + perturbation).clamp(0, 1), self.images)
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


def _past_all(
    ball: Ball, gradients: list[Tensor], directions: list[Tensor], falls: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Shortest step r with <g_j, r> >= fall_j for every j; results as of `_Search.nearest`.

    For weights w >= 0 the ball must be scaled at least by <w, fall> / max <sum w_j g_j, u>, and at the best weights the
    maximiser u is the direction sought: the weight of a plane that is missed at that length grows. The mean of all
    directions so far, which is in the ball too, serves where the maximiser jumps, as that of the linf ball does.
    """
    slopes = torch.stack([_dot(gradient, unit) for gradient, unit in zip(gradients, directions, strict=True)])
    counts = (slopes > 0) & torch.stack(falls).isfinite()  # not a class that is ruled out
    slopes = torch.where(counts, slopes, torch.inf)
    planes = torch.stack(gradients) / slopes[..., None, None, None]
    need = torch.where(counts, torch.stack(falls) / slopes, 0)  # what each asks for by itself
    scale = need.abs().amax(0).clamp_min(1e-30)
    weights = torch.softmax(need / scale, 0)
    shortest, step, gradient = (
        torch.full_like(scale, torch.inf),
        torch.zeros_like(planes[0]),
        torch.zeros_like(planes[0]),
    )
    total = torch.zeros_like(step)
    for turn in range(1, TURNS + 1):
        mixed = (weights[..., None, None, None] * planes).sum(0)
        unit = ball.steepest(mixed)
        total = total + unit
        for direction in (unit, total / turn):
            gain = (planes * direction).sum(dim=(2, 3, 4))
            length = torch.where(need > 0, torch.where(gain > 0, need / gain, torch.inf), 0).amax(0)
            length = torch.where((length * gain >= need - 1e-6 * scale).all(0), length, torch.inf)
            is_shorter = (length < shortest).view(-1, 1, 1, 1)
            step = torch.where(is_shorter, length.view(-1, 1, 1, 1) * direction, step)
            gradient = torch.where(is_shorter, mixed, gradient)
            shortest = torch.minimum(shortest, length)
        gain = (planes * unit).sum(dim=(2, 3, 4))
        bound = (weights * need).sum(0) / (weights * gain).sum(0).clamp_min(1e-30)
        weights = weights * torch.exp(4 * (need - bound * gain) / scale)
        weights = weights / weights.sum(0)
    return step, gradient, torch.isfinite(shortest)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=(1, 2, 3))
