"""The multi-scale ball: SSIM's quadratic form of averaged pictures in opponent colours, summed over the scales.

With the colour matrix T, the average P_s over blocks of s x s pixels, and V, m, d2 and d1 as of `SSIMBall`::

    Q(r) = sum over scales s and channels c of w_s k_c (mean over windows of V d2 + m^2 d1 of P_s T r) = r'A r
    A = T'(sum_s P_s' A_s P_s) T

the second-order expansion of the same sum of SSIM distances. One scale prices a slow change of a channel hundreds of
times lower than texture; at a coarser scale it is texture, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perceptlib.balls.conjugate_gradients import Buffers
from perceptlib.balls.luma import LUMA
from perceptlib.balls.norms import as_change, inner, radius_of, restrict
from perceptlib.balls.pyramid import NestedInverse, Pyramid
from perceptlib.balls.quadratic import QuadraticBall, form
from perceptlib.balls.ssim_ball import FLOOR
from perceptlib.records.checks import full_precision, own_mode, unchecked_range, whole_number
from perceptlib.ssim import Reference, Window
from perceptlib.ssim.measure import C1, C2, reach
from perceptlib.ssim.window import constant

# Those that judges of visibility preferred on eight photographs, of some thirty choices. With ranges of 1 texture takes
# most of the change, which VIF and ColorVideoVDP see. Coarse scales that weigh more please GMSD and HaarPSI, but not
# VIF; cheaper chroma pleases VIF, but not CIEDE2000.
SCALES = (1, 2, 4, 8)
WEIGHTS = (0.4, 0.3, 0.2, 0.1)
CHANNEL_WEIGHTS = (1.0, 1.0, 1.0)
RANGES = (10.0, 5.0, 5.0)
_RED, _GREEN, _BLUE = LUMA
# Y, Cb and Cr of R, G and B (ITU-R BT.601): Y from 0 to 1, the others from -1/2 to 1/2, 0 for grey.
OPPONENT = (
    LUMA,
    (-_RED / (2 - 2 * _BLUE), -_GREEN / (2 - 2 * _BLUE), 0.5),
    (0.5, -_GREEN / (2 - 2 * _RED), -_BLUE / (2 - 2 * _RED)),
)
COLOURS = ("opponent", "luma", "rgb")


class MultiScaleBall(QuadraticBall):
    """Perturbations with Q(r) <= budget, Q of all scales and channels.

    Parameters
    ----------
    images : Tensor or ndarray
        Clean images, shape (N, C, H, W), range [0, 1], float32 or float64, in any memory layout; the ball keeps a copy
        without their graph, and lives on their device.
    budget : float or Tensor
        Weighted mean of the scales' SSIM distances, above 0 and below 1; scalar or (N,).
    scales : sequence of int
        Sides s of the blocks that are averaged: 1, then each a multiple of the one before. A scale at which the window
        does not fit the averaged picture is left out. The last blocks of a row or column are smaller where a side of
        the picture is not a multiple of s.
    weights : sequence of float, optional
        w_s of every scale, above 0; the sum of those that are left counts as 1. Default: 0.4, 0.3, 0.2 and 0.1 for the
        default's scales, else all equal.
    colour : {"opponent", "luma", "rgb"}
        Of images with three channels: Y, Cb and Cr (ITU-R BT.601; Cb and Cr from -1/2 to 1/2, 0 for grey); the same
        with the weight 1e-3 for Cb and Cr, as without any nothing would bound them; or the channels as they are.
        Images of other channels are taken as they are.
    channel_weights : sequence of float
        k of Y, Cb and Cr, above 0, whose sum counts as 1; of "opponent" alone, as in "rgb" all are equal.
    ranges : sequence of float
        SSIM's data range L of Y, Cb and Cr, above 0, of "opponent" alone (else 1): its constants are (0.01 L)^2 and
        (0.03 L)^2, so that with a larger one a change costs more alike in smooth and in textured places. Distances
        fall as it grows: a budget means the same only for the same ranges.
    window : Window
        Window of the SSIM at every scale.
    cg_steps, tolerance, support
        As of `SSIMBall`; 5 steps leave a gap below 1e-3, as the preconditioner knows the scales.

    Raises
    ------
    TypeError, ValueError
        Scales that are no such chain, weights or ranges of another number or not above 0, an unknown colour, a window
        larger than the images; otherwise as `SSIMBall`.

    Notes
    -----
    With scales=(1,) and colour="rgb" this is `SSIMBall`. With colour="luma", r that is equal in all channels has the Q
    and the distance of the luma. As Cb and Cr have signs, S1 falls below 0 where a colour turns into its opposite.
    """

    def __init__(
        self,
        images: Tensor,
        budget: float | Tensor,
        *,
        scales: Sequence[int] = SCALES,
        weights: Sequence[float] | None = None,
        colour: str = "opponent",
        channel_weights: Sequence[float] = CHANNEL_WEIGHTS,
        ranges: Sequence[float] = RANGES,
        window: Window = Window(),
        cg_steps: int = 15,
        tolerance: float | None = None,
        support: Tensor | None = None,
    ) -> None:
        if colour not in COLOURS:
            raise ValueError(f"colour {colour!r} is unknown; pass one of {', '.join(COLOURS)}")
        if weights is None:
            weights = WEIGHTS if tuple(scales) == SCALES else (1.0,) * len(scales)
        self.colour, self.window = colour, window
        self._options: dict[str, Any] = {"colour": colour, "channel_weights": channel_weights, "ranges": ranges}
        super().__init__(images, budget, cg_steps=cg_steps, tolerance=tolerance, support=support)
        with own_mode():
            self.scales, shares = self._that_fit(_chain(scales), _above_0("weights", weights, len(scales)))
            self.weights = tuple(share / sum(shares) for share in shares)
            self._pyramid = Pyramid(self.scales, self.images)
            self._set_colour(_above_0("channel_weights", channel_weights, 3), _above_0("ranges", ranges, 3))
            self.references = self._references(self.images)
            self._set_forms()

    def _that_fit(self, scales: tuple[int, ...], weights: tuple[float, ...]) -> tuple[tuple[int, ...], list[float]]:
        least = min(self.images.shape[-2:])
        number = sum(-(-least // scale) >= self.window.size for scale in scales)
        number = max(number, 1)  # `Reference` tells of a window that never fits
        return scales[:number], list(weights[:number])

    def _set_colour(self, channel_weights: tuple[float, ...], ranges: tuple[float, ...]) -> None:
        channels = self.images.shape[1]
        self._matrix = self._inverse = None
        shares = np.full(channels, 1 / channels)
        if channels == 3 and self.colour != "rgb":
            matrix, shares = np.array(OPPONENT), np.array((1, FLOOR, FLOOR))
            if self.colour == "opponent":
                matrix, shares = matrix / np.array(ranges)[:, None], np.array(channel_weights) / sum(channel_weights)
            self._matrix, self._inverse = self._constant(matrix), self._constant(np.linalg.inv(matrix))
        self.shares = self._constant(shares).view(-1, 1, 1)  # k of the channels, (C, 1, 1)

    def _constant(self, numbers: NDArray[np.float64]) -> Tensor:
        return constant(numbers, self.images.dtype, self.images.device)

    def colours(self) -> NDArray[np.float64] | None:
        """T, which makes (Y, Cb, Cr) over their ranges of (R, G, B), (3, 3); None where channels are as they are."""
        return None if self._matrix is None else self._matrix.double().cpu().numpy()

    def _references(self, images: Tensor) -> list[Reference]:
        with unchecked_range():
            return [Reference(planes, self.window) for planes in self._averages(images)]

    def _averages(self, values: Tensor) -> list[Tensor]:
        """P_s T r of every scale."""
        return self._pyramid.means(values if self._matrix is None else _mix(self._matrix.to(values), values))

    def _set_forms(self) -> None:
        self.forms = []  # d1 and d2 of every scale, each times w_s k_c n / windows, (N, C, h, w)
        for reference, weight in zip(self.references, self.weights, strict=True):
            share = weight * self.shares * (self.size / reference.mean[0, 0].numel())
            self.forms.append((share / (2 * reference.mean**2 + C1), share / (2 * reference.variance + C2)))
        self._weights = [self.window.filter(contrast) for _, contrast in self.forms]
        self._differences = [luminance - contrast for luminance, contrast in self.forms]
        self._near = NestedInverse(self._pyramid, self._weights)
        self.weight = self._weights[0] if self._matrix is None else _mix((self._matrix**2).T, self._weights[0])

    def select(self, index: Tensor) -> MultiScaleBall:
        """The ball of some of the images; index is boolean (N,) or int64."""
        support = None if self.support is None else self.support[index]
        return self.like(self.images[index], radius_of(self.budget, index), support=support)

    def like(self, images: Tensor, budget: float | Tensor, *, support: Tensor | None = None) -> MultiScaleBall:
        """A ball of other images or of another budget, with the same form."""
        return MultiScaleBall(
            images,
            budget,
            scales=self.scales,
            weights=self.weights,
            window=self.window,
            cg_steps=self.cg_steps,
            tolerance=self.tolerance,
            support=support,
            **self._options,
        )

    def quadratic(self, perturbation: Tensor) -> Tensor:
        total = torch.zeros((), dtype=perturbation.dtype, device=perturbation.device)
        parts = zip(self._averages(perturbation), self._weights, self._differences, strict=True)
        for values, weight, difference in parts:
            total = total + inner(weight, values**2) + inner(difference, self.window.filter(values) ** 2)
        return total.flatten().clamp_min(0) / self.size

    def _part(self, index: slice) -> Self:
        part = copy(self)
        part._weights, part._differences = ([one[index] for one in many] for many in (self._weights, self._differences))
        part._near = self._near.part(index)
        part.support = None if self.support is None else self.support[index]
        return part

    def _curvature(self, direction: Tensor, buffers: Buffers) -> Tensor:
        parts = zip(self._averages(direction), self._weights, self._differences, strict=True)
        return torch.stack([form(self.window, *part, _spare(part[0], buffers)) for part in parts]).sum(0)

    def _product(self, direction: Tensor, buffers: Buffers) -> Tensor:
        products = []
        parts = zip(self._averages(direction), self._weights, self._differences, strict=True)
        for values, weight, difference in parts:
            product = self.window.filter_weight_adjoint(values, difference, _spare(values, buffers))
            products.append(product.addcmul_(weight, values))
        product = self._pyramid.adjoint(products)
        if self._matrix is None:
            return product
        return buffers[1].copy_(_mix(self._matrix.T, product, buffers[0]))

    def _distance(self, perturbation: Tensor) -> Tensor:
        references = self._exact if perturbation.dtype == torch.float64 else self.references
        parts = zip(references, self._averages(perturbation), strict=True)
        return self._weighted([reference.loss_map(values).mean(dim=(2, 3)) for reference, values in parts])

    def _weighted(self, distances: list[Tensor]) -> Tensor:
        """Sum of distances, for each scale (N, C), with all weights, (N,)."""
        total = torch.stack([weight * part for weight, part in zip(self.weights, distances, strict=True)]).sum(0)
        return (total * self.shares.flatten().to(total)).sum(1)

    @cached_property
    @own_mode()
    def _exact(self) -> list[Reference]:
        return self._references(self.images.double())

    @own_mode()
    def pull_back(self, perturbation: Tensor) -> Tensor:
        """Perturbation on the ray of r, clipped to [0, 1], whose exact distance is the budget (`Reference.reach`)."""
        inside = restrict(as_change(perturbation, self.images), self.support)
        return reach(self.images, self._ray, inside, self.budget)

    def _ray(self, perturbation: Tensor) -> Callable[[Tensor], Tensor]:
        averages = self._averages(perturbation)
        rays = [reference.ray(values) for reference, values in zip(self.references, averages, strict=True)]
        return lambda scale: self._weighted([ray(scale) for ray in rays])

    def _quick(self, identity: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
        if identity is None:
            return self.precondition
        if self._inverse is not None:  # the identity in opponent colours, but for what it mixes
            identity = identity * self._inverse.square().sum(0).view(-1, 1, 1)
        nested = NestedInverse(self._pyramid, [self._weights[0] + identity, *self._weights[1:]])

        def precondition(residual: Tensor, out: Tensor) -> Tensor:
            product = self._solve_nested(nested, residual, out)
            return product if self.support is None else product.mul_(self.support)

        return precondition

    def _precondition(self, residual: Tensor, out: Tensor) -> Tensor:
        return self._solve_nested(self._near, residual, out)

    def _over_lower_bound(self, residual: Tensor) -> Tensor:
        """M = T'(sum_s P_s' diag(W' min(d1, d2)) P_s)T, window by window at every scale."""
        return self._solve_nested(self._lower, residual, torch.empty_like(residual))

    @cached_property
    @own_mode()
    def _lower(self) -> NestedInverse:
        return NestedInverse(self._pyramid, [self.window.filter(torch.minimum(*pair)) for pair in self.forms])

    def _solve_nested(self, nested: NestedInverse, residual: Tensor, out: Tensor) -> Tensor:
        """T^-1 N T'^-1 r of an inverse N of the scales."""
        if self._inverse is None:
            return nested.multiply(residual, out)
        planes = _mix(self._inverse.T, residual)
        return _mix(self._inverse, nested.multiply(planes, planes), out)


def _spare(values: Tensor, buffers: Buffers) -> Buffers:
    """The buffers for the finest scale, new ones for the others."""
    return buffers if values.shape == buffers[0].shape else (torch.empty_like(values), torch.empty_like(values))


def _mix(matrix: Tensor, values: Tensor, out: Tensor | None = None) -> Tensor:
    """Channels of (..., C, H, W) mixed by a matrix (C, C), in a buffer or in fresh memory."""
    flat = values.flatten(-2)
    with full_precision():  # `gauge` and `measure` keep the caller's mode
        mixed = torch.matmul(matrix, flat, out=None if out is None else out.view(flat.shape))
    return mixed.view(values.shape)


def _chain(scales: Sequence[int]) -> tuple[int, ...]:
    """Checked scales."""
    chain = tuple(whole_number("a scale", scale, least=1) for scale in scales)
    if not chain or chain[0] != 1 or any(second == first or second % first for first, second in pairwise(chain)):
        raise ValueError(
            f"scales {chain} are no chain from 1 on, each a multiple of the one before; pass e.g. scales=(1, 2, 4, 8)"
        )
    return chain


def _above_0(name: str, values: Sequence[float], number: int) -> tuple[float, ...]:
    """Checked weights or ranges."""
    numbers = tuple(float(value) for value in values)
    if len(numbers) != number or not all(0 < value < float("inf") for value in numbers):
        raise ValueError(f"{name} are {numbers}; {number} finite numbers above 0 are needed")
    return numbers
