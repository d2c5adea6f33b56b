"""Statistics of scores: one number per image in, an estimate with its interval out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

_STATISTICS: dict[str, Callable[..., Any]] = {"median": np.median, "mean": np.mean}


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval.

    Attributes
    ----------
    value, low, high
        The statistic and the ends of its interval; NaN where too few values are defined.
    num_values, num_undefined
        How many values it is taken over, and how many were NaN.
    """

    value: float
    low: float
    high: float
    num_values: int
    num_undefined: int


def bootstrap_interval(
    values: Iterable[float],
    *,
    statistic: str = "median",
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval over images (Efron 1979).

    Parameters
    ----------
    values
        One per image; NaN means undefined, is counted and left out.
    statistic
        "median" or "mean".
    level
        Confidence, between 0 and 1.
    num_resamples
        At least 1.
    seed
        0 or more: the same seed gives the same interval.

    Returns
    -------
    Interval
        NaN throughout for no defined value; a value without interval for one.

    Raises
    ------
    ValueError
        An unknown statistic, or a level outside (0, 1).

    Notes
    -----
    An interval of differences between two methods is paired if the differences are taken image by image first.
    """
    if statistic not in _STATISTICS:
        raise ValueError(f"statistic {statistic!r} is unknown; pass 'median' or 'mean'")
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1; pass e.g. level=0.95")
    given = np.asarray(list(values), dtype=float)
    defined = given[~np.isnan(given)]
    num_undefined = len(given) - len(defined)
    if len(defined) == 0:
        return Interval(math.nan, math.nan, math.nan, 0, num_undefined)
    function = _STATISTICS[statistic]
    value = float(function(defined))
    if len(defined) == 1:
        return Interval(value, math.nan, math.nan, 1, num_undefined)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # infinite values have a median and no deviation
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # equal values: the interval is that value
        result = stats.bootstrap(
            (defined,),
            function,
            confidence_level=level,
            n_resamples=num_resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    low, high = (float(end) for end in result.confidence_interval)
    return Interval(value, low, high, len(defined), num_undefined)
