from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from perceptlib.balls import L2Ball, LinfBall, SSIMBall
from perceptlib.ssim import measure as ssim
from perceptlib.study import comparison, presets


@pytest.fixture(scope="module")
def study() -> presets.Study:
    return presets.load_study("shapes", num_images=6)


def row(method: str, distance: float, is_adversarial: bool = True, survives: bool = False, **more: Any) -> Any:
    return {
        "method": method,
        "distance": distance,
        "is_adversarial": is_adversarial,
        "is_adversarial_8bit": survives,
        "l2": 10 * distance,
        "linf": distance,
    } | more


def test_ball_of_knows_every_method() -> None:
    images = torch.rand(2, 3, 16, 16)
    balls = {method: comparison.ball_of(method, images, 0.01, cg_steps=7) for method in comparison.METHODS}
    assert isinstance(balls["linf"], LinfBall) and isinstance(balls["l2"], L2Ball)
    full, diagonal = balls["ssim"], balls["ssim_diagonal"]
    assert isinstance(full, SSIMBall) and full.coupling == "full" and full.cg_steps == 7
    assert isinstance(diagonal, SSIMBall) and diagonal.coupling == "diagonal"
    with pytest.raises(ValueError, match="there is no method 'l1'; linf, l2, ssim_diagonal, ssim are"):
        comparison.ball_of("l1", images, 0.01)


@pytest.mark.parametrize("method", comparison.METHODS)
def test_attack_at_distance_ends_at_that_distance(study: presets.Study, method: str) -> None:
    pictures = study.pictures
    result = comparison.attack_at_distance(
        study.classifier, pictures.images, pictures.labels, method, 0.003, steps=3, cg_steps=5
    )
    exact = ssim.distance(pictures.images.double(), result.adversarial.double())
    assert bool((exact <= 0.003 * (1 + 1e-5)).all()) and bool((exact >= 0.997 * 0.003).all())
    assert bool(((result.adversarial >= 0) & (result.adversarial <= 1)).all())
    assert set(result.gradients.tolist()) == {3 if method.startswith("ssim") else 7}


def test_rows_do_not_depend_on_batches(study: presets.Study) -> None:
    wanted = {"steps": 2, "cg_steps": 3}
    whole = comparison.rows_at_distances(study, [0.001, 0.01], batch_size=6, **wanted)
    parts = comparison.rows_at_distances(study, [0.001, 0.01], batch_size=4, **wanted)
    assert len(whole) == 6 * 4 * 2

    def key(entry: Any) -> tuple[Any, ...]:
        return (entry["image"], entry["method"], entry["budget"])

    margins = {key(entry): entry["margin_after"] for entry in whole}
    # float32 sums in another order
    assert margins == pytest.approx({key(entry): entry["margin_after"] for entry in parts}, abs=0.05)


def test_rows_of_smallest_name_picture_and_method(study: presets.Study) -> None:
    rows = comparison.rows_of_smallest(
        study.head(2), methods=["l2", "ssim_diagonal"], steps=10, candidates=2, refinements=0
    )
    assert [(entry["image"], entry["method"]) for entry in rows] == [
        (name, method) for method in ("l2", "ssim_diagonal") for name in study.pictures.ids[:2]
    ]
    assert all(entry["is_adversarial"] for entry in rows)


def test_fooling_rates_are_shares() -> None:
    rows = [row("l2", 0.1, is_fooled, survives, budget=0.01) for is_fooled, survives in
            [(True, True), (True, False), (False, False), (True, False)]]  # fmt: skip
    rates = comparison.fooling_rates(rows)
    entry = rates["l2"]["1e-02"]
    assert (entry["budget"], entry["rate"], entry["rate_8bit"]) == (0.01, 0.75, 0.25)
    assert 0 <= entry["low"] <= 0.75 <= entry["high"] <= 1
    assert repr(comparison.fooling_table(rates)) == "ball  at 0.01\nl2    75% (25%)"
    curves = comparison.rate_curves(rates)
    assert curves["series"] == {"l2": ([0.01], [0.75])}
    assert curves["intervals"] == {"l2": ([entry["low"]], [entry["high"]])}


def test_smallest_distances_count_a_picture_that_was_not_fooled_as_infinitely_far() -> None:
    rows = [row("l2", 0.2), row("l2", 0.4), row("l2", 0.8)]
    rows += [row("ssim", 0.1, survives=True), row("ssim", 0.3), row("ssim", 0.01, is_adversarial=False)]
    summary = comparison.smallest_distances(rows)
    assert summary["ssim"]["distance"] == 0.3 and summary["ssim"]["num_not_fooled"] == 1
    assert summary["ssim"]["ratio_to_l2"] == pytest.approx(0.75)
    assert summary["ssim"]["paired_ratio"]["value"] == pytest.approx(0.75)  # of 0.5, 0.75 and infinity
    assert summary["ssim"]["survives_8bit"] == pytest.approx(1 / 3)
    assert summary["l2"]["l2"] == pytest.approx(4.0) and summary["l2"]["ratio_to_l2"] == 1
    assert repr(comparison.smallest_table(summary)).splitlines()[2].startswith("SSIM ball  3.00e-01")


def test_share_curves_rise_from_zero_to_the_share_fooled() -> None:
    rows = [row("l2", 0.4), row("l2", 0.1), row("l2", 0.2, is_adversarial=False), row("l2", 0.3)]
    distances, shares = comparison.share_curves(rows)["l2"]
    assert distances == pytest.approx([0.1, 0.1, 0.3, 0.4]) and shares == pytest.approx([0, 0.25, 0.5, 0.75])


def test_median_of_an_even_number_is_between_the_middle_two() -> None:
    assert comparison._median(torch.tensor([1.0, 2.0, 4.0, math.inf])) == 3
