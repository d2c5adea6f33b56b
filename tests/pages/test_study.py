"""Page 06: its small study, and that tables and figures show what the frames say."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shown import cell, dots
from study_samples import fooling_rows, search_rows, together, unattacked

from perceptlib.analysis.claims import LIMITED, NOT_TESTABLE, SUPPORTED, Verdict
from perceptlib.pages import study as page
from perceptlib.pages.shared import NAMES
from perceptlib.records import plain
from perceptlib.study import config as study_config

ROWS = together(
    fooling_rows({"l2": 0.25, "ssim": 0.5, "linf": 0.0}, num_images=8),
    search_rows({"deepfool": 4.0, "linf": math.inf, "ssim": 1.0}, num_images=8, scatter=0),
)
FOUND = page.summaries({"here": ROWS, "digits": ROWS[ROWS["method"] != "deepfool"]})


def test_run_here_keeps_each_configuration_apart_and_finds_it_again(tmp_path: Path) -> None:
    empty: dict[str, Any] = dict.fromkeys(("searches", "maps", "cascade", "regions"), ())
    small = {"num_images": 2, "attacks": ("linf",), "budgets": (0.01,), "steps": 1, "limits": {}}
    config = replace(study_config.STUDIES["shapes"], **empty, **small)
    rows = page.run_here(config, tmp_path)
    assert len(rows) == 2
    pd.testing.assert_frame_equal(page.run_here(config, tmp_path), rows)
    assert len(page.run_here(replace(config, budgets=(0.01, 0.02)), tmp_path)) == 4
    assert len(list((tmp_path / "study").iterdir())) == 2


def test_every_method_has_a_name_of_its_own() -> None:
    assert {*study_config.ATTACKS, *study_config.SEARCHES, *study_config.MAPS} == set(NAMES)
    assert len(set(NAMES.values())) == len(NAMES)


def test_data_sets_are_counted() -> None:
    wrong = unattacked("fooling", "wrong", "misclassified before the attack")
    undefined = unattacked("agreement", "picture 0", "undefined: no map")
    table = page.data_set_table({"here": together(ROWS, wrong, undefined)})
    assert [cell(table, "here", name) for name in ("pictures", "misclassified", "failed", "compared")] == [
        *("9", "1", "0", "8")
    ]
    assert cell(table, "here", "rows with an undefined score") == "1"


def test_numbers_and_verdicts_are_those_of_the_frames() -> None:
    verdicts = page.verdicts(FOUND)
    assert list(verdicts) == ["here", "digits", "recorded_together"]
    assert verdicts["here"][0].verdict != NOT_TESTABLE == verdicts["digits"][0].verdict
    assert verdicts["recorded_together"][0].verdict == NOT_TESTABLE
    numbers = plain(page.numbers(FOUND, verdicts))
    assert numbers["here"]["differences"]["l2"]["1e-05"]["value"] == 0.25
    assert numbers["here"]["searches"]["deepfool"]["ratio"]["value"] == pytest.approx(0.25)
    assert numbers["here"]["searches"]["linf"]["distance"] is None  # infinite
    assert numbers["digits"]["counts"]["num_compared"] == 8
    assert numbers["verdicts"]["here_0"]["verdict"] == verdicts["here"][0].verdict
    assert list(page.verdicts(page.summaries({"here": ROWS}))) == ["here", "together"]


def test_tables_show_the_frames() -> None:
    table = page.difference_table(FOUND["differences"])
    assert table.data.iloc[0].tolist()[:3] == ["here: SSIM ball minus linf", 1e-5, "+0.50 (+0.12 to +0.88)"]
    assert page.rate_table(FOUND["fooling"]).data.iloc[2].tolist() == [
        *("here: l2", 1e-5, "0.25 (0.00 to 0.62)", "0.25 (0.00 to 0.62)", 1 - 1e-5, 8)
    ]
    table = page.search_table(FOUND["searches"], "here")
    assert table.data["search"].tolist() == ["linf", "SSIM ball", "DeepFool"]
    assert cell(table, "linf", "median distance (95 %)") == "infinite"
    assert cell(table, "linf", "not fooled") == "8" and cell(table, "linf", "gradients") == "30"
    assert cell(table, "DeepFool", "SSIM ball over it (95 %)") == "0.25 (0.25 to 0.25)"
    assert cell(table, "DeepFool", "effect") == "-1.00" and cell(table, "SSIM ball", "effect") == ""
    both = page.ratio_table(FOUND["searches"])
    assert cell(both, "SSIM ball over DeepFool", "here") == "0.25 (0.25 to 0.25)"
    assert cell(both, "SSIM ball over DeepFool", "digits") == "not recorded"
    rounded = page.search_table(FOUND["searches_8bit"], "here", method="ssim_8bit")  # no search on the 8-bit grid
    assert cell(rounded, "SSIM ball", "SSIM ball, 8-bit grid over it (95 %)") == "undefined"
    assert page.search_table(FOUND["searches"], "imagenet").data.iloc[0, 0] == "not recorded"
    assert page.rate_table(page.summaries({})["fooling"]).data.iloc[0, 0] == "not recorded"


def test_verdicts_keep_their_reason_and_fill_the_line() -> None:
    verdicts = {
        "here": (Verdict(SUPPORTED, "every check holds", ()), Verdict(LIMITED, "but one", ())),
        "recorded_together": (Verdict(LIMITED, "here", ()),),
    }
    table = page.verdict_table(verdicts, ("as found", "rounded"))
    assert cell(table, "here", "rounded") == "supported with limits: but one"
    assert cell(table, "recorded together", "as found") == "supported with limits: here"


def test_fooling_curves_have_every_rate_before_and_after_rounding() -> None:
    rates = page.summaries({"here": fooling_rows({"l2": 0.25, "ssim": 0.5}, num_images=8, rounded=0)})["fooling"]
    figure = page.fooling_curves(rates)
    figure.savefig(io.BytesIO())
    before, after = figure.axes
    assert [field.get_title() for field in figure.axes] == ["here, as found", "here, rounded to 8 bits"]
    lines = [line for line in before.lines if len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in lines] == [[0.25, 0.5], [0.5, 1.0]]
    assert all((line.get_ydata() == 0).all() for line in after.lines if len(line.get_xdata()))
    places = np.array([line.get_xdata() for line in lines])
    assert np.abs(np.log(places / [1e-5, 1e-4])).max() < 0.1 and len(set(places[:, 0])) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["l2", "SSIM ball"]
    assert figure.frame is not None and figure.frame["rate_8bit"].tolist() == [0, 0, 0, 0]


def test_distances_chart_draws_an_arrow_where_most_are_not_fooled() -> None:
    figure = page.distances_chart(FOUND["searches"], FOUND["searches_8bit"])
    figure.savefig(io.BytesIO())
    field = figure.axes[0]
    assert [label.get_text() for label in field.get_yticklabels()] == ["linf", "SSIM ball", "DeepFool"]
    distances = FOUND["searches"].set_index(["data_set", "method"])["distance"]
    found = {place: (value, marker) for value, place, marker, is_hollow in dots(field) if not is_hollow}
    assert [found[place - 0.13][1] for place in range(3)] == [">", "o", "v"]
    assert found[1 - 0.13][0] == distances["here", "ssim"] and found[-0.13][0] > distances["here", "deepfool"]
    assert figure.frame is not None and np.isinf(figure.frame["distance"]).sum() == 4  # of the CSV, not cut off
