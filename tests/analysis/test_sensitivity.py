"""Scores of invented settings with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from study_samples import setting_rows

from perceptlib.analysis.sensitivity import one_field_away, ranges, setting_numbers, setting_scores
from perceptlib.records import plain
from perceptlib.study.sensitivity import Setting

BASE = Setting()
SMALL, GRID = Setting(window="uniform 7"), Setting(window="uniform 7", budget=0.01)


def test_scores_are_medians_and_paired_differences() -> None:
    rows = setting_rows({BASE: 0.4, SMALL: 0.3})
    scores = setting_scores(rows)
    assert scores["label"].tolist() == ["base", "window uniform 7"]
    own, other = (rows[name][:30] for name in ("energy_in_top_q", "random_energy_in_top_q"))
    entry = scores.loc[0]
    assert entry["energy_in_top_q.value"] == np.median(own)
    assert entry["beyond_energy_in_top_q.value"] == pytest.approx(np.median(own - other))
    assert entry["beyond_energy_in_top_q.value"] != pytest.approx(np.median(own) - np.median(other), abs=1e-4)
    assert entry["fooling_rate.value"] == pytest.approx(0.2) and entry["num_images"] == 30


def test_undefined_pictures_are_counted() -> None:
    rows = setting_rows({BASE: 0.4})
    rows.loc[:1, "energy_in_top_q"] = float("nan")
    entry = setting_scores(rows.replace({"layer": {"": None}})).loc[0]  # as a file has an empty layer
    assert entry["energy_in_top_q.num_undefined"] == entry["beyond_energy_in_top_q.num_undefined"] == 2
    assert entry["random_energy_in_top_q.num_undefined"] == 0 and entry["layer"] == ""


def test_labels_say_what_is_changed() -> None:
    changed = {"components": "luminance", "coupling": "diagonal", "colour": "luma", "steps": 5, "q": 0.1}
    changed |= {"cam_method": "grad-cam++", "layer": "features.5", "cam_class": "random"}
    settings = [BASE, GRID, *(Setting(**{name: value}) for name, value in changed.items())]
    assert setting_scores(setting_rows(dict.fromkeys(settings, 0.4)))["label"].tolist() == [
        *("base", "budget 0.01, window uniform 7", "luminance alone", "diagonal coupling", "luma ball", "5 steps"),
        *("top 10%", "Grad-CAM++", "layer features.5", "CAM of random class"),
    ]
    back = Setting(components="luminance", colour="luma", steps=5, layer="a")
    labels = setting_scores(setting_rows({back: 0.4, BASE: 0.4}))["label"]
    assert labels[1] == "both components, channels apart, 1 step, layer last"


def test_one_field_away_groups_and_leaves_the_grid_out() -> None:
    settings = [BASE, SMALL, GRID, Setting(budget=0.01), Setting(window="uniform 5")]
    near = one_field_away(setting_scores(setting_rows(dict.fromkeys(settings, 0.4))))
    assert near["label"].tolist() == ["base", "window uniform 7", "window uniform 5", "budget 0.01"]


def test_ranges_are_of_one_option_and_the_base() -> None:
    (entry,) = ranges(setting_scores(setting_rows({BASE: 0.4, SMALL: 0.24, GRID: 0.9}))).to_dict("records")
    assert entry["option"] == "window"
    assert (entry["lowest.setting"], entry["highest.setting"]) == ("window uniform 7", "window gaussian 11 1.5")
    assert (entry["num_above"], entry["num_settings"]) == (1, 2)  # 0.24 is not above 0.25


def test_numbers_have_names_that_json_holds() -> None:
    numbers = setting_numbers(setting_scores(setting_rows({BASE: 0.4, GRID: 0.3})))
    assert list(plain(numbers)) == ["base", "budget_0_01_window_uniform_7"]
    assert set(numbers["base"]["spearman"]) == {"value", "low", "high", "num_values", "num_undefined"}
