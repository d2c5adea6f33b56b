from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from perceptlib.ssim import distance
from perceptlib.study import programs
from perceptlib.study.presets import load_study
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


class Plane(nn.Module):
    """Fooled once the mean of the image has risen by a known amount."""

    def __init__(self, rise: float) -> None:
        super().__init__()
        self.rise = rise

    def forward(self, images: Tensor) -> Tensor:
        margin = 0.5 + self.rise - images.mean(dim=(1, 2, 3))
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


def test_distance_that_fools_is_that_of_the_known_boundary() -> None:
    images, labels = torch.full((2, 3, 16, 16), 0.5), torch.zeros(2, dtype=torch.int64)
    direction = torch.ones_like(images) * torch.tensor([0.01, 0.3]).view(2, 1, 1, 1)
    expected = distance(images.double(), images.double() + 0.02)
    found = programs.distance_that_fools(Plane(0.02), images, labels, direction)
    assert torch.allclose(found, expected, rtol=1e-2)
    assert bool(torch.isinf(programs.distance_that_fools(Plane(2.0), images, labels, direction)).all())


def test_claim_b_rows_hold_the_forms_to_the_optimum() -> None:
    rows = programs.claim_b_rows(load_study("shapes", num_images=4, seed=50))
    by_form = rows.groupby("form")["objective"]
    assert set(by_form.groups) == set(programs.FORMS)
    assert rows["objective"].between(0.5, 1 + 1e-4).all()
    assert by_form.min()["fifteen"] >= by_form.min()["five"] - 1e-6
    assert by_form.median()["fifteen"] > 0.99
