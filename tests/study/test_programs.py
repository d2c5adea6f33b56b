"""The random problems of claim A and the rule that turns their rows into a verdict."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from perceptlib.analysis.tables import Row
from perceptlib.study import programs as convex_study
from perceptlib.study.programs import KINDS, claim_a_rows, claim_a_verdict, random_problem

GOOD: Row = {
    "budget": 0.01,
    "status": "optimal",
    "gap": 1e-8,
    "primal_residual": 0.0,
    "dual_residual": 1e-6,
    "distance_over_budget": 1.01,
    "fast_loss": 1e-8,
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_problem_is_a_crop_with_a_gradient(kind: str) -> None:
    problem = random_problem(kind, side=13, seed=4)
    assert problem.images.shape == problem.gradient.shape == (1, 3, 13, 13)
    assert problem.images.dtype == problem.gradient.dtype == torch.float64
    assert float(problem.images.min()) >= 0 and float(problem.images.max()) <= 1
    assert float(problem.gradient.abs().max()) > 0
    again, other = random_problem(kind, side=13, seed=4), random_problem(kind, side=13, seed=5)
    assert torch.equal(again.gradient, problem.gradient) and torch.equal(again.images, problem.images)
    assert not torch.equal(other.images, problem.images)


def test_claim_a_rows_compare_solver_and_fast_attack() -> None:
    rows = list(claim_a_rows(sides=[12], budgets=[1e-4, 0.05], kinds=KINDS[:2], repeats=2, seed=3))
    assert len(rows) == 2 * 2 * 2
    for row in rows:
        assert row["status"] == "optimal" and row["variables"] == 432
        assert abs(row["fast_loss"]) <= 2e-6 and row["fast_gap_certified"] <= 1e-6
        assert row["clipped_loss"] >= row["refilled_loss"] - 1e-9 >= -1e-6
        assert 0 < row["cg5_ratio"] <= row["cg15_ratio"] + 1e-9 <= 1 + 1e-6
    assert {(row["seed"], row["budget"]) for row in rows} == {(3, 1e-4), (3, 0.05), (4, 1e-4), (4, 0.05)}


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
def test_claim_a_verdict_follows_its_rule(rows: list[Row], verdict: str) -> None:
    assert claim_a_verdict(rows)["verdict"] == verdict


def test_claim_a_verdict_says_what_decided() -> None:
    found = claim_a_verdict([GOOD] * 100 + [GOOD | {"budget": 0.02, "distance_over_budget": 1.3}])
    assert found["problems"] == 101 and found["problems_in_rule"] == 100 and found["solved"] == 101
    assert found["smallest_budget_beyond"] == 0.02 and found["worst_distance_over_budget"] == 1.01
    assert "supported with limits" in repr(convex_study.verdict_table({"here": found}))


def test_recorded_rows_hold_what_the_verdict_needs() -> None:
    rows = convex_study.recorded_rows()
    verdict = claim_a_verdict(rows)
    assert verdict["problems_in_rule"] >= 100 and max(row["variables"] for row in rows) == 3072
    assert verdict["solved"] == len(rows)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: random_problem("noise", side=12, seed=0), "there is no kind 'noise'; shapes, network; shapes, white"),
        (lambda: random_problem(KINDS[0], side=10, seed=0), "side 10 is not in 11 to 64; a window needs 11 pixels"),
        (
            lambda: convex_study.example_kind("imagenet"),
            "there is no preset 'imagenet' here; pass 'shapes' or 'photos'",
        ),
    ],
)
def test_convex_study_refuses(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_example_kinds_are_kinds() -> None:
    assert {convex_study.example_kind(preset) for preset in ("shapes", "photos")} <= set(KINDS)
