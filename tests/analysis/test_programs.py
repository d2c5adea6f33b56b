from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from study_samples import problem_rows

from perceptlib.analysis import programs
from perceptlib.study.programs import FORMS, recorded_rows

ROWS = problem_rows()
GOOD: dict[str, Any] = {
    "budget": 0.01,
    "status": "optimal",
    "gap": 1e-8,
    "primal_residual": 0.0,
    "dual_residual": 1e-6,
    "distance_over_budget": 1.01,
    "fast_loss": 1e-8,
}


@pytest.mark.parametrize(
    "rows, verdict",
    [
        ([GOOD] * 100, "supported"),
        ([GOOD] * 99, "too few problems"),
        ([GOOD] * 99 + [GOOD | {"budget": 0.05}], "too few problems"),
        ([GOOD] * 100 + [GOOD | {"budget": 0.05, "distance_over_budget": 1.2}], "supported with limits"),
        ([GOOD] * 100 + [GOOD | {"distance_over_budget": 1.051}], "supported with limits"),
        ([GOOD] * 100 + [GOOD | {"budget": 0.3, "distance_over_budget": 1.2}], "supported"),
        ([GOOD] * 100 + [GOOD | {"status": "solver limit"}], "not supported"),
        ([GOOD] * 100 + [GOOD | {"gap": 2e-6}], "not supported"),
        ([GOOD] * 100 + [GOOD | {"dual_residual": 2e-4}], "not supported"),
        ([GOOD] * 100 + [GOOD | {"gap": float("nan")}], "not supported"),
    ],
)
def test_claim_a_verdict_follows_its_rule(rows: list[dict[str, Any]], verdict: str) -> None:
    assert programs.claim_a_verdict(pd.DataFrame(rows))["verdict"] == verdict


def test_claim_a_verdict_says_what_decided() -> None:
    found = programs.claim_a_verdict(
        pd.DataFrame([GOOD] * 100 + [GOOD | {"budget": 0.02, "distance_over_budget": 1.3}])
    )
    assert found["problems"] == 101 and found["problems_in_rule"] == 100 and found["solved"] == 101
    assert found["smallest_budget_beyond"] == 0.02 and found["worst_distance_over_budget"] == 1.01


def test_recorded_rows_hold_what_the_verdict_needs() -> None:
    rows = recorded_rows()
    verdict = programs.claim_a_verdict(rows)
    assert verdict["problems_in_rule"] >= 100 and rows["variables"].max() == 3072
    assert verdict["solved"] == len(rows)


def test_exponent_is_the_power() -> None:
    summary = programs.speed_summary(programs.solving_times(ROWS))
    assert summary["cvxpy_exponent"] == pytest.approx(2) and summary["fast_exponent"] == pytest.approx(1)
    assert summary["largest"] == 3072 and summary["ratio_at_largest"] == pytest.approx(3072)
    assert math.isnan(programs.exponent(pd.Series({1.0: 2.0})))


def test_box_summary_counts_problems_with_held_pixels() -> None:
    summary = programs.box_summary(ROWS)
    assert summary["problems"] == 4
    assert summary["clipped"]["worst"] == pytest.approx(0.03) and summary["refilled"]["median"] == pytest.approx(0.01)
    assert programs.box_summary(ROWS[:2]) == {"problems": 0}


def test_steps_summary_counts_each_picture_once() -> None:
    summary = programs.steps_summary(ROWS)
    assert summary["cg5"] == {"median": 1 - 1 / 768, "worst": 1 - 1 / 432}
    assert summary["cg15"] == {"median": 1.0, "worst": 1.0}


STEPS = {"diagonal": 1.0, "five": 1.1, "fifteen": 1.2}


def rows_with(objective: float, ratio: float) -> pd.DataFrame:
    base = {"image": "a", "objective": objective, "distance": ratio, "exact_distance": 1.0}
    return pd.DataFrame([base | {"form": form} for form in FORMS])


@pytest.mark.parametrize(
    "objective, ratio, step, verdict",
    [
        (0.995, 1.05, 1.2, "supported"),
        (0.995, 1.14, 1.2, "supported with limits"),
        (0.987, 1.05, 1.2, "supported with limits"),
        (0.995, 1.05, 1.44, "supported with limits"),
        (0.995, 1.05, 1.5, "not supported"),
        (0.987, 1.14, 1.2, "not supported"),
        (0.9, 1.05, 1.2, "not supported"),
    ],
)
def test_claim_b_verdict_follows_the_rule(objective: float, ratio: float, step: float, verdict: str) -> None:
    summary = programs.claim_b_summary(rows_with(objective, ratio), dict.fromkeys(STEPS, step))
    assert summary["five"]["verdict"] == verdict


def test_directions_that_do_not_fool_are_counted_and_left_out() -> None:
    rows = rows_with(0.995, 1.05)
    rows = pd.concat([rows, rows.assign(distance=float("inf"))])
    summary = programs.claim_b_summary(rows, STEPS)["diagonal"]
    assert (summary["num_images"], summary["num_not_fooled"], summary["distance_ratio"]) == (2, 1, 1.05)


def test_step_ratios_are_those_of_the_attacks_and_the_worst_of_the_benchmarks() -> None:
    lines = [{"row": "l2", "ratio": 1.0}, {"row": "ssim diagonal", "ratio": 1.05}]
    others = [{"row": "ssim diagonal", "ratio": 1.01}, {"row": "ssim full, 5 CG steps", "ratio": 1.2}]
    one, other = ({"tables": {"maximize_loss: 10 steps": some}} for some in (lines, others))
    assert programs.step_ratios([one]) == {"diagonal": 1.05}
    for both in ([one, other], [other, one]):
        assert programs.step_ratios(both) == {"diagonal": 1.05, "five": 1.2}
