"""Rows of the sensitivity against the maps and scores that they are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from perceptlib.analysis.tables import Row, read_rows
from perceptlib.attacks import maximize_loss, rescale_to_distance
from perceptlib.balls import SSIMBall
from perceptlib.maps import class_activation_map, energy_in_top_q, random_direction, spearman
from perceptlib.ssim import Window
from perceptlib.ssim import measure as ssim
from perceptlib.study.localisation import agreement_rows, margin_gradient
from perceptlib.study.presets import Study, load_study
from perceptlib.study.sensitivity import Setting, one_at_a_time, record, sensitivity_rows, setting_of


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("shapes", num_images=4)


def values(rows: list[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def test_base_is_the_agreement_of_the_study(study: Study) -> None:
    rows = sensitivity_rows(study, [Setting(budget=0.01)], batch_size=3)
    known = agreement_rows(study, budget=0.01)  # its ball has the radius 0.01 as well
    for method, prefix in (("ssim", ""), ("random", "random_")):
        expected = [row for row in known if row["method"] == method]
        for score in ("energy_in_top_q", "spearman"):
            assert values(rows, prefix + score) == pytest.approx([row[score] for row in expected], abs=1e-4)
    assert values(rows, "image") == list(study.pictures.ids)
    assert values(rows, "distance") == pytest.approx([0.01] * len(study.pictures), rel=2e-3)


def test_every_option_reaches_ball_map_and_score(study: Study) -> None:
    images, labels, classifier = study.pictures.images, study.pictures.labels, study.classifier
    setting = Setting(
        budget=0.01, window="uniform 7", components="luminance", coupling="diagonal", cam_method="grad-cam++", q=0.3
    )
    window = Window(7, kind="uniform")
    ball = SSIMBall(images, 0.01, window=window, components="luminance", coupling="diagonal")
    cam = class_activation_map(classifier, images, labels, method="grad-cam++")
    rows = sensitivity_rows(study, [setting], seed=3)
    directions = {
        "": ball.steepest(margin_gradient(classifier, images, labels)),
        "random_": random_direction(images, ball, seed=3),
    }
    for prefix, direction in directions.items():
        adversarial = rescale_to_distance(images, direction, 0.01, window=window)
        change = ssim.change_map(images, adversarial, window=window)
        assert values(rows, f"{prefix}energy_in_top_q") == pytest.approx(
            energy_in_top_q(change, cam, q=0.3).tolist(), abs=1e-4
        )
        assert values(rows, f"{prefix}spearman") == pytest.approx(spearman(change, cam).tolist(), abs=1e-4)


def test_several_steps_are_the_attack_on_the_margin(study: Study) -> None:
    images, labels = study.pictures.images, study.pictures.labels
    rows = sensitivity_rows(study, [Setting(budget=0.003, steps=3)])
    result = maximize_loss(study.classifier, images, labels, SSIMBall(images, 0.003), steps=3, loss="margin")
    cam = class_activation_map(study.classifier, images, labels)
    known = energy_in_top_q(ssim.change_map(images, result.adversarial), cam)
    assert values(rows, "energy_in_top_q") == pytest.approx(known.tolist(), abs=5e-3)  # the ball's end, to 1e-3 of D
    assert values(rows, "is_adversarial") == result.is_adversarial.tolist()


def test_luma_changes_all_channels_alike(study: Study) -> None:
    rows = sensitivity_rows(study, [Setting(), Setting(colour="luma")])
    plain, grey = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    assert values(grey, "distance") == pytest.approx([0.001] * len(grey), rel=2e-3)
    assert values(plain, "energy_in_top_q") != values(grey, "energy_in_top_q")


def test_classic_cam_of_a_named_layer_is_grad_cam_there(study: Study) -> None:
    same = [Setting(), Setting(layer="features.7")]
    earlier = [Setting(layer="features.5"), Setting(layer="features.5", cam_method="grad-cam")]
    rows = sensitivity_rows(study, [*same, *earlier])
    energies = [[row["energy_in_top_q"] for row in rows if setting_of(row) == setting] for setting in (*same, *earlier)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-4)
    assert energies[2] == energies[3] != energies[0]


def test_classes_of_the_cam(study: Study) -> None:
    images, labels, classifier = study.pictures.images, study.pictures.labels, study.classifier
    rows = sensitivity_rows(study, [Setting(budget=0.05, steps=5, cam_class="adversarial")])
    result = maximize_loss(classifier, images, labels, SSIMBall(images, 0.05), steps=5, loss="margin")
    assert result.is_adversarial.any()
    found = classifier(result.adversarial).argmax(1)
    cam = class_activation_map(classifier, images, found)
    known = energy_in_top_q(ssim.change_map(images, result.adversarial), cam)
    for place in result.is_adversarial.nonzero()[:, 0].tolist():
        assert rows[place]["energy_in_top_q"] == pytest.approx(float(known[place]), abs=5e-3)


def test_random_class_is_another_one_and_does_not_know_the_batch(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    def spy(classifier: Any, images: torch.Tensor, classes: torch.Tensor, **_: Any) -> torch.Tensor:
        asked.append(classes.tolist())
        return torch.rand(images[:, 0].shape)

    monkeypatch.setattr("perceptlib.study.sensitivity.class_activation_map", spy)
    sensitivity_rows(study, [Setting(cam_class="random")], batch_size=1)
    one_by_one = [number for numbers in asked for number in numbers]
    asked.clear()
    sensitivity_rows(study, [Setting(cam_class="random")], batch_size=8)
    assert asked == [one_by_one]
    assert all(drawn != label for drawn, label in zip(one_by_one, study.pictures.labels.tolist(), strict=True))
    asked.clear()
    sensitivity_rows(study, [Setting(cam_class="random")], seed=1)
    assert asked != [one_by_one]


def test_settings_together_are_as_one_by_one(study: Study) -> None:
    settings = one_at_a_time(Setting(), budget=[0.01], steps=[2], q=[0.1], cam_class=["adversarial"])
    together = sensitivity_rows(study, settings)
    alone = [row for setting in settings for row in sensitivity_rows(study, [setting])]
    assert together == alone


def test_record_leaves_rows_and_where_they_come_from(study: Study, tmp_path: Path) -> None:
    rows = record(study, [Setting()], tmp_path / "kept", preset="shapes", batch_size=3)
    assert rows == sensitivity_rows(study, [Setting()], batch_size=3)
    again = read_rows(tmp_path / "kept" / "shapes.csv")
    assert values(again, "energy_in_top_q") == pytest.approx(values(rows, "energy_in_top_q"), rel=1e-5)
    about = json.loads((tmp_path / "kept" / "provenance.json").read_text())
    assert about["num_images"] == len(study.pictures) and about["weights"]["sha256"] == study.classifier.sha256


def test_rows_refuse(study: Study) -> None:
    with pytest.raises(ValueError, match="there is no setting; pass at least one"):
        sensitivity_rows(study, [])
    with pytest.raises(ValueError, match="window size 99 exceeds the image side 64"):
        sensitivity_rows(study, [Setting(window="uniform 99")])
