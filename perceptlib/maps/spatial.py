"""Agreement of two maps beyond what space alone explains: shifts, a covariate, other pictures' CAMs.

Neighbouring pixels are alike, textured places attract every change, and objects stand in the middle; each score here
takes one of these away. Maps are checked and cropped as by `perceptlib.maps.scores.energy_in_top_q`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from perceptlib.maps.scores import _centred, _correlation, _cropped, _pair, _places, _ranks, _top_share
from perceptlib.records.checks import Values, as_maps, as_numbers

# Relative size below which residuals of a regression are its rounding.
_NOTHING_LEFT = 1e-9


def shift_p_value(change_map: Values, cam: Values, *, q: float = 0.2, border: int = 5) -> torch.Tensor:
    """Share of all toroidal shifts of the change map whose energy in the CAM's top set is as large as the true one.

    ``p = (1 + number of other shifts with energy >= the observed) / (number of shifts)``. A shift keeps the map's
    values and their autocorrelation and breaks only its place in the picture.

    Parameters
    ----------
    change_map, cam, q, border
        As of `perceptlib.maps.scores.energy_in_top_q`. The cropped maps are shifted, all H' W' shifts.

    Returns
    -------
    torch.Tensor
        (N,), float64, from 1 / (H' W') to 1: 1 for a constant map. NaN where either map is zero everywhere inside the
        border.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.maps.scores.energy_in_top_q`.

    Notes
    -----
    Energies come from one Fourier transform; those equal to within its rounding count as equal, towards a larger p.
    Exact if the map's law knows no place; a map that favours the middle, as photographs do, may be significant by
    that alone: compare with the centre map's own p-value. The joined opposite edges are a seam that no picture has.
    """
    pair = _pair(change_map, cam, q, border)
    grid = (-1, change_map.shape[1] - 2 * border, change_map.shape[2] - 2 * border)
    change, in_top = pair.change.view(grid), pair.in_top.view(grid)
    spectrum = torch.fft.rfft2(change).conj() * torch.fft.rfft2(in_top)
    energies = torch.fft.irfft2(spectrum, s=grid[1:]).flatten(1)  # the first is the map in its own place
    num_shifts = energies.shape[1]
    norms = change.flatten(1).norm(dim=1) * in_top.flatten(1).norm(dim=1)
    rounding = 16 * torch.finfo(torch.float64).eps * np.log2(num_shifts + 1) * norms
    is_as_large = energies[:, 1:] >= (energies[:, 0] - rounding)[:, None]
    shares: torch.Tensor = (1 + is_as_large.sum(1)).double() / num_shifts + 0 * energies[:, 0]  # NaN is no energy
    return shares


def partial_correlation(
    change_map: Values, cam: Values, covariate: Values | Sequence[Values], *, rank: bool = True, border: int = 5
) -> torch.Tensor:
    """Correlation over the pixels of what a covariate leaves of both maps.

    Pearson's correlation of the residuals of two least-squares regressions, of change map and CAM on a constant and
    the covariates; by default all of them are replaced by their ranks first (Spearman's partial correlation).

    Parameters
    ----------
    change_map, cam, border
        As of `perceptlib.maps.scores.energy_in_top_q`.
    covariate
        (N, H, W), tensor or array, of any sign, such as `perceptlib.maps.controls.log_variance`; or a sequence of them.
    rank
        False: values in place of ranks.

    Returns
    -------
    torch.Tensor
        (N,), float64, in [-1, 1]. NaN where change map or CAM is constant or zero, or is explained by the covariates
        without any rest. A constant covariate takes nothing away.

    Raises
    ------
    TypeError
        A map or covariate that is neither tensor nor array, or of complex numbers.
    ValueError
        Maps as `perceptlib.maps.scores.energy_in_top_q` refuses; a covariate of another shape, or with an infinite or
        NaN value; an empty sequence.
    """
    pair = _pair(change_map, cam, 0.5, border)
    given = [covariate] if isinstance(covariate, torch.Tensor | np.ndarray) else list(covariate)
    if not given:
        raise ValueError("there is no covariate; pass one at least, or use agreement.spearman")
    shape = tuple(change_map.shape)
    columns = [_covariate(maps, shape, border) for maps in given]
    treated = [_ranks(maps, _places(maps)) if rank else maps for maps in (pair.change, pair.cam, *columns)]
    least = torch.finfo(torch.float64).tiny  # a constant map stays 0
    centred = [_centred(maps) for maps in treated]
    change, truth, *others = (maps / maps.norm(dim=1, keepdim=True).clamp_min(least) for maps in centred)
    design = torch.stack(others, dim=2)
    return _correlation(_residual(change, design), _residual(truth, design))


def shuffled_auc(change_map: Values, cam: Values, others: Values, *, q: float = 0.2, border: int = 5) -> torch.Tensor:
    """Chance that the change is larger at a pixel of the own CAM's top set than at one of other pictures' top sets.

    Ties count half. What all CAMs share, above all the middle of the picture, earns nothing: 0.5 is chance for every
    map that does not know which picture it belongs to (Zhang, Tong, Marks, Shan and Cottrell 2008, "SUN: A Bayesian
    framework for saliency using natural statistics").

    Parameters
    ----------
    change_map, cam, q, border
        As of `perceptlib.maps.scores.energy_in_top_q`.
    others
        (M, H, W), CAMs of other pictures, the same for every map of the batch. A pixel's weight among the negatives
        is the number of their top sets that hold it; a CAM without mass has none and is left out.

    Returns
    -------
    torch.Tensor
        (N,), float64, in [0, 1]. NaN where either map is zero everywhere inside the border, or all `others` are.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.maps.scores.energy_in_top_q`, also for `others`; `others` of another height or width.

    Notes
    -----
    Negatives that lie in the own top set stay, as in the published code (Bylinskii's `AUC_shuffled`): equal maps give
    less than 1, and CAMs that are all alike exactly 0.5. That code takes each place once and draws as many negatives
    as positives; here all are counted, as often as they occur, so nothing is drawn.
    """
    pair = _pair(change_map, cam, q, border)
    theirs = as_maps("other cams", others)
    height, width = change_map.shape[1:]
    if theirs.shape[1:] != (height, width):
        raise ValueError(
            f"the other cams have shape {tuple(theirs.shape)}; (M, {height}, {width}) is needed, the size of the maps"
        )
    theirs = _cropped(theirs, border)
    negatives = _top_share(theirs[theirs.amax(1) > 0], q).sum(0)
    return torch.stack([_auc(change, own, negatives) for change, own in zip(pair.change, pair.in_top, strict=True)])


def _auc(change: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Weighted area under the ROC curve of one map, all of shape (pixels,)."""
    levels, level = change.unique(return_inverse=True)
    at_level = torch.zeros_like(levels).index_add(0, level, negatives)
    below = at_level.cumsum(0) - at_level / 2  # ties count half
    return (positives * below[level]).sum() / (positives.sum() * negatives.sum()) + 0 * change[0]


def _covariate(maps: Values, shape: tuple[int, ...], border: int) -> torch.Tensor:
    values = as_numbers("a covariate", maps)
    if tuple(values.shape) != shape:
        raise ValueError(f"a covariate has shape {tuple(values.shape)}; {shape} is needed, that of the maps")
    if not values.isfinite().all():
        raise ValueError("a covariate holds NaN or infinity; only finite values are allowed")
    return _cropped(values.double(), border)


def _residual(maps: torch.Tensor, design: torch.Tensor) -> torch.Tensor:
    """What is left of (N, pixels) after a regression on (N, pixels, covariates), all of them standardised."""
    fit = design @ (torch.linalg.pinv(design) @ maps[..., None])  # dependent covariates are no error
    rest: torch.Tensor = maps - fit[..., 0]
    return rest.masked_fill(rest.norm(dim=1, keepdim=True) < _NOTHING_LEFT, 0)
