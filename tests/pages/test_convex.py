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


def test_benchmark_table_shows_rows_and_growth() -> None:
    lines = [{"row": "l2", "seconds": 2.0, "ratio": 1.0, "repeats": 3, "peak_mib": 10.4}]
    lines += [{"row": "exponent of peak_mib in size", "value": 1.04}]
    benchmark = {
        "tables": {"maximize_loss: 10 steps": lines, "P1": [{"row": "cvxpy", "seconds": 2.0, "ratio": 1496.2}]}
    }
    shown = [line.split() for line in repr(page.benchmark_table(benchmark, "maximize_loss")).splitlines()]
    assert shown[1:] == [["l2", "2", "1", "10"], ["exponent", "of", "memory", "in", "size", "1.04"]]
    without_memory = page.benchmark_table(benchmark, "P1")
    assert list(without_memory.data) == ["P1", "median seconds", "ratio to the first"]
    assert repr(without_memory).split()[-3:] == ["cvxpy", "2", "1496"]
    with pytest.raises(ValueError, match="no table starts with 'memory'; maximize_loss: 10 steps, P1 are there"):
        page.benchmark_table(benchmark, "memory")


def test_claim_b_table_has_a_column_for_each_form() -> None:
    entry = {"step_ratio": 1.1, "objective_median": 0.995, "objective_worst": 0.96, "distance_ratio": 1.05}
    entry |= {"num_images": 4, "num_not_fooled": 0, "verdict": "supported"}
    shown = page.claim_b_table({"diagonal": entry, "five": entry})
    assert list(shown.data) == ["rule", "diagonal", "5 CG steps"]
    assert repr(shown).splitlines()[-1].split() == ["claim", "B", "supported", "supported"]
