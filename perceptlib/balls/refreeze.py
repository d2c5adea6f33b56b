"""The exact SSIM distance in place of its expansion: sequential convex programming by frozen denominators.

D(x, x + r) = mean of m^2 d1 + V d2 with d1 = 1/(mu_x^2 + mu_y^2 + C1) and d2 = S1/(var_x + var_y + C2): the SSIM ball
freezes both at y = x. Frozen at the current y instead, Q has D's value there; with the linear term that is missing it
has D's gradient too, so that a point that stays is stationary for max <g, r> subject to D(x, x + r) <= budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from perceptlib.balls.norms import as_change, inner, normalized, per_image
from perceptlib.balls.ssim_ball import SSIMBall
from perceptlib.records.checks import as_images, own_mode
from perceptlib.ssim import Reference, Window
from perceptlib.ssim.measure import C1, C2, ray_losses

CG_STEPS = 400
CG_GAP = 1e-10


class RefrozenBall(SSIMBall):
    """SSIM ball whose denominators are frozen at x + ``at`` in place of x; both components, full coupling."""

    def __init__(self, images: Tensor, budget: float | Tensor, at: Tensor, *, window: Window = Window()) -> None:
        self._at = at
        super().__init__(images, budget, window=window, cg_steps=CG_STEPS, tolerance=CG_GAP)

    def _set_reference(self, reference: Reference) -> None:
        super()._set_reference(reference)
        mean, variance, covariance = reference.moments(self._at)
        other_variance = (reference.variance + 2 * covariance + variance).clamp_min(0)
        luminance_loss, _ = reference.losses(self._at)
        self.luminance_weight = 1 / (reference.mean**2 + (reference.mean + mean) ** 2 + C1)
        self.contrast_weight = (1 - luminance_loss) / (reference.variance + other_variance + C2)
        self.weight = self.window.filter(self.contrast_weight)
        self._difference = self.luminance_weight - self.contrast_weight


@dataclass(frozen=True)
class Refreezing:
    """History of sequential convex programming; entry 0 is the plain SSIM ball's direction."""

    perturbation: Tensor  # the best of all steps, (N, C, H, W), with D <= budget
    objective: Tensor  # <g, r> of each step, scaled along its ray to D = budget, (steps + 1, N)
    stationarity: Tensor  # sine of the angle between g and the gradient of D there, 0 at a stationary point
    plain_distance: Tensor  # D over the budget of the plain ball's direction before scaling, (N,): how far Q is from D

    @property
    def gain(self) -> Tensor:
        """Best objective over the plain ball's, minus 1, (N,)."""
        return self.objective.nan_to_num(nan=-torch.inf).amax(dim=0) / self.objective[0] - 1


@own_mode()
def maximize_exactly(
    images: Tensor,
    gradient: Tensor,
    budget: float | Tensor,
    *,
    steps: int = 10,
    window: Window = Window(),
    is_corrected: bool = True,
    box: bool = True,
) -> Refreezing:
    """Maximise <g, r> subject to the true distance D(x, x + r) <= budget by re-freezing the denominators.

    Parameters
    ----------
    images, gradient : Tensor
        x and g, shape (N, C, H, W), float64; no entry of g's images all zero.
    budget : float or Tensor
        SSIM distance, above 0 and below 1; scalar or (N,).
    steps : int
        Re-freezings, at least 1; each costs one linear system, or two with the correction.
    window : Window
        Window of the SSIM.
    is_corrected : bool
        Add the linear term that gives Q the gradient of D. Without it only values are matched, and the points that
        stay are not stationary.
    box : bool
        Clip each step's image to [0, 1]; D is then reached to 1e-3.

    Raises
    ------
    TypeError, ValueError
        Images or gradient that are not float64; steps below 1; a budget that `SSIMBall` refuses; a gradient with NaN or
        infinite entries.

    Notes
    -----
    D is not convex: the end is a stationary point, not a certified optimum. It is not even bounded: 1 - S of a window
    stays below 2, so that without the box a few windows can be given up for any <g, r>, once the budget pays for them
    (0.07 on 24x24 pixels and 3 channels); `objective` then grows without end.
    """
    if images.dtype != torch.float64 or gradient.dtype != torch.float64:
        raise TypeError(f"images are {images.dtype} and gradient {gradient.dtype}; pass both as float64")
    if steps < 1:
        raise ValueError(f"steps {steps} is below 1; pass e.g. steps=10")
    images, gradient = as_images(images), as_change(gradient, images)
    slope = normalized(gradient)
    ball = SSIMBall(images, budget, window=window, cg_steps=CG_STEPS, tolerance=CG_GAP)
    goal = per_image(budget, images)
    plain = ball.steepest(slope)
    plain_distance = ball.reference.distance(plain) / goal.flatten()
    current = best = _to_distance(ball.reference, plain, goal, box)
    best_value = inner(gradient, current).flatten()
    objectives = [best_value]
    stationarity = [_sine(slope, _distance_gradient(ball.reference, current))]
    for _ in range(steps):
        frozen = RefrozenBall(images, budget, current, window=window)
        current = _corrected_step(frozen, slope, current, goal) if is_corrected else frozen.steepest(slope)
        current = _to_distance(ball.reference, current, goal, box)
        value = inner(gradient, current).flatten()
        is_better = value > best_value
        best = torch.where(is_better.view(-1, 1, 1, 1), current, best)
        best_value = torch.where(is_better, value, best_value)
        objectives.append(value)
        stationarity.append(_sine(slope, _distance_gradient(ball.reference, current)))
    return Refreezing(best, torch.stack(objectives), torch.stack(stationarity), plain_distance)


def _corrected_step(ball: RefrozenBall, slope: Tensor, current: Tensor, goal: Tensor) -> Tensor:
    """Maximiser of <g, s> subject to Q(s) + <c, s - r> <= budget with c = grad D(r) - 2 A r: a shifted ellipsoid."""
    correction = ball.size * _distance_gradient(ball.reference, current) - 2 * ball.apply(current)
    towards, _ = ball._solve(slope)
    shift, _ = ball._solve(correction)
    radius = ball.size * goal + inner(correction, current) + inner(correction, shift) / 4
    length = (radius.clamp_min(0) / inner(slope, towards)).sqrt()
    return length * towards - shift / 2


def _distance_gradient(reference: Reference, perturbation: Tensor) -> Tensor:
    with torch.enable_grad():
        point = perturbation.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(reference.distance(point).sum(), point)
    return gradient


def _sine(first: Tensor, second: Tensor) -> Tensor:
    along = inner(first, second) / inner(second, second).clamp_min(1e-300)
    rest = first - along * second
    return (inner(rest, rest) / inner(first, first)).sqrt().flatten()


def _to_distance(reference: Reference, perturbation: Tensor, goal: Tensor, box: bool) -> Tensor:
    """Point of the ray of r, clipped or not, with D = budget; without the box by bisection to rounding."""
    if box:
        return reference.reach(perturbation, goal.flatten())
    moments = reference.moments(perturbation)

    def distance(scale: Tensor) -> Tensor:
        luminance, contrast = ray_losses(scale, reference.mean, reference.variance, *moments)
        return (luminance + contrast - luminance * contrast).mean(dim=(1, 2, 3), keepdim=True)

    low, high = torch.zeros_like(goal), torch.ones_like(goal)
    for _ in range(40):
        high = torch.where(distance(high) < goal, 2 * high, high)
    for _ in range(60):
        middle = (low + high) / 2
        is_inside = distance(middle) <= goal
        low, high = torch.where(is_inside, middle, low), torch.where(is_inside, high, middle)
    return low * perturbation
