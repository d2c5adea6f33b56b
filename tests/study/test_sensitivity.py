"""Settings, and rows of the sensitivity against the maps and scores that they are made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from perceptlib.attacks import maximize_loss, rescale_to_distance
from perceptlib.balls import LumaBall, SSIMBall
from perceptlib.maps import class_activation_map, energy_in_top_q, random_direction, spearman
from perceptlib.records.frames import read_csv
from perceptlib.ssim import Window
from perceptlib.ssim import measure as ssim
from perceptlib.study.localisation import agreement_rows, margin_gradient
from perceptlib.study.presets import Study, load_study
from perceptlib.study.sensitivity import Setting, record, sensitivity_rows, settings_from, window_of


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("shapes", num_images=4)


def values(rows: pd.DataFrame, name: str) -> list[Any]:
    return rows[name].tolist()


def test_base_is_the_agreement_of_the_study(study: Study) -> None:
    rows = sensitivity_rows(study, [Setting(budget=0.01)], batch_size=3)
    known = pd.DataFrame(agreement_rows(study, budget=0.01))  # its ball has the radius 0.01 as well
    for method, prefix in (("ssim", ""), ("random", "random_")):
        expected = known[known["method"] == method]
        for score in ("energy_in_top_q", "spearman"):
            assert values(rows, prefix + score) == pytest.approx(values(expected, score), abs=1e-4)
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
    energies = rows["energy_in_top_q"].to_numpy().reshape(4, -1).tolist()
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
        assert rows.at[place, "energy_in_top_q"] == pytest.approx(float(known[place]), abs=5e-3)


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
    settings = [Setting(), Setting(budget=0.01), Setting(steps=2), Setting(q=0.1), Setting(cam_class="adversarial")]
    together = sensitivity_rows(study, settings)
    alone = pd.concat([sensitivity_rows(study, [setting]) for setting in settings], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


def test_record_leaves_rows_and_where_they_come_from(study: Study, tmp_path: Path) -> None:
    rows = record(study, [Setting()], tmp_path / "kept", preset="shapes", batch_size=3)
    pd.testing.assert_frame_equal(rows, sensitivity_rows(study, [Setting()], batch_size=3), check_exact=True)
    again = read_csv(tmp_path / "kept" / "shapes.csv")
    assert values(again, "energy_in_top_q") == pytest.approx(values(rows, "energy_in_top_q"), rel=1e-5)
    about = json.loads((tmp_path / "kept" / "provenance.json").read_text())
    assert about["num_images"] == len(study.pictures) and about["weights"]["sha256"] == study.classifier.sha256


def test_rows_refuse(study: Study) -> None:
    with pytest.raises(ValueError, match="there is no setting; pass at least one"):
        sensitivity_rows(study, [])
    with pytest.raises(ValueError, match="window size 99 exceeds the image side 64"):
        sensitivity_rows(study, [Setting(window="uniform 99")])


def test_windows_by_their_words() -> None:
    assert window_of("gaussian 11 1.5") == Window()
    assert window_of("gaussian 21 3") == Window(21, 3.0)
    assert (window_of("uniform 7").weights() == 1 / 7).all()


@pytest.mark.parametrize("words", ["", "gaussian", "gaussian 11", "uniform 7 1.5", "uniform seven", "square 7"])
def test_window_of_other_words_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="write 'gaussian SIZE SIGMA' or 'uniform SIZE', in pixels"):
        window_of(words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.0}, "budget is 0.0; a number between 0 and 1 is allowed"),
        ({"q": 1.0}, "q is 1.0; a number between 0 and 1 is allowed"),
        ({"steps": 0}, "steps is 0; 1 or more is allowed"),
        ({"components": "contrast"}, "components is 'contrast'; both, luminance, contrast_structure are allowed"),
        ({"coupling": "half"}, "coupling is 'half'; full, diagonal are allowed"),
        ({"colour": "grey"}, "colour is 'grey'; channels, luma are allowed"),
        ({"cam_method": "lime"}, "cam_method is 'lime'; cam, grad-cam"),
        ({"cam_class": "false"}, "cam_class is 'false'; true, adversarial, random are allowed"),
        ({"window": "uniform 8"}, "window size 8 is not an odd number"),
    ],
)
def test_setting_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Setting(**options)


def test_ball_has_what_the_setting_says() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ball = Setting(window="uniform 7", components="luminance", coupling="diagonal", budget=0.01).ball(images)
    assert isinstance(ball, SSIMBall)
    assert ball.window == Window(7, kind="uniform") and ball.budget == 0.01
    assert (ball.components, ball.coupling) == ("luminance", "diagonal")
    assert isinstance(Setting(colour="luma").ball(images, cg_steps=3), LumaBall)


def test_settings_are_the_base_one_field_changed_and_the_grid() -> None:
    tried = {"budget": [0.01, 0.1], "window": ["uniform 7", "uniform 5"], "steps": [1, 3]}
    base, settings = settings_from(tried, grid=("budget", "window"))
    assert base == Setting(budget=0.01, window="uniform 7")
    changed = [{}, {"budget": 0.1}, {"window": "uniform 5"}, {"steps": 3}, {"budget": 0.1, "window": "uniform 5"}]
    assert settings == [replace(base, **change) for change in changed]
    assert settings_from(tried)[1] == settings[:4]


def test_lists_refuse() -> None:
    with pytest.raises(ValueError, match="a setting has no field 'size'; budget, window"):
        settings_from({"size": [1]})
    with pytest.raises(ValueError, match="steps has no value to try; pass at least the base's"):
        settings_from({"steps": []})
