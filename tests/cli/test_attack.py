"""The record of one attacked picture against what can be measured from the files that it leaves."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from small_networks import random_classifier

from perceptlib.cli.attack import attack_picture, summary
from perceptlib.cli.options import OUTPUTS, Options
from perceptlib.data import folders as data

# `rescale_to_distance` comes within 1e-3 below the budget, measured here by the same code in float64.
REACHED = 0.998
# Rounding to 8 bits adds noise of variance 1/12 grey level to each pixel.
ROUNDING = 0.1


@pytest.fixture(scope="module")
def classifier():
    return random_classifier()


@pytest.fixture
def picture(tmp_path):
    """Waves and noise, so that windows differ in variance; 64x64, so that nothing is resized."""
    rows, columns = np.mgrid[:64, :64] / 64
    waves = 0.5 + 0.3 * np.sin(20 * rows * columns)[..., None] * np.array([1, 0.5, -0.5])
    noise = np.random.default_rng(0).normal(0, 0.03, (64, 64, 3))
    path = tmp_path / "waves.png"
    Image.fromarray((255 * np.clip(waves + noise, 0, 1)).astype(np.uint8)).save(path)
    return path


def read(path):
    return np.asarray(Image.open(path), dtype=np.float64) / 255


def test_attack_picture_record_is_that_of_the_saved_file(picture, classifier, tmp_path):
    out = tmp_path / "new" / "out"
    record = attack_picture(picture, out, classifier, Options(budget=0.02), seed=4)

    assert sorted(path.name for path in out.iterdir()) == sorted(OUTPUTS)
    assert json.loads((out / "result.json").read_text()) == record
    assert Image.open(out / "adversarial.png").mode == "RGB"
    clean, saved = read(picture), read(out / "adversarial.png")
    logits = classifier(torch.as_tensor(saved, dtype=torch.float32).permute(2, 0, 1)[None])[0]
    label = record["label"]["index"]
    assert record["is_adversarial"] == record["saved_8bit"]["is_adversarial"] == (int(logits.argmax()) != label)
    assert record["saved_8bit"]["top"][0]["index"] == int(logits.argmax())
    assert len(record["saved_8bit"]["top"]) == len(record["clean"]["top"]) == 5
    assert record["saved_8bit"]["linf"] == pytest.approx(np.abs(saved - clean).max(), abs=1e-6)
    assert record["saved_8bit"]["l2"] == pytest.approx(np.linalg.norm(saved - clean), abs=1e-4)
    independent = structural_similarity(
        clean, saved, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert record["saved_8bit"]["mean_ssim"] == pytest.approx(independent, abs=1e-6)
    assert 0 < record["float"]["distance"] <= 0.02
    assert record["saved_8bit"]["distance"] == pytest.approx(record["float"]["distance"], rel=ROUNDING)
    assert (record["provenance"]["seed"], record["provenance"]["weights"]["source"]) == (4, "drawn")


@pytest.mark.parametrize("ball", ["l2", "linf"])
def test_attack_picture_norm_balls_reach_the_same_distance(picture, classifier, tmp_path, ball):
    record = attack_picture(picture, tmp_path / ball, classifier, Options(ball=ball, budget=0.02, steps=5), seed=0)
    assert REACHED * 0.02 < record["float"]["distance"] <= 0.02
    assert (record["ball"], record["budget"], record["epsilon"]) == (ball, 0.02, None)
    assert record["gradients"] == 10  # five to find the radius, five inside it


@pytest.mark.parametrize(("ball", "epsilon"), [("l2", 0.5), ("linf", 4 / 255)])
def test_attack_picture_epsilon_bounds_the_norm(picture, classifier, tmp_path, ball, epsilon):
    record = attack_picture(picture, tmp_path / ball, classifier, Options(ball=ball, epsilon=epsilon), seed=0)
    assert 0.5 * epsilon < record["float"][ball] <= epsilon * (1 + 1e-5)
    assert record["budget"] is None


def test_attack_picture_smallest_is_smaller_and_advises_when_rounding_undoes_it(picture, classifier, tmp_path):
    record = attack_picture(picture, tmp_path / "out", classifier, Options(is_smallest=True), seed=0)
    assert record["float"]["is_adversarial"]
    assert 0 < record["float"]["distance"] < 0.01
    larger = f"{10 * record['float']['distance']:.1g}"
    lost = f"the smallest perturbation was lost in rounding to 8 bits; leave --smallest out and pass --budget {larger}"
    assert record["advice"] == ("" if record["is_adversarial"] else lost)


def test_attack_picture_success_is_that_of_the_target(picture, classifier, tmp_path):
    before = attack_picture(picture, tmp_path / "a", classifier, Options(), seed=0)["clean"]["top"]
    options = Options(budget=0.2, target=before[1]["name"])
    record = attack_picture(picture, tmp_path / "b", classifier, options, seed=0)
    assert record["target"] == {"index": before[1]["index"], "name": before[1]["name"]}
    assert record["is_adversarial"] == (record["saved_8bit"]["top"][0]["name"] == before[1]["name"])
    # Negative once the target is the most likely class.
    assert record["saved_8bit"]["margin"] < record["clean"]["margin"]


def test_attack_picture_not_fooled_says_what_to_try(picture, classifier, tmp_path):
    record = attack_picture(picture, tmp_path / "out", classifier, Options(budget=1e-9, steps=1), seed=0)
    assert not record["is_adversarial"]
    assert record["advice"] == "pass a larger --budget or more --steps"
    lines = summary(record)
    assert lines[1].endswith(": not fooled")
    assert lines[-1] == "to try: pass a larger --budget or more --steps"


def test_attack_picture_of_wrong_label_says_nothing_was_to_be_done(picture, classifier, tmp_path):
    best = attack_picture(picture, tmp_path / "a", classifier, Options(), seed=0)["label"]["index"]
    record = attack_picture(picture, tmp_path / "b", classifier, Options(label=str((best + 1) % 8)), seed=0)
    assert record["status"] == "misclassified before the attack"
    assert "the network is already wrong" in record["advice"]


def test_attack_picture_keeps_earlier_files_when_the_input_is_bad(classifier, tmp_path):
    (tmp_path / "result.json").write_text("of an earlier attack")
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"bad\.png"):
        attack_picture(tmp_path / "bad.png", tmp_path, classifier, Options(), seed=0)
    assert (tmp_path / "result.json").read_text() == "of an earlier attack"


def test_saved_picture_is_read_back_without_change(picture, classifier, tmp_path):
    images = data.read_picture(picture)
    data.save_picture(images, tmp_path / "copy.png")
    assert torch.equal(data.read_picture(tmp_path / "copy.png"), images)
