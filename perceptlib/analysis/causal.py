"""Causal tests in frames: texture changed and the rest kept, and the attack kept to one region of the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perceptlib.analysis.comparison import compared_distances, distances, num_fooled
from perceptlib.analysis.frames import attacked, nested, paired, summarize
from perceptlib.analysis.statistics import Interval, bootstrap_interval, difference_of_rates
from perceptlib.study.config import REGIONS
from perceptlib.study.localisation import CONDITIONS

# Weights of the conditions' values in each contrast.
_CONTRASTS = {
    "object_texture": np.array([-0.5, -0.5, 0.5, 0.5]),
    "background_texture": np.array([-0.5, 0.5, -0.5, 0.5]),
    "interaction": np.array([1.0, -1.0, -1.0, 1.0]),
}


def region_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Fooling rate from each region at each budget, and ``below_top``: how far it is below the top region's, paired."""
    attacks = _regions(rows).dropna(subset="budget")
    top = attacks[attacks["region"] == "top"]

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        own, others = paired(group, top, "is_adversarial", on=("image", "budget"))
        rate = bootstrap_interval(group["is_adversarial"], statistic="mean")
        return asdict(rate) | {"below_top": asdict(difference_of_rates(others, own))}

    return summarize(attacks, ["region", "budget"], record)


def region_distances(rows: pd.DataFrame) -> pd.DataFrame:
    """Median distance that fools from each region, and ``ratio_to_top``: its ratio to the top region's, paired."""
    searches = _regions(rows)
    searches = searches[searches["budget"].isna()].assign(found=distances)
    top = searches[searches["region"] == "top"]

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        both = paired(group, top, "found")
        compared = compared_distances(group["found"], *both, "ratio_to_top", alternative="greater")
        return {"area": float(np.median(group["mask_share"]))} | compared | num_fooled(group["found"])

    return summarize(searches, ["region"], record)


def region_numbers(distances: pd.DataFrame, rates: pd.DataFrame) -> dict[str, Any]:
    """`region_distances` and `region_rates` as ``numbers.json`` has them: by region, its rates by budget inside."""
    by_budget = nested(rates, "region", "budget")
    return {
        region: entry | {"rates": by_budget.get(region, {})} for region, entry in nested(distances, "region").items()
    }


def factorial_effects(rows: pd.DataFrame) -> pd.DataFrame:
    """What texture does to the object's share of each method's map: medians over correctly classified scenes.

    "conditions.smooth/textured": share over chance of a smooth object before a textured background. "object_texture",
    "background_texture", "interaction": contrasts within a scene, as factors on the share, the better scale to compare
    scenes (a share over chance cannot exceed one over the object's area); "background_over_object": how many times as
    much the background's texture moves it as the object's own, up or down. "additive.object_texture" and the like: in
    units of chance. No scale is free of interaction for every map; read it on both.
    """
    found = []
    for method, own in rows.groupby("method", sort=False):
        values, _ = _scenes(own)
        with np.errstate(divide="ignore", invalid="ignore"):  # a share of 0 is infinitely far below chance
            logarithms = np.log(values)
            factors = {name: logarithms @ weights for name, weights in _CONTRASTS.items()}
            behind, before = (
                np.sign(bootstrap_interval(factors[name]).value) * factors[name]
                for name in ("background_texture", "object_texture")
            )
            factors["background_over_object"] = behind - before
        effects = {
            **{f"conditions.{name}": bootstrap_interval(values[:, place]) for place, name in enumerate(CONDITIONS)},
            **{name: _factor(bootstrap_interval(effect)) for name, effect in factors.items()},
            **{f"additive.{name}": bootstrap_interval(values @ weights) for name, weights in _CONTRASTS.items()},
        }
        found += [{"method": method, "effect": name} | asdict(interval) for name, interval in effects.items()]
    return pd.DataFrame(found)


def factorial_answers(rows: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """What each method's map follows, by `follows`; the scenes compared, and those left out as misclassified."""

    def record(own: pd.DataFrame) -> Mapping[str, Any]:
        values, num_left_out = _scenes(own)
        answer = follows(effects[effects["method"] == own["method"].iloc[0]])
        return {"follows": answer, "num_scenes": len(values), "num_left_out": num_left_out}

    return summarize(rows, ["method"], record)


def follows(effects: pd.DataFrame) -> str:
    """What a map follows: "the object", if its share is above chance in all four conditions.

    "the texture": below chance for a smooth object before a textured background and above it for the reverse; "the
    smooth part": the other way round. Else "undecided". Decided by the ends of the intervals.
    """
    conditions = effects.set_index("effect").loc[[f"conditions.{name}" for name in CONDITIONS]]
    if (conditions["low"] > 1).all():
        return "the object"
    against, along = (conditions.loc[f"conditions.{name}"] for name in ("smooth/textured", "textured/smooth"))
    if against["high"] < 1 < along["low"]:
        return "the texture"
    return "the smooth part" if along["high"] < 1 < against["low"] else "undecided"


def factorial_numbers(effects: pd.DataFrame, answers: pd.DataFrame) -> dict[str, Any]:
    """`factorial_effects` and `factorial_answers` as ``numbers.json`` has them, by method."""
    said = nested(answers, "method")
    return {method: entry | said[method] for method, entry in nested(effects, "method", "effect").items()}


def _regions(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of regions, the top's first."""
    regions = attacked(rows, "regions")
    return regions.sort_values("region", key=lambda names: names.map(REGIONS.index), kind="stable")


def _scenes(rows: pd.DataFrame) -> tuple[NDArray[np.float64], int]:
    """Share over chance, (scenes, conditions), of one method's correctly classified scenes; how many were left out."""
    scenes = rows.groupby("scene", sort=False)
    for scene, size in scenes.size().items():
        if size != len(CONDITIONS):
            raise ValueError(f"scene {scene} has {size} of {len(CONDITIONS)} conditions; pass all rows of it")
    is_kept = scenes["is_named_rightly"].all()
    condition = rows["object_texture"] + "/" + rows["background_texture"]
    table = rows.assign(condition=condition).pivot(index="scene", columns="condition", values="over_chance")
    kept = table.loc[is_kept.index[is_kept], list(CONDITIONS)]
    return np.ascontiguousarray(kept, dtype=float), int((~is_kept).sum())


def _factor(logarithm: Interval) -> Interval:
    low, value, high = (math.exp(end) for end in (logarithm.low, logarithm.value, logarithm.high))
    return replace(logarithm, value=value, low=low, high=high)
