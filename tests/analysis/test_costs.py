from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from perceptlib.analysis import costs
from perceptlib.ssim import distance
from perceptlib.study.presets import load_study

STEPS = {"diagonal": 1.0, "five": 1.1, "fifteen": 1.2}


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
    found = costs.distance_that_fools(Plane(0.02), images, labels, direction)
    assert torch.allclose(found, expected, rtol=1e-2)
    assert bool(torch.isinf(costs.distance_that_fools(Plane(2.0), images, labels, direction)).all())


def test_claim_b_rows_hold_the_forms_to_the_optimum() -> None:
    rows = costs.claim_b_rows(load_study("shapes", num_images=4, seed=50))
    summary = costs.claim_b_summary(rows, STEPS)
    assert {row["form"] for row in rows} == set(costs.FORMS)
    for row in rows:
        assert 0.5 < row["objective"] <= 1 + 1e-4
    assert summary["fifteen"]["objective_worst"] >= summary["five"]["objective_worst"] - 1e-6
    assert summary["fifteen"]["objective_median"] > 0.99
    assert len(costs.claim_b_table(summary).rows) == 7


def rows_with(objective: float, ratio: float) -> list[dict]:
    base = {"image": "a", "objective": objective, "distance": ratio, "exact_distance": 1.0}
    return [base | {"form": form} for form in costs.FORMS]


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
    summary = costs.claim_b_summary(rows_with(objective, ratio), dict.fromkeys(STEPS, step))
    assert summary["five"]["verdict"] == verdict


def test_benchmark_table_shows_rows_and_growth() -> None:
    lines = [{"row": "l2", "seconds": 2.0, "ratio": 1.0, "repeats": 3, "peak_mib": 10.4}]
    lines += [{"row": "ssim diagonal", "seconds": 2.1, "ratio": 1.05, "repeats": 3}]
    lines += [{"row": "exponent of seconds in size", "value": 1.04}]
    benchmark = {"tables": {"maximize_loss: 10 steps": lines}}
    table = costs.benchmark_table(benchmark, "maximize_loss")
    assert table.rows[0] == ("l2", "2", "1", "10") and table.rows[2][1] == "1.04"
    assert costs.step_ratios(benchmark) == {"diagonal": 1.05}
    growth = [{"row": "exponent of peak_mib in size", "value": 0.93}, {"row": "cvxpy", "seconds": 2.0, "ratio": 1496.2}]
    table = costs.benchmark_table({"tables": {"P1": growth}}, "P1")
    assert table.columns == ("P1", "median seconds", "ratio to the first")  # no memory was taken
    assert table.rows == (("exponent of memory in size", "0.93", ""), ("cvxpy", "2", "1496"))
    with pytest.raises(ValueError, match="no table starts with 'memory'; maximize_loss: 10 steps are there"):
        costs.benchmark_table(benchmark, "memory")


def test_worker_numbers_are_ratios_of_times() -> None:
    seconds = {"one worker": 12.0, "in this process, no scheduler": 10.0, "two workers": 6.0}
    table = [{"row": row, "seconds": value} for row, value in seconds.items()]
    numbers = costs.worker_numbers({"tables": {"a study": table}})
    assert numbers == {"speed_up": 2.0, "overhead": pytest.approx(0.2)}


def test_study_time_is_read_with_its_machine() -> None:
    told = costs.recorded_study_time()
    assert told["pictures"] == 200 and told["methods"] == 8 and told["steps"] == 10
    assert told["minutes"] > 0 and told["workers"] == 2 and told["device"] == "cpu" and "cores" in told["machine"]
