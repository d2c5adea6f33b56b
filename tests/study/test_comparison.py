from __future__ import annotations

import pytest
import torch

from perceptlib.balls import L2Ball, LinfBall, MultiScaleBall, SSIMBall
from perceptlib.ssim import measure as ssim
from perceptlib.study import comparison, presets


@pytest.fixture(scope="module")
def study() -> presets.Study:
    return presets.load_study("shapes", num_images=6)


def test_ball_of_knows_every_method() -> None:
    images = torch.rand(2, 3, 16, 16)
    balls = {method: comparison.ball_of(method, images, 0.01, cg_steps=7) for method in comparison.BALLS}
    assert isinstance(balls["linf"], LinfBall) and isinstance(balls["l2"], L2Ball)
    full, diagonal = balls["ssim"], balls["ssim_diagonal"]
    assert isinstance(balls["multiscale"], MultiScaleBall) and balls["multiscale"].cg_steps == 7
    assert isinstance(full, SSIMBall) and full.coupling == "full" and full.cg_steps == 7
    assert isinstance(diagonal, SSIMBall) and diagonal.coupling == "diagonal"
    with pytest.raises(ValueError, match="there is no method 'l1'; linf, l2, ssim_diagonal, ssim, multiscale are"):
        comparison.ball_of("l1", images, 0.01)


@pytest.mark.parametrize("method", comparison.BALLS)
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
    both = whole.merge(parts, on=["image", "method", "budget"])
    # float32 sums in another order
    assert both["margin_after_x"].tolist() == pytest.approx(both["margin_after_y"].tolist(), abs=0.05)


def test_rows_of_smallest_name_picture_and_method(study: presets.Study) -> None:
    rows = comparison.rows_of_smallest(
        study.head(2), methods=["l2", "ssim_diagonal"], steps=10, candidates=2, refinements=0
    )
    assert rows["image"].tolist() == [*study.pictures.ids[:2]] * 2
    assert rows["method"].tolist() == ["l2"] * 2 + ["ssim_diagonal"] * 2
    assert rows["is_adversarial"].all()


@pytest.mark.slow
def test_rows_of_peers_are_one_per_picture_and_kept_batch_by_batch(study: presets.Study) -> None:
    seen: list[int] = []
    rows = comparison.rows_of_peers(
        study.head(4),
        peers=["ssim", "l2_8bit", "deepfool"],
        candidates=3,
        batch_size=2,
        on_batch=lambda rows: seen.append(len(rows)),
    )
    assert seen == [2, 4, 6, 8, 10, 12] and len(rows) == 12
    assert rows.groupby("peer")["image"].agg(set).map(len).tolist() == [4, 4, 4]
    medians = rows.groupby("peer")["distance"].median()
    assert medians["ssim"] < medians["deepfool"]
    assert rows.loc[rows["peer"] == "l2_8bit", "is_adversarial_8bit"].all()


def test_unknown_peer_is_refused(study: presets.Study) -> None:
    with pytest.raises(ValueError, match="there is no peer 'fgsm'; ssim, ssim_8bit, l2, l2_8bit, deepfool"):
        comparison.rows_of_peers(study, peers=["fgsm"])
