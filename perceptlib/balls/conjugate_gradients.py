"""Conjugate gradients in place, and a preconditioner for the matrix of the SSIM ball."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from perceptlib.balls.norms import inner
from perceptlib.records.checks import own_mode
from perceptlib.ssim import Window

LEAST_RESPONSE = 0.3  # of the window: a frequency below it would be mended by at most a tenth
LARGEST_SIDE = 256  # pixels: the cosines are dense matrices, on larger pictures dearer than the steps they save

BAND = 2**16  # numbers that are multiplied and summed at once

Buffers = tuple[Tensor, Tensor]


def solve(
    multiply: Callable[[Tensor, Buffers], Tensor],
    precondition: Callable[[Tensor, Tensor], Tensor],
    target: Tensor,
    *,
    steps: int,
    start: Tensor | None = None,
    is_done: Callable[[int, Tensor, Tensor, Tensor], bool] | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Solve a symmetric positive definite system for every image of a batch, without autograd and in place.

    ``multiply`` writes the product of a direction with the matrix into the second of two buffers and may overwrite the
    first; ``precondition`` that with an approximate inverse into one. The target is (..., N, C, H, W); the start is
    zero by default. ``is_done`` gets the number of steps so far, solution, residual and <residual, preconditioned
    residual>, before the first step too. Returns solution, residual and the number of steps taken.
    """
    # large pictures would spend more time on fresh memory than on arithmetic: everything below is in place
    buffers = scratch, applied = torch.empty_like(target), torch.empty_like(target)
    if start is None:
        solution, residual = torch.zeros_like(target), target.clone()
    else:
        solution, residual = start.clone(), target - multiply(start, buffers)
    direction = precondition(residual, applied).clone()
    energy = _inner(residual, direction, scratch)
    if is_done is not None and is_done(0, solution, residual, energy):
        return solution, residual, 0
    step = 0
    for step in range(1, steps + 1):
        product = multiply(direction, buffers)
        length = _ratio(energy, _inner(direction, product, scratch))
        solution.addcmul_(direction, length)
        residual.addcmul_(product, length, value=-1)
        if step == steps:
            break
        preconditioned = precondition(residual, applied)
        following = _inner(residual, preconditioned, scratch)
        if is_done is not None and is_done(step, solution, residual, following):
            break
        torch.addcmul(preconditioned, direction, _ratio(following, energy), out=direction)
        energy = following
    return solution, residual, step


def _inner(first: Tensor, second: Tensor, scratch: Tensor) -> Tensor:
    """<a, b> of each image; in bands of rows on large pictures, whose products then stay in the processor's cache."""
    rows = max(1, BAND * first.shape[-2] // first.numel())
    if rows >= first.shape[-2] or first.device.type != "cpu":
        return inner(first, second, scratch)
    bands = zip(first.split(rows, -2), second.split(rows, -2), strict=True)
    part = scratch[..., :rows, :]
    return sum(inner(one, other, part[..., : one.shape[-2], :]) for one, other in bands)  # type: ignore[return-value]


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Quotient, 0 where the divisor is not above 0: there the system is solved to rounding."""
    return above / below.masked_fill(below <= 0, torch.inf)


class CosinePreconditioner:
    """S (I - (1 - q) W^2)^-1 S with S = diag(W'd2)^(-1/2): n A inverted as if d1 / d2 were one number q per channel.

    n A = diag(W'd2) + W'((d1 - d2) W), scaled by S from both sides, has eigenvalues near 1 but for the low frequencies
    that the window lets through, where they fall to d1 / d2. The window with its edge-repeating border is diagonal in
    cosines (DCT-II): the low frequencies are mended in that basis, the others left alone. ``weight`` is W'd2 and
    ``low_weight`` W'd1; q is the geometric mean of their quotient over the pixels.
    """

    def __init__(self, window: Window, weight: Tensor, low_weight: Tensor) -> None:
        height, width = weight.shape[-2:]
        self._rows, row_response = _cosines(window, height, weight.dtype, weight.device)
        self._columns, column_response = _cosines(window, width, weight.dtype, weight.device)
        quotient = (low_weight / weight).log().mean(dim=(-2, -1), keepdim=True).exp()
        lost = (1 - quotient) * (row_response[:, None] * column_response) ** 2
        self._gain = lost / (1 - lost)  # 1 / (1 - lost) - 1
        self._scale = weight.rsqrt()

    def __call__(self, residual: Tensor, out: Tensor) -> Tensor:
        """The product with a residual, shape (..., N, C, H, W), in a buffer of that shape."""
        scaled = torch.mul(self._scale, residual, out=out)
        planes = scaled.view(-1, *scaled.shape[-2:])
        coarse = self._rows @ (planes @ self._columns.T)
        coarse.view(*scaled.shape[:-2], *coarse.shape[-2:]).mul_(self._gain)
        planes += (self._rows.T @ coarse) @ self._columns
        return scaled.mul_(self._scale)


@lru_cache(maxsize=64)
@own_mode()
def _cosines(window: Window, side: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Orthonormal cosines that the window lets through, (frequencies, side), and its response to each."""
    offsets = torch.arange(-window.border, window.border + 1, dtype=torch.float64, device="cpu")
    angles = torch.arange(side, dtype=torch.float64, device="cpu") * (math.pi / side)
    response = torch.cos(angles[:, None] * offsets) @ window.weights()
    count = 1 + int(torch.nonzero(response.abs() >= LEAST_RESPONSE).max())
    cosines = torch.cos(angles[:count, None] * (torch.arange(side, device="cpu") + 0.5)) * math.sqrt(2 / side)
    cosines[0] /= math.sqrt(2)
    return cosines.to(device, dtype), response[:count].to(device, dtype)
