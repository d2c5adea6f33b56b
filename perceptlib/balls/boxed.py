"""The steepest perturbation of an SSIM ball that keeps the image in [0, 1], with a certificate and without a solver.

maximise <g, r> subject to Q(r) <= budget and 0 <= x + r <= 1 (P1 of `perceptlib.convex.programs` with its box).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perceptlib.balls.conjugate_gradients import Buffers, solve
from perceptlib.balls.norms import as_change, inner, normalized, per_image, restrict
from perceptlib.balls.quadratic import QuadraticBall
from perceptlib.records.checks import own_mode

# Preconditioned residual of the linear systems: the gap goes with its square. A third of it in each round once the
# active set has settled, so that a certificate that fails for want of accuracy succeeds later.
FIRST_RESIDUAL = 0.1  # times the root of the tolerance
SETTLED = 0.01  # share of the pixels that still change between held and free
LEAST_RESIDUAL = 1e-8


@dataclass(frozen=True)
class BoxedDirection:
    """Perturbations inside ball and box with their certificates."""

    perturbation: Tensor  # r, (N, C, H, W): Q(r) <= budget and x + r in [0, 1] to rounding
    gap: Tensor  # certified relative gap 1 - <g, r> / upper bound, (N,), in [0, 1]: the true one is never larger
    rounds: int  # active sets tried
    cg_steps: int  # applications of A spent in conjugate gradients


@own_mode()
def steepest_in_box(
    ball: QuadraticBall, gradient: Tensor, *, tolerance: float = 1e-4, rounds: int = 30, cg_steps: int = 300
) -> BoxedDirection:
    """Maximise <g, r> over an SSIM ball, of one scale or several, and the box by a primal-dual active set method.

    Pixels held at 0 or 1 stay there; the others solve the ball's problem, r = (held part) + A_ff^-1 (g_f / l - A_fa
    r_a), where the multiplier l of the ball is the root of a quadratic equation. A free pixel that leaves the box is
    held, a held one whose multiplier has the wrong sign is let go (Hintermueller, Ito and Kunisch 2003), until the
    certificate is within the tolerance.

    Parameters
    ----------
    ball : SSIMBall or MultiScaleBall
        The ball; its own cg_steps do not count. Its images give the box.
    gradient : Tensor
        g, shape (N, C, H, W); float64 for gaps below 1e-5.
    tolerance : float
        Certified relative gap at which an image is done, above 0.
    rounds : int
        Active sets at most, at least 1.
    cg_steps : int
        Conjugate-gradient steps at most of each of the two linear systems of a round, at least 1.

    Returns
    -------
    BoxedDirection
        The best of all rounds for each image.

    Raises
    ------
    ValueError
        A tolerance, rounds or cg_steps out of range; a gradient with NaN or infinite entries.

    Notes
    -----
    Upper bound: for any signs-correct box multipliers v, <v+, 1 - x> + <v-, x> plus the ball's own bound for g - v
    (`SSIMBall.gap_bound`). Usually 2 to 4 rounds. With one component alone the ball is nearly unbounded and the active
    sets can cycle: read the gap.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance {tolerance} is not above 0; pass e.g. tolerance=1e-4")
    if min(rounds, cg_steps) < 1:
        raise ValueError(f"rounds {rounds} and cg_steps {cg_steps} must be at least 1; pass e.g. rounds=30")
    images = ball.images
    gradient = normalized(restrict(as_change(gradient, images), ball.support))
    low, high = -images, 1 - images
    limit = per_image(ball.budget, gradient) * ball.size  # on r'(n A) r
    # where the whole corner of the box is inside the ball, it is the optimum
    corner = torch.where(gradient > 0, high, torch.where(gradient < 0, low, 0))
    best = _into_ball(ball, corner)
    corner_value = inner(gradient, corner)
    gap = torch.where(corner_value > 0, 1 - inner(gradient, best) / corner_value.clamp_min(1e-300), 0)
    at_high = torch.zeros_like(gradient, dtype=torch.bool)
    at_low, free = at_high.clone(), ~at_high
    slope, base, product = (torch.zeros_like(gradient) for _ in range(3))  # product: n A base
    accuracy = torch.full_like(limit, FIRST_RESIDUAL * tolerance**0.5)
    spent = turn = 0
    while turn < rounds and bool((gap > tolerance).any()):
        turn += 1
        # both parts of the point may be wrong by the same energy
        effort = accuracy**2 * inner(gradient * free, ball.precondition(gradient * free, torch.empty_like(gradient)))
        if turn == 1:
            (slope,), used = _solve_free(ball, gradient[None], free, slope[None], cg_steps, effort[None])
        else:
            held = torch.where(at_high, high, torch.where(at_low, low, 0))
            targets, starts = torch.stack((gradient, -ball.apply(held))), torch.stack((slope, base))
            goals = torch.stack((effort, accuracy**2 * limit))
            (slope, pull), used = _solve_free(ball, targets, free, starts, cg_steps, goals)
            base = held + pull
            product = ball.apply(base)
        spent += used
        slope_product = ball.apply(slope)
        length, multiplier = _to_sphere((base, product), (slope, slope_product), limit)
        point = base + length * slope
        rest = gradient - multiplier * (product + length * slope_product)
        box = torch.where(at_high, rest.clamp_min(0), torch.where(at_low, rest.clamp_max(0), 0))
        inside = _into_ball(ball, torch.minimum(torch.maximum(point, low), high))
        _, bound = ball._value_and_bound(gradient - box, multiplier * point, rest - box)
        bound = bound * limit.sqrt() + inner(box, torch.where(box > 0, high, low))
        value = inner(gradient, inside)
        found = torch.where((value > 0) & torch.isfinite(bound), 1 - value / bound.clamp_min(1e-300), 1).clamp(0, 1)
        best, gap = torch.where(found < gap, inside, best), torch.minimum(found, gap)
        at_high = (at_high & (rest > 0)) | (free & (point > high))
        at_low = (at_low & (rest < 0)) | (free & (point < low))
        before, free = free, ~(at_high | at_low)
        is_settled = (free != before).to(gradient).mean(dim=(1, 2, 3), keepdim=True) <= SETTLED
        accuracy = torch.where(is_settled, accuracy / 3, accuracy).clamp_min(LEAST_RESIDUAL)
    return BoxedDirection(best, gap.flatten(), turn, spent)


def _solve_free(
    ball: QuadraticBall, targets: Tensor, free: Tensor, starts: Tensor, steps: int, goals: Tensor
) -> tuple[Tensor, int]:
    """(n A)_ff^-1 target_f of targets (K, N, C, H, W), zero where held, up to errors of an energy (K, N, 1, 1, 1)."""

    free = free.to(targets)  # converted once, not in every product

    def multiply(direction: Tensor, buffers: Buffers) -> Tensor:
        return ball.multiply(direction, buffers).mul_(free)

    def precondition(residual: Tensor, out: Tensor) -> Tensor:
        return ball.precondition(residual, out).mul_(free)

    def is_done(step: int, solution: Tensor, residual: Tensor, energy: Tensor) -> bool:
        return bool((energy <= goals).all())

    solution, _, used = solve(
        *(multiply, precondition, targets * free),
        steps=steps,
        start=starts * free,
        is_done=is_done,
        apart=ball.is_apart,
    )
    return solution, used * len(targets)


def _to_sphere(base: tuple[Tensor, Tensor], slope: tuple[Tensor, Tensor], limit: Tensor) -> tuple[Tensor, Tensor]:
    """s with base + s slope on the boundary (nearest to it where the line misses the ball), and the multiplier 1 / s.

    Base and slope each with their product with n A.
    """
    square, cross = inner(*slope), inner(base[0], slope[1])
    constant = inner(*base) - limit
    root = (cross**2 - square * constant).clamp_min(0).sqrt()
    length = (root - cross) / torch.where(square > 0, square, 1)
    length = torch.where((square > 0) & (length > 0), length, 1e-30)
    return length, torch.where(length > 1e-30, 1 / length, 0)


def _into_ball(ball: QuadraticBall, perturbation: Tensor) -> Tensor:
    """Towards 0 until inside: the box, which holds 0, is not left."""
    return perturbation / ball.gauge(perturbation).clamp_min(1).view(-1, 1, 1, 1)
