"""Claim D's controls on rows whose differences are known, and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from study_samples import agreement_rows, cascade_rows, together

from perceptlib.analysis import controls
from perceptlib.analysis.controls import METRICS

NUM = 16
BOTH = ("cam", "another")
ROWS = agreement_rows({"ssim": 0.5, "random": 0.3, "texture": 0.6}, num_images=NUM, cams=BOTH, noise=0)


def test_scores_and_their_differences() -> None:
    rows = agreement_rows({"ssim": 0.4, "l2": 0.3, "random": 0.4})
    scores = controls.map_scores(rows).set_index("method")
    own = rows[rows["method"] == "l2"]["energy_in_top_q"]
    assert scores.at["l2", "value"] == own.median() and scores.at["l2", "low"] < 0.3 < scores.at["l2", "high"]
    tests = controls.score_differences(rows).set_index("method")
    assert list(tests.index) == ["l2", "random"] and tests.at["l2", "value"] == pytest.approx(0.1, abs=0.01)
    assert tests.at["l2", "p_value"] < 1e-6 < 0.01 < tests.at["random", "p_value"]
    assert tests["num_pairs"].tolist() == [100, 100]


def test_metrics_know_the_paired_difference_and_which_side_is_better() -> None:
    tests = controls.metric_differences(ROWS, "random").set_index("score")
    assert set(tests.index) == set(METRICS)
    assert tests[["value", "low", "high"]].to_numpy() == pytest.approx(0.2)
    medians = tests.drop("pointing_hit")
    assert medians["own.value"].to_numpy() == pytest.approx(0.5)
    assert medians["other.value"].to_numpy() == pytest.approx(0.3)
    assert (tests["effect"] == 1).all() and (tests["num_pairs"] == NUM).all()
    assert tests.at["kl", "p_value"] > 0.99  # less is better, and it is more
    own, other = (ROWS.query(f"cam == 'cam' and method == '{name}'")["auc"].to_numpy() for name in ("ssim", "random"))
    single = stats.wilcoxon(own - other, alternative="greater").pvalue
    assert tests.at["auc", "p_value"] == pytest.approx(len(METRICS) * single)  # Holm: the smallest of ten
    hits = ROWS.assign(pointing_hit=(ROWS["position"] < 4).astype(float))
    assert controls.metric_differences(hits, "random").set_index("score").at["pointing_hit", "own.value"] == 0.25


def test_own_cam_is_above_another_s_by_what_was_made() -> None:
    tests = controls.own_cam_differences(ROWS)
    assert tests["value"].to_numpy() == pytest.approx(0.1) and (tests["p_value"] < 0.01).all()


def test_partial_correlation_agrees_with_scipy() -> None:
    rows = agreement_rows({"ssim": 0.5}, partial=0.03, num_images=NUM)
    (entry,) = controls.partial_correlations(rows).to_dict("records")
    values = rows["partial_spearman"]
    assert entry["p_value"] == pytest.approx(stats.wilcoxon(values, alternative="greater").pvalue)
    assert entry["value"] == pytest.approx(np.median(values))


def test_shift_shares_count_small_p_values_and_undefined_ones() -> None:
    rows = ROWS.assign(shift_p_value=ROWS["shift_p_value"].mask(ROWS["position"] < 2))
    share = controls.shift_shares(rows).set_index("method").loc["ssim"]
    assert (share["num_values"], share["num_undefined"]) == (NUM - 2, 2)
    assert share["value"] == pytest.approx(3 / 14)  # positions 4, 8 and 12 of the other 14


def test_cascade_falls() -> None:
    rows = cascade_rows({0: 0.4, 1: 0.38, 20: 0.2})
    scores, falls = controls.cascade_scores(rows), controls.cascade_falls(rows)
    assert scores["stage"].tolist() == [0, 1, 20] and falls["stage"].tolist() == [1, 20]
    assert falls.at[1, "value"] == pytest.approx(0.2, abs=0.02) and falls.at[1, "p_value"] < 1e-6
    numbers = controls.cascade_numbers(scores, falls)
    assert numbers["0"]["fall"] is None and numbers["20"]["fall"]["num_pairs"] == 100 and numbers["20"]["stage"] == 20


def test_halves_share_no_picture_and_tell_intervals_apart() -> None:
    is_moved = (ROWS["position"] % 2 == 1) & (ROWS["method"] == "ssim")
    moved = ROWS.assign(energy_in_top_q=ROWS["energy_in_top_q"] + 0.3 * is_moved)
    falling = cascade_rows({0: 0.5, 1: 0.4, 3: 0.3}, num_images=NUM, noise=0)
    found = controls.halves(together(moved, falling)).set_index("number")
    assert found.at["minus_random", "even.value"] == pytest.approx(0.2)
    assert found.at["minus_random", "odd.value"] == pytest.approx(0.5)
    assert found["is_overlapping"].to_dict() == {
        **{"score": False, "minus_random": False, "minus_texture": False, "partial": True, "fall": True}
    }
    assert found.at["fall", "even.value"] == pytest.approx(0.2)
    one_each = controls.halves(agreement_rows({"ssim": 0.5, "l2": 0.4}, num_images=2)).set_index("number")
    assert one_each.at["minus_l2", "is_overlapping"] is None


def test_missing_parts_give_empty_frames() -> None:
    found = controls.control_summaries(cascade_rows({0: 0.5, 2: 0.3}, num_images=4))
    assert {name for name, frame in found.items() if len(frame)} == {"cascade", "falls", "halves"}
    assert found["halves"]["number"].tolist() == ["fall"]
