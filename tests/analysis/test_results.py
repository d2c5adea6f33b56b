"""Summaries of rows whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from study_samples import agreement_rows, cascade_rows, fooling_rows, region_rows, search_rows, unattacked

from perceptlib.analysis import results


def test_fooling_rates_and_differences() -> None:
    rows = fooling_rows({"ssim": 0.4, "l2": 0.1}, rounded=0.5)
    summary = results.fooling_summary(rows)
    assert summary["ssim"]["1e-05"]["rate"] == pytest.approx(0.4)
    assert summary["ssim"]["1e-04"]["rate"] == pytest.approx(0.8)
    assert summary["ssim"]["1e-04"]["rate_8bit"] == pytest.approx(0.4)
    assert summary["l2"]["1e-05"]["low"] < 0.1 < summary["l2"]["1e-05"]["high"]
    assert summary["l2"]["1e-05"]["mean_ssim"] == pytest.approx(1 - 1e-5)
    difference = results.rate_differences(rows)["l2"]["1e-05"]
    assert difference["value"] == pytest.approx(0.3)
    assert difference["low"] > 0.2
    assert difference["value_8bit"] == pytest.approx(0.15)
    assert "ssim" not in results.rate_differences(rows)


def test_unattacked_pictures_are_counted_and_not_compared() -> None:
    rows = fooling_rows({"ssim": 0.5}, num_images=10)
    rows.append(unattacked("fooling", "ssim", "wrong", "misclassified before the attack"))
    rows.append(unattacked("fooling", "ssim", "broken", "failed: no picture"))
    assert results.fooling_summary(rows)["ssim"]["1e-05"]["num_images"] == 10
    assert results.counts(rows) == {
        "num_images": 12,
        "num_misclassified": 1,
        "num_failed": 1,
        "num_compared": 10,
    }


def test_search_ratios_know_their_factor() -> None:
    rows = search_rows({"ssim": 1e-5, "l2": 3e-5, "deepfool": math.inf, "linf": 1e-5})
    summary = results.search_summary(rows)
    assert summary["l2"]["ratio"]["value"] == pytest.approx(1 / 3, rel=0.1)
    assert summary["l2"]["ratio"]["high"] < 1
    assert summary["l2"]["effect"] == -1
    assert summary["deepfool"]["num_not_fooled"] == 100
    assert summary["deepfool"]["distance"] == math.inf
    assert summary["deepfool"]["ratio"]["value"] == 0
    assert summary["linf"]["ratio"]["low"] < 1 < summary["linf"]["ratio"]["high"]
    assert summary["linf"]["p_value"] > 0.05 > summary["l2"]["p_value"]
    own = [row["distance"] for row in rows if row["method"] == "ssim"]
    raw = [
        stats.wilcoxon(np.subtract(own, [row["distance"] for row in rows if row["method"] == name]), alternative="less")
        for name in ("l2", "linf")
    ]
    # Holm over l2, DeepFool and linf: the largest is left alone
    assert summary["linf"]["p_value"] == pytest.approx(raw[1].pvalue)
    assert summary["l2"]["p_value"] == pytest.approx(3 * raw[0].pvalue)


def test_rounded_search_counts_what_survives() -> None:
    rows = search_rows({"ssim": 1.0, "l2": 3.0}, survives=0.25)
    assert results.search_summary(rows)["ssim"]["num_not_fooled"] == 0
    summary = results.search_summary(rows, is_rounded=True)
    assert summary["ssim"]["num_not_fooled"] == 75
    assert summary["ssim"]["distance"] == math.inf
    assert math.isnan(summary["l2"]["ratio"]["value"])  # infinite over infinite


def test_scores_and_their_tests() -> None:
    rows = agreement_rows({"ssim": 0.4, "l2": 0.3, "random": 0.4})
    summary = results.score_summary(rows, ["energy_in_top_q", "pointing_hit"], statistics={"pointing_hit": "mean"})
    assert summary["l2"]["energy_in_top_q"]["value"] == pytest.approx(0.3, abs=0.01)
    assert summary["l2"]["pointing_hit"]["value"] == pytest.approx(0.3)
    tests = results.score_tests(rows, "energy_in_top_q")
    assert tests["l2"]["value"] == pytest.approx(0.1, abs=0.01)
    assert tests["l2"]["p_value"] < 1e-6 < 0.01 < tests["random"]["p_value"]
    assert tests["l2"]["num_pairs"] == 100
    both = rows + agreement_rows({"ssim": 0.25}, cam="another", seed=5)
    own = results.own_against_another(both, "energy_in_top_q")
    assert own["value"] == pytest.approx(0.15, abs=0.02)


def test_cascade_falls() -> None:
    summary = results.cascade_summary(cascade_rows({0: 0.4, 1: 0.38, 20: 0.2}))
    assert list(summary) == ["0", "1", "20"]
    assert summary["0"]["fall"] is None
    assert summary["20"]["fall"]["value"] == pytest.approx(0.2, abs=0.02)
    assert summary["20"]["fall"]["p_value"] < 1e-6


def test_regions_are_held_to_the_top_one() -> None:
    summary = results.region_summary(region_rows({"top": 1.0, "bottom": 2.0}))
    assert summary["bottom"]["ratio_to_top"]["value"] == pytest.approx(2.0)
    assert summary["top"]["ratio_to_top"]["value"] == pytest.approx(1.0)
    assert summary["bottom"]["p_value"] < 1e-6
    assert summary["bottom"]["rates"]["1e+00"]["below_top"]["value"] > 0
    assert summary["top"]["area"] == 0.2
