"""The SSIM ball: a shared budget on the second-order expansion Q of the SSIM distance.

With the denominators frozen at the clean image x, d1 = 1/(2 mu_x^2 + C1) and d2 = 1/(2 var_x + C2), it is ::

    Q(r) = mean over windows of V d2 + m^2 d1 = r'A r
    n A r = (W'd2) r + W'((d1 - d2) W r)

which is a convex quadratic, equal to D(x, x + r) up to third order in r.
"""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from perceptlib.balls.conjugate_gradients import LARGEST_SIDE, Buffers, CosinePreconditioner
from perceptlib.balls.norms import as_change, inner, radius_of, restrict
from perceptlib.balls.quadratic import QuadraticBall, form
from perceptlib.records.checks import own_mode
from perceptlib.ssim import Reference, Window
from perceptlib.ssim.measure import C1, C2

# A ball of one component alone is unbounded (a constant has no contrast, high frequencies have no luminance):
# the other stays with this weight, and the result is a subset of the one-component ball.
FLOOR = 1e-3


class SSIMBall(QuadraticBall):
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
        Stop conjugate gradients once `gap_bound` is at most this relative gap for every image; not below 16 times the
        precision of the images' type, 2e-6 in float32, beyond which more steps lead away again.
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

    is_apart = True

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
        self.window, self.coupling, self.components = window, coupling, components
        super().__init__(images, budget, cg_steps=cg_steps, tolerance=tolerance, support=support)
        with own_mode():
            self._set_reference(Reference(self.images, window))

    def _set_reference(self, reference: Reference) -> None:
        self.reference = reference
        luminance = (1.0 if self.components != "contrast_structure" else FLOOR) / (2 * reference.mean**2 + C1)
        contrast = (1.0 if self.components != "luminance" else FLOOR) / (2 * reference.variance + C2)
        self.luminance_weight, self.contrast_weight = luminance, contrast
        is_luminance_alone = self.components == "luminance" and self.coupling == "diagonal"
        self.weight = self.window.filter(luminance if is_luminance_alone else contrast)
        self._difference = luminance - contrast

    def select(self, index: Tensor) -> SSIMBall:
        """The ball of some of the images; index is boolean (N,) or int64."""
        return SSIMBall(
            self.images[index],
            radius_of(self.budget, index),
            window=self.window,
            coupling=self.coupling,
            components=self.components,
            cg_steps=self.cg_steps,
            tolerance=self.tolerance,
            support=None if self.support is None else self.support[index],
        )

    def quadratic(self, perturbation: Tensor) -> Tensor:
        """Q(r), shape (N,), at least 0; at large budgets above D, as the perturbation's variance lowers D."""
        total = inner(self.weight, perturbation**2)
        if self.coupling == "full":
            total = total + inner(self._difference, self.window.filter(perturbation) ** 2)
        return total.flatten().clamp_min(0) / self.size

    def _distance(self, perturbation: Tensor) -> Tensor:
        reference = self.exact if perturbation.dtype == torch.float64 else self.reference
        return reference.distance(perturbation, components=self.components)

    @own_mode()
    def pull_back(self, perturbation: Tensor) -> Tensor:
        """Perturbation on the ray of r, clipped to [0, 1], with true distance D = budget (`Reference.reach`)."""
        inside = restrict(as_change(perturbation, self.images), self.support)
        return self.reference.reach(inside, self.budget, components=self.components)

    @cached_property
    @own_mode()
    def exact(self) -> Reference:
        """Statistics of the images in float64."""
        return Reference(self.images.double(), self.window)

    def _solve(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        if self.coupling == "diagonal":
            solution = gradient / self.weight
            return solution, inner(solution, gradient)
        return super()._solve(gradient)

    def _shrunk(self, perturbation: Tensor, multiplier: Tensor) -> Tensor:
        if self.coupling == "diagonal":
            return perturbation / (1 + multiplier * self.weight)
        return super()._shrunk(perturbation, multiplier)

    def _part(self, index: slice) -> Self:
        part = copy(self)
        part.weight, part._difference = self.weight[index], self._difference[index]
        part.support = None if self.support is None else self.support[index]
        return part

    def _curvature(self, direction: Tensor, buffers: Buffers) -> Tensor:
        return form(self.window, direction, self.weight, self._difference, buffers)

    def _product(self, direction: Tensor, buffers: Buffers) -> Tensor:
        if self.coupling == "diagonal":
            return torch.mul(self.weight, direction, out=buffers[1])
        product = self.window.filter_weight_adjoint(direction, self._difference, buffers)
        return product.addcmul_(self.weight, direction)

    def _precondition(self, residual: Tensor, out: Tensor) -> Tensor:
        if self._cosines is None:
            return torch.div(residual, self.weight, out=out)
        return self._cosines(residual, out)

    @cached_property
    @own_mode()
    def _cosines(self) -> CosinePreconditioner | None:
        if self.coupling == "diagonal" or max(self.weight.shape[-2:]) > LARGEST_SIDE:
            return None
        low_weight = self.window.filter(self.luminance_weight)
        return CosinePreconditioner(self.window, self.weight, low_weight, self._difference)

    @cached_property
    @own_mode()
    def _lower_weight(self) -> Tensor:
        if self.coupling == "diagonal":
            return self.weight
        return self.window.filter(torch.minimum(self.luminance_weight, self.contrast_weight))

    def _over_lower_bound(self, residual: Tensor) -> Tensor:
        """M = diag(W' min(d1, d2)), because window by window V d2 + m^2 d1 >= min(d1, d2) (V + m^2)."""
        return residual / self._lower_weight
