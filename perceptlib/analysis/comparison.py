"""Attacks and maps compared: distances that fool, other projects' attacks, how maps agree with where the class is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.analysis.fooling import distances, fooling_rates
from perceptlib.analysis.frames import nested, paired, summarize
from perceptlib.analysis.statistics import bootstrap_interval
from perceptlib.study.localisation import SCORES

_STATISTIC = {"pointing_hit": "mean"}  # the median of hits and misses says nothing


def rates_at_distances(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of pictures fooled by each method at each budget, with its interval, and after rounding to 8 bits."""
    rates = fooling_rates(rows.assign(part="fooling"))
    return rates[["method", "budget", "rate", "low", "high", "rate_8bit"]]


def smallest_distances(rows: pd.DataFrame) -> pd.DataFrame:
    """Median distance that fools by each method with its interval, against l2's, norms, and what survives 8 bits.

    A picture that was not fooled counts as infinitely far in the median, and not in the interval; ``num_not_fooled``
    says how many. ``paired_ratio`` is the median over pictures of the method's distance over l2's.
    """
    found = rows.assign(found=distances(rows))
    l2 = found[found["method"] == "l2"]

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        is_fooled = np.isfinite(group["found"])
        interval = bootstrap_interval(group.loc[is_fooled, "found"])
        own, other = paired(group, l2, "found")
        distance = float(np.median(group["found"]))
        return {
            "distance": distance,
            "distance_low": interval.low,
            "distance_high": interval.high,
            "ratio_to_l2": distance / float(np.median(l2["found"])),
            "paired_ratio": asdict(bootstrap_interval(own / other)),
            **{name: float(np.median(group[name].astype(np.float32))) for name in ("l2", "linf")},
            "survives_8bit": float(group["is_adversarial_8bit"].mean()),
            "num_not_fooled": int((~is_fooled).sum()),
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
    """Median distance of each peer with its interval, its ratio to each other's, gradients, and survival of 8 bits.

    Of several rows of one picture (ALMA's starts) the smallest distance that fools counts, and the gradients of all. A
    picture that is not fooled counts as infinitely far; the median is NaN where it is infinite.
    """
    survives = rows["is_adversarial"] & rows["is_adversarial_8bit"]
    runs = rows.assign(best=distances(rows), survives=survives).groupby(["image", "peer"], sort=False)
    pictures = runs.agg({"best": "min", "gradients": "sum", "survives": "any"}).reset_index()

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        best, median = group["best"], float(np.median(group["best"]))
        interval = bootstrap_interval(best[np.isfinite(best)])
        return {
            "distance": median if math.isfinite(median) else math.nan,
            "distance_low": interval.low,
            "distance_high": interval.high,
            "gradients": float(group["gradients"].mean()),
            "survives_8bit": float(group["survives"].mean()),
            "num_images": len(group),
            "num_not_fooled": int(np.isinf(best).sum()),
        }

    summary = summarize(pictures, ["peer"], record)
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
    best = found.idxmin()
    return pd.DataFrame(
        {
            "start": [f"{kind} {value:g}" for kind, value in found.index],
            "distance": np.median(found, axis=1),
            "num_best": [int((best == start).sum()) for start in found.index],
        }
    )


def alma_numbers(rows: pd.DataFrame) -> dict[str, float]:
    """The SSIM ball's search against the best of ALMA's starts.

    ``distance_ratio``: its median distance over the median of ALMA's best. ``gradients_ratio``: most gradients that it
    spent on a picture over those of one run of ALMA. ``num_at_edge``: pictures on which the lowest learning rate or
    first step is the best, so that a lower one might do better.

    Raises
    ------
    ValueError
        No rows of either attack.
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
    """Median over pictures (mean for hits) of each map's scores, with its interval and the number of undefined ones."""
    scores = [name for name in (*SCORES, "energy_in_mask") if name in rows]
    long = rows.melt("method", scores, var_name="score")

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        return asdict(bootstrap_interval(group["value"], statistic=_STATISTIC.get(group["score"].iloc[0], "median")))

    return summarize(long, ["method", "score"], record)


def paired_differences(rows: pd.DataFrame, score: str, *, method: str = "ssim") -> pd.DataFrame:
    """Median over pictures of the method's score minus each other map's, with its interval.

    Raises
    ------
    ValueError
        No row has the method.
    """
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
