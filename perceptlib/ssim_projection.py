"""Nearest point of an SSIM ball in the Euclidean norm.

The point is z = (I + l A)^-1 r with l >= 0 and Q(z) = budget: bracketed secant steps on 1 / sqrt(Q(z)), nearly linear
in l, with a linear system each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from perceptlib.lp_balls import per_image

if TYPE_CHECKING:
    from perceptlib.ssim_ball import SSIMBall

TOLERANCE = 1e-5  # relative, on the secular equation
STEPS = 200  # conjugate-gradient steps of each linear system


@torch.no_grad()
def nearest_point(ball: SSIMBall, perturbation: Tensor) -> Tensor:
    """Nearest point of the ball, r itself where it is inside; about 100 times the cost of `SSIMBall.steepest`.

    Parameters
    ----------
    ball : SSIMBall
        The ball.
    perturbation : Tensor
        r, shape (N, C, H, W), zero outside the ball's support.

    Returns
    -------
    Tensor
        Same shape; the secular equation holds to 1e-5 relative, and a last scaling puts the point inside.
    """
    is_outside = (ball.gauge(perturbation) > 1).view(-1, 1, 1, 1)
    if not bool(is_outside.any()):
        return perturbation
    return torch.where(is_outside, _from_outside(ball, perturbation, is_outside), perturbation)


def _shrunk(ball: SSIMBall, perturbation: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor]:
    """(I + l A)^-1 r, and its 1 / sqrt(Q)."""
    if ball.coupling == "diagonal":
        point = perturbation / (1 + multiplier * ball.weight)
    else:
        share = 1 / multiplier  # the system over l keeps conjugate gradients well scaled
        point, _ = ball.conjugate_gradients(share * perturbation, share, STEPS, None)
    return point, _inverse_root(ball, point)


def _inverse_root(ball: SSIMBall, point: Tensor) -> Tensor:
    return 1 / ball.quadratic(point).clamp_min(1e-30).sqrt().view(-1, 1, 1, 1)


def _from_outside(ball: SSIMBall, perturbation: Tensor, is_outside: Tensor) -> Tensor:
    goal = 1 / per_image(ball.budget, perturbation).sqrt()
    low = torch.zeros_like(goal)
    low_value = _inverse_root(ball, perturbation)
    high = (goal / low_value - 1) / ball.weight.mean(dim=(1, 2, 3), keepdim=True)
    high = high.clamp_min(1e-6 / ball.weight.amax())
    point, high_value = _shrunk(ball, perturbation, high)
    for _ in range(60):
        is_short = high_value < goal
        is_done = ~is_short & (high_value <= (1 + TOLERANCE) * goal)
        if bool((is_done | ~is_outside).all()):
            break
        # above the bracket: grow it; inside: a secant step that keeps away from the ends
        share = ((goal - low_value) / (high_value - low_value).clamp_min(1e-30)).clamp(0.02, 0.98)
        trial = torch.where(is_short, 4 * high, low + share * (high - low))
        trial_point, value = _shrunk(ball, perturbation, trial)
        is_low = ~is_short & (value < goal)
        low, low_value = (
            torch.where(is_short, high, torch.where(is_low, trial, low)),
            torch.where(is_short, high_value, torch.where(is_low, value, low_value)),
        )
        high, high_value = torch.where(is_low, high, trial), torch.where(is_low, high_value, value)
        point = torch.where(is_low, point, trial_point)
    return point / ball.gauge(point).clamp_min(1).view(-1, 1, 1, 1)
