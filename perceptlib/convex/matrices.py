"""The balls as sparse matrices: sums of squares and cones for a conic solver, built from the separable window.

With the window W = B_h X B_w' (mean of row means), the variance splits into the mean over rows of the variance within
the row, and the variance between the row means u = X B_w'; m = B_h u::

    V = B_h [B_w r^2 - u^2] + [B_h u^2 - m^2]

Each bracket is a sum of 11 squares of differences, so Q needs 23 squares a pixel and two auxiliary variables, u and
m, that linear equations tie to r: nonzeros grow linearly with the pixels, where A itself has 441 a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from perceptlib.balls import MultiScaleBall, SSIMBall
from perceptlib.balls.ssim_ball import FLOOR
from perceptlib.ssim import Window
from perceptlib.ssim.measure import C1, C2

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Squares:
    """Squares of linear forms of a perturbation r, written with auxiliary variables z = lift r.

    The forms are F z, with the factor F (squares, auxiliary); the first n rows of the lift (auxiliary, n) are the
    identity; link z = 0 exactly where z = lift r, None where z = r.
    """

    factor: sparse.csr_matrix
    lift: sparse.csr_matrix
    link: Any  # csr_matrix or None

    def forms(self, perturbation: Array) -> Array:
        """F lift r, shape (squares,)."""
        values: Array = self.factor @ (self.lift @ perturbation)
        return values

    def adjoint(self, values: Array) -> Array:
        """(F lift)' y, shape (n,)."""
        perturbation: Array = self.lift.T @ (self.factor.T @ values)
        return perturbation

    def quadratic(self, perturbation: Array) -> float:
        """Q(r), the sum of the squares."""
        return float((self.forms(perturbation) ** 2).sum())

    def apply(self, perturbation: Array) -> Array:
        """A r with Q(r) = r'A r."""
        return self.adjoint(self.forms(perturbation))


def band_matrix(window: Window, side: int) -> sparse.csr_matrix:
    """One-dimensional window B with its reflecting border, (side, side): W = B_h X B_w'."""
    impulses = torch.eye(side, dtype=torch.float64, device="cpu")[:, None, :, None].expand(side, 1, side, window.size)
    return sparse.csr_matrix(window.filter(impulses)[:, 0, :, 0].T.numpy())


def row_and_column_means(window: Window, shape: tuple[int, int, int]) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Means within rows (r to u) and over rows (u to m) of an image (C, H, W), each (C H W, C H W)."""
    channels, height, width = shape
    within = sparse.kron(sparse.identity(channels * height), band_matrix(window, width))
    between = sparse.kron(band_matrix(window, height), sparse.identity(width))
    return within.tocsr(), sparse.kron(sparse.identity(channels), between).tocsr()


def ssim_squares(ball: SSIMBall, *, floor: float = FLOOR) -> Squares:
    """Q of an SSIM ball of one image, float64; ``floor`` is the weight of the component that does not count."""
    size = ball.size
    if ball.coupling == "diagonal":
        identity = sparse.identity(size, format="csr")
        return Squares(sparse.diags(np.sqrt(_flat(ball.weight) / size)).tocsr(), identity, None)
    luminance, contrast = _flat(ball.luminance_weight) / size, _flat(ball.contrast_weight) / size
    if ball.components == "luminance":
        contrast = contrast * (floor / FLOOR)
    if ball.components == "contrast_structure":
        luminance = luminance * (floor / FLOOR)
    channels, height, width = ball.images.shape[1:]
    return _form_squares(luminance, contrast, ball.window, (channels, height, width))


def multi_scale_squares(ball: MultiScaleBall) -> Squares:
    """Q of a multi-scale ball of one image, float64: z holds r and, for every scale, P_s T r with its own u and m."""
    size = ball.size
    factors, lifts, ties, links = [], [], [], []
    for planes, (luminance, contrast) in zip(_averages(ball), ball.forms, strict=True):
        channels, height, width = luminance.shape[1:]
        form = _form_squares(_flat(luminance) / size, _flat(contrast) / size, ball.window, (channels, height, width))
        factors.append(form.factor)
        lifts.append(form.lift @ planes)
        # P_s T r is the first part of a scale's own entries; below stand their own equations
        ties.append(sparse.vstack([planes, sparse.csr_matrix((form.link.shape[0], size))]))
        links.append(sparse.vstack([-sparse.eye(planes.shape[0], form.link.shape[1]), form.link]))
    factor = sparse.block_diag(factors)
    factor = sparse.hstack([sparse.csr_matrix((factor.shape[0], size)), factor]).tocsr()
    lift = sparse.vstack([sparse.identity(size), *lifts]).tocsr()
    return Squares(factor, lift, sparse.hstack([sparse.vstack(ties), sparse.block_diag(links)]).tocsr())


def _averages(ball: MultiScaleBall) -> list[sparse.csr_matrix]:
    """P_s T of every scale, (C h w, C H W)."""
    channels, height, width = ball.images.shape[1:]
    colours = ball.colours()
    mixed = sparse.kron(np.eye(channels) if colours is None else colours, sparse.identity(height * width))
    averages = []
    for scale in ball.scales:
        rows, columns = (_means_of_blocks(side, scale) for side in (height, width))
        average = sparse.kron(sparse.identity(channels), sparse.kron(rows, columns))
        averages.append((average @ mixed).tocsr())
    return averages


def _means_of_blocks(side: int, size: int) -> sparse.csr_matrix:
    """Means over blocks of a row of pixels, (blocks, side)."""
    index = np.arange(side) // size
    return sparse.csr_matrix((1 / np.bincount(index)[index], (index, np.arange(side))))


def _form_squares(luminance: Array, contrast: Array, window: Window, shape: tuple[int, int, int]) -> Squares:
    """Sum over windows of contrast V + luminance m^2 of planes (C, H, W); z is (r, u, m)."""
    within, between = row_and_column_means(window, shape)
    mean_square = sparse.diags(np.sqrt(luminance))
    blocks = [
        [*_deviations(within, between.T @ contrast), None],
        [None, *_deviations(between, contrast)],
        [None, None, mean_square],
    ]
    factor = sparse.bmat(blocks).tocsr()
    factor.eliminate_zeros()  # a floor of 0
    identity = sparse.identity(len(contrast))
    link = sparse.bmat([[within, -identity, None], [None, between, -identity]]).tocsr()
    lift = sparse.vstack([identity, within, between @ within]).tocsr()
    return Squares(factor[factor.getnnz(axis=1) > 0], lift, link)


def window_squares(shape: tuple[int, int, int], window: Window | int) -> tuple[Squares, int]:
    """Deviations sqrt(w_j) (r_j - m) of every window of an image (C, H, W), one after the other, and how many each has.

    ``window`` overlaps, one per pixel, or is the side of disjoint uniform squares. z is (r, m).
    """
    size_of_image = int(np.prod(shape))
    if isinstance(window, Window):
        within, between = row_and_column_means(window, shape)
        means = (between @ within).tocsr()
    else:
        means = _disjoint_means(shape, window)
    entries = means.tocoo()
    counts = np.diff(means.indptr)
    group = int(counts.max())
    position = np.arange(entries.nnz) - np.repeat(means.indptr[:-1], counts)
    rows = entries.row * group + position
    roots = np.sqrt(entries.data)
    columns = np.concatenate([entries.col, size_of_image + entries.row])
    factor = sparse.csr_matrix(
        (np.concatenate([roots, -roots]), (np.tile(rows, 2), columns)),
        (means.shape[0] * group, size_of_image + means.shape[0]),
    )
    lift = sparse.vstack([sparse.identity(size_of_image), means]).tocsr()
    link = sparse.hstack([means, -sparse.identity(means.shape[0])]).tocsr()
    return Squares(factor, lift, link), group


def restricted_squares(squares: Squares, inside: NDArray[np.bool_]) -> Squares:
    """Squares of perturbations (n,) that are zero where ``inside``, (n,), is False: those entries leave the program."""
    kept = np.concatenate([inside, np.ones(squares.factor.shape[1] - len(inside), dtype=bool)])
    link = None if squares.link is None else squares.link[:, kept]
    return Squares(squares.factor[:, kept], squares.lift[kept][:, inside], link)


class WindowCones:
    """Constraints |G_w r - k G_w x| <= R_w and |m_w - k mu_w| <= half width, with k = e / (1 - e); see `window_ball`.

    Of one image (1, C, H, W), float64, for overlapping windows or disjoint uniform squares of side ``size``.
    ``centres`` is G x, (windows, entries of a window).
    """

    def __init__(self, images: Tensor, window: Window, size: int | None, components: str) -> None:
        channels, height, width = images.shape[1:]
        self.components = components
        self.has_luminance, self.has_contrast = components != "contrast_structure", components != "luminance"
        if size is not None and size < 2:
            raise ValueError(f"window size {size} is below 2; pass e.g. size=8")
        self.squares, group = window_squares((channels, height, width), window if size is None else size)
        image = images.numpy().ravel()
        self.centres: Array = self.squares.forms(image).reshape(-1, group)
        self._mean: Array = self.squares.lift[image.size :] @ image
        self._variance: Array = (self.centres**2).sum(axis=1)

    @property
    def num_windows(self) -> int:
        return len(self.centres)

    def limits(self, budget: float) -> tuple[float, Array, tuple[Array, Array]]:
        """k, the radii R and the interval (low, high) of the window means, at a budget."""
        loss = 1 - (1 - budget) ** 0.5 if self.components == "both" else budget
        share = loss / (1 - loss)
        radii = (share * (2 * self._variance + C2) + share**2 * self._variance) ** 0.5
        half_width = (share * (2 * self._mean**2 + C1) + share**2 * self._mean**2) ** 0.5
        return share, radii, (share * self._mean - half_width, share * self._mean + half_width)

    def losses(self, perturbation: Tensor) -> Array:
        """True 1 - S (or 1 - S1, or 1 - S2) of every window, (windows,)."""
        flat = perturbation.numpy().ravel()
        mean = self.squares.lift[flat.size :] @ flat
        offset = self.squares.forms(flat).reshape(self.centres.shape)
        other_variance = ((offset + self.centres) ** 2).sum(axis=1)
        luminance: Array = mean**2 / (self._mean**2 + (self._mean + mean) ** 2 + C1)
        contrast: Array = (offset**2).sum(axis=1) / (self._variance + other_variance + C2)
        if self.components == "both":
            return luminance + contrast - luminance * contrast
        return luminance if self.has_luminance else contrast

    def largest_loss(self, perturbation: Tensor) -> float:
        return float(self.losses(perturbation).max())


def _disjoint_means(shape: tuple[int, int, int], size: int) -> sparse.csr_matrix:
    channels, height, width = shape
    rows, columns = (_means_of_blocks(side, size) for side in (height, width))
    return sparse.kron(sparse.identity(channels), sparse.kron(rows, columns)).tocsr()


def _deviations(mean: sparse.csr_matrix, weight: Array) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Two blocks for the forms sqrt(weight_i mean_ij) (v_j - (mean v)_i): one acts on v, one on mean v."""
    entries = mean.tocoo()
    roots = np.sqrt(entries.data * weight[entries.row])
    rows = np.arange(entries.nnz)
    shape = (entries.nnz, mean.shape[1])
    on_values = sparse.csr_matrix((roots, (rows, entries.col)), shape)
    return on_values, sparse.csr_matrix((-roots, (rows, entries.row)), shape)


def _flat(values: Tensor) -> Array:
    return values.detach().cpu().numpy().ravel().astype(np.float64)
