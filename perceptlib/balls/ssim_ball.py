"""The SSIM ball: a shared budget on the second-order expansion Q of the SSIM distance.

With the denominators frozen at the clean image x, d1 = 1/(2 mu_x^2 + C1) and d2 = 1/(2 var_x + C2), it is ::

    Q(r) = mean over windows of V d2 + m^2 d1 = r'A r
    n A r = (W'd2) r + W'((d1 - d2) W r)

which is a convex quadratic, equal to D(x, x + r) up to third order in r.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from perceptlib.balls.conjugate_gradients import LARGEST_SIDE, Buffers, CosinePreconditioner, solve
from perceptlib.balls.norms import (
    as_change,
    as_radius,
    check_made_for,
    check_support,
    finite_within,
    inner,
    normalized,
    per_image,
    radius_of,
    restrict,
)
from perceptlib.records.checks import as_images, as_tensor, own_mode
from perceptlib.ssim import Reference, Window
from perceptlib.ssim.measure import C1, C2

# A ball of one component alone is unbounded (a constant has no contrast, high frequencies have no luminance):
# the other stays with this weight, and the result is a subset of the one-component ball.
FLOOR = 1e-3
# Conjugate gradients look at the gap once <residual, preconditioned residual>, over the first, is this times the gap: a
# look costs a third of a step on small images, and the gap is certified more loosely than this quotient says.
LOOK = 0.1
_TOLERANCE = 1e-5  # of a projection: relative, on the secular equation
_STEPS = 200  # conjugate-gradient steps of each of its linear systems


class SSIMBall:
    """Perturbations with Q(r) <= budget.

    Parameters
    ----------
    images : Tensor or ndarray
        Clean images, shape (N, C, H, W), range [0, 1], float32 or float64, in any memory layout; the ball keeps a copy
        without their graph, and lives on their device.
    budget : float or Tensor
        SSIM distance, above 0 and below 1; scalar or (N,).
    window : Window
        Window of the SSIM.
    coupling : {"full", "diagonal"}
        "full" is Q. "diagonal" replaces A by one weight per pixel: its part diag(W'd2) / n, or diag(W'd1) / n for
        luminance alone, so that steepest costs one multiplication.
    components : {"both", "luminance", "contrast_structure"}
        Which of the two SSIM components count. With one alone the other keeps the weight 1e-3.
    cg_steps : int
        Conjugate-gradient steps of `steepest` at most, at least 1; unused by the diagonal coupling.
    tolerance : float, optional
        Stop conjugate gradients once `gap_bound` is at most this relative gap for every image.
    support : Tensor, optional
        Where a perturbation may be non-zero, bool, shape (N, H, W), (N, 1, H, W) or (N, C, H, W): with P = diag of
        it, the ball of P r, whose steepest direction solves (P A P) z = P g. A perturbation that leaves it has the
        size infinity; `project` and `pull_back` drop what is outside.

    Raises
    ------
    TypeError, ValueError
        A budget outside (0, 1), an unknown coupling or component, cg_steps below 1, a negative tolerance, a support
        that is not bool, is empty for an image or does not fit; see `perceptlib.ssim.measure.Reference` for images. The
        methods refuse gradients and perturbations of another shape, device or dtype (float32 or float64).
    """

    def __init__(
        self,
        images: Tensor,
        budget: float | Tensor,
        *,
        window: Window = Window(),
        coupling: str = "full",
        components: str = "both",
        cg_steps: int = 15,
        tolerance: float | None = None,
        support: Tensor | None = None,
    ) -> None:
        if coupling not in ("full", "diagonal"):
            raise ValueError(f"coupling {coupling!r} is unknown; pass 'full' or 'diagonal'")
        if components not in ("both", "luminance", "contrast_structure"):
            raise ValueError(f"components {components!r} is unknown; pass 'both', 'luminance' or 'contrast_structure'")
        if cg_steps < 1:
            raise ValueError(f"cg_steps {cg_steps} is below 1; pass e.g. cg_steps=15")
        if tolerance is not None and not tolerance >= 0:
            raise ValueError(f"tolerance {tolerance} is not at least 0; pass e.g. tolerance=1e-6")
        self.window, self.coupling, self.components = window, coupling, components
        self.cg_steps, self.tolerance = cg_steps, tolerance
        with own_mode():
            self.radius = self.budget = as_radius(budget, "budget", is_distance=True)
            images = as_images(images).clone()
            per_image(self.budget, images)  # raises on a wrong number of budgets
            if support is not None:
                support = as_tensor(support).to(images.device, copy=True)
            self.support = check_support(support, tuple(images.shape))
            self._set_reference(Reference(images, window))

    def _set_reference(self, reference: Reference) -> None:
        self.reference = reference
        self.size = reference.images[0].numel()  # n: windows of one image, all channels
        luminance = (1.0 if self.components != "contrast_structure" else FLOOR) / (2 * reference.mean**2 + C1)
        contrast = (1.0 if self.components != "luminance" else FLOOR) / (2 * reference.variance + C2)
        self.luminance_weight, self.contrast_weight = luminance, contrast
        is_luminance_alone = self.components == "luminance" and self.coupling == "diagonal"
        self.weight = self.window.adjoint(luminance if is_luminance_alone else contrast)
        self._difference = luminance - contrast

    def check(self, images: Tensor) -> None:
        """Raise ValueError unless the ball was made for these images."""
        check_made_for(self.reference.images, images)

    def select(self, index: Tensor) -> SSIMBall:
        """The ball of some of the images; index is boolean (N,) or int64."""
        return SSIMBall(
            self.reference.images[index],
            radius_of(self.budget, index),
            window=self.window,
            coupling=self.coupling,
            components=self.components,
            cg_steps=self.cg_steps,
            tolerance=self.tolerance,
            support=None if self.support is None else self.support[index],
        )

    def apply(self, perturbation: Tensor) -> Tensor:
        """n A r, shape (N, C, H, W); with a support n P A r."""
        applied = self.weight * perturbation
        if self.coupling == "full":
            applied = applied + self.window.adjoint(self._difference * self.window.filter(perturbation))
        return restrict(applied, self.support)

    def quadratic(self, perturbation: Tensor) -> Tensor:
        """Q(r), shape (N,), at least 0; at large budgets above D, as the perturbation's variance lowers D."""
        total = inner(self.weight, perturbation**2)
        if self.coupling == "full":
            total = total + inner(self._difference, self.window.filter(perturbation) ** 2)
        return total.flatten().clamp_min(0) / self.size

    def gauge(self, perturbation: Tensor) -> Tensor:
        """sqrt(Q(r) / budget), shape (N,); infinite where r leaves the support."""
        perturbation = as_change(perturbation, self.reference.images)
        gauge = (self.quadratic(perturbation) / per_image(self.budget, perturbation).flatten()).sqrt()
        return finite_within(perturbation, gauge, self.support)

    def measure(self, perturbation: Tensor) -> Tensor:
        """True SSIM distance D(x, x + r) of the ball's components, shape (N,), in the perturbation's dtype."""
        perturbation = as_change(perturbation, self.reference.images)
        reference = self._exact if perturbation.dtype == torch.float64 else self.reference
        distance = reference.distance(perturbation, components=self.components)
        return finite_within(perturbation, distance, self.support)

    @own_mode()
    def pull_back(self, perturbation: Tensor) -> Tensor:
        """Perturbation on the ray of r, clipped to [0, 1], with true distance D = budget (`Reference.reach`)."""
        inside = restrict(as_change(perturbation, self.reference.images), self.support)
        return self.reference.reach(inside, self.budget, components=self.components)

    @cached_property
    @own_mode()
    def _exact(self) -> Reference:
        return Reference(self.reference.images.double(), self.window)

    @own_mode()
    def steepest(self, gradient: Tensor) -> Tensor:
        """sqrt(budget / z'A z) z with z = A^-1 g, by conjugate gradients or the diagonal weight: (N, C, H, W).

        Q = budget, or zero where g is zero on the support. Refuses a gradient with NaN or infinite entries.
        """
        gradient = normalized(restrict(as_change(gradient, self.reference.images), self.support))
        solution, residual = self._solve(gradient)
        energy = inner(solution, gradient - residual)  # z'(n A) z
        budget = per_image(self.budget, gradient)
        scale = (budget * self.size / torch.where(energy > 0, energy, 1)).sqrt()
        return torch.where(energy > 0, scale, 0) * solution

    def _solve(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """z close to (n A)^-1 g, and its residual g - n A z, both on the support, where g is."""
        if self.coupling == "diagonal":
            return gradient / self.weight, torch.zeros_like(gradient)
        return self.conjugate_gradients(gradient, None, self.cg_steps, self.tolerance)

    def conjugate_gradients(
        self, target: Tensor, identity: Tensor | None, steps: int, gap: float | None
    ) -> tuple[Tensor, Tensor]:
        """Solve (identity + n A) z = target in a number of steps, or n A z = target to a relative gap.

        The steps are preconditioned by the diagonal, the way to a gap by `precondition`. The target is zero outside
        the support, and so are z and its residual, which are returned.
        """
        if gap is not None:
            first = inner(target, self.precondition(target, torch.empty_like(target)))

            def is_done(step: int, solution: Tensor, residual: Tensor, energy: Tensor) -> bool:
                is_near = bool((energy <= LOOK * gap * first).all())
                return is_near and self._is_within(target, solution, residual, gap)

            return solve(self.multiply, self.precondition, target, steps=steps, is_done=is_done)[:2]
        inverse = 1 / (self.weight if identity is None else self.weight + identity)

        def multiply(direction: Tensor, buffers: Buffers) -> Tensor:
            product = self.multiply(direction, buffers)
            return product if identity is None else product.addcmul_(direction, identity)

        return solve(multiply, lambda residual, out: torch.mul(inverse, residual, out=out), target, steps=steps)[:2]

    def multiply(self, direction: Tensor, buffers: Buffers) -> Tensor:
        """`apply` without fresh memory: the result is the second buffer, the first is overwritten."""
        if self.coupling == "diagonal":
            product = torch.mul(self.weight, direction, out=buffers[1])
        else:
            product = self.window.filter_weight_adjoint(direction, self._difference, buffers)
            product.addcmul_(self.weight, direction)
        return product if self.support is None else product.mul_(self.support)

    def precondition(self, residual: Tensor, out: Tensor) -> Tensor:
        """(n A)^-1 r in a buffer, to first order; exact for the diagonal coupling."""
        if self._cosines is None:
            return torch.div(residual, self.weight, out=out)
        product = self._cosines(residual, out)
        return product if self.support is None else product.mul_(self.support)

    @cached_property
    @own_mode()
    def _cosines(self) -> CosinePreconditioner | None:
        if self.coupling == "diagonal" or max(self.weight.shape[-2:]) > LARGEST_SIDE:
            return None
        return CosinePreconditioner(self.window, self.weight, self.window.adjoint(self.luminance_weight))

    @cached_property
    @own_mode()
    def _lower_weight(self) -> Tensor:
        if self.coupling == "diagonal":
            return self.weight
        return self.window.adjoint(torch.minimum(self.luminance_weight, self.contrast_weight))

    def _is_within(self, gradient: Tensor, solution: Tensor, residual: Tensor, gap: float) -> bool:
        value, bound = self._value_and_bound(gradient, solution, residual)
        return bool((bound - value <= gap * bound).all())

    def _value_and_bound(self, gradient: Tensor, solution: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Objective of the scaled z and an upper bound of the optimum, both over sqrt(n budget), (N, 1, 1, 1).

        g'A^-1 g <= 2 g'z - z'A z + e'M^-1 e with e = g - A z and M = diag(W' min(d1, d2)) <= A, because window by
        window V d2 + m^2 d1 >= min(d1, d2) (V + m^2).
        """
        along = inner(gradient, solution)
        energy = inner(solution, gradient - residual)
        value = along / torch.where(energy > 0, energy, 1).sqrt()
        bound = (2 * along - energy + inner(residual, residual / self._lower_weight)).clamp_min(0).sqrt()
        return value, bound

    def gap_bound(self, gradient: Tensor, perturbation: Tensor) -> Tensor:
        """Certificate: upper bound of 1 - <g, r> / max over the ball, for r scaled to the ball; shape (N,).

        The true gap is never larger, wherever r comes from. 0 where g is zero on the support; 1 where <g, r> <= 0 and
        where r leaves the support. In float32 the bound is good to about 1e-5, use float64 for less.
        """
        perturbation = as_change(perturbation, self.reference.images)
        gradient = normalized(restrict(as_change(gradient, self.reference.images), self.support))
        energy = inner(perturbation, self.apply(perturbation))
        along = inner(gradient, perturbation)
        solution = along / torch.where(energy > 0, energy, 1) * perturbation  # best multiple of r as z
        value, bound = self._value_and_bound(gradient, solution, gradient - self.apply(solution))
        gap = torch.where(along > 0, 1 - value / torch.where(bound > 0, bound, 1), 1)
        gap = torch.where(inner(gradient, gradient) > 0, gap, 0).flatten()
        return finite_within(perturbation, gap, self.support).clamp(0, 1)

    @own_mode()
    def project(self, perturbation: Tensor) -> Tensor:
        """Nearest point of the ball in the Euclidean norm; about 100 times the cost of `steepest`.

        The point is z = (I + l A)^-1 r with l >= 0 and Q(z) = budget: bracketed secant steps on 1 / sqrt(Q(z)), nearly
        linear in l, with a linear system each; the secular equation holds to 1e-5, and a last scaling puts it inside.
        """
        perturbation = restrict(as_change(perturbation, self.reference.images), self.support)
        is_outside = (self.gauge(perturbation) > 1).view(-1, 1, 1, 1)
        if not bool(is_outside.any()):
            return perturbation.clone()
        return torch.where(is_outside, _from_outside(self, perturbation, is_outside), perturbation)


def _shrunk(ball: SSIMBall, perturbation: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor]:
    """(I + l A)^-1 r, and its 1 / sqrt(Q)."""
    if ball.coupling == "diagonal":
        point = perturbation / (1 + multiplier * ball.weight)
    else:
        share = 1 / multiplier  # the system over l keeps conjugate gradients well scaled
        point, _ = ball.conjugate_gradients(share * perturbation, share, _STEPS, None)
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
        is_done = ~is_short & (high_value <= (1 + _TOLERANCE) * goal)
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
