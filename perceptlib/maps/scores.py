"""Does a change map fall where a class activation map is high? Scores of one map against the other.

The CAM is taken as the truth and the change map as its prediction. SIM, KL, NSS and AUC are those of saliency
benchmarks (Bylinskii, Judd, Oliva, Torralba and Durand 2019, "What do different evaluation metrics tell us about
saliency models?"). Every score takes the same arguments, described at `energy_in_top_q`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from perceptlib.records.checks import Values, as_maps

_EPSILON = 2.2204e-16  # of KL, as in the benchmark's published code


@dataclass(frozen=True)
class _Pair:
    """Both maps as (N, pixels), float64, largest value 1; NaN throughout where either has no mass."""

    change: torch.Tensor
    cam: torch.Tensor
    q: float

    @cached_property
    def in_top(self) -> torch.Tensor:
        return _top_share(self.cam, self.q)

    @cached_property
    def places(self) -> tuple[torch.Tensor, ...]:
        return _places(self.change)


_FORMULAS: dict[str, Callable[[_Pair], torch.Tensor]] = {}


def _score(formula: Callable[[_Pair], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A function of two maps of what is written for a pair."""

    def score(change_map: Values, cam: Values, *, q: float = 0.2, border: int = 5) -> torch.Tensor:
        return formula(_pair(change_map, cam, q, border))

    score.__name__ = score.__qualname__ = name = formula.__name__
    score.__doc__, _FORMULAS[name] = formula.__doc__, formula
    return score


@_score
def energy_in_top_q(pair: _Pair) -> torch.Tensor:
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
    return (pair.change * pair.in_top).sum(1) / pair.change.sum(1)


@_score
def pearson(pair: _Pair) -> torch.Tensor:
    """Pearson's correlation over the pixels (CC), in [-1, 1]; NaN also where either map is constant."""
    return _correlation(pair.change, pair.cam)


@_score
def spearman(pair: _Pair) -> torch.Tensor:
    """Pearson's correlation of the ranks, ties at their average; NaN also where either map is constant."""
    return _correlation(_ranks(pair.change, pair.places), _ranks(pair.cam, _places(pair.cam)))


@_score
def iou_top_q(pair: _Pair) -> torch.Tensor:
    """Intersection over union of the two maps' top sets of size q, in [0, 1]; chance is about q / (2 - q)."""
    other = _top_share(pair.change, pair.q)
    return torch.minimum(pair.in_top, other).sum(1) / torch.maximum(pair.in_top, other).sum(1)


@_score
def auc(pair: _Pair) -> torch.Tensor:
    """Chance that the change is larger at a pixel of the CAM's top set than at one outside it, ties counting half.

    The area under the ROC curve, in [0, 1]; chance is 0.5.
    """
    order, first, last = pair.places
    outside = torch.nn.functional.pad((1 - pair.in_top).gather(1, order).cumsum(1), (1, 0))
    # Weight outside the set of strictly smaller change, and of change up to the same.
    below, upto = outside.gather(1, first), outside.gather(1, last)
    return (pair.in_top * (below + upto) / 2).sum(1) / (pair.in_top.sum(1) * outside[:, -1])


@_score
def pointing_hit(pair: _Pair) -> torch.Tensor:
    """1 where the largest change lies in the CAM's top set, else 0; chance is q.

    Where several pixels share the largest change: the share of them that lie in the set.
    """
    is_largest = (pair.change == pair.change.amax(1, keepdim=True)).double()
    return (is_largest * pair.in_top).sum(1) / is_largest.sum(1)


@_score
def sim(pair: _Pair) -> torch.Tensor:
    """Similarity, ``sum min(c, m)`` of the maps scaled to sum 1, in [0, 1]; 1 for equal maps."""
    return torch.minimum(_shares(pair.change), _shares(pair.cam)).sum(1)


@_score
def kl(pair: _Pair) -> torch.Tensor:
    """Divergence of the change map c from the CAM m, scaled to sum 1: ``sum m log(e + m / (e + c))``, in nats.

    0 for equal maps; large where the CAM is high and the change nearly 0 (e = 2.2e-16).
    """
    truth = _shares(pair.cam)
    return (truth * (_EPSILON + truth / (_EPSILON + _shares(pair.change))).log()).sum(1)


@_score
def nss(pair: _Pair) -> torch.Tensor:
    """Mean over the CAM's top set of the change map, brought to mean 0 and population deviation 1; chance is 0.

    NaN also where the change map is constant.
    """
    centred = _centred(pair.change)
    return (centred * pair.in_top).sum(1) / pair.in_top.sum(1) / centred.square().mean(1).sqrt()


def agreement(change_map: Values, cam: Values, *, q: float = 0.2, border: int = 5) -> dict[str, torch.Tensor]:
    """Every score of this module by its name, each (N,); arguments as of `energy_in_top_q`."""
    pair = _pair(change_map, cam, q, border)
    return {name: formula(pair) for name, formula in _FORMULAS.items()}


def _pair(change_map: Values, cam: Values, q: float, border: int) -> _Pair:
    if not 0 < q < 1:
        raise ValueError(f"q is {q}; a share of the pixels between 0 and 1 is allowed, such as 0.2")
    change, truth = as_maps("change map", change_map), as_maps("cam", cam)
    if change.shape != truth.shape:
        raise ValueError(
            f"the change map has shape {tuple(change.shape)} and the cam {tuple(truth.shape)}; "
            "both must be (N, H, W) of the same size"
        )
    height, width = change.shape[1:]
    most = (min(height, width) - 1) // 2
    if not 0 <= border <= most:
        raise ValueError(f"border {border} leaves nothing of maps of {height}x{width}; pass 0 to {most}")
    # 0 / 0 turns a map without mass into NaN, which every score then hands on.
    change, truth = (maps / maps.amax(1, keepdim=True) for maps in (_cropped(change, border), _cropped(truth, border)))
    undefined = (change + truth).isnan().any(1, keepdim=True)
    return _Pair(change.masked_fill(undefined, torch.nan), truth.masked_fill(undefined, torch.nan), q)


def _cropped(maps: torch.Tensor, border: int) -> torch.Tensor:
    height, width = maps.shape[1:]
    return maps[:, border : height - border, border : width - border].flatten(1)


def _top_share(maps: torch.Tensor, q: float) -> torch.Tensor:
    """Share of each pixel in the top set of q of the pixels: 1, 0, or in between where tied at the threshold."""
    place = q * maps.shape[1]
    threshold = maps.topk(-int(-place // 1), 1, sorted=False).values.amin(1, keepdim=True)
    is_above, is_tied = (maps > threshold).double(), (maps == threshold).double()
    share = (place - is_above.sum(1, keepdim=True)) / is_tied.sum(1, keepdim=True)
    return is_above + is_tied * share


def _places(maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Order of the pixels by their value, and of each pixel how many are smaller, and how many not larger."""
    ordered, order = maps.sort(1)
    found = (torch.searchsorted(ordered, ordered, right=right) for right in (False, True))  # in order: few misses
    return order, *(torch.empty_like(order).scatter_(1, order, places) for places in found)


def _ranks(maps: torch.Tensor, places: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Ranks from 1, ties at their average."""
    return (places[1] + places[2] + 1).double() / 2 + 0 * maps  # NaN has no rank


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
