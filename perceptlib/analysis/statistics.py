"""Statistics of scores: one number per picture in, as a Series or an array, an estimate with its interval out.

NaN means undefined: it is counted and left out, in pairs together with its partner.
"""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_LEVEL = 0.95  # of every interval
_ENDS = (1 - _LEVEL) / 2, 1 - (1 - _LEVEL) / 2
_NUM_RESAMPLES = 2000
_MANY = 1000  # pictures; the draws of more are not kept, as they take too much memory


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval (NaN without enough values), how many values, and how many were NaN."""

    value: float
    low: float
    high: float
    num_values: int
    num_undefined: int


@dataclass(frozen=True)
class PairedTest(Interval):
    """Median or mean of first minus second, picture by picture, with Wilcoxon's p-value and effect; NaN without a pair.

    The effect is the matched-pairs rank-biserial correlation, in [-1, 1]: 1 where the first is larger in every pair.
    The p-value is 1 where all differences are 0.
    """

    p_value: float
    effect: float


def bootstrap_interval(values: ArrayLike, *, statistic: str = "median", seed: int = 0) -> Interval:
    """Percentile bootstrap interval, 95 %, of the median or the mean over pictures (Efron 1979)."""
    if statistic not in _STATISTICS:
        raise ValueError(f"statistic {statistic!r} is unknown; pass 'median' or 'mean'")
    given = np.asarray(values, dtype=float)
    defined = given[~np.isnan(given)]
    function = _STATISTICS[statistic]
    value = float(function(defined)) if len(defined) else math.nan
    low, high = math.nan, math.nan
    if len(defined) > 1:
        low, high = map(float, stats.quantile(_bootstrap((defined,), function, seed), list(_ENDS)))
    return Interval(value, low, high, len(defined), len(given) - len(defined))


def paired_test(
    values: ArrayLike, others: ArrayLike, *, alternative: str = "two-sided", statistic: str = "median", seed: int = 0
) -> PairedTest:
    """Wilcoxon's signed-rank test on the same pictures; the alternative "greater" is: values above others.

    Infinite values are larger than every finite one, two of the same sign equal. Differences of 0 are ranked and their
    ranks then dropped (Pratt 1959): to drop the pairs first, as Wilcoxon did, overstates a method that is equal in most
    pictures, as pointing hits are. The effect is (R+ - R-) / (n (n + 1) / 2) of the sums of ranks by sign (Kerby 2014).
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative {alternative!r} is unknown; pass 'two-sided', 'greater' or 'less'")
    first, second = _pairs(values, others)
    with np.errstate(invalid="ignore"):
        differences = np.where(first == second, 0.0, first - second)
    interval = bootstrap_interval(differences, statistic=statistic, seed=seed)
    defined = differences[~np.isnan(differences)]
    p_value = effect = math.nan
    if len(defined):
        ranks = stats.rankdata(np.abs(defined))
        effect = float((np.sign(defined) * ranks).sum() / ranks.sum())
        p_value = 1.0
    if defined.any():
        p_value = float(stats.wilcoxon(defined, zero_method="pratt", alternative=alternative).pvalue)
    return PairedTest(**vars(interval), p_value=p_value, effect=effect)


def holm(p_values: pd.Series) -> pd.Series:
    """P-values adjusted for a family of tests (Holm 1979); NaN, a test that could not be made, is no member."""
    from statsmodels.stats.multitest import multipletests  # its import takes a second

    family = p_values.dropna()
    if not family.between(0, 1).all():
        name, p_value = next((name, value) for name, value in family.items() if not 0 <= value <= 1)
        raise ValueError(f"p-value {p_value} of {name!r} is outside [0, 1]; pass a probability, or NaN for none")
    gc.freeze()  # multipletests collects garbage, which takes a second where much is alive
    try:
        adjusted = multipletests(family, method="holm")[1] if len(family) else []
    finally:
        gc.unfreeze()
    return pd.Series(adjusted, family.index, dtype=float).reindex(p_values.index)


def adjusted(tests: pd.DataFrame) -> pd.DataFrame:
    """A frame of `PairedTest`, one a row, with the p-values of one family: adjusted by `holm`."""
    if tests.empty:
        return tests
    return tests.assign(p_value=holm(tests["p_value"]), num_pairs=tests["num_values"])


def difference_of_rates(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> Interval:
    """Rate of the first minus rate of the second on the same pictures, with its paired bootstrap interval."""
    pairs = _pairs(first, second)
    for rates in pairs:
        is_other = ~(np.isnan(rates) | (rates == 0) | (rates == 1))
        if is_other.any():
            raise ValueError(f"a success is {rates[is_other][0]:g}; True, False, 0, 1 or NaN for none is allowed")
    return bootstrap_interval(pairs[0] - pairs[1], statistic="mean", seed=seed)


def ratio_of_medians(values: ArrayLike, others: ArrayLike, *, seed: int = 0) -> Interval:
    """Median of the values over median of the others, 0 or more or infinite, with its paired bootstrap interval.

    Two medians both infinite or both 0 may have any ratio: NaN as the value; a resample of them counts as 0 for the
    lower end and as infinite for the upper, so that the interval can only be too wide.
    """
    pairs = np.stack(_pairs(values, others))
    first, second = defined = pairs[:, ~np.isnan(pairs).any(axis=0)]
    num_values = len(first)
    if (lowest := defined.min(initial=0)) < 0:
        raise ValueError(f"a value is {lowest:g}; 0 or more, or infinity, is allowed in a ratio of medians")
    value = float(_ratio_of_medians(first, second)) if num_values else math.nan
    low, high = math.nan, math.nan
    if num_values > 1:
        ratios = _bootstrap((first, second), _ratio_of_medians, seed)
        # Ends are resamples themselves: between a finite one and an infinite one there is nothing to interpolate.
        open_below, open_above = (np.where(np.isnan(ratios), end, ratios) for end in (0, math.inf))
        low = float(np.quantile(open_below, _ENDS[0], method="lower"))
        high = float(np.quantile(open_above, _ENDS[1], method="higher"))
    return Interval(value, low, high, num_values, pairs.shape[1] - num_values)


def over_networks(values: Mapping[Any, pd.Series], *, seed: int = 0) -> Interval:
    """Mean over networks of the median over pictures, with a two-level bootstrap interval, 95 %.

    `values` has for each network a Series by picture; what one lacks counts as undefined. A resample draws networks and
    pictures, each with replacement, the pictures once for all networks, as all are measured on the same ones. With few
    networks it can be too narrow: a draw of them varies less than networks do (`t_interval` beside it is the caution).
    """
    table = pd.DataFrame(dict(values)).to_numpy(dtype=float)
    num_pictures, num_networks = table.shape
    if num_networks < 2 or num_pictures < 2:
        raise ValueError(f"{num_networks} networks and {num_pictures} pictures have no spread; pass 2 or more of each")
    rng = np.random.default_rng(seed)
    pictures = rng.integers(num_pictures, size=(_NUM_RESAMPLES, num_pictures))
    networks = rng.integers(num_networks, size=(_NUM_RESAMPLES, num_networks))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw of pictures that a network lacks: undefined
        medians = np.stack([np.nanmedian(column[pictures], axis=1) for column in table.T], axis=1)
    means = np.take_along_axis(medians, networks, axis=1).mean(1)
    low, high = np.nanquantile(means, _ENDS)
    num_undefined = int(np.isnan(table).sum())
    return Interval(float(np.nanmedian(table, axis=0).mean()), float(low), float(high), table.size, num_undefined)


def t_interval(values: ArrayLike) -> Interval:
    """Mean of some values, such as one for each network, with Student's interval, 95 %: wide where they are few."""
    given = np.asarray(values, dtype=float)
    if len(given) < 2 or not np.isfinite(given).all():
        raise ValueError(f"{len(given)} values, {int(np.isfinite(given).sum())} finite; pass 2 or more, all finite")
    half = stats.t.ppf(_ENDS[1], len(given) - 1) * given.std(ddof=1) / math.sqrt(len(given))
    return Interval(float(given.mean()), float(given.mean() - half), float(given.mean() + half), len(given), 0)


def _pairs(values: ArrayLike, others: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = (np.asarray(given, dtype=float) for given in (values, others))
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values and {len(second)} others are no pairs; pass one of each per picture")
    return first, second


def _bootstrap(samples: tuple[NDArray[np.float64], ...], function: Callable[..., Any], seed: int) -> Any:
    """Distribution of a statistic over resamples, several samples resampled together: that of `scipy.stats.bootstrap`.

    The draws are kept, as they are the same for every statistic of as many pictures.
    """
    number = len(samples[0])
    draws = (_draws if number <= _MANY else _draws.__wrapped__)(number, seed)
    with np.errstate(invalid="ignore"):  # of infinite values
        return function(*(sample[draws] for sample in samples))


@lru_cache(maxsize=8)
def _draws(number: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(number, size=(_NUM_RESAMPLES, number))


def _ratio_of_medians(values: NDArray[np.float64], others: NDArray[np.float64]) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):  # of medians that are both 0
        return _median(values) / _median(others)


def _median(values: NDArray[np.float64]) -> Any:
    """numpy's median, but by its sort, in which it uses vector instructions: several times as fast."""
    ordered, number = np.sort(values), values.shape[-1]
    return (ordered[..., (number - 1) // 2] + ordered[..., number // 2]) / 2


def _mean(values: NDArray[np.float64]) -> Any:
    return values.mean(-1)


_STATISTICS: dict[str, Callable[..., Any]] = {"median": _median, "mean": _mean}  # along the last axis
