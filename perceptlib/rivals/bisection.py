"""The smallest ball in which projected gradient ascent (PGD) fools: its radius, bracketed and bisected."""

from __future__ import annotations

import torch
from torch import Tensor

from perceptlib.attacks.maximize import maximize_loss
from perceptlib.attacks.network import Classifier, entered
from perceptlib.attacks.result import AttackResult, Scalar, measured
from perceptlib.balls import Ball, L2Ball, LinfBall, SSIMBall
from perceptlib.records.checks import Values

METHODS = ("pgd_linf", "pgd_l2", "pgd_ssim")
GROWTH = 4.0  # of the scale while no bracket is known
PRECISION = 1.1  # a bracket this tight, as a ratio of scales, ends the search
MOST_RUNS = 14  # of PGD for one image: scales from 4^-6 to 4^6 and what their bisection takes


def smallest_pgd(
    classifier: Classifier, images: Values, labels: Values, method: str, *, steps: int = 10, cg_steps: int = 15
) -> AttackResult:
    """Bisect the radius of a ball for the smallest one in which `maximize_loss` fools.

    Parameters
    ----------
    classifier, images, labels
        As for `perceptlib.attacks.maximize.maximize_loss`.
    method : {"pgd_linf", "pgd_l2", "pgd_ssim"}
        The ball.
    steps, cg_steps : int
        Gradient steps in each ball; conjugate-gradient steps in each of these, for "pgd_ssim".

    Returns
    -------
    AttackResult
        The fooling image of the smallest ball tried, by image; the clean one where none fooled. Radii are found to
        10 %. Effort counts that of every ball tried.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.attacks.maximize.maximize_loss`, or an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; {', '.join(METHODS)} are")
    with entered(classifier, images, labels, steps=steps) as given:
        images, labels, count = given.images, given.labels, len(given.images)
        low = torch.zeros(count, dtype=torch.float64, device="cpu")
        scale, high = torch.ones_like(low), torch.full_like(low, torch.inf)
        found = images.clone()
        gradients, forward_passes = torch.zeros(2, count, dtype=torch.int64, device="cpu")
        active = torch.arange(count, device="cpu")
        for _ in range(MOST_RUNS):
            ball = _ball(method, images[active], scale[active], cg_steps)
            result = maximize_loss(classifier, images[active], labels[active], ball, steps=steps)
            gradients[active] += result.gradients
            forward_passes[active] += result.forward_passes
            is_right = result.margin_before >= 0
            is_fooled = result.is_adversarial & is_right
            found[active[is_fooled]] = result.adversarial[is_fooled]
            high[active[is_fooled]] = scale[active[is_fooled]]
            low[active[~is_fooled]] = scale[active[~is_fooled]]
            active = active[is_right]
            active = active[~((low[active] > 0) & (high[active] <= PRECISION * low[active]))]
            if not len(active):
                break
            scale = torch.where(high.isinf(), GROWTH * low, torch.where(low == 0, high / GROWTH, (low * high).sqrt()))
        settings: dict[str, Scalar] = {"attack": "smallest_pgd", "method": method, "num_steps": steps}
        return measured(
            given, found, ball=None, steps=0, gradients=gradients, forward_passes=forward_passes, settings=settings
        )


def _ball(method: str, images: Tensor, scale: Tensor, cg_steps: int) -> Ball:
    """At scale 1 every ball reaches a perturbation that photographs hardly show."""
    factor = scale.to(images)
    if method == "pgd_linf":
        return LinfBall((factor / 255).clamp_max(1))
    if method == "pgd_l2":
        return L2Ball(factor * images[0].numel() ** 0.5 / 512)
    return SSIMBall(images, (1e-5 * factor.square()).clamp_max(0.9), cg_steps=cg_steps)
