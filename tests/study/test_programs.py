from __future__ import annotations

from typing import Any

import pytest
import torch

from perceptlib.study import programs
from perceptlib.study.programs import KINDS, claim_a_rows, random_problem


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
    rows = claim_a_rows(sides=[12], budgets=[1e-4, 0.05], kinds=KINDS[:2], repeats=2, seed=3)
    assert len(rows) == 2 * 2 * 2
    assert set(rows["status"]) == {"optimal"} and set(rows["variables"]) == {432}
    assert rows["fast_loss"].abs().max() <= 2e-6 and rows["fast_gap_certified"].max() <= 1e-6
    assert (rows["clipped_loss"] >= rows["refilled_loss"] - 1e-9).all() and rows["refilled_loss"].min() >= -1e-6
    assert (rows["cg5_ratio"] <= rows["cg15_ratio"] + 1e-9).all() and rows["cg15_ratio"].max() <= 1 + 1e-6
    assert set(zip(rows["seed"], rows["budget"], strict=True)) == {(3, 1e-4), (3, 0.05), (4, 1e-4), (4, 0.05)}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: random_problem("noise", side=12, seed=0), "there is no kind 'noise'; shapes, network; shapes, white"),
        (lambda: random_problem(KINDS[0], side=10, seed=0), "side 10 is not in 11 to 64; a window needs 11 pixels"),
        (
            lambda: programs.example_kind("imagenet"),
            "there is no preset 'imagenet' here; pass 'shapes' or 'photos'",
        ),
    ],
)
def test_programs_refuses(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_example_kinds_are_kinds() -> None:
    assert {programs.example_kind(preset) for preset in ("shapes", "photos")} <= set(KINDS)
