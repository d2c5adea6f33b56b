"""Claim C in frames: fooling rates at equal distances, and the distance at which each search fools."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.analysis.frames import attacked, paired, summarize
from perceptlib.analysis.statistics import (
    bootstrap_interval,
    difference_of_rates,
    holm,
    paired_test,
    ratio_of_medians,
)

_ROUNDED = ("", "_8bit")  # endings of the columns of pictures as found, and rounded to 8 bits


def fooling_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Rate of each method at each budget with its interval, the same rounded to 8 bits, and the median mean SSIM."""

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        found: dict[str, float] = {}
        for ending in _ROUNDED:
            rate = bootstrap_interval(group[f"is_adversarial{ending}"], statistic="mean")
            found |= {f"rate{ending}": rate.value, f"low{ending}": rate.low, f"high{ending}": rate.high}
        return found | {"mean_ssim": float(np.median(group["mean_ssim"])), "num_images": len(group)}

    return summarize(attacked(rows, "fooling"), ["method", "budget"], record)


def rate_differences(rows: pd.DataFrame, *, method: str = "ssim") -> pd.DataFrame:
    """The method's rate minus each other method's at each budget, paired, as found and rounded to 8 bits."""
    fooling = attacked(rows, "fooling")
    own = fooling[fooling["method"] == method]

    def record(others: pd.DataFrame) -> Mapping[str, Any]:
        found: dict[str, float] = {}
        for ending in _ROUNDED:
            both = paired(own, others, f"is_adversarial{ending}", on=("image", "budget"))
            found |= {f"{name}{ending}": value for name, value in asdict(difference_of_rates(*both)).items()}
        return found

    others = fooling[fooling["method"] != method]
    return summarize(others.sort_values("budget", kind="stable"), ["method", "budget"], record)


def distances(rows: pd.DataFrame, *, is_rounded: bool = False) -> pd.Series:
    """SSIM distance at which each row's search fooled, infinite where it did not; as found or rounded to 8 bits."""
    ending = _ROUNDED[is_rounded]
    return rows[f"distance{ending}"].where(rows[f"is_adversarial{ending}"].eq(True), math.inf)


def search_distances(rows: pd.DataFrame, *, method: str = "ssim", is_rounded: bool = False) -> pd.DataFrame:
    """Median distance at which each search fools, infinite where most do not, and ``ratio``: the method's over it.

    The p-value is Wilcoxon's, one-sided, Holm's over the other searches; the effect is -1 where the method is always
    nearer. Rounded to 8 bits, the method's search should be the one on the 8-bit grid.
    """
    searches = attacked(rows, "smallest")
    searches = searches.assign(found=distances(searches, is_rounded=is_rounded))
    own = searches[searches["method"] == method]

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        interval = bootstrap_interval(group["found"])
        both = paired(own, group, "found")
        test = paired_test(*both, alternative="less")
        return {
            "distance": interval.value,
            "low": interval.low,
            "high": interval.high,
            "ratio": asdict(ratio_of_medians(*both)),
            "p_value": test.p_value,
            "effect": test.effect,
            **{name: float(np.median(group[name])) for name in ("gradients", "l2", "linf")},
            "num_images": len(group),
            "num_not_fooled": int(np.isinf(group["found"]).sum()),
        }

    found = summarize(searches, ["method"], record)
    if len(found):
        is_other = found["method"] != method
        found["p_value"] = found["p_value"].mask(is_other, holm(found.loc[is_other, "p_value"]))
    return found
