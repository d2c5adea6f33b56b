"""Rates and distances of rows whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from study_samples import fooling_rows, search_rows

from perceptlib.analysis.fooling import fooling_rates, rate_differences, search_distances


def test_rates_and_differences() -> None:
    rows = fooling_rows({"ssim": 0.4, "l2": 0.1}, rounded=0.5)
    rates = fooling_rates(rows).set_index(["method", "budget"])
    assert rates["rate"].tolist() == pytest.approx([0.4, 0.8, 0.1, 0.2])
    assert rates.loc[("ssim", 1e-4), "rate_8bit"] == pytest.approx(0.4)
    assert rates.loc[("l2", 1e-5), "low"] < 0.1 < rates.loc[("l2", 1e-5), "high"]
    assert rates.loc[("l2", 1e-5), "mean_ssim"] == pytest.approx(1 - 1e-5)
    differences = rate_differences(rows)
    assert differences["method"].tolist() == ["l2", "l2"] and differences["budget"].tolist() == [1e-5, 1e-4]
    assert differences["value"].tolist() == pytest.approx([0.3, 0.6]) and differences.at[0, "low"] > 0.2
    assert differences.at[0, "value_8bit"] == pytest.approx(0.15)


def test_search_ratios_know_their_factor() -> None:
    rows = search_rows({"ssim": 1e-5, "l2": 3e-5, "deepfool": math.inf, "linf": 1e-5})
    found = search_distances(rows).set_index("method")
    assert found.at["l2", "ratio.value"] == pytest.approx(1 / 3, rel=0.1) and found.at["l2", "ratio.high"] < 1
    assert found.at["l2", "effect"] == -1
    assert found.at["deepfool", "num_not_fooled"] == 100 and found.at["deepfool", "distance"] == math.inf
    assert found.at["deepfool", "ratio.value"] == 0
    assert found.at["linf", "ratio.low"] < 1 < found.at["linf", "ratio.high"]
    by_method = {name: group["distance"].to_numpy() for name, group in rows.groupby("method")}
    raw = {
        name: stats.wilcoxon(by_method["ssim"] - by_method[name], alternative="less").pvalue for name in ("l2", "linf")
    }
    # Holm over l2, DeepFool and linf: the largest is left alone
    assert found.at["linf", "p_value"] == pytest.approx(raw["linf"])
    assert found.at["l2", "p_value"] == pytest.approx(3 * raw["l2"])


def test_rounded_search_counts_what_survives() -> None:
    rows = search_rows({"ssim": 1.0, "l2": 3.0}, survives=0.25)
    assert not search_distances(rows)["num_not_fooled"].any()
    found = search_distances(rows, is_rounded=True).set_index("method")
    assert found["num_not_fooled"].tolist() == [75, 75] and np.isinf(found["distance"]).all()
    assert math.isnan(found.at["l2", "ratio.value"])  # infinite over infinite


def test_what_is_missing_is_empty_or_undefined() -> None:
    assert fooling_rates(search_rows({"l2": 1.0})).empty and search_distances(fooling_rows({"l2": 0.1})).empty
    found = search_distances(search_rows({"l2": 1.0}), method="ssim_8bit", is_rounded=True)
    assert math.isfinite(found.at[0, "distance"]) and math.isnan(found.at[0, "ratio.value"])
