from __future__ import annotations

import pytest
import torch
from study_samples import problem_rows

from perceptlib.analysis import programs as analysis
from perceptlib.pages import convex as page
from perceptlib.ssim import Window
from perceptlib.study.programs import KINDS, Problem, random_problem

ROWS = problem_rows()


@pytest.fixture(scope="module")
def problem() -> Problem:
    return random_problem(KINDS[2], side=16, seed=0)


def test_agreement_and_distance_tables_have_a_line_for_each_group() -> None:
    agreement = page.agreement_table(ROWS).data
    assert agreement["variables"].tolist() == [432, 768, 3072]
    assert (agreement[["problems", "optimal"]] == 2).all(axis=None)
    assert page.distance_table(ROWS).data[["budget", "beyond 1.05"]].to_numpy().tolist() == [[0.001, 0], [0.01, 3]]


def test_summaries_show_as_tables_and_times_as_lines() -> None:
    assert repr(page.box_table(analysis.box_summary(ROWS))).splitlines()[1].split()[-2:] == ["3.0e-02", "3.0e-02"]
    assert "not recorded" in repr(page.box_table({"problems": 0}))
    assert repr(page.steps_table(analysis.steps_summary(ROWS))).splitlines()[1].split() == ["5", "0.9987", "0.9977"]
    assert len(page.speed_figure(analysis.solving_times(ROWS)).axes[0].lines) == 2
    assert "too few problems" in repr(page.verdict_table({"here": analysis.claim_a_verdict(ROWS)}))


def test_exact_histories_and_rows(problem: Problem) -> None:
    histories = page.exact_histories(problem, 0.001, steps=2)
    corrected = histories[histories["frozen"] == "gain_gradient"]
    assert corrected["programs"].tolist() == [1, 2, 3]
    assert corrected["stationarity"].iloc[-1] < corrected["stationarity"].iloc[0]
    assert len(page.history_figure(histories).axes[0].lines) == 2
    rows = page.exact_rows([problem], [0.001, 0.01], steps=1)
    assert (rows["gain_gradient"] >= 0).all()
    assert page.exact_table(rows).data["budget"].tolist() == [0.001, 0.01]


def test_window_balls_are_flat_and_the_ssim_ball_is_not(problem: Problem) -> None:
    window = Window(size=5, sigma=1.0)
    perturbations = page.window_perturbations(problem, 0.01, window=window, size=4)
    maps = page.window_maps(problem, perturbations, window=window, size=4)
    assert all(values.shape == (16, 16) for values in maps.values())
    assert float(maps["disjoint"].max()) == pytest.approx(0.01, rel=1e-9)
    found = page.flatness(maps)
    assert found.loc["disjoint", "variation"] < 1e-9
    assert found.loc["overlapping", "variation"] < 0.5 * found.loc["ssim", "variation"]
    assert found.loc["ssim", "top_share"] > found.loc["overlapping", "top_share"] >= 0.19
    assert page.flatness_table(found).data["ball"].tolist() == list(page.WINDOW_NAMES.values())
    panels = page.window_panels(problem, maps)
    assert [panel.values.ndim for panel in panels] == [3, 2, 2, 2]
    assert torch.equal(panels[1].values, maps["ssim"])


def test_largest_difference_of_program_and_closed_form_is_rounding(problem: Problem) -> None:
    assert page.largest_difference(problem, 0.01, size=5) < 1e-6
