"""Sliding window of the SSIM as a linear operator, which is its own adjoint."""

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

Blocks = tuple[tuple[slice, slice, Tensor, Tensor], ...]

DENSE = 64  # image side up to which the banded window matrix is one dense block
# Outputs per block on larger sides, which keeps the cost linear in the side: what matrix products like best.
BLOCK = {torch.float32: 16, torch.float64: 24}


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
    The two-dimensional window is B_h X B_w' with banded matrices B that hold the border rule. They are symmetric, as
    weights and border are, so that W' = W: what a formula calls W'x is `filter` of x. They are multiplied in dense
    blocks, which costs O(pixels).
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
        height, width = values.shape[-2:]
        if self.size > min(height, width):
            hint = f", or write images.permute(0, 3, 1, 2) for (N, H, W, {width})" if width in (1, 3, 4) else ""
            raise ValueError(
                f"window size {self.size} exceeds the image side {min(height, width)}; pass size <= "
                f"{min(height, width)}{hint}"
            )
        if values.dtype not in DTYPES:
            raise TypeError(f"values are {values.dtype}; pass float32 or float64")
        rows, columns = (_band_blocks(self, side, values.dtype, values.device) for side in (height, width))
        with full_precision():
            if buffers is not None:
                _apply_in_place(values, rows, columns, *buffers)
                return buffers[1]
            if len(columns) == len(rows) == 1:  # small planes, where autograd's own products cost less
                return rows[0][2] @ (values @ columns[0][3])
            return _filter(values, self)

    def filter_weight_adjoint(self, values: Tensor, weight: Tensor, buffers: tuple[Tensor, Tensor]) -> Tensor:
        """W'(weight * W x) without fresh memory and without autograd; all of the same shape, (N, C, H, W).

        The result is the second buffer; the first is overwritten.
        """
        return self.filter(self.filter(values, buffers).mul_(weight), buffers)


@lru_cache(maxsize=64)
def _band_blocks(window: Window, side: int, dtype: torch.dtype, device: torch.device) -> Blocks:
    """Dense blocks (inputs, outputs, block matrix, its transpose) of the banded matrix for one image side."""
    half = window.border
    centres = np.arange(side).repeat(window.size)
    pixels = centres + np.tile(np.arange(-half, half + 1), side)
    pixels = np.where(pixels < 0, -1 - pixels, pixels)
    pixels = np.where(pixels >= side, 2 * side - 1 - pixels, pixels)
    band = np.zeros((side, side))
    np.add.at(band, (centres, pixels), window.weights().tolist() * side)
    length = BLOCK[dtype] if side > DENSE else side
    edges = [*range(0, side - length // 2, length), side]
    blocks = []
    for start, stop in pairwise(edges):
        inputs, outputs = slice(max(0, start - half), min(side, stop + half)), slice(start, stop)
        block = constant(band[outputs, inputs], dtype, device)
        blocks.append((inputs, outputs, block, block.T))
    return tuple(blocks)


def constant(numbers: np.typing.NDArray[np.float64], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers as a tensor to keep, which belongs to no inference mode or transform in whose course it was made."""
    array = np.array(numbers, dtype=np.float32 if dtype == torch.float32 else np.float64, order="C")
    with torch.inference_mode(False), torch.no_grad():
        tensor = torch.from_numpy(array)
        return tensor if device.type == "cpu" else tensor.to(device)


class _Filter(torch.autograd.Function):
    """The window for autograd; linear and symmetric, so that every derivative is the window again."""

    @staticmethod
    def forward(values: Tensor, window: Window) -> Tensor:
        return window.filter(values, (values.new_empty(values.shape), values.new_empty(values.shape)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.window = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _filter(gradient, ctx.window), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _filter(tangent, ctx.window)

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], values: Tensor, window: Window) -> tuple[Tensor, int]:
        return _filter(values.movedim(dims[0], 0), window), 0


_filter: Callable[..., Tensor] = _Filter.apply


def _apply_in_place(values: Tensor, rows: Blocks, columns: Blocks, first: Tensor, second: Tensor) -> None:
    """Columns into the first buffer, then rows into the second: no block needs memory of its own."""
    height, width = values.shape[-2:]
    pixels, filtered = values.reshape(-1, width), first.view(-1, width)
    planes, results = first.view(-1, height, width), second.view(-1, height, width)
    if len(columns) == len(rows) == 1:  # small planes, where every slice would weigh
        torch.mm(pixels, columns[0][3], out=filtered)
        torch.bmm(rows[0][2].expand(len(planes), -1, -1), planes, out=results)
        return
    for inputs, outputs, _, transposed in columns:
        torch.mm(pixels[:, inputs], transposed, out=filtered[:, outputs])
    for inputs, outputs, block, _ in rows:
        torch.bmm(block.expand(len(planes), *block.shape), planes[:, inputs], out=results[:, outputs])
