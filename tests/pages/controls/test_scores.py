"""Page 07: what the tables, the forest plot and the numbers say is what the frames say."""

from __future__ import annotations

import io

import pytest
from shown import cell, dots
from study_samples import agreement_rows, cascade_rows, together

from perceptlib.analysis.causal import factorial_effects
from perceptlib.analysis.claims import claim_d
from perceptlib.pages.controls import scores as page
from perceptlib.records import plain
from perceptlib.study.config import MAPS

NUM = 28  # tied differences of up to 13 pictures, half of a study, would be permuted one by one
ENERGIES = dict.fromkeys(MAPS, 0.2) | {"ssim": 0.5, "random": 0.3}
SCORED = agreement_rows(ENERGIES, num_images=NUM, partial=0.5, cams=("cam", "another"), noise=0)
ROWS = together(SCORED, cascade_rows({0: 0.5, 1: 0.3}, num_images=NUM, noise=0))
FOUND = page.summaries({"here": ROWS, "digits": SCORED})


def test_controls_are_compared_with_the_attack_and_with_another_cam() -> None:
    table = page.control_table(FOUND, "here")
    first = ["linf", "l2", "SSIM ball, diagonal", "SSIM ball", "multi-scale ball", "random in SSIM ball"]
    assert table.data["map"].tolist()[:6] == first
    assert cell(table, "random in SSIM ball", "SSIM ball minus it (95 %)") == "+0.20 (+0.20 to +0.20)"
    assert cell(table, "random in SSIM ball", "own minus another's CAM (95 %)") == "+0.10 (+0.10 to +0.10)"
    assert cell(table, "SSIM ball", "SSIM ball minus it (95 %)") == "" and cell(table, "texture", "undefined") == "0"


def test_scores_places_falls_and_halves_are_shown() -> None:
    metrics = page.metric_table(FOUND["random"], "random", ["here"])
    assert cell(metrics, "here: AUC", "paired difference (95 %)") == "+0.20 (+0.20 to +0.20)"
    assert cell(metrics, "here: AUC", "chance") == "0.50" and cell(metrics, "here: SIM", "chance") == ""
    places = page.place_table(FOUND, "here")
    assert cell(places, "SSIM ball", "partial correlation (95 %)").startswith("+0.50 (")
    assert cell(places, "SSIM ball", "pictures with shift p < 0.05 (95 %; chance 0.05)").startswith("0.25 (")
    falls = page.cascade_table(FOUND)
    assert cell(falls, "here: 1", "fall (95 %)") == "+0.20 (+0.20 to +0.20)" and cell(falls, "here: 0", "effect") == ""
    halves = page.halves_table(FOUND["halves"], ["here", "digits"])
    assert cell(halves, "here: SSIM ball minus random in SSIM ball", "overlap") == "yes"
    assert cell(halves, "here: fall when all weights are randomised", "odd pictures (95 %)") == "0.20 (0.20 to 0.20)"


def test_what_is_missing_is_said() -> None:
    nothing = page.summaries({"here": ROWS[:0]})
    tables = [page.control_table(nothing, "here"), page.place_table(nothing, "here"), page.cascade_table(nothing)]
    tables += [page.metric_table(nothing["random"], "random", ["here"]), page.halves_table(nothing["halves"], ["here"])]
    assert [table.data.shape[0] for table in tables] == [1] * 5
    assert {table.data.iloc[0, 0] for table in tables} == {"not recorded"}


def test_numbers_are_nested_by_data_set() -> None:
    verdicts = page.verdicts({"here": ROWS, "digits": SCORED}, num_scenes=0)
    numbers = plain(page.numbers(FOUND, verdicts))
    assert set(numbers) == {"here", "digits", "verdicts"} and numbers["digits"]["cascade"] == {}
    assert numbers["here"]["own"]["random"]["energy_in_top_q"]["value"] == pytest.approx(0.3)
    assert numbers["here"]["cascade"]["0"]["fall"] is None
    assert numbers["here"]["halves"]["score"]["is_overlapping"] is True


def test_scenes_are_computed_unless_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "recorded_factorial", lambda: None)
    assert repr(page.verdicts({"here": ROWS}, num_scenes=0)) == repr({"here": claim_d(ROWS, None)})
    made = []
    monkeypatch.setattr(page, "factorial_effects", lambda rows: made.append(rows) or factorial_effects(rows))
    page.verdicts({"here": ROWS}, num_scenes=2, seed=1)
    assert made[0]["scene"].nunique() == 2


def test_forest_plot_has_a_filled_and_a_hollow_dot_for_each_map() -> None:
    figure = page.forest_plot(FOUND)
    figure.savefig(io.BytesIO())
    field = figure.axes[0]
    assert [axes.get_title() for axes in figure.axes] == ["here", "digits"]
    names = [label.get_text() for label in field.get_yticklabels()]
    place = names.index("random in SSIM ball")
    found = {round(height, 2): (value, is_hollow) for value, height, _, is_hollow in dots(field)}
    assert found[round(place - 0.13, 2)] == (pytest.approx(0.3), False)
    assert found[round(place + 0.17, 2)] == (pytest.approx(0.2), True)
    assert [0.2, 0.2] in [list(line.get_xdata()) for line in field.lines]  # chance
    assert figure.frame is not None and len(figure.frame) == 2 * 2 * len(MAPS)


def test_cascade_has_the_stages_in_order() -> None:
    figure = page.cascade_curve(FOUND["cascade"])
    (field,) = figure.axes
    assert [label.get_text() for label in field.get_xticklabels()] == ["0", "1"]
    assert list(field.lines[0].get_ydata()) == pytest.approx([0.5, 0.3])
