"""Effects of texture against plain arithmetic, and regions against the top one."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from study_samples import region_rows, scene_rows

from perceptlib.analysis.causal import (
    factorial_answers,
    factorial_effects,
    factorial_numbers,
    follows,
    region_distances,
    region_numbers,
    region_rates,
)
from perceptlib.study.localisation import CONDITIONS


def effects_of(rows: pd.DataFrame) -> pd.DataFrame:
    return factorial_effects(rows).set_index("effect")


def test_factors_of_a_product_are_its_own() -> None:
    shares = dict(zip(CONDITIONS, (2.0, 2.0 * 0.5, 2.0 * 1.5, 2.0 * 1.5 * 0.5), strict=True))
    rows = scene_rows(shares)
    effects = effects_of(rows)["value"]
    assert effects["object_texture"] == pytest.approx(1.5) and effects["background_texture"] == pytest.approx(0.5)
    assert effects["interaction"] == pytest.approx(1.0)  # which the additive scale does not see:
    assert effects["additive.interaction"] == pytest.approx(1.5 - 3 - 1 + 2)
    assert effects["background_over_object"] == pytest.approx(2 / 1.5)
    assert effects["conditions.textured/smooth"] == pytest.approx(3.0)
    found = factorial_effects(rows)
    numbers = factorial_numbers(found, factorial_answers(rows, found))["ssim"]
    assert (
        numbers["conditions"]["smooth_textured"]["value"] == 1 and numbers["additive"]["interaction"]["value"] == -0.5
    )
    assert (numbers["num_scenes"], numbers["num_left_out"], numbers["follows"]) == (60, 0, "undecided")


def test_effects_are_medians_of_contrasts_within_scenes() -> None:
    values = np.exp(np.random.default_rng(0).normal(scale=0.5, size=(60, 4)))
    smooth_smooth, smooth_textured, textured_smooth, textured_textured = np.log(values).T
    own = ((textured_smooth - smooth_smooth) + (textured_textured - smooth_textured)) / 2
    other = ((smooth_textured - smooth_smooth) + (textured_textured - textured_smooth)) / 2
    interaction = (textured_textured - smooth_textured) - (textured_smooth - smooth_smooth)
    effects = effects_of(scene_rows(values))
    for name, contrast in (("object_texture", own), ("background_texture", other), ("interaction", interaction)):
        assert effects.at[name, "value"] == pytest.approx(np.exp(np.median(contrast)))
    assert effects.at["object_texture", "low"] < 1 < effects.at["object_texture", "high"]  # there is none


@pytest.mark.parametrize(
    ("shares", "answer"),
    [
        ((3.0, 2.0, 4.0, 3.0), "the object"),
        ((1.2, 0.6, 2.5, 1.1), "the texture"),
        ((0.9, 2.2, 0.2, 0.8), "the smooth part"),
        ((1.0, 1.0, 1.0, 1.0), "undecided"),
        ((3.0, 0.9, 0.9, 3.0), "undecided"),
    ],
)
def test_follows_is_read_from_the_intervals(shares: tuple[float, ...], answer: str) -> None:
    ends = {"low": np.subtract(shares, 0.05), "high": np.add(shares, 0.05)}
    assert follows(pd.DataFrame({"effect": [f"conditions.{name}" for name in CONDITIONS], **ends})) == answer


def test_misclassified_scenes_are_left_out_and_undefined_ones_counted() -> None:
    rows = scene_rows(dict.fromkeys(CONDITIONS, 2.0), count=10)
    rows.loc[5, ["is_named_rightly", "over_chance"]] = [False, 99.0]  # scene 1, one condition of four
    rows.loc[8, "over_chance"] = math.nan
    effects = effects_of(rows)
    assert effects.at["conditions.smooth/smooth", "num_undefined"] == 1
    assert effects.at["object_texture", "num_undefined"] == 1 and effects.at["object_texture", "value"] == 1
    answers = factorial_answers(rows, factorial_effects(rows))
    assert answers[["num_scenes", "num_left_out"]].to_numpy().tolist() == [[9, 1]]
    nobody = factorial_effects(rows.assign(is_named_rightly=False)).set_index("effect")
    assert math.isnan(nobody.at["object_texture", "value"])
    nothing = effects_of(scene_rows({name: 0.0 if name == "smooth/smooth" else 2.0 for name in CONDITIONS}))
    assert nothing.at["object_texture", "value"] == math.inf  # infinitely far below chance
    with pytest.raises(ValueError, match="scene 9 has 3 of 4 conditions; pass all rows of it"):
        factorial_effects(rows[:-1])


def test_regions_are_held_to_the_top_one() -> None:
    rows = region_rows({"bottom": 2.0, "top": 1.0, "random": math.inf})
    distances, rates = region_distances(rows), region_rates(rows)
    assert distances["region"].tolist() == ["top", "bottom", "random"]
    assert distances["ratio_to_top.value"].tolist() == pytest.approx([1, 2, math.inf])
    assert distances.at[1, "p_value"] < 1e-6 and distances["area"].tolist() == [0.2] * 3
    assert distances["num_not_fooled"].tolist() == [0, 0, 60]
    by_region = rates.set_index("region")
    assert by_region.at["bottom", "below_top.value"] == by_region.at["top", "value"] - by_region.at["bottom", "value"]
    numbers = region_numbers(distances, rates)
    assert numbers["bottom"]["rates"]["5e-01"]["below_top"]["value"] > 0
    assert math.isnan(numbers["random"]["distance"])
