"""Claim D's controls on rows whose differences are known, and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_rows import agreement_rows, cascade_rows
from scipy import stats

from perceptlib.analysis.controls import (
    METRICS,
    control_numbers,
    halves,
    metric_tests,
    own_cam_tests,
    partial_tests,
    shift_shares,
)

NUM = 16
ROWS = agreement_rows(NUM, {"ssim": 0.5, "random": 0.3, "texture": 0.6})


def test_metric_tests_know_the_paired_difference_and_which_side_is_better() -> None:
    tests = metric_tests(ROWS, "random")
    assert set(tests) == set(METRICS)
    for metric, entry in tests.items():
        assert entry["value"] == entry["low"] == entry["high"] == pytest.approx(0.2), metric
        assert entry["own"]["value"] == pytest.approx(0.5) and entry["other"]["value"] == pytest.approx(0.3)
        assert entry["effect"] == 1 and entry["num_pairs"] == NUM
    assert tests["kl"]["p_value"] > 0.99  # less is better, and it is more
    own, other = (
        [row["auc"] for row in ROWS if row["method"] == method and row["cam"] == "cam"] for method in ("ssim", "random")
    )
    single = stats.wilcoxon(np.subtract(own, other), alternative="greater").pvalue
    assert tests["auc"]["p_value"] == pytest.approx(len(METRICS) * single)  # Holm: the smallest of ten


def test_metric_tests_take_the_mean_of_hits() -> None:
    rows = [row | {"pointing_hit": float(row["position"] < 4)} for row in ROWS]
    assert metric_tests(rows, "random", metrics=["pointing_hit"])["pointing_hit"]["own"]["value"] == 0.25


def test_own_cam_is_above_another_s_by_what_was_made() -> None:
    for entry in own_cam_tests(ROWS).values():
        assert entry["value"] == pytest.approx(0.1) and entry["effect"] == 1 and entry["p_value"] < 0.01


def test_partial_tests_agree_with_scipy_up_to_holm() -> None:
    rows = agreement_rows(NUM, {"ssim": 0.03}, cams=["cam"])
    rows = [row for row in rows if row["method"] == "ssim"]
    entry = partial_tests(rows)["ssim"]
    values = [row["partial_spearman"] for row in rows]
    assert entry["p_value"] == pytest.approx(stats.wilcoxon(values, alternative="greater").pvalue)
    assert entry["value"] == pytest.approx(np.median(values))


def test_shift_shares_count_small_p_values_and_undefined_ones() -> None:
    rows = [row | {"shift_p_value": math.nan} if row["position"] in (0, 1) else row for row in ROWS]
    share = shift_shares(rows)["ssim"]
    assert (share["num_values"], share["num_undefined"]) == (NUM - 2, 2)
    assert share["value"] == pytest.approx(3 / 14)  # positions 4, 8 and 12 of the other 14


def test_halves_share_no_picture_and_tell_intervals_apart() -> None:
    rows = [
        row | {"energy_in_top_q": row["energy_in_top_q"] + 0.3}
        if row["position"] % 2 and row["method"] == "ssim"
        else row
        for row in ROWS
    ] + cascade_rows(NUM, {0: 0.5, 1: 0.4, 3: 0.3})
    found = halves(rows)
    assert found["minus_random"]["even"]["value"] == pytest.approx(0.2)
    assert found["minus_random"]["odd"]["value"] == pytest.approx(0.5)
    assert found["minus_random"]["is_overlapping"] is False and found["score"]["is_overlapping"] is False
    assert found["partial"]["is_overlapping"] is True
    assert found["fall"]["even"]["value"] == pytest.approx(0.2) and found["fall"]["is_overlapping"] is True


def test_halves_of_one_picture_each_have_no_interval() -> None:
    found = halves(agreement_rows(2, {"ssim": 0.5}))
    assert found["minus_random"]["is_overlapping"] is None


def test_missing_parts_give_empty_numbers() -> None:
    numbers = control_numbers(cascade_rows(4, {0: 0.5, 2: 0.3}))
    assert numbers["own"] == numbers["partial"] == numbers["shifts"] == numbers["own_cam"] == {}
    assert numbers["random"] == numbers["squared_gradient"] == numbers["differences"] == {}
    assert set(numbers["halves"]) == {"fall"} and set(numbers["cascade"]) == {"0", "2"}
