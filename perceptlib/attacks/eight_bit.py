"""Smallest perturbations that survive being saved: images on the grid of multiples of 1/255 that still fool.

Three stages. The ray of a perturbation that fools is lengthened until its rounding fools as well. The boundary is then
linearised at the rounded image and the search repeated toward the nearest point of that plane: rounding t u_i, with u
the steepest direction of a ball with one weight per pixel, is the greedy choice by gradient per distance of each next
level. Last, levels are given back in the order of margin lost per distance saved while the image still fools.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from perceptlib.attacks.result import round_to_8bit
from perceptlib.balls import Ball

LEVELS = 255
GROWTH, RAY_STEPS = 1.3, 24  # a ray grows by this factor until it fools, then it is bisected
PRUNE_STEPS = 12  # bisections over how many levels are given back

Linearise = Callable[[Tensor], tuple[Tensor, Tensor]]
Fools = Callable[[Tensor], Tensor]


@torch.no_grad()
def smallest_rounded(
    fools: Fools, linearise: Linearise, images: Tensor, perturbation: Tensor, ball: Ball, *, rounds: int
) -> Tensor:
    """8-bit images that fool, small in the gauge of a ball, (N, C, H, W).

    ``fools`` takes images to (N,) bool; ``linearise`` adversarial images to the nearest perturbation (from the clean
    images) of their linearised boundary, and to the gradient of the negative margin. The perturbation fools before
    rounding; each of the rounds linearises the boundary once and then prunes. Images that do not fool are the rounded
    ends of their rays.
    """
    best = _along_ray(fools, images, perturbation)
    size = ball.gauge(best - images)
    is_fooled = fools(best)
    for _ in range(rounds):
        nearest, gradient = linearise(best)
        candidates = [_prune(fools, images, best, gradient, ball)]
        candidates.append(_along_ray(fools, images, (candidates[0] - images + nearest) / 2))
        for trial in candidates:
            trial_size, trial_fools = ball.gauge(trial - images), fools(trial)
            is_better = trial_fools & ((trial_size < size) | ~is_fooled)
            best = torch.where(is_better.view(-1, 1, 1, 1), trial, best)
            size, is_fooled = torch.where(is_better, trial_size, size), is_fooled | trial_fools
    return best


def _along_ray(fools: Fools, images: Tensor, direction: Tensor) -> Tensor:
    """Rounded image at the smallest multiple found of a direction whose rounding fools."""
    low = torch.zeros(len(images), dtype=images.dtype, device=images.device)
    high = torch.ones_like(low)
    has_fooled = torch.zeros_like(low, dtype=torch.bool)
    for _ in range(RAY_STEPS):
        trial = torch.where(has_fooled, (low + high) / 2, high)
        is_fooled = fools(_rounded(images + trial.view(-1, 1, 1, 1) * direction))
        low = torch.where(is_fooled, low, trial)
        high = torch.where(is_fooled, trial, torch.where(has_fooled, high, GROWTH * high))
        has_fooled |= is_fooled
    high = torch.where(has_fooled, high, 1)  # nowhere on the ray: the perturbation as it was given
    return _rounded(images + high.view(-1, 1, 1, 1) * direction)


def _prune(fools: Fools, images: Tensor, adversarial: Tensor, gradient: Tensor, ball: Ball) -> Tensor:
    """Give back single levels, cheapest in margin per distance first, as many as the image goes on fooling."""
    with torch.enable_grad():
        perturbation = (adversarial - images).requires_grad_(True)
        (slope,) = torch.autograd.grad((ball.gauge(perturbation) ** 2).sum(), perturbation)
    perturbation = perturbation.detach()
    length = perturbation.abs()
    can_move = length > 0.5 / LEVELS  # the others are at their nearest level
    # one level less saves slope / 255 - curvature / 255^2 / 2, with the curvature of a weight per pixel, slope / r
    saving = slope * perturbation.sign() * (1 - 0.5 / LEVELS / length.clamp_min(0.5 / LEVELS))
    loss = gradient * perturbation.sign()  # of margin, per level
    order = torch.where(can_move & (saving > 0), loss / saving.clamp_min(1e-30), torch.inf)
    rank = order.flatten(1).argsort(dim=1).argsort(dim=1).view_as(order)
    most = (can_move & (saving > 0)).flatten(1).sum(1)
    back = adversarial - perturbation.sign() / LEVELS

    def pruned(count: Tensor) -> Tensor:
        return _rounded(torch.where(rank < count.view(-1, 1, 1, 1), back, adversarial))

    low, high = torch.zeros_like(most), most
    for _ in range(PRUNE_STEPS):
        middle = (low + high + 1) // 2
        is_fooled = fools(pruned(middle))
        low, high = torch.where(is_fooled, middle, low), torch.where(is_fooled, high, middle - 1)
        high = torch.maximum(low, high)
    return pruned(low)


def _rounded(images: Tensor) -> Tensor:
    return round_to_8bit(images.clamp(0, 1))
