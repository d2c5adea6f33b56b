"""Averages of a picture over nested square blocks, and the inverse of sums of weights on them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import pairwise

import torch
from torch import Tensor


class Pyramid:
    """The averages P_s of planes (..., H, W) over blocks of s x s pixels, for s = 1 and multiples of the s before.

    Blocks at the right and at the bottom are smaller where a side is not a multiple of s.
    """

    def __init__(self, scales: Sequence[int], like: Tensor) -> None:
        total = torch.ones(like.shape[-2:], dtype=like.dtype, device=like.device)
        self.factors = [second // first for first, second in pairwise(scales)]
        self.counts = [total, *(total := block_sum(total, factor) for factor in self.factors)]  # pixels of each block

    def means(self, planes: Tensor) -> list[Tensor]:
        """P_s x of every scale, (..., h, w); the first is x itself."""
        means, total = [planes], planes
        for factor, count in zip(self.factors, self.counts[1:], strict=True):
            total = block_sum(total, factor)
            means.append(total / count.to(total))
        return means

    def adjoint(self, values: Sequence[Tensor]) -> Tensor:
        """Sum of P_s'y over the scales, of y in the shapes of `means`; in their memory, in the end the first's."""
        coarse = [value.div_(count) for value, count in zip(values[1:], self.counts[1:], strict=True)]
        *_, total = shares = [values[0], *coarse]
        for share, factor in zip(shares[-2::-1], self.factors[::-1], strict=True):
            total = add_spread(share, total, factor)
        return total


class NestedInverse:
    """(sum_s P_s' C_s P_s)^-1 with C_s diagonal, given by its entries, and s = 1 the first: exact, as the blocks nest.

    On a block P_s' C_s P_s is c / count^2 times the matrix of ones, so that each scale is a rank-one update of what is
    inverted so far (Sherman and Morrison), from the finest to the coarsest.
    """

    def __init__(self, pyramid: Pyramid, diagonals: Sequence[Tensor]) -> None:
        self._factors = pyramid.factors
        self._inverse = total = 1 / diagonals[0]
        self._gains, self._shares = [], []
        for factor, count, diagonal in zip(self._factors, pyramid.counts[1:], diagonals[1:], strict=True):
            total = block_sum(total, factor)  # 1' B^-1 1 of what is inverted so far
            price = diagonal / count**2
            share = 1 / (1 + price * total)
            self._gains.append(price * share)
            self._shares.append(share)
            total = share * total

    def part(self, index: slice) -> NestedInverse:
        """The inverse for some neighbouring images, in the same memory."""
        part = copy(self)
        part._inverse = self._inverse[index]
        part._gains, part._shares = ([one[index] for one in many] for many in (self._gains, self._shares))
        return part

    def multiply(self, values: Tensor, out: Tensor) -> Tensor:
        """The product with values, shape (..., C, H, W), in a buffer of that shape, which may be the values'."""
        total = torch.mul(self._inverse, values, out=out)
        taken = []  # from every pixel of a block, before the weight of the pixel
        for factor, gain, share in zip(self._factors, self._gains, self._shares, strict=True):
            total = block_sum(total, factor)
            taken.append(gain * total)
            total = share * total
        if not taken:
            return out
        back = taken[-1]
        for part, factor, share in zip(taken[-2::-1], self._factors[:0:-1], self._shares[-2::-1], strict=True):
            back = add_spread(part, back, factor, share)
        return add_spread(out, back.neg_(), self._factors[0], self._inverse)


def block_sum(planes: Tensor, side: int) -> Tensor:
    """Sums over blocks of side x side pixels; the planes themselves for a side of 1."""
    for after in ((), (slice(None),)) if side > 1 else ():  # along rows, then along columns
        total = planes[(..., slice(0, None, side), *after)].clone()
        for place in range(1, side):
            part = planes[(..., slice(place, None, side), *after)]
            inside = slice(part.shape[-1 - len(after)])
            total[(..., inside, *after)] += part
        planes = total
    return planes


def add_spread(planes: Tensor, values: Tensor, side: int, weight: Tensor | None = None) -> Tensor:
    """Add to every pixel its block's value, times the pixel's weight, in place."""
    for row in range(side):
        for column in range(side):
            part = planes[..., row::side, column::side]
            value = values[..., : part.shape[-2], : part.shape[-1]]
            part += value if weight is None else value * weight[..., row::side, column::side]
    return planes
