"""Tables say what the rows of a made study hold, in one order, and that something is not recorded."""

from __future__ import annotations

import math

import pytest
from made_rows import agreement_rows, cascade_rows, fooling_rows, search_rows

from perceptlib.analysis.claims import LIMITED, SUPPORTED, Verdict
from perceptlib.analysis.controls import control_numbers
from perceptlib.analysis.results import fooling_summary, rate_differences, search_summary
from perceptlib.analysis.tables import Table
from perceptlib.pages import study_tables
from perceptlib.study import config as study_config

NUM = 8
FOOLING = fooling_rows(
    {"l2": [[False] * 8, [True] * 4 + [False] * 4], "ssim": [[False] * 8, [True] * 8]}, budgets=(0.001, 0.01)
)
SEARCHES = search_rows({"deepfool": [0.04] * 8, "linf": [math.inf] * 8, "ssim": [0.01] * 8})


@pytest.fixture(scope="module")
def numbers() -> dict[str, dict]:
    rows = agreement_rows(NUM, {"ssim": 0.5, "random": 0.3}) + cascade_rows(NUM, {0: 0.5, 1: 0.3})
    return {"here": control_numbers(rows), "imagenet": control_numbers([])}


def cell(table: Table, row: str, column: str) -> str:
    [line] = [line for line in table.rows if line[0] == row]
    assert all(len(each) == len(table.columns) for each in table.rows)
    return line[table.columns.index(column)]


def test_every_method_of_a_study_has_a_name() -> None:
    assert {*study_config.ATTACKS, *study_config.SEARCHES, *study_config.MAPS} == set(study_tables.NAMES)
    assert len(set(study_tables.NAMES.values())) == len(study_tables.NAMES)


def test_data_sets_are_counted() -> None:
    wrong = [row | {"image": "x", "status": "misclassified before the attack"} for row in FOOLING[:1]]
    failed = [row | {"image": "y", "status": "failed: unreadable"} for row in FOOLING[:1]]
    undefined = [row | {"status": "undefined: a map without mass"} for row in agreement_rows(1, {})[:3]]
    table = study_tables.data_set_table({"here": FOOLING + wrong + failed + undefined})
    assert table.rows[0] == ("here", "10", "1", "1", "8", "3")


def test_rates_and_their_differences_are_shown_by_distance() -> None:
    table = study_tables.fooling_table({"here": fooling_summary(FOOLING)})
    assert [line[:2] for line in table.rows[:2]] == [("here: l2", "0.001"), ("here: l2", "0.01")]
    assert table.rows[1][2].startswith("0.50 (") and table.rows[1][3:] == ("0.00 (0.00 to 0.00)", "0.99000", "8")
    assert table.rows[3][0] == "here: SSIM ball" and table.rows[3][2] == "1.00 (1.00 to 1.00)"
    table = study_tables.rate_difference_table({"here": rate_differences(FOOLING)})
    assert len(table.rows) == 2 and table.rows[1][2].startswith("+0.50 (+")


def test_searches_show_ratios_and_infinite_distances() -> None:
    summary = search_summary(SEARCHES)
    table = study_tables.search_table(summary)
    assert [line[0] for line in table.rows] == ["linf", "SSIM ball", "DeepFool"]
    assert cell(table, "linf", "median distance (95 %)") == "infinite (infinite to infinite)"
    assert cell(table, "linf", "not fooled") == "8" and cell(table, "linf", "gradients") == "20"
    assert cell(table, "DeepFool", "SSIM ball over it (95 %)") == "0.25 (0.25 to 0.25)"
    assert cell(table, "DeepFool", "effect") == "-1.00" and cell(table, "SSIM ball", "effect") == ""
    both = study_tables.ratio_table({"here": summary, "digits": search_summary(SEARCHES[8:])})
    assert cell(both, "SSIM ball over DeepFool", "here") == "0.25 (0.25 to 0.25)"
    assert cell(both, "SSIM ball over DeepFool", "digits") == "not recorded"
    assert cell(both, "SSIM ball over linf", "digits") == "0.00 (0.00 to 0.00)"


def test_a_search_to_compare_with_that_is_missing_leaves_ratios_undefined() -> None:
    table = study_tables.search_table(search_summary(SEARCHES, method="ssim_8bit", is_rounded=True), method="ssim_8bit")
    assert cell(table, "SSIM ball", "median distance (95 %)") == "0.02 (0.02 to 0.02)"
    assert cell(table, "SSIM ball", "SSIM ball, 8-bit grid over it (95 %)") == "undefined"


def test_verdicts_keep_their_reason_and_fill_the_line() -> None:
    verdicts = {
        "here": (Verdict(SUPPORTED, "every check holds", ()), Verdict(LIMITED, "but one", ())),
        "together": (Verdict(LIMITED, "here", ()),),
    }
    table = study_tables.verdict_table(verdicts, ("as found", "rounded"))
    assert table.rows[0] == ("here", "supported: every check holds", "supported with limits: but one")
    assert table.rows[1] == ("together", "supported with limits: here", "")


def test_controls_are_compared_with_the_attack_and_with_another_cam(numbers: dict[str, dict]) -> None:
    table = study_tables.control_table(numbers["here"])
    assert [line[0] for line in table.rows][:5] == [
        *("linf", "l2", "SSIM ball, diagonal", "SSIM ball", "random in SSIM ball"),
    ]
    assert cell(table, "random in SSIM ball", "SSIM ball minus it (95 %)") == "+0.20 (+0.20 to +0.20)"
    assert cell(table, "random in SSIM ball", "own minus another's CAM (95 %)") == "+0.10 (+0.10 to +0.10)"
    assert cell(table, "SSIM ball", "SSIM ball minus it (95 %)") == "" and cell(table, "texture", "undefined") == "0"


def test_scores_places_falls_and_halves_are_shown(numbers: dict[str, dict]) -> None:
    metrics = study_tables.metric_table({"here": numbers["here"]["random"]}, "random")
    assert cell(metrics, "here: AUC", "paired difference (95 %)") == "+0.20 (+0.20 to +0.20)"
    assert cell(metrics, "here: AUC", "chance") == "0.50" and cell(metrics, "here: SIM", "chance") == ""
    places = study_tables.place_table(numbers["here"])
    assert cell(places, "SSIM ball", "partial correlation (95 %)").startswith("+0.50 (")
    assert cell(places, "SSIM ball", "pictures with shift p < 0.05 (95 %)").startswith("0.25 (")
    assert places.rows[-1][0] == "a map that knows nothing" and places.rows[-1][4] == "0.05"
    falls = study_tables.cascade_table({"here": numbers["here"]["cascade"]})
    assert cell(falls, "here: 1", "fall (95 %)") == "+0.20 (+0.20 to +0.20)" and cell(falls, "here: 0", "effect") == ""
    halves = study_tables.halves_table({"here": numbers["here"]["halves"]})
    assert cell(halves, "here: SSIM ball minus random in SSIM ball", "overlap") == "yes"
    assert cell(halves, "here: fall when all weights are randomised", "odd pictures (95 %)") == "0.20 (0.20 to 0.20)"


@pytest.mark.parametrize(
    "table",
    [
        study_tables.data_set_table({}),
        study_tables.fooling_table({"here": {}}),
        study_tables.rate_difference_table({"here": {}}),
        study_tables.search_table({}),
        study_tables.ratio_table({"here": {}}),
        study_tables.control_table({}),
        study_tables.control_table({"own": {}}),
        study_tables.metric_table({"here": {}}, "random"),
        study_tables.place_table({}),
        study_tables.cascade_table({"here": {}}),
        study_tables.halves_table({}),
    ],
)
def test_what_is_missing_is_said(table: Table) -> None:
    assert len(table.rows) == 1 and table.rows[0][0] == "not recorded" and len(table.rows[0]) == len(table.columns)
