from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_samples import fooling_rows, search_rows

from perceptlib.analysis import comparison
from perceptlib.study.localisation import SCORES


def frame(**rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows by method, each of a picture of its own."""
    return pd.DataFrame(
        [
            {"method": method, "image": str(place)} | row
            for method, each in rows.items()
            for place, row in enumerate(each)
        ]
    )


def found(distance: float, is_adversarial: bool = True, survives: bool = False, **more: Any) -> dict[str, Any]:
    norms = {"l2": 10 * distance, "linf": distance, "mean_ssim": 0.9, "status": "ok"}
    return {"distance": distance, "is_adversarial": is_adversarial, "is_adversarial_8bit": survives} | norms | more


def test_rates_are_shares() -> None:
    fooled = [(True, True), (True, False), (False, False), (True, False)]
    [rate] = comparison.rates_at_distances(frame(l2=[found(0.1, *each, budget=0.01) for each in fooled])).to_dict(
        "records"
    )
    assert (rate["method"], rate["budget"], rate["rate"], rate["rate_8bit"]) == ("l2", 0.01, 0.75, 0.25)
    assert 0 <= rate["low"] <= 0.75 <= rate["high"] <= 1


def test_smallest_distances_count_a_picture_that_was_not_fooled_as_infinitely_far() -> None:
    rows = frame(
        l2=[found(0.2), found(0.4), found(0.8)],
        ssim=[found(0.1, survives=True), found(0.3), found(0.01, is_adversarial=False)],
    )
    summary = comparison.smallest_distances(rows).set_index("method").T
    assert summary["ssim"]["distance"] == 0.3 and summary["ssim"]["num_not_fooled"] == 1
    assert summary["ssim"]["ratio_to_l2"] == pytest.approx(0.75)
    assert summary["ssim"]["paired_ratio.value"] == pytest.approx(0.75)  # of 0.5, 0.75 and infinity
    assert summary["ssim"]["survives_8bit"] == pytest.approx(1 / 3)
    assert summary["l2"]["l2"] == pytest.approx(4.0) and summary["l2"]["ratio_to_l2"] == 1


def test_shares_rise_from_zero_to_the_share_fooled() -> None:
    shares = comparison.shares_fooled(frame(l2=[found(0.4), found(0.1), found(0.2, is_adversarial=False), found(0.3)]))
    assert shares["distance"].tolist() == [0.1, 0.1, 0.3, 0.4] and shares["share"].tolist() == [0, 0.25, 0.5, 0.75]


def peer(name: str, image: str, distance: float, *, fooled: bool = True, rounded: bool = False, **more: Any) -> Any:
    row = {"peer": name, "image": image, "distance": distance, "is_adversarial": fooled}
    return row | {"is_adversarial_8bit": rounded, "gradients": 10} | more


def test_peer_summary_takes_the_best_of_several_runs_and_all_their_gradients() -> None:
    rows = [peer("alma", "a", 4.0), peer("alma", "a", 2.0, rounded=True), peer("alma", "a", 0.1, fooled=False)]
    rows += [peer("alma", "b", 6.0), peer("ssim", "a", 1.0), peer("ssim", "b", 1.0)]
    numbers = comparison.peer_numbers(comparison.peer_summary(pd.DataFrame(rows)))
    assert numbers["alma"]["distance"] == 4.0  # of 2 and 6
    assert numbers["alma"]["gradients"] == 20  # (30 + 10) / 2
    assert numbers["alma"]["survives_8bit"] == 0.5
    assert numbers["ssim"]["ratio_to_alma"] == 0.25 and "ratio_to_ssim" not in numbers["ssim"]


def test_peer_summary_counts_a_failure_as_infinitely_far() -> None:
    [row] = comparison.peer_summary(
        pd.DataFrame([peer("l2", name, 1.0, fooled=name == "a") for name in "abc"])
    ).to_dict("records")
    assert math.isnan(row["distance"]) and row["num_not_fooled"] == 2


def test_our_distance_is_held_against_the_best_start_of_each_picture() -> None:
    rows = [peer("ssim", name, distance) for name, distance in zip("abc", (1.0, 2.0, 3.0), strict=True)]
    tried = {
        ("learning_rate", 0.1): (60.0, 0.1, 70.0),  # 0.1 is near, and does not fool
        ("learning_rate", 0.3): (40.0, 80.0, 90.0),
        ("first_distance", 1e-4): (50.0, 30.0, 20.0),
        ("first_distance", 1e-5): (55.0, 10.0, 95.0),
    }
    for (kind, value), distances in tried.items():
        for name, distance in zip("abc", distances, strict=True):
            rows.append(peer("alma", name, distance, fooled=distance > 1, gradients=200, **{kind: value}))
    starts = comparison.start_summary(comparison.alma_distances(pd.DataFrame(rows)))
    assert starts.to_numpy().tolist() == [
        ["learning rate 0.3", 80.0, 1],
        ["learning rate 0.1", 70.0, 0],
        ["first step 0.0001", 30.0, 1],
        ["first step 1e-05", 55.0, 1],
    ]
    assert comparison.alma_numbers(pd.DataFrame(rows)) == {
        "distance_ratio": 0.1,  # 2 over the median of 40, 10, 20
        "gradients_ratio": 0.05,
        "num_at_edge": 1,
        "num_images": 3,
    }


def test_start_numbers_need_both_attacks() -> None:
    with pytest.raises(ValueError, match="there are no rows of alma or of ssim; pass rows_of_peers with both"):
        comparison.alma_numbers(pd.DataFrame([peer("ssim", "a", 1.0)]))


def test_summary_takes_medians_and_the_share_of_hits() -> None:
    values = [(0.1, 1.0), (0.2, 0.0), (0.9, 0.0), (math.nan, 0.0)]
    scores = [dict.fromkeys(SCORES, 0.5) | {"spearman": value, "pointing_hit": hit} for value, hit in values]
    summary = comparison.score_summary(frame(ssim=scores)).set_index("score")
    assert set(summary.index) == set(SCORES)
    assert summary["value"]["spearman"] == 0.2 and summary["num_undefined"]["spearman"] == 1
    assert summary["value"]["pointing_hit"] == 0.25


def test_differences_are_taken_picture_by_picture() -> None:
    values = {"ssim": [0.1, 0.6, 0.9], "random": [0.0, 0.5, 0.2], "l2": [0.1, math.nan, 0.9]}
    rows = frame(**{method: [{"spearman": value} for value in each] for method, each in values.items()})
    differences = comparison.paired_differences(rows, "spearman").set_index("method")
    assert list(differences.index) == ["random", "l2"]
    assert differences["value"]["random"] == pytest.approx(0.1, abs=1e-6)
    assert (differences["value"]["l2"], differences["num_undefined"]["l2"]) == (0, 1)
    with pytest.raises(ValueError, match="no row has method = 'l3'; check the spelling"):
        comparison.paired_differences(rows, "spearman", method="l3")


def test_share_of_the_object_is_a_median_where_it_is_known() -> None:
    assert comparison.object_share(frame(ssim=[{"mask_share": share} for share in (0.5, 0.25, 0.75)])) == 0.5
    assert math.isnan(comparison.object_share(frame(ssim=[{}])))


def test_rates_and_differences() -> None:
    rows = fooling_rows({"ssim": 0.4, "l2": 0.1}, rounded=0.5)
    rates = comparison.fooling_rates(rows).set_index(["method", "budget"])
    assert rates["rate"].tolist() == pytest.approx([0.4, 0.8, 0.1, 0.2])
    assert rates.loc[("ssim", 1e-4), "rate_8bit"] == pytest.approx(0.4)
    assert rates.loc[("l2", 1e-5), "low"] < 0.1 < rates.loc[("l2", 1e-5), "high"]
    assert rates.loc[("l2", 1e-5), "mean_ssim"] == pytest.approx(1 - 1e-5)
    differences = comparison.rate_differences(rows)
    assert differences["method"].tolist() == ["l2", "l2"] and differences["budget"].tolist() == [1e-5, 1e-4]
    assert differences["value"].tolist() == pytest.approx([0.3, 0.6]) and differences.at[0, "low"] > 0.2
    assert differences.at[0, "value_8bit"] == pytest.approx(0.15)


def test_search_ratios_know_their_factor() -> None:
    rows = search_rows({"ssim": 1e-5, "l2": 3e-5, "deepfool": math.inf, "linf": 1e-5})
    found = comparison.search_distances(rows).set_index("method")
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
    assert not comparison.search_distances(rows)["num_not_fooled"].any()
    found = comparison.search_distances(rows, is_rounded=True).set_index("method")
    assert found["num_not_fooled"].tolist() == [75, 75] and np.isinf(found["distance"]).all()
    assert math.isnan(found.at["l2", "ratio.value"])  # infinite over infinite


def test_what_is_missing_is_empty_or_undefined() -> None:
    assert comparison.fooling_rates(search_rows({"l2": 1.0})).empty
    assert comparison.search_distances(fooling_rows({"l2": 0.1})).empty
    found = comparison.search_distances(search_rows({"l2": 1.0}), method="ssim_8bit", is_rounded=True)
    assert math.isfinite(found.at[0, "distance"]) and math.isnan(found.at[0, "ratio.value"])
