"""Does a change map fall where a class activation map is high? Scores of one map against the other.

The CAM is taken as the truth and the change map as its prediction. SIM, KL, NSS and AUC are those of saliency
benchmarks (Bylinskii, Judd, Oliva, Torralba and Durand 2019, "What do different evaluation metrics tell us about
saliency models?"). Every score takes the same arguments, described at `energy_in_top_q`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from perceptlib.records.checks import as_tensor

Maps = torch.Tensor | NDArray[np.generic]

_EPSILON = 2.2204e-16  # of KL, as in the benchmark's published code


def energy_in_top_q(change_map: Maps, cam: Maps, *, q: float = 0.2, border: int = 5) -> torch.Tensor:
    """Share of the change that lies in the q of the pixels where the CAM is highest; chance is exactly q.

    Parameters
    ----------
    change_map
        (N, H, W), tensor or array, 0 or more, of any scale.
    cam
        The same shape, 0 or more, of any scale.
    q
        Share of the pixels in the top set, between 0 and 1. The set has the size q exactly: pixels tied at its
        threshold belong to it in equal part, so a constant CAM gives q and not what the order of pixels gives.
    border
        Pixels left out on each side; windows there see repeated pixels.

    Returns
    -------
    torch.Tensor
        (N,), float64. NaN where either map is zero everywhere inside the border.

    Raises
    ------
    TypeError
        A map that is neither tensor nor array, or of complex numbers.
    ValueError
        Maps of different shape or not (N, H, W), a negative, infinite or NaN value, `q` outside (0, 1), or a
        border that leaves no pixel.
    """
    return _pair(change_map, cam, q, border).energy_in_top_q()


def pearson(change_map: Maps, cam: Maps, *, border: int = 5) -> torch.Tensor:
    """Pearson's correlation over the pixels (CC), in [-1, 1]; NaN also where either map is constant."""
    return _pair(change_map, cam, 0.5, border).pearson()


def spearman(change_map: Maps, cam: Maps, *, border: int = 5) -> torch.Tensor:
    """Pearson's correlation of the ranks, ties at their average; NaN also where either map is constant."""
    return _pair(change_map, cam, 0.5, border).spearman()


def iou_top_q(change_map: Maps, cam: Maps, *, q: float = 0.2, border: int = 5) -> torch.Tensor:
    """Intersection over union of the two maps' top sets of size q, in [0, 1]; chance is about q / (2 - q)."""
    return _pair(change_map, cam, q, border).iou_top_q()


def auc(change_map: Maps, cam: Maps, *, q: float = 0.2, border: int = 5) -> torch.Tensor:
    """Chance that the change is larger at a pixel of the CAM's top set than at one outside it, ties counting half.

    The area under the ROC curve, in [0, 1]; chance is 0.5.
    """
    return _pair(change_map, cam, q, border).auc()


def pointing_hit(change_map: Maps, cam: Maps, *, q: float = 0.2, border: int = 5) -> torch.Tensor:
    """1 where the largest change lies in the CAM's top set, else 0; chance is q.

    Where several pixels share the largest change: the share of them that lie in the set.
    """
    return _pair(change_map, cam, q, border).pointing_hit()


def sim(change_map: Maps, cam: Maps, *, border: int = 5) -> torch.Tensor:
    """Similarity, ``sum min(c, m)`` of the maps scaled to sum 1, in [0, 1]; 1 for equal maps."""
    return _pair(change_map, cam, 0.5, border).sim()


def kl(change_map: Maps, cam: Maps, *, border: int = 5) -> torch.Tensor:
    """Divergence of the change map c from the CAM m, scaled to sum 1: ``sum m log(e + m / (e + c))``, in nats.

    0 for equal maps; large where the CAM is high and the change nearly 0 (e = 2.2e-16).
    """
    return _pair(change_map, cam, 0.5, border).kl()


def nss(change_map: Maps, cam: Maps, *, q: float = 0.2, border: int = 5) -> torch.Tensor:
    """Mean over the CAM's top set of the change map, brought to mean 0 and population deviation 1; chance is 0.

    NaN also where the change map is constant.
    """
    return _pair(change_map, cam, q, border).nss()


def agreement(change_map: Maps, cam: Maps, *, q: float = 0.2, border: int = 5) -> dict[str, torch.Tensor]:
    """Every score of this module by its name, each (N,); arguments as of `energy_in_top_q`."""
    pair = _pair(change_map, cam, q, border)
    return {
        "energy_in_top_q": pair.energy_in_top_q(),
        "pearson": pair.pearson(),
        "spearman": pair.spearman(),
        "iou_top_q": pair.iou_top_q(),
        "auc": pair.auc(),
        "pointing_hit": pair.pointing_hit(),
        "sim": pair.sim(),
        "kl": pair.kl(),
        "nss": pair.nss(),
    }


@dataclass(frozen=True)
class _Pair:
    """Both maps as (N, pixels), float64, largest value 1; NaN throughout where either has no mass."""

    change: torch.Tensor
    cam: torch.Tensor
    q: float

    @cached_property
    def in_top(self) -> torch.Tensor:
        return _top_share(self.cam, self.q)

    def energy_in_top_q(self) -> torch.Tensor:
        return (self.change * self.in_top).sum(1) / self.change.sum(1)

    def pearson(self) -> torch.Tensor:
        return _correlation(self.change, self.cam)

    def spearman(self) -> torch.Tensor:
        return _correlation(_ranks(self.change), _ranks(self.cam))

    def iou_top_q(self) -> torch.Tensor:
        other = _top_share(self.change, self.q)
        return torch.minimum(self.in_top, other).sum(1) / torch.maximum(self.in_top, other).sum(1)

    def auc(self) -> torch.Tensor:
        ordered, order = self.change.sort(1)
        outside = (1 - self.in_top).gather(1, order).cumsum(1)
        outside = torch.nn.functional.pad(outside, (1, 0))
        # Weight outside the set of strictly smaller change, and of change up to the same.
        below = outside.gather(1, torch.searchsorted(ordered, self.change))
        upto = outside.gather(1, torch.searchsorted(ordered, self.change, right=True))
        wins = (self.in_top * (below + upto) / 2).sum(1)
        return wins / (self.in_top.sum(1) * outside[:, -1])

    def pointing_hit(self) -> torch.Tensor:
        is_largest = (self.change == self.change.amax(1, keepdim=True)).double()
        return (is_largest * self.in_top).sum(1) / is_largest.sum(1)

    def sim(self) -> torch.Tensor:
        return torch.minimum(_shares(self.change), _shares(self.cam)).sum(1)

    def kl(self) -> torch.Tensor:
        truth = _shares(self.cam)
        return (truth * (_EPSILON + truth / (_EPSILON + _shares(self.change))).log()).sum(1)

    def nss(self) -> torch.Tensor:
        centred = _centred(self.change)
        deviation = centred.square().mean(1).sqrt()
        return (centred * self.in_top).sum(1) / self.in_top.sum(1) / deviation


def _pair(change_map: Maps, cam: Maps, q: float, border: int) -> _Pair:
    if not 0 < q < 1:
        raise ValueError(f"q is {q}; a share of the pixels between 0 and 1 is allowed, such as 0.2")
    change, truth = _checked("change map", change_map), _checked("cam", cam)
    if change.shape != truth.shape:
        raise ValueError(
            f"the change map has shape {tuple(change.shape)} and the cam {tuple(truth.shape)}; "
            "both must be (N, H, W) of the same size"
        )
    height, width = change.shape[1:]
    most = (min(height, width) - 1) // 2
    if not 0 <= border <= most:
        raise ValueError(f"border {border} leaves nothing of maps of {height}x{width}; pass 0 to {most}")
    inner = (slice(None), slice(border, height - border), slice(border, width - border))
    change, truth = change[inner].flatten(1), truth[inner].flatten(1)
    # 0 / 0 turns a map without mass into NaN, which every score then hands on.
    change, truth = change / change.amax(1, keepdim=True), truth / truth.amax(1, keepdim=True)
    undefined = (change + truth).isnan().any(1, keepdim=True)
    return _Pair(change.masked_fill(undefined, torch.nan), truth.masked_fill(undefined, torch.nan), q)


def _numbers(name: str, maps: Maps) -> torch.Tensor:
    """A map of any layout, where it is, without its graph."""
    values = as_tensor(maps)
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"{name} is a {type(maps).__name__}; a torch tensor or numpy array is needed")
    if values.is_complex():
        raise TypeError(f"{name} holds complex numbers; pass its absolute value")
    return values.detach()


def _checked(name: str, maps: Maps) -> torch.Tensor:
    values = _numbers(f"the {name}", maps).double()
    if values.ndim != 3 or values.numel() == 0:
        raise ValueError(
            f"the {name} has shape {tuple(values.shape)}; (N, H, W), none of them 0, is needed; "
            "write maps[None] for a single one"
        )
    if not values.isfinite().all():
        raise ValueError(f"the {name} holds NaN or infinity; only finite values of 0 or more are allowed")
    if (values < 0).any():
        raise ValueError(
            f"the {name} holds values down to {float(values.min()):.3g}; 0 or more is allowed; write maps.clamp(min=0)"
        )
    return values


def _top_share(maps: torch.Tensor, q: float) -> torch.Tensor:
    """Share of each pixel in the top set of q of the pixels: 1, 0, or in between where tied at the threshold."""
    place = q * maps.shape[1]
    threshold = maps.sort(1, descending=True).values[:, [int(np.ceil(place)) - 1]]
    is_above, is_tied = (maps > threshold).double(), (maps == threshold).double()
    share = (place - is_above.sum(1, keepdim=True)) / is_tied.sum(1, keepdim=True)
    return is_above + is_tied * share


def _ranks(maps: torch.Tensor) -> torch.Tensor:
    """Ranks from 1, ties at their average."""
    ordered = maps.sort(1).values
    first, last = torch.searchsorted(ordered, maps), torch.searchsorted(ordered, maps, right=True)
    return (first + last + 1).double() / 2 + 0 * maps  # NaN has no rank


def _centred(maps: torch.Tensor) -> torch.Tensor:
    """Mean taken away; exactly 0 for a constant map, whose mean may differ from it by rounding."""
    is_constant = maps.amin(1, keepdim=True) == maps.amax(1, keepdim=True)
    return (maps - maps.mean(1, keepdim=True)).masked_fill(is_constant, 0)


def _correlation(maps: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    maps, others = _centred(maps), _centred(others)
    norms = maps.square().sum(1).sqrt() * others.square().sum(1).sqrt()
    return ((maps * others).sum(1) / norms).clamp(-1, 1)  # rounding can pass 1


def _shares(maps: torch.Tensor) -> torch.Tensor:
    return maps / maps.sum(1, keepdim=True)
