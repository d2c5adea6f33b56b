"""What balls of a quadratic form share: Q(r) = r'A r <= budget, with A symmetric, positive definite and never written.

A ball gives the product n A r (n: entries of an image), a preconditioner and a simpler matrix M <= A whose inverse is
known; here are its steepest direction, the certificate of any direction, and the projection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from perceptlib.balls.conjugate_gradients import Buffers, solve
from perceptlib.balls.norms import (
    as_change,
    as_radius,
    check_made_for,
    check_support,
    finite_within,
    inner,
    normalized,
    per_image,
    restrict,
)
from perceptlib.records.checks import as_images, as_tensor, own_mode
from perceptlib.ssim import Window

# Conjugate gradients look at the gap once <residual, preconditioned residual>, over the first, is this times the gap: a
# look costs a third of a step on small images, and the gap is certified more loosely than this quotient says.
LOOK = 0.1
_TOLERANCE = 1e-5  # of a projection: relative, on the secular equation
PART = 2**19  # entries of the images whose systems are solved together, on a CPU: their vectors stay in the cache
_STEPS = 200  # conjugate-gradient steps of each of its linear systems


class QuadraticBall(ABC):
    """Perturbations with Q(r) <= budget, zero outside a support; parameters as of `SSIMBall`."""

    weight: Tensor  # (N, C, H, W), a diagonal of the size of n A
    is_apart = False  # whether A leaves channels unmixed

    def __init__(
        self,
        images: Tensor,
        budget: float | Tensor,
        *,
        cg_steps: int,
        tolerance: float | None,
        support: Tensor | None,
    ) -> None:
        if cg_steps < 1:
            raise ValueError(f"cg_steps {cg_steps} is below 1; pass e.g. cg_steps=15")
        if tolerance is not None and not tolerance >= 0:
            raise ValueError(f"tolerance {tolerance} is not at least 0; pass e.g. tolerance=1e-6")
        self.cg_steps, self.tolerance = cg_steps, tolerance
        with own_mode():
            self.radius = self.budget = as_radius(budget, "budget", is_distance=True)
            self.images = as_images(images).clone()
            self.size = self.images[0].numel()  # n
            per_image(self.budget, self.images)  # raises on a wrong number of budgets
            if support is not None:
                support = as_tensor(support).to(self.images.device, copy=True)
            self.support = check_support(support, tuple(self.images.shape))

    @abstractmethod
    def _product(self, direction: Tensor, buffers: Buffers) -> Tensor:
        """Product n A r in the second of two buffers; the first is overwritten."""

    @abstractmethod
    def quadratic(self, perturbation: Tensor) -> Tensor:
        """Q(r), shape (N,), at least 0."""

    @abstractmethod
    def _distance(self, perturbation: Tensor) -> Tensor:
        """The exact distance that Q expands, (N,), in the perturbation's dtype."""

    @abstractmethod
    def _precondition(self, residual: Tensor, out: Tensor) -> Tensor:
        """(n A)^-1 r in a buffer, to first order."""

    @abstractmethod
    def _over_lower_bound(self, residual: Tensor) -> Tensor:
        """(n M)^-1 r, of a matrix M <= A."""

    def check(self, images: Tensor) -> None:
        """Raise ValueError unless the ball was made for these images."""
        check_made_for(self.images, images)

    def gauge(self, perturbation: Tensor) -> Tensor:
        """sqrt(Q(r) / budget), shape (N,); infinite where r leaves the support."""
        perturbation = as_change(perturbation, self.images)
        gauge = (self.quadratic(perturbation) / per_image(self.budget, perturbation).flatten()).sqrt()
        return finite_within(perturbation, gauge, self.support)

    def measure(self, perturbation: Tensor) -> Tensor:
        """The exact distance of x + r that Q expands, shape (N,), in the perturbation's dtype."""
        perturbation = as_change(perturbation, self.images)
        return finite_within(perturbation, self._distance(perturbation), self.support)

    @own_mode()
    def steepest(self, gradient: Tensor) -> Tensor:
        """sqrt(budget / z'A z) z with z = A^-1 g, by conjugate gradients or the diagonal weight: (N, C, H, W).

        Q = budget, or zero where g is zero on the support. Refuses a gradient with NaN or infinite entries.
        """
        gradient = normalized(restrict(as_change(gradient, self.images), self.support))
        solution, energy = self._solve(gradient)
        budget = per_image(self.budget, gradient)
        scale = (budget * self.size / torch.where(energy > 0, energy, 1)).sqrt()
        return solution.mul_(torch.where(energy > 0, scale, 0))

    def _solve(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """z close to (n A)^-1 g, on the support where g is, and z'(n A) z, (N, 1, 1, 1)."""
        if self.tolerance is not None:
            solution, residual = self.conjugate_gradients(gradient, None, self.cg_steps, self.tolerance)
            return solution, inner(solution, gradient - residual)
        solution, energy = torch.empty_like(gradient), []
        count = max(1, PART // self.size) if gradient.device.type == "cpu" else len(gradient)
        for start in range(0, len(gradient), count):
            index = slice(start, start + count)
            part, target = self._part(index), gradient[index]
            ways = part.multiply, part._quick(None)
            found = solve(*ways, target, steps=self.cg_steps, curvature=part._curvature)[0]
            energy.append(inner(found, target))  # z is orthogonal to the residual
            solution[index] = found
        return solution, torch.cat(energy)

    @abstractmethod
    def _curvature(self, direction: Tensor, buffers: Buffers) -> Tensor:
        """r'(n A) r, (N, 1, 1, 1), of r on the support; both buffers are overwritten."""

    @abstractmethod
    def _part(self, index: slice) -> Self:
        """What `multiply` and `_quick` need for some neighbouring images, in the memory of this ball."""

    def conjugate_gradients(
        self, target: Tensor, identity: Tensor | None, steps: int, gap: float | None
    ) -> tuple[Tensor, Tensor]:
        """Solve (identity + n A) z = target in a number of steps, or n A z = target to a relative gap.

        The steps are preconditioned by `_quick`, the way to a gap by `precondition`. The target is zero outside the
        support, and so are z and its residual, which are returned.
        """
        if gap is not None:
            # beyond the type's own precision more steps lead away again
            gap = max(gap, 16 * torch.finfo(target.dtype).eps)
            first: list[Tensor] = []

            def is_done(step: int, solution: Tensor, residual: Tensor, energy: Tensor) -> bool:
                first.append(LOOK * gap * energy if step == 0 else first[0])
                is_near = bool((energy <= first[0]).all())
                return is_near and self._is_within(target, solution, residual, gap)

            ways = self.multiply, self.precondition
            return solve(*ways, target, steps=steps, is_done=is_done, apart=self.is_apart)[:2]

        def multiply(direction: Tensor, buffers: Buffers) -> Tensor:
            product = self.multiply(direction, buffers)
            return product if identity is None else product.addcmul_(direction, identity)

        return solve(multiply, self._quick(identity), target, steps=steps)[:2]

    def _quick(self, identity: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
        """A preconditioner of identity + n A that costs little beside a product."""
        inverse = 1 / (self.weight if identity is None else self.weight + identity)
        return lambda residual, out: torch.mul(inverse, residual, out=out)

    def multiply(self, direction: Tensor, buffers: Buffers) -> Tensor:
        """n A r, with a support n P A r, without fresh memory: in the second buffer, the first is overwritten."""
        product = self._product(direction, buffers)
        return product if self.support is None else product.mul_(self.support)

    def precondition(self, residual: Tensor, out: Tensor) -> Tensor:
        """(n A)^-1 r in a buffer, to first order; exact for the diagonal coupling."""
        product = self._precondition(residual, out)
        return product if self.support is None else product.mul_(self.support)

    def apply(self, perturbation: Tensor) -> Tensor:
        """n A r, shape (N, C, H, W); with a support n P A r."""
        return self.multiply(perturbation, (torch.empty_like(perturbation), torch.empty_like(perturbation)))

    def _is_within(self, gradient: Tensor, solution: Tensor, residual: Tensor, gap: float) -> bool:
        value, bound = self._value_and_bound(gradient, solution, residual)
        return bool((bound - value <= gap * bound).all())

    def _value_and_bound(self, gradient: Tensor, solution: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Objective of the scaled z and an upper bound of the optimum, both over sqrt(n budget), (N, 1, 1, 1).

        g'A^-1 g <= 2 g'z - z'A z + e'M^-1 e with e = g - A z and M <= A.
        """
        along = inner(gradient, solution)
        energy = inner(solution, gradient - residual)
        value = along / torch.where(energy > 0, energy, 1).sqrt()
        bound = (2 * along - energy + inner(residual, self._over_lower_bound(residual))).clamp_min(0).sqrt()
        return value, bound

    def gap_bound(self, gradient: Tensor, perturbation: Tensor) -> Tensor:
        """Certificate: upper bound of 1 - <g, r> / max over the ball, for r scaled to the ball; shape (N,).

        The true gap is never larger, wherever r comes from. 0 where g is zero on the support; 1 where <g, r> <= 0 and
        where r leaves the support. In float32 the bound is good to about 1e-5, use float64 for less.
        """
        perturbation = as_change(perturbation, self.images)
        gradient = normalized(restrict(as_change(gradient, self.images), self.support))
        product = self.apply(perturbation)
        energy = inner(perturbation, product)
        along = inner(gradient, perturbation)
        best = along / torch.where(energy > 0, energy, 1)  # multiple of r as z
        value, bound = self._value_and_bound(gradient, best * perturbation, gradient - best * product)
        gap = torch.where(along > 0, 1 - value / torch.where(bound > 0, bound, 1), 1)
        gap = torch.where(inner(gradient, gradient) > 0, gap, 0).flatten()
        return finite_within(perturbation, gap, self.support).clamp(0, 1)

    @own_mode()
    def project(self, perturbation: Tensor) -> Tensor:
        """Nearest point of the ball in the Euclidean norm; about 100 times the cost of `steepest`.

        The point is z = (I + l A)^-1 r with l >= 0 and Q(z) = budget: bracketed secant steps on 1 / sqrt(Q(z)), nearly
        linear in l, with a linear system each; the secular equation holds to 1e-5, and a last scaling puts it inside.
        """
        perturbation = restrict(as_change(perturbation, self.images), self.support)
        is_outside = (self.gauge(perturbation) > 1).view(-1, 1, 1, 1)
        if not bool(is_outside.any()):
            return perturbation.clone()
        return torch.where(is_outside, _from_outside(self, perturbation, is_outside), perturbation)

    def _shrunk(self, perturbation: Tensor, multiplier: Tensor) -> Tensor:
        """(I + l A)^-1 r."""
        share = 1 / multiplier  # the system over l keeps conjugate gradients well scaled
        return self.conjugate_gradients(share * perturbation, share, _STEPS, None)[0]


def form(window: Window, values: Tensor, weight: Tensor, difference: Tensor, buffers: Buffers) -> Tensor:
    """<weight, r^2> + <difference, (W r)^2>, (N, 1, 1, 1), without fresh memory: both buffers are overwritten."""
    total = inner(window.filter(values, buffers).square_(), difference, buffers[0])
    return total.add_(inner(torch.mul(values, values, out=buffers[1]), weight, buffers[0]))


def _inverse_root(ball: QuadraticBall, point: Tensor) -> Tensor:
    return 1 / ball.quadratic(point).clamp_min(1e-30).sqrt().view(-1, 1, 1, 1)


def _from_outside(ball: QuadraticBall, perturbation: Tensor, is_outside: Tensor) -> Tensor:
    goal = 1 / per_image(ball.budget, perturbation).sqrt()
    low = torch.zeros_like(goal)
    low_value = _inverse_root(ball, perturbation)
    high = (goal / low_value - 1) / ball.weight.mean(dim=(1, 2, 3), keepdim=True)
    high = high.clamp_min(1e-6 / ball.weight.amax())
    point = ball._shrunk(perturbation, high)
    high_value = _inverse_root(ball, point)
    for _ in range(60):
        is_short = high_value < goal
        is_done = ~is_short & (high_value <= (1 + _TOLERANCE) * goal)
        if bool((is_done | ~is_outside).all()):
            break
        # above the bracket: grow it; inside: a secant step that keeps away from the ends
        share = ((goal - low_value) / (high_value - low_value).clamp_min(1e-30)).clamp(0.02, 0.98)
        trial = torch.where(is_short, 4 * high, low + share * (high - low))
        trial_point = ball._shrunk(perturbation, trial)
        value = _inverse_root(ball, trial_point)
        is_low = ~is_short & (value < goal)
        low, low_value = (
            torch.where(is_short, high, torch.where(is_low, trial, low)),
            torch.where(is_short, high_value, torch.where(is_low, value, low_value)),
        )
        high, high_value = torch.where(is_low, high, trial), torch.where(is_low, high_value, value)
        point = torch.where(is_low, point, trial_point)
    return point / ball.gauge(point).clamp_min(1).view(-1, 1, 1, 1)
