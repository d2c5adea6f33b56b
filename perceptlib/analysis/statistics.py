"""Statistics of scores: one number per picture in, as a Series or an array, an estimate with its interval out.

NaN means undefined: it is counted and left out, in pairs together with its partner.
"""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_STATISTICS: dict[str, Callable[..., Any]] = {"median": np.median, "mean": np.mean}


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


def bootstrap_interval(
    values: ArrayLike, *, statistic: str = "median", level: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the median or the mean over pictures (Efron 1979); a single value has none.

    Of differences between two methods it is paired if they are taken picture by picture first.
    """
    if statistic not in _STATISTICS:
        raise ValueError(f"statistic {statistic!r} is unknown; pass 'median' or 'mean'")
    _check_level(level)
    given = np.asarray(values, dtype=float)
    defined = given[~np.isnan(given)]
    num_undefined = len(given) - len(defined)
    function = _STATISTICS[statistic]
    value = float(function(defined)) if len(defined) else math.nan
    if len(defined) < 2:
        return Interval(value, math.nan, math.nan, len(defined), num_undefined)
    result = _bootstrap((defined,), function, level, num_resamples, seed)
    low, high = (float(end) for end in result.confidence_interval)
    return Interval(value, low, high, len(defined), num_undefined)


def paired_test(
    values: ArrayLike,
    others: ArrayLike,
    *,
    alternative: str = "two-sided",
    statistic: str = "median",
    seed: int = 0,
) -> PairedTest:
    """Wilcoxon's signed-rank test of two methods on the same pictures, with difference and effect.

    The alternative is "two-sided", or "greater" or "less": values above or below others. Infinite values count as
    larger than every finite one, two of the same sign as equal. Differences of 0 are ranked and their ranks then
    dropped (Pratt 1959): Wilcoxon's own rule, to drop the pairs first, overstates a method that is equal in most
    pictures, as pointing hits are. The effect is (R+ - R-) / (n (n + 1) / 2) with the sums R of ranks by sign (Kerby
    2014).
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
    """P-values adjusted for a family of tests by Holm (1979): below 0.05 where the family's error is held to 0.05.

    NaN, a test that could not be made, stays NaN and is no member: it can reject nothing.
    """
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


def difference_of_rates(
    first: ArrayLike, second: ArrayLike, *, level: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Rate of the first minus rate of the second on the same pictures, with its paired bootstrap interval."""
    pairs = _pairs(first, second)
    for rates in pairs:
        is_other = ~(np.isnan(rates) | (rates == 0) | (rates == 1))
        if is_other.any():
            raise ValueError(f"a success is {rates[is_other][0]:g}; True, False, 0, 1 or NaN for none is allowed")
    return bootstrap_interval(
        pairs[0] - pairs[1], statistic="mean", level=level, num_resamples=num_resamples, seed=seed
    )


def ratio_of_medians(
    values: ArrayLike, others: ArrayLike, *, level: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Median of the values over median of the others, 0 or more or infinite, with its paired bootstrap interval.

    Two medians both infinite or both 0 may have any ratio: NaN as the value; a resample of them counts as 0 for the
    lower end and as infinite for the upper, so that the interval can only be too wide.
    """
    _check_level(level)
    first, second = _pairs(values, others)
    is_defined = ~(np.isnan(first) | np.isnan(second))
    num_undefined = int((~is_defined).sum())
    first, second = first[is_defined], second[is_defined]
    if (lowest := min([*first, *second], default=0)) < 0:
        raise ValueError(f"a value is {lowest:g}; 0 or more, or infinity, is allowed in a ratio of medians")
    value = float(_ratio_of_medians(first, second)) if len(first) else math.nan
    if len(first) < 2:
        return Interval(value, math.nan, math.nan, len(first), num_undefined)
    result = _bootstrap((first, second), _ratio_of_medians, level, num_resamples, seed)
    ratios = result.bootstrap_distribution
    is_open = np.isnan(ratios)
    # Ends are resamples themselves: between a finite one and an infinite one there is nothing to interpolate.
    low = float(np.quantile(np.where(is_open, 0, ratios), (1 - level) / 2, method="lower"))
    high = float(np.quantile(np.where(is_open, math.inf, ratios), (1 + level) / 2, method="higher"))
    return Interval(value, low, high, len(first), num_undefined)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1; pass e.g. level=0.95")


def _pairs(values: ArrayLike, others: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = (np.asarray(given, dtype=float) for given in (values, others))
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values and {len(second)} others are no pairs; pass one of each per picture")
    return first, second


def _bootstrap(
    samples: tuple[NDArray[np.float64], ...], function: Callable[..., Any], level: float, num_resamples: int, seed: int
) -> Any:
    """scipy's percentile bootstrap; several samples are resampled together."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # infinite values have a median and no deviation
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # equal values: the interval is that value
        return stats.bootstrap(
            samples,
            function,
            confidence_level=level,
            n_resamples=num_resamples,
            paired=len(samples) > 1,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        )


def _ratio_of_medians(values: NDArray[np.float64], others: NDArray[np.float64], axis: int = -1) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.median(values, axis=axis) / np.median(others, axis=axis)
