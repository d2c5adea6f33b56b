"""Conjugate gradients in place, and a preconditioner for the matrix of the SSIM ball."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from perceptlib.records.checks import own_mode
from perceptlib.ssim import Window

LEAST_RESPONSE = 0.3  # of the window: a frequency below it would be mended by at most a tenth
LEAST_COUPLED = 0.55  # the same where frequencies are coupled: more of them cost more than the steps they save
LARGEST_SIDE = 256  # pixels: the cosines are dense matrices, on larger pictures dearer than the steps they save
COUPLED = 128  # frequencies of a plane up to which their coupling pays: its inverse is dense, and must be made first

Buffers = tuple[Tensor, Tensor]
Cosines = tuple[Tensor, Tensor]


def solve(
    multiply: Callable[[Tensor, Buffers], Tensor],
    precondition: Callable[[Tensor, Tensor], Tensor],
    target: Tensor,
    *,
    steps: int,
    start: Tensor | None = None,
    is_done: Callable[[int, Tensor, Tensor, Tensor], bool] | None = None,
    apart: bool = False,
    curvature: Callable[[Tensor, Buffers], Tensor] | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Solve a symmetric positive definite system for every image of a batch, without autograd and in place.

    ``multiply`` writes the product of a direction with the matrix into the second of two buffers and may overwrite the
    first; ``precondition`` that with an approximate inverse into one. The target is (..., N, C, H, W); the start is
    zero by default. ``is_done`` gets the number of steps so far, solution, residual and <residual, preconditioned
    residual>, before the first step too. With ``apart`` the matrix does not mix channels, and each channel is a system
    of its own that takes its own steps. ``curvature`` gives <direction, product> for less than a product; then the last
    step leaves the residual as it was. Returns solution, residual and the number of steps taken.
    """
    # large pictures would spend more time on fresh memory than on arithmetic: everything below is in place
    buffers = scratch, applied = torch.empty_like(target), torch.empty_like(target)

    def norms(first: Tensor, second: Tensor) -> Tensor:
        return torch.mul(first, second, out=scratch).sum(dim=(-2, -1) if apart else (-3, -2, -1), keepdim=True)

    def total(energy: Tensor) -> Tensor:
        return energy.sum(-3, keepdim=True) if apart else energy

    if start is None:
        solution, residual = torch.zeros_like(target), target.clone()
    else:
        solution, residual = start.clone(), target - multiply(start, buffers)
    direction = precondition(residual, applied).clone()
    energy = norms(residual, direction)
    if is_done is not None and is_done(0, solution, residual, total(energy)):
        return solution, residual, 0
    step = 0
    for step in range(1, steps + 1):
        if step == steps and curvature is not None:
            solution.addcmul_(direction, _ratio(energy, curvature(direction, buffers)))
            break
        product = multiply(direction, buffers)
        length = _ratio(energy, norms(direction, product))
        solution.addcmul_(direction, length)
        residual.addcmul_(product, length, value=-1)
        if step == steps:
            break
        preconditioned = precondition(residual, applied)
        following = norms(residual, preconditioned)
        if is_done is not None and is_done(step, solution, residual, total(following)):
            break
        torch.addcmul(preconditioned, direction, _ratio(following, energy), out=direction)
        energy = following
    return solution, residual, step


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Quotient, 0 where the divisor is not above 0: there the system is solved to rounding."""
    return above / below.masked_fill(below <= 0, torch.inf)


class CosinePreconditioner:
    """S (I + C'((I - H C E C'H)^-1 - I) C) S with S = diag(W'd2)^(-1/2): n A inverted in the window's low frequencies.

    n A = diag(W'd2) + W'((d1 - d2) W), scaled by S from both sides, has eigenvalues near 1 but for the low frequencies
    that the window lets through, where they fall to d1 / d2. The window with its edge-repeating border is diagonal in
    cosines C (DCT-II), with the response H: the low frequencies are mended in that basis, the others left alone.
    On small pictures E is (d2 - d1) / W'd2, which couples the frequencies, or where that inverse is not positive
    1 - W'd1 / W'd2, whose is. On others it is one number per channel, 1 - q, with the geometric mean q of W'd1 / W'd2
    over the pixels. ``weight`` is W'd2, ``low_weight`` W'd1 and ``difference`` d1 - d2.
    """

    def __init__(self, window: Window, weight: Tensor, low_weight: Tensor, difference: Tensor) -> None:
        self._scale = weight.rsqrt()
        place = weight.dtype, weight.device
        sides = weight.shape[-2:]
        rows, columns = (_cosines(window, side, LEAST_COUPLED, *place) for side in sides)
        self._coupling: Tensor | None = None
        if len(rows[0]) * len(columns[0]) <= COUPLED:
            self._coupling = _coupled(rows, columns, -difference / weight, 1 - low_weight / weight)
        else:
            rows, columns = (_cosines(window, side, LEAST_RESPONSE, *place) for side in sides)
            quotient = (low_weight / weight).log().mean(dim=(-2, -1), keepdim=True).exp()
            lost = (1 - quotient) * (rows[1][:, None] * columns[1]) ** 2
            self._gain = lost / (1 - lost)  # 1 / (1 - lost) - 1
        self._rows, self._columns = rows[0], columns[0]

    def __call__(self, residual: Tensor, out: Tensor) -> Tensor:
        """The product with a residual, shape (..., N, C, H, W), in a buffer of that shape."""
        scaled = torch.mul(self._scale, residual, out=out)
        planes = scaled.view(-1, *scaled.shape[-2:])
        coarse = self._rows @ (planes @ self._columns.T)
        if self._coupling is not None:
            vectors = coarse.view(-1, *self._coupling.shape[:2]).permute(1, 2, 0)
            coarse = torch.bmm(self._coupling, vectors).permute(2, 0, 1).reshape(coarse.shape)
        else:
            coarse.view(*scaled.shape[:-2], *coarse.shape[-2:]).mul_(self._gain)
        planes += (self._rows.T @ coarse) @ self._columns
        return scaled.mul_(self._scale)


def _coupled(rows: Cosines, columns: Cosines, sharp: Tensor, smooth: Tensor) -> Tensor:
    """(I - H C E C'H)^-1 - I of every plane, (planes, frequencies, frequencies), with E sharp where it is positive."""
    response = (rows[1][:, None] * columns[1]).flatten()
    identity = torch.eye(len(response), dtype=response.dtype, device=response.device)
    # C E C' needs the products of cosines in pairs, by rows and by columns
    row_pairs, column_pairs = ((one[:, None] * one).flatten(0, 1) for one, _ in (rows, columns))
    numbers = len(rows[0]), len(columns[0])

    def system(share: Tensor) -> Tensor:
        pairs = row_pairs @ share.view(-1, *share.shape[-2:]) @ column_pairs.T
        pairs = pairs.view(-1, numbers[0], numbers[0], numbers[1], numbers[1])
        return identity - response[:, None] * pairs.transpose(2, 3).reshape(-1, *identity.shape) * response

    factor, failed = torch.linalg.cholesky_ex(system(sharp))
    if bool(failed.any()):
        factor = torch.where((failed > 0).view(-1, 1, 1), torch.linalg.cholesky(system(smooth)), factor)
    return torch.cholesky_inverse(factor) - identity


@lru_cache(maxsize=64)
@own_mode()
def _cosines(window: Window, side: int, least: float, dtype: torch.dtype, device: torch.device) -> Cosines:
    """Orthonormal cosines to which the window's response is not below ``least``, (frequencies, side); the responses."""
    offsets = torch.arange(-window.border, window.border + 1, dtype=torch.float64, device="cpu")
    angles = torch.arange(side, dtype=torch.float64, device="cpu") * (math.pi / side)
    response = torch.cos(angles[:, None] * offsets) @ window.weights()
    count = 1 + int(torch.nonzero(response.abs() >= least).max())
    cosines = torch.cos(angles[:count, None] * (torch.arange(side, device="cpu") + 0.5)) * math.sqrt(2 / side)
    cosines[0] /= math.sqrt(2)
    return cosines.to(device, dtype), response[:count].to(device, dtype)
