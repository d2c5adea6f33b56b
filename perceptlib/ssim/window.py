"""Sliding window of the SSIM as a linear operator with its true adjoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perceptlib.records.checks import DTYPES, full_precision, whole_number

Blocks = tuple[tuple[int, int, Tensor], ...]

LARGE = 2**17  # numbers from which blocks are written in place; below, autograd's own matrix products cost less
BLOCK = 32  # outputs per dense block of a banded window matrix: keeps the cost linear in the image side


@dataclass(frozen=True)
class Window:
    """Sliding window W with weights that sum to 1, one window per pixel, edge-repeating reflection at the border.

    Parameters
    ----------
    size : int
        Odd side in pixels, at least 3 (Wang et al. 2004: 11).
    sigma : float
        Standard deviation of the Gaussian weights, in pixels, above 0; unused by the uniform window.
    kind : {"gaussian", "uniform"}
        Shape of the weights.

    Raises
    ------
    ValueError
        A size that is even or below 3, a sigma that is not positive, an unknown kind.

    Notes
    -----
    The two-dimensional window is B_h X B_w' with banded matrices B that hold the border rule, so the adjoint is
    exactly B_h' X B_w. The matrices are multiplied in dense blocks of 32 outputs, which costs O(pixels).
    """

    size: int = 11
    sigma: float = 1.5
    kind: str = "gaussian"

    def __post_init__(self) -> None:
        if whole_number("window size", self.size) < 3 or self.size % 2 == 0:
            raise ValueError(f"window size {self.size} is not an odd number >= 3; pass e.g. size=11")
        if not self.sigma > 0:
            raise ValueError(f"window sigma {self.sigma} is not above 0; pass e.g. sigma=1.5")
        if self.kind not in ("gaussian", "uniform"):
            raise ValueError(f"window kind {self.kind!r} is unknown; pass 'gaussian' or 'uniform'")

    @property
    def border(self) -> int:
        """Pixels by which a window centred at the image edge sticks out."""
        return self.size // 2

    def inside(self, maps: Tensor) -> Tensor:
        """Maps (..., H, W) without the border: of a window that fits at least a pixel is left."""
        return maps[..., self.border : -self.border, self.border : -self.border]

    def weights(self) -> Tensor:
        """One-dimensional weights, shape (size,), float64, sum 1."""
        offsets = torch.arange(self.size, dtype=torch.float64, device="cpu") - self.border
        profile = torch.exp(-0.5 * (offsets / self.sigma) ** 2)
        if self.kind == "uniform":
            profile = torch.ones_like(offsets)
        return profile / profile.sum()

    def filter(self, values: Tensor, buffers: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Window means W x of (N, C, H, W), float32 or float64; a window larger than the image is refused.

        With buffers of that shape without fresh memory and without autograd, in the second; the first is overwritten.
        """
        return _apply(self, values, is_adjoint=False, buffers=buffers)

    def adjoint(self, values: Tensor) -> Tensor:
        """W'x, the true adjoint of `filter`: <W a, b> = <a, W'b>; shapes and errors as there."""
        return _apply(self, values, is_adjoint=True)

    def filter_weight_adjoint(self, values: Tensor, weight: Tensor, buffers: tuple[Tensor, Tensor]) -> Tensor:
        """W'(weight * W x) without fresh memory and without autograd; all of the same shape, (N, C, H, W).

        The result is the second buffer; the first is overwritten.
        """
        filtered = self.filter(values, buffers)
        return _apply(self, filtered.mul_(weight), is_adjoint=True, buffers=buffers)


@lru_cache(maxsize=64)
def _band_blocks(window: Window, side: int, is_adjoint: bool, dtype: torch.dtype, device: torch.device) -> Blocks:
    """Dense blocks (first input, last input, block matrix) of the banded matrix for one image side."""
    half = window.border
    outputs = np.arange(side).repeat(window.size)
    inputs = outputs + np.tile(np.arange(-half, half + 1), side)
    inputs = np.where(inputs < 0, -1 - inputs, inputs)
    inputs = np.where(inputs >= side, 2 * side - 1 - inputs, inputs)
    band = np.zeros((side, side))
    np.add.at(band, (outputs, inputs), window.weights().tolist() * side)
    band = band.T if is_adjoint else band
    count = -(-side // BLOCK)
    edges = [round(index * side / count) for index in range(count + 1)]
    blocks = []
    for start, stop in pairwise(edges):
        low, high = max(0, start - half), min(side, stop + half)
        blocks.append((low, high, constant(band[start:stop, low:high], dtype, device)))
    return tuple(blocks)


def constant(numbers: np.typing.NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers as a tensor to keep, which belongs to no inference mode or transform in whose course it was made."""
    array = np.array(numbers, dtype=np.float32 if dtype == torch.float32 else np.float64, order="C")
    with torch.inference_mode(False), torch.no_grad():
        tensor = torch.from_numpy(array)
        return tensor if device.type == "cpu" else tensor.to(device)


def _apply_in_place(planes: Tensor, rows: Blocks, columns: Blocks, first: Tensor, second: Tensor) -> None:
    """Columns into the first buffer, then rows into the second: no block needs memory of its own."""
    width = planes.shape[-1]
    inputs, outputs, start = planes.reshape(-1, width), first.view(-1, width), 0
    if len(columns) == len(rows) == 1:  # small planes, where every slice would weigh
        torch.mm(inputs, columns[0][2].T, out=outputs)
        torch.bmm(rows[0][2].expand(len(planes), -1, -1), first, out=second)
        return
    for low, high, block in columns:
        torch.mm(inputs[:, low:high], block.T, out=outputs[:, start : start + len(block)])
        start += len(block)
    start = 0
    for low, high, block in rows:
        every = block.expand(len(planes), *block.shape)
        torch.bmm(every, first[:, low:high], out=second[:, start : start + len(block)])
        start += len(block)


class _Large(torch.autograd.Function):
    """The window on many numbers, in place; linear, so that every derivative is the window or its adjoint again."""

    @staticmethod
    def forward(values: Tensor, window: Window, is_adjoint: bool) -> Tensor:
        buffers = values.new_empty(values.shape), values.new_empty(values.shape)
        return _apply(window, values, is_adjoint=is_adjoint, buffers=buffers)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.window, ctx.is_adjoint = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _large(gradient, ctx.window, not ctx.is_adjoint), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _large(tangent, ctx.window, ctx.is_adjoint)

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], values: Tensor, *options: Any) -> tuple[Tensor, int]:
        return _large(values.movedim(dims[0], 0), *options), 0


_large: Callable[..., Tensor] = _Large.apply


def _apply(window: Window, values: Tensor, *, is_adjoint: bool, buffers: tuple[Tensor, Tensor] | None = None) -> Tensor:
    height, width = values.shape[-2:]
    if window.size > min(height, width):
        hint = f", or write images.permute(0, 3, 1, 2) for (N, H, W, {width})" if width in (1, 3, 4) else ""
        raise ValueError(
            f"window size {window.size} exceeds the image side {min(height, width)}; pass size <= "
            f"{min(height, width)}{hint}"
        )
    if values.dtype not in DTYPES:
        raise TypeError(f"values are {values.dtype}; pass float32 or float64")
    if values.numel() >= LARGE and buffers is None:
        return _large(values, window, is_adjoint)
    rows = _band_blocks(window, height, is_adjoint, values.dtype, values.device)
    columns = _band_blocks(window, width, is_adjoint, values.dtype, values.device)
    planes = values.reshape(-1, height, width)
    with full_precision():
        if buffers is not None:
            _apply_in_place(planes, rows, columns, *(buffer.view(planes.shape) for buffer in buffers))
            return buffers[1]
        if len(columns) == 1:
            planes = planes @ columns[0][2].T
        else:
            planes = torch.cat([planes[..., low:high] @ block.T for low, high, block in columns], dim=-1)
        if len(rows) == 1:
            planes = rows[0][2] @ planes
        else:
            planes = torch.cat([block @ planes[:, low:high] for low, high, block in rows], dim=-2)
    return planes.view(values.shape)
