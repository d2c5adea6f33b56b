"""The SSIM ball: a shared budget on the second-order expansion Q of the SSIM distance (method.md, section 3).

With the denominators frozen at the clean image x, d1 = 1/(2 mu_x^2 + C1) and d2 = 1/(2 var_x + C2),

    Q(r) = mean over windows of V d2 + m^2 d1 = r'A r,     n A r = (W'd2) r + W'((d1 - d2) W r)

which is a convex quadratic, equal to D(x, x + r) up to third order in r.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from perceptlib.lp_balls import check_radius, check_shape, inner, normalized, per_image
from perceptlib.ssim import C1, C2, Reference
from perceptlib.window import Window

# A ball of one component alone is unbounded (a constant has no contrast, high frequencies have no luminance):
# the other stays with this weight, and the result is a subset of the one-component ball.
FLOOR = 1e-3
CHECK_EVERY = 4  # conjugate-gradient steps between looks at the gap: a look costs half a step on small images
PROJECTION_TOLERANCE = 1e-5  # relative, on the secular equation
PROJECTION_STEPS = 200  # conjugate-gradient steps of each of its linear systems


class SSIMBall:
    """Perturbations with Q(r) <= budget.

    Parameters
    ----------
    images : Tensor
        Clean images, shape (N, C, H, W), range [0, 1], float32 or float64; the ball lives on their device.
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

    Raises
    ------
    ValueError
        A budget outside (0, 1), an unknown coupling or component, cg_steps below 1, a negative tolerance; see
        `perceptlib.ssim.Reference` for images.
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
    ) -> None:
        check_radius(budget, "budget")
        if not bool((torch.as_tensor(budget) < 1).all()):
            raise ValueError(f"budget {budget} is not below 1; pass an SSIM distance such as 0.01")
        if coupling not in ("full", "diagonal"):
            raise ValueError(f"coupling {coupling!r} is unknown; pass 'full' or 'diagonal'")
        if components not in ("both", "luminance", "contrast_structure"):
            raise ValueError(f"components {components!r} is unknown; pass 'both', 'luminance' or 'contrast_structure'")
        if cg_steps < 1:
            raise ValueError(f"cg_steps {cg_steps} is below 1; pass e.g. cg_steps=15")
        if tolerance is not None and not tolerance >= 0:
            raise ValueError(f"tolerance {tolerance} is not at least 0; pass e.g. tolerance=1e-6")
        self.budget, self.window, self.coupling, self.components = budget, window, coupling, components
        self.cg_steps, self.tolerance = cg_steps, tolerance
        per_image(budget, images)  # raises on a wrong number of budgets
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

    @property
    def radius(self) -> float | Tensor:
        return self.budget

    def select(self, index: Tensor) -> SSIMBall:
        """The ball of some of the images; index is boolean (N,) or int64."""
        budget = self.budget
        if isinstance(budget, Tensor) and budget.ndim:
            budget = budget[index]
        return SSIMBall(
            self.reference.images[index],
            budget,
            window=self.window,
            coupling=self.coupling,
            components=self.components,
            cg_steps=self.cg_steps,
            tolerance=self.tolerance,
        )

    def apply(self, perturbation: Tensor) -> Tensor:
        """n A r, shape (N, C, H, W)."""
        if self.coupling == "diagonal":
            return self.weight * perturbation
        through = self.window.adjoint(self._difference * self.window.filter(perturbation))
        return self.weight * perturbation + through

    def quadratic(self, perturbation: Tensor) -> Tensor:
        """Q(r), shape (N,), at least 0; at large budgets above D, as the perturbation's variance lowers D."""
        total = inner(self.weight, perturbation**2)
        if self.coupling == "full":
            total = total + inner(self._difference, self.window.filter(perturbation) ** 2)
        return total.flatten().clamp_min(0) / self.size

    def gauge(self, perturbation: Tensor) -> Tensor:
        """sqrt(Q(r) / budget), shape (N,)."""
        return (self.quadratic(perturbation) / per_image(self.budget, perturbation).flatten()).sqrt()

    def measure(self, perturbation: Tensor) -> Tensor:
        """True SSIM distance D(x, x + r) of the ball's components, shape (N,), in the perturbation's dtype."""
        reference = self._exact if perturbation.dtype == torch.float64 else self.reference
        return reference.distance(perturbation, components=self.components)

    def pull_back(self, perturbation: Tensor) -> Tensor:
        """Perturbation on the ray of r, clipped to [0, 1], with true distance D = budget (`Reference.reach`)."""
        return self.reference.reach(perturbation, self.budget, components=self.components)

    @cached_property
    def _exact(self) -> Reference:
        return Reference(self.reference.images.double(), self.window)

    @torch.no_grad()
    def steepest(self, gradient: Tensor) -> Tensor:
        """sqrt(budget / z'A z) z with z = A^-1 g, by conjugate gradients or the diagonal weight.

        Parameters
        ----------
        gradient : Tensor
            g, shape (N, C, H, W).

        Returns
        -------
        Tensor
            Perturbation with Q = budget (zero where g is zero), same shape.

        Raises
        ------
        ValueError
            A gradient with NaN or infinite entries, or of another shape than the images.
        """
        check_shape(gradient, self.reference.images)
        gradient = normalized(gradient)
        solution, residual = self._solve(gradient)
        energy = inner(solution, gradient - residual)  # z'(n A) z
        budget = per_image(self.budget, gradient)
        scale = (budget * self.size / torch.where(energy > 0, energy, 1)).sqrt()
        return torch.where(energy > 0, scale, 0) * solution

    def _solve(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """z close to (n A)^-1 g, and its residual g - n A z."""
        if self.coupling == "diagonal":
            return gradient / self.weight, torch.zeros_like(gradient)
        return self._conjugate_gradients(gradient, None, self.cg_steps, self.tolerance)

    def _conjugate_gradients(
        self, target: Tensor, identity: Tensor | None, steps: int, gap: float | None
    ) -> tuple[Tensor, Tensor]:
        """Solve (identity + n A) z = target, preconditioned by the diagonal; batched, without autograd."""
        inverse = 1 / (self.weight if identity is None else self.weight + identity)
        solution, residual = torch.zeros_like(target), target.clone()
        direction = inverse * residual
        energy = inner(residual, direction)
        # large pictures would spend more time on fresh memory than on arithmetic: everything below is in place
        scratch, applied = torch.empty_like(target), torch.empty_like(target)
        for step in range(steps):
            self.window.filter_weight_adjoint(direction, self._difference, (scratch, applied))
            applied.addcmul_(self.weight, direction)
            if identity is not None:
                applied.addcmul_(direction, identity)
            curvature = inner(direction, applied, scratch)
            length = torch.where(curvature > 0, energy / torch.where(curvature > 0, curvature, 1), 0)
            solution.addcmul_(direction, length)
            residual.addcmul_(applied, length, value=-1)
            is_turn = step % CHECK_EVERY == CHECK_EVERY - 1
            if step + 1 == steps or (gap is not None and is_turn and self._is_within(target, solution, residual, gap)):
                break
            preconditioned = torch.mul(inverse, residual, out=applied)
            following = inner(residual, preconditioned, scratch)
            turn = torch.where(energy > 0, following / torch.where(energy > 0, energy, 1), 0)
            direction.mul_(turn).add_(preconditioned)
            energy = following
        return solution, residual

    @cached_property
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

        Parameters
        ----------
        gradient, perturbation : Tensor
            g and any r with <g, r> > 0, shape (N, C, H, W); no solver is needed, r may come from anywhere.

        Returns
        -------
        Tensor
            Relative gap in [0, 1]: the true gap is never larger. 0 where g is zero; 1 where <g, r> <= 0.

        Notes
        -----
        The bound holds in exact arithmetic: in float32 it is good to about 1e-5, use float64 for less.
        """
        gradient = normalized(gradient)
        energy = inner(perturbation, self.apply(perturbation))
        along = inner(gradient, perturbation)
        solution = along / torch.where(energy > 0, energy, 1) * perturbation  # best multiple of r as z
        value, bound = self._value_and_bound(gradient, solution, gradient - self.apply(solution))
        gap = torch.where(along > 0, 1 - value / torch.where(bound > 0, bound, 1), 1)
        return torch.where(inner(gradient, gradient) > 0, gap, 0).clamp(0, 1).flatten()

    def project(self, perturbation: Tensor) -> Tensor:
        """Nearest point of the ball in the Euclidean norm: z = (I + l A)^-1 r with l >= 0 and Q(z) = budget.

        Bracketed secant steps on 1 / sqrt(Q(z)), nearly linear in l, with a linear system each, to 1e-5 relative; a
        last scaling puts z inside. About 100 times the cost of `steepest`. r itself where it is inside.
        """
        is_outside = (self.gauge(perturbation) > 1).view(-1, 1, 1, 1)
        if not bool(is_outside.any()):
            return perturbation
        return torch.where(is_outside, self._project_outside(perturbation, is_outside), perturbation)

    def _shrunk(self, perturbation: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor]:
        """(I + l A)^-1 r, and its 1 / sqrt(Q)."""
        if self.coupling == "diagonal":
            point = perturbation / (1 + multiplier * self.weight)
        else:
            share = 1 / multiplier  # the system over l keeps conjugate gradients well scaled
            point, _ = self._conjugate_gradients(share * perturbation, share, PROJECTION_STEPS, None)
        return point, 1 / self.quadratic(point).clamp_min(1e-30).sqrt().view(-1, 1, 1, 1)

    def _project_outside(self, perturbation: Tensor, is_outside: Tensor) -> Tensor:
        goal = 1 / per_image(self.budget, perturbation).sqrt()
        low = torch.zeros_like(goal)
        low_value = 1 / self.quadratic(perturbation).clamp_min(1e-30).sqrt().view(-1, 1, 1, 1)
        high = (goal / low_value - 1) / self.weight.mean(dim=(1, 2, 3), keepdim=True)
        high = high.clamp_min(1e-6 / self.weight.amax())
        point, high_value = self._shrunk(perturbation, high)
        for _ in range(60):
            is_short = high_value < goal
            is_done = ~is_short & (high_value <= (1 + PROJECTION_TOLERANCE) * goal)
            if bool((is_done | ~is_outside).all()):
                break
            # above the bracket: grow it; inside: a secant step that keeps away from the ends
            share = ((goal - low_value) / (high_value - low_value).clamp_min(1e-30)).clamp(0.02, 0.98)
            trial = torch.where(is_short, 4 * high, low + share * (high - low))
            trial_point, value = self._shrunk(perturbation, trial)
            is_low = ~is_short & (value < goal)
            low, low_value = (
                torch.where(is_short, high, torch.where(is_low, trial, low)),
                torch.where(is_short, high_value, torch.where(is_low, value, low_value)),
            )
            high, high_value = torch.where(is_low, high, trial), torch.where(is_low, high_value, value)
            point = torch.where(is_low, point, trial_point)
        return point / self.gauge(point).clamp_min(1).view(-1, 1, 1, 1)
