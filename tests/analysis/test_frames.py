"""What is left of a study's rows, pairs in one order, and numbers as JSON has them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from study_samples import fooling_rows, together, unattacked

from perceptlib.analysis.frames import attacked, counts, nested, over, paired, summarize
from perceptlib.records import plain


def test_unattacked_pictures_are_counted_and_not_compared() -> None:
    rows = together(
        fooling_rows({"ssim": 0.5}, num_images=10),
        unattacked("fooling", "wrong", "misclassified before the attack"),
        unattacked("fooling", "broken", "failed: no picture"),
    )
    assert len(attacked(rows, "fooling")) == 20 and attacked(rows, "smallest").empty
    assert counts(rows) == {"num_images": 12, "num_misclassified": 1, "num_failed": 1, "num_compared": 10}


def test_pairs_are_those_of_both_in_the_first_one_s_order() -> None:
    first = pd.DataFrame({"image": ["c", "a", "b"], "score": [3.0, 1.0, 2.0]})
    second = pd.DataFrame({"image": ["a", "d", "c"], "score": [10.0, 40.0, math.nan]})
    own, other = paired(first, second, "score")
    assert own.tolist() == [3.0, 1.0]
    np.testing.assert_equal(other.tolist(), [math.nan, 10.0])


def test_a_summary_is_a_row_a_group_in_order_of_appearance() -> None:
    rows = pd.DataFrame({"method": ["l2", "ssim", "l2"], "value": [1, 5, 3]})
    found = over({"b": rows, "none": rows[:0], "a": rows[1:2]}, lambda frame: summarize(frame, ["method"], _record))
    assert found.to_dict("list") == {
        "data_set": ["b", "b", "a"],
        "method": ["l2", "ssim", "ssim"],
        "sum": [4, 5, 5],
        "all.least": [1, 5, 5],
    }


def _record(group: pd.DataFrame) -> dict[str, object]:
    return {"sum": int(group["value"].sum()), "all": {"least": int(group["value"].min())}}


def test_numbers_are_nested_by_keys_and_by_dots() -> None:
    frame = pd.DataFrame({"method": ["smooth/textured"], "budget": [1e-5], "num": [3], "ratio.value": [math.inf]})
    numbers = nested(frame, "method", "budget")
    entry = numbers["smooth_textured"]["1e-05"]
    assert entry["budget"] == 1e-5 and entry["num"] == 3 and type(entry["num"]) is int
    assert math.isnan(entry["ratio"]["value"]) and plain(numbers)["smooth_textured"]["1e-05"]["ratio"]["value"] is None
    assert nested(frame[:0], "method") == {}
