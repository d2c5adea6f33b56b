"""What the page on the convex programs shows, from few small problems and made-up rows."""

from __future__ import annotations

import math

import pytest
import torch

from perceptlib.analysis.tables import Row
from perceptlib.pages import convex as convex_examples
from perceptlib.ssim import Window
from perceptlib.study.programs import KINDS, Problem, random_problem

ROWS: list[Row] = [
    {
        "variables": size,
        "side": size,
        "kind": KINDS[0],
        "seed": 0,
        "cg5_ratio": 1 - 1 / size,
        "cg15_ratio": 1.0,
        "status": "optimal",
        "budget": budget,
        "gap": 1e-9,
        "dual_residual": 1e-7,
        "fast_loss": 1e-8,
        "solve_seconds": 1e-6 * size**2,
        "fast_seconds": 1e-6 * size,
        "distance_over_budget": 1.0 + budget * 10,
        "held_pixels": held,
        "clipped_loss": 0.03,
        "refilled_loss": 0.01,
    }
    for size, held in ((432, 0.0), (768, 0.1), (3072, 0.2))
    for budget in (0.001, 0.01)
]


@pytest.fixture(scope="module")
def problem() -> Problem:
    return random_problem(KINDS[2], side=16, seed=0)


def test_agreement_and_distance_tables_have_a_line_for_each_group() -> None:
    table = convex_examples.agreement_table(ROWS)
    assert [line[:3] for line in table.rows] == [("432", "2", "2"), ("768", "2", "2"), ("3072", "2", "2")]
    distances = convex_examples.distance_table(ROWS)
    assert [line[0] for line in distances.rows] == ["0.001", "0.01"]
    assert [line[-1] for line in distances.rows] == ["0 of 3", "3 of 3"]


def test_exponent_is_the_power() -> None:
    curves = convex_examples.speed_curves(ROWS)
    assert convex_examples.exponent(curves["l2"]) == pytest.approx(2)
    assert convex_examples.exponent(curves["ssim"]) == pytest.approx(1)
    summary = convex_examples.speed_summary(curves)
    assert summary["largest"] == 3072 and summary["ratio_at_largest"] == pytest.approx(3072)
    assert math.isnan(convex_examples.exponent(([1.0], [2.0])))


def test_box_summary_counts_problems_with_held_pixels() -> None:
    summary = convex_examples.box_summary(ROWS)
    assert summary["problems"] == 4
    assert summary["clipped"]["worst"] == pytest.approx(0.03) and summary["refilled"]["median"] == pytest.approx(0.01)
    assert len(convex_examples.box_table(summary).rows) == 3
    assert convex_examples.box_summary(ROWS[:2]) == {"problems": 0}
    assert convex_examples.box_table({"problems": 0}).rows == ()


def test_steps_summary_counts_each_picture_once() -> None:
    summary = convex_examples.steps_summary(ROWS)
    assert summary["cg5"] == {"median": 1 - 1 / 768, "worst": 1 - 1 / 432}
    assert summary["cg15"] == {"median": 1.0, "worst": 1.0}
    assert convex_examples.steps_table(summary).rows[0] == ("5", "0.9987", "0.9977")


def test_exact_histories_and_rows(problem: Problem) -> None:
    histories = convex_examples.exact_histories(problem, 0.001, steps=2)
    curves = convex_examples.history_curves(histories)
    assert set(curves) == set(convex_examples.HISTORY_NAMES)
    assert curves["ssim"][0] == [1.0, 2.0, 3.0] and curves["ssim"][1][-1] < curves["ssim"][1][0]
    rows = convex_examples.exact_rows([problem], [0.001, 0.01], steps=1)
    assert [row["budget"] for row in rows] == [0.001, 0.01]
    assert all(row["gain_gradient"] >= 0 for row in rows)
    assert len(convex_examples.exact_table(rows).rows) == 2


def test_window_balls_are_flat_and_the_ssim_ball_is_not(problem: Problem) -> None:
    window = Window(size=5, sigma=1.0)
    perturbations = convex_examples.window_perturbations(problem, 0.01, window=window, size=4)
    maps = convex_examples.window_maps(problem, perturbations, window=window, size=4)
    assert all(values.shape == (16, 16) for values in maps.values())
    assert float(maps["disjoint"].max()) == pytest.approx(0.01, rel=1e-9)
    found = convex_examples.flatness(maps)
    assert found["disjoint"]["variation"] < 1e-9
    assert found["overlapping"]["variation"] < 0.5 * found["ssim"]["variation"]
    assert found["ssim"]["top_share"] > found["overlapping"]["top_share"] >= 0.19
    assert len(convex_examples.flatness_table(found).rows) == 3
    panels = convex_examples.window_panels(problem, maps)
    assert [panel.values.ndim for panel in panels] == [3, 2, 2, 2]
    assert torch.equal(panels[1].values, maps["ssim"])


def test_largest_difference_of_program_and_closed_form_is_rounding(problem: Problem) -> None:
    assert convex_examples.largest_difference(problem, 0.01, size=5) < 1e-6
