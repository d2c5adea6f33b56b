from __future__ import annotations

import pandas as pd
import pytest

from perceptlib.analysis import costs
from perceptlib.study.programs import FORMS

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
    summary = costs.claim_b_summary(rows_with(objective, ratio), dict.fromkeys(STEPS, step))
    assert summary["five"]["verdict"] == verdict


def test_directions_that_do_not_fool_are_counted_and_left_out() -> None:
    rows = rows_with(0.995, 1.05)
    rows = pd.concat([rows, rows.assign(distance=float("inf"))])
    summary = costs.claim_b_summary(rows, STEPS)["diagonal"]
    assert (summary["num_images"], summary["num_not_fooled"], summary["distance_ratio"]) == (2, 1, 1.05)


def test_step_ratios_are_those_of_the_attacks() -> None:
    lines = [{"row": "l2", "ratio": 1.0}, {"row": "ssim diagonal", "ratio": 1.05}]
    assert costs.step_ratios({"tables": {"maximize_loss: 10 steps": lines}}) == {"diagonal": 1.05}


def test_worker_numbers_are_ratios_of_times() -> None:
    seconds = {"one worker": 12.0, "in this process, no scheduler": 10.0, "two workers": 6.0}
    table = [{"row": row, "seconds": value} for row, value in seconds.items()]
    numbers = costs.worker_numbers({"tables": {"a study": table}})
    assert numbers == {"speed_up": 2.0, "overhead": pytest.approx(0.2)}


def test_study_time_is_read_with_its_machine() -> None:
    told = costs.recorded_study_time()
    assert told["pictures"] == 200 and told["methods"] == 8 and told["steps"] == 10
    assert told["minutes"] > 0 and told["workers"] == 2 and told["device"] == "cpu" and "cores" in told["machine"]
