"""Attacks and maps compared: fooling rates, distances that fool, other projects' attacks, agreement with CAMs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.analysis.frames import attacked, nested, paired, summarize
from perceptlib.analysis.statistics import bootstrap_interval, difference_of_rates, holm, paired_test, ratio_of_medians
from perceptlib.study.localisation import SCORES

_ROUNDED = ("", "_8bit")  # endings of the columns of pictures as found, and rounded to 8 bits


def fooling_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Rate of each method at each budget, as found and rounded to 8 bits, and the median of mean SSIM."""

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        found: dict[str, float] = {}
        for ending in _ROUNDED:
            rate = bootstrap_interval(group[f"is_adversarial{ending}"], statistic="mean")
            found |= {f"rate{ending}": rate.value, f"low{ending}": rate.low, f"high{ending}": rate.high}
        return found | {"mean_ssim": float(np.median(group["mean_ssim"])), "num_images": len(group)}

    return summarize(attacked(rows, "fooling"), ["method", "budget"], record)


def rates_at_distances(rows: pd.DataFrame) -> pd.DataFrame:
    """`fooling_rates` of rows that are of no study."""
    rates = fooling_rates(rows.assign(part="fooling"))
    return rates[["method", "budget", "rate", "low", "high", "rate_8bit"]]


def rate_differences(rows: pd.DataFrame) -> pd.DataFrame:
    """The SSIM ball's rate minus each other method's at each budget, paired, as found and rounded to 8 bits."""
    fooling = attacked(rows, "fooling").sort_values("budget", kind="stable")
    is_own = fooling["method"] == "ssim"

    def record(others: pd.DataFrame) -> Mapping[str, Any]:
        found: dict[str, float] = {}
        for ending in _ROUNDED:
            both = paired(fooling[is_own], others, f"is_adversarial{ending}", on=("image", "budget"))
            found |= {f"{name}{ending}": value for name, value in asdict(difference_of_rates(*both)).items()}
        return found

    return summarize(fooling[~is_own], ["method", "budget"], record)


def distances(rows: pd.DataFrame, *, is_rounded: bool = False) -> pd.Series:
    """SSIM distance at which each row's search fooled, infinite where it did not; as found or rounded to 8 bits."""
    ending = _ROUNDED[is_rounded]
    return rows[f"distance{ending}"].where(rows[f"is_adversarial{ending}"].eq(True), math.inf)


def search_distances(rows: pd.DataFrame, *, method: str = "ssim", is_rounded: bool = False) -> pd.DataFrame:
    """Median distance at which each search fools, infinite where most do not, and ``ratio``: the method's over it.

    P-values are adjusted over the other searches; the effect is -1 where the method is always nearer. Rounded to 8
    bits, the method's search should be the one on the 8-bit grid.
    """
    searches, own = _searches(rows, method, is_rounded)

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        costs = {name: float(np.median(group[name])) for name in ("gradients", "l2", "linf")}
        compared = compared_distances(group["found"], *paired(own, group, "found"), "ratio", alternative="less")
        return compared | costs | num_fooled(group["found"])

    found = summarize(searches, ["method"], record)
    if len(found):
        is_other = found["method"] != method
        found["p_value"] = found["p_value"].mask(is_other, holm(found.loc[is_other, "p_value"]))
    return found


def search_ratios(rows: pd.DataFrame, *, method: str = "ssim", is_rounded: bool = False) -> pd.DataFrame:
    """The ratios of `search_distances` alone, which a verdict needs, in a fraction of the time."""
    searches, own = _searches(rows, method, is_rounded)
    return summarize(
        searches, ["method"], lambda group: {"ratio": asdict(ratio_of_medians(*paired(own, group, "found")))}
    )


def _searches(rows: pd.DataFrame, method: str, is_rounded: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All searches with the distance that they ``found``, and those of one method."""
    searches = attacked(rows, "smallest")
    searches = searches.assign(found=distances(searches, is_rounded=is_rounded))
    return searches, searches[searches["method"] == method]


def compared_distances(
    found: pd.Series, first: pd.Series, second: pd.Series, name: str, *, alternative: str
) -> dict[str, Any]:
    """Median distance with its interval, and under a name the ratio of two, paired, with a one-sided test."""
    interval, test = bootstrap_interval(found), paired_test(first, second, alternative=alternative)
    return {
        **{"distance": interval.value, "low": interval.low, "high": interval.high},
        name: asdict(ratio_of_medians(first, second)),
        **{"p_value": test.p_value, "effect": test.effect},
    }


def num_fooled(found: pd.Series) -> dict[str, int]:
    """How many pictures were searched, and how many were not fooled."""
    return {"num_images": len(found), "num_not_fooled": int(np.isinf(found).sum())}


def smallest_distances(rows: pd.DataFrame) -> pd.DataFrame:
    """Median distance that fools by each method, beside l2's, with norms, and what survives rounding to 8 bits.

    A picture that was not fooled counts as infinitely far in the median, and not in the interval.
    """
    found = rows.assign(found=distances(rows))
    l2 = found[found["method"] == "l2"]

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        own, other = paired(group, l2, "found")
        return {
            **(median := _median_distance(group["found"])),
            "ratio_to_l2": median["distance"] / float(np.median(l2["found"])),
            "paired_ratio": asdict(bootstrap_interval(own / other)),
            **{name: float(np.median(group[name].astype(np.float32))) for name in ("l2", "linf")},
            "survives_8bit": float(group["is_adversarial_8bit"].mean()),
            "num_not_fooled": num_fooled(group["found"])["num_not_fooled"],
        }

    return summarize(found, ["method"], record)


def shares_fooled(rows: pd.DataFrame) -> pd.DataFrame:
    """Distances of each method in rising order, and the ``share`` of its pictures fooled up to each, from 0 on."""
    found = pd.DataFrame({"method": rows["method"], "distance": distances(rows)}).sort_values("distance", kind="stable")
    by_method = found.groupby("method")["distance"]
    found["share"] = (by_method.cumcount() + 1) / by_method.transform("size")
    found = found[np.isfinite(found["distance"]) & (found["distance"] > 0)]
    return pd.concat([found.drop_duplicates("method").assign(share=0.0), found], ignore_index=True)


def peer_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Median distance of each peer, its ratio to each other's, gradients, and survival of 8 bits.

    Of several rows of one picture (ALMA's starts) the smallest distance that fools counts, and the gradients of all;
    else as `smallest_distances`, but the median is NaN where it is infinite.
    """
    survives = rows["is_adversarial"] & rows["is_adversarial_8bit"]
    runs = rows.assign(best=distances(rows), survives=survives).groupby(["image", "peer"], sort=False)
    pictures = runs.agg({"best": "min", "gradients": "sum", "survives": "any"}).reset_index()

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        means = {"gradients": group["gradients"].mean(), "survives_8bit": group["survives"].mean()}
        return _median_distance(group["best"]) | means | num_fooled(group["best"])

    summary = summarize(pictures, ["peer"], record)
    summary["distance"] = summary["distance"].where(np.isfinite(summary["distance"]))
    for other, distance in summary.set_index("peer")["distance"].items():
        ratio = summary["distance"] / distance
        summary[f"ratio_to_{other}"] = ratio.where((summary["peer"] != other) & (distance > 0))
    return summary


def peer_numbers(summary: pd.DataFrame) -> dict[str, Any]:
    """`peer_summary` for JSON, without the ratios that are undefined."""
    return {
        peer: {name: value for name, value in entry.items() if not (name.startswith("ratio") and math.isnan(value))}
        for peer, entry in nested(summary, "peer").items()
    }


def alma_distances(rows: pd.DataFrame) -> pd.DataFrame:
    """Distance at which ALMA fools each picture (columns) from each start (rows), infinite where it does not."""
    alma = rows[rows["peer"] == "alma"]
    alma = alma.reindex(columns=[*alma, *{"learning_rate", "first_distance"}.difference(alma)])
    has_rate = alma["first_distance"].isna()
    kinds = has_rate.map({True: "learning rate", False: "first step"}).rename("kind")
    sizes = alma["learning_rate"].where(has_rate, alma["first_distance"]).rename("value")
    found = distances(alma).groupby([kinds, sizes, alma["image"]]).min().unstack("image", fill_value=math.inf)
    return found.sort_index(ascending=False)


def start_summary(found: pd.DataFrame) -> pd.DataFrame:
    """Of `alma_distances`, each start's median distance, and on how many pictures it is the best."""
    best = found.idxmin().value_counts().reindex(found.index, fill_value=0)
    starts = [f"{kind} {value:g}" for kind, value in found.index]
    return pd.DataFrame({"start": starts, "distance": np.median(found, axis=1), "num_best": best.to_numpy()})


def alma_numbers(rows: pd.DataFrame) -> dict[str, float]:
    """The SSIM ball's search against the best of ALMA's starts; ValueError without rows of either.

    ``gradients_ratio``: most gradients that it spent on a picture over those of one run of ALMA. ``num_at_edge``:
    pictures on which the lowest learning rate or first step is the best, so that a lower one might do better.
    """
    alma, ours = (rows[rows["peer"] == peer] for peer in ("alma", "ssim"))
    if alma.empty or ours.empty:
        raise ValueError("there are no rows of alma or of ssim; pass rows_of_peers with both among its peers")
    found = alma_distances(rows)
    lowest = found.index.to_frame(index=False).groupby("kind")["value"].min()
    return {
        "distance_ratio": float(np.median(distances(ours)) / np.median(found.min())),
        "gradients_ratio": float(ours["gradients"].max() / alma["gradients"].max()),
        "num_at_edge": sum(start in set(lowest.items()) for start in found.idxmin()),
        "num_images": found.shape[1],
    }


def score_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Median over pictures of each map's scores; of hits the mean: their median says nothing."""
    scores = [name for name in (*SCORES, "energy_in_mask") if name in rows]

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        is_hit = group["score"].iloc[0] == "pointing_hit"
        return asdict(bootstrap_interval(group["value"], statistic="mean" if is_hit else "median"))

    return summarize(rows.melt("method", scores, var_name="score"), ["method", "score"], record)


def paired_differences(rows: pd.DataFrame, score: str, *, method: str = "ssim") -> pd.DataFrame:
    """Median over pictures of the method's score minus each other map's; ValueError where no row has the method."""
    own = rows[rows["method"] == method]
    if own.empty:
        raise ValueError(f"no row has method = {method!r}; check the spelling")

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        first, second = (values.astype(np.float32) for values in paired(own, group, score))
        return asdict(bootstrap_interval(first - second))

    return summarize(rows[rows["method"] != method], ["method"], record)


def object_share(rows: pd.DataFrame) -> float:
    """Median share of the pictures that the object covers (the lower of two); NaN where it is not known."""
    if "mask_share" not in rows:
        return math.nan
    return float(rows["mask_share"].astype(np.float32).quantile(interpolation="lower"))


def _median_distance(found: pd.Series) -> dict[str, float]:
    interval = bootstrap_interval(found[np.isfinite(found)])
    return {"distance": float(np.median(found)), "distance_low": interval.low, "distance_high": interval.high}
