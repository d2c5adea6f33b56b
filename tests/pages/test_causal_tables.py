"""Tables of the causal tests, from rows with known answers."""

from __future__ import annotations

import math

from study_samples import region_rows
from test_factorial import rows_of

from perceptlib.pages.causal import region_summaries
from perceptlib.pages.causal_tables import effect_table, follows_table, plain_numbers, region_table
from perceptlib.records import plain
from perceptlib.study.factorial import factorial_summary

TWINS = {
    "here": factorial_summary(rows_of(lambda name, _: 2.0 * 0.5 ** name.endswith("textured"))),
    "recorded": factorial_summary(rows_of(lambda name, _: 3.0)),
}
REGIONS = region_summaries({"here": region_rows({"bottom": 2.0, "top": 1.0, "random": math.inf})})


def test_effects_on_both_scales() -> None:
    rows = effect_table(TWINS).rows
    assert [row[0] for row in rows] == ["here", "recorded"]
    assert rows[0][1:4] == ("1.00 (1.00 to 1.00)", "0.50 (0.50 to 0.50)", "1.00 (1.00 to 1.00)")
    assert rows[0][4] == "2.00 (2.00 to 2.00)"  # the background's, over none
    assert rows[0][6] == "-1.00 (-1.00 to -1.00)" and rows[0][-1] == "60 (0 named wrongly)"


def test_follows_has_a_column_for_each_summary() -> None:
    table = follows_table(TWINS | {"other": {}})
    assert table.columns == ("map", "here", "recorded", "other")
    assert table.rows == (("SSIM ball", "undecided", "the object", "not recorded"),)


def test_regions_against_the_top() -> None:
    rows = region_table(REGIONS).rows
    assert [row[:3] for row in rows] == [
        ("here", "top of the CAM", "20%"),
        ("here", "bottom of the CAM", "20%"),
        ("here", "random", "20%"),
    ]
    assert rows[0][4] == rows[0][6] == ""  # the top against itself says nothing
    assert rows[1][6] == "2.00 (2.00 to 2.00)" and rows[1][4].startswith("+")
    assert rows[2][5] == "infinite (infinite to infinite)"


def test_numbers_are_what_json_holds() -> None:
    numbers = plain_numbers({"twins": TWINS["here"], "regions": REGIONS["here"]})
    assert "smooth_textured" in numbers["twins"]["ssim"]["conditions"]
    assert math.isnan(numbers["regions"]["random"]["distance"])
    assert plain(numbers)["regions"]["random"]["distance"] is None
