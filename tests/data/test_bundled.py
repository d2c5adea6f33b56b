"""Pictures of other packages: those that the manifest lists, told where they are others; digits and photographs."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
import safetensors
import skimage.data
import torch
from reference_maps import bilinear
from sklearn.datasets import load_digits

from perceptlib import data
from perceptlib.attacks import round_to_8bit
from perceptlib.data import bundled as digits
from perceptlib.data.bundled import bundled_picture
from perceptlib.data.textures import TEXTURES
from perceptlib.networks import load
from perceptlib.records import data_dir
from perceptlib.study import comparison, presets
from perceptlib.training.small import train_and_save, train_digits

SHIPPED_SEEDS = (0, 1, 2)
LISTED = json.loads((data_dir() / "manifest.json").read_text(encoding="utf-8"))["pictures"]


def accuracy(network: torch.nn.Module) -> float:
    test = digits.digits()
    with torch.no_grad():
        logits = network((test.images - digits.DIGITS_MEAN) / digits.DIGITS_STD)
    return (logits.argmax(1) == test.labels).double().mean().item()


def test_pictures_are_scikit_learns_enlarged() -> None:
    drawn, theirs = digits.digits(20, seed=3), load_digits()
    assert (drawn.images.shape, drawn.images.dtype) == ((20, 3, 32, 32), torch.float32)
    for image, label, index in zip(drawn.images, drawn.labels, drawn.indices, strict=True):
        expected = bilinear(theirs.images[index] / 16, 32, 32)
        np.testing.assert_allclose(image, np.stack([expected] * 3), atol=0.5 / 255 + 1e-6)
        assert label == theirs.target[index]
    assert drawn.images.min() == 0 and drawn.images.max() <= 1
    assert torch.equal(drawn.images, (drawn.images * 255).round() / 255)


def test_mean_and_deviation_are_those_of_the_pictures() -> None:
    images = digits.split_digits()[0].images
    assert images.mean().item() == pytest.approx(digits.DIGITS_MEAN, abs=0.01)
    assert images.std().item() == pytest.approx(digits.DIGITS_STD, abs=0.01)


def test_parts_share_no_picture_and_keep_proportions() -> None:
    train, test = digits.split_digits()
    assert sorted(train.indices.tolist() + test.indices.tolist()) == list(range(1797))
    assert len(test.labels) == digits.NUM_DIGITS
    shares = torch.bincount(test.labels) / torch.bincount(torch.cat([train.labels, test.labels]))
    assert (shares - 1 / 3).abs().max() < 0.01


def test_order_follows_the_seed_alone() -> None:
    assert torch.equal(digits.digits(5, seed=1).indices, digits.digits(50, seed=1).indices[:5])
    assert not torch.equal(digits.digits(50, seed=1).indices, digits.digits(50, seed=2).indices)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="num_images is 598; 1 to 597 are allowed, as so many digits are set apart"):
        digits.digits(598)
    with pytest.raises(ValueError, match="seed is -1"):
        digits.digits(seed=-1)
    with pytest.raises(TypeError, match=r"num_images is 2.5"):
        digits.digits(2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="epochs is 0"):
        train_digits(seed=0, epochs=0)


@pytest.mark.slow
def test_few_epochs_reach_97_percent() -> None:
    state = torch.random.get_rng_state()
    network = train_digits(seed=5, epochs=6)
    assert not network.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert accuracy(network) >= 0.97


@pytest.mark.slow
def test_seed_gives_the_same_file_but_for_its_date(tmp_path) -> None:  # type: ignore[no-untyped-def]
    reached = [train_and_save("digits", seed=4, out=tmp_path / name, amount=1) for name in ("a", "b")]
    assert reached[0].equals(reached[1])
    first, second = (safetensors.safe_open(tmp_path / name, "pt") for name in ("a", "b"))
    assert all(torch.equal(first.get_tensor(name), second.get_tensor(name)) for name in first.keys())  # noqa: SIM118
    assert json.loads(first.metadata()["table"]) == reached[0].to_dict("records")
    assert first.metadata()["source"] == "perceptlib train --data digits --seed 4"


@pytest.mark.parametrize("seed", SHIPPED_SEEDS)
def test_shipped_weights_reach_what_their_metadata_say(seed: int) -> None:
    with safetensors.safe_open(data_dir() / "digits" / f"small_digits_seed{seed}.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["seed"] == str(seed)
    assert metadata["split_sha256"] == digits.split_sha256()
    assert float(metadata["accuracy"]) >= 0.99
    # One picture of leeway for another machine's rounding.
    assert accuracy(load("digits", seed=seed).network) == pytest.approx(float(metadata["accuracy"]), abs=0.002)


def test_readme_tells_of_the_shipped_weights() -> None:
    folder = data_dir() / "digits"
    files = [folder / f"small_digits_seed{seed}.safetensors" for seed in SHIPPED_SEEDS]
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for seed, file in zip(SHIPPED_SEEDS, files, strict=True):
        assert file.stat().st_size < 130_000
        with safetensors.safe_open(file, "pt") as weights:
            assert f"{weights.metadata()['accuracy']} (seed {seed})" in readme


@pytest.mark.parametrize("method", ["linf", "l2", "ssim_diagonal", "ssim"])
def test_attacks_run_on_flat_black_paper(method: str) -> None:
    study = presets.load_study("digits", num_images=8)
    result = comparison.attack_at_distance(
        study.classifier, study.pictures.images, study.pictures.labels, method, 0.02, steps=4
    )
    assert result.adversarial.isfinite().all()
    torch.testing.assert_close(result.distance, torch.full_like(result.distance, 0.02), rtol=1e-3, atol=0)


def test_every_listed_picture_is_there_and_the_same() -> None:
    for name in LISTED:
        if name.startswith("skimage.data."):
            pixels = bundled_picture(name.removeprefix("skimage.data."))
            assert list(pixels.shape) == LISTED[name]["shape"] and LISTED[name]["licence"]


def test_every_texture_is_listed() -> None:
    names = {"stereo_motorcycle" if name == "motorcycle" else name for name in TEXTURES} - {"noise"}
    assert {f"skimage.data.{name}" for name in names} <= LISTED.keys()


def test_other_picture_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skimage.data, "camera", lambda: np.zeros((512, 512), np.uint8))
    with pytest.raises(ValueError, match=r"skimage\.data\.camera gives another picture"):
        bundled_picture("camera")


def test_photographs_are_complete_and_need_no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    photographs = data.photographs()
    assert photographs.names == ("cat", "espresso", "rocket", "tripod", "motorcycle")
    assert (photographs.images.shape, photographs.images.dtype) == ((5, 3, 224, 224), torch.float32)
    assert torch.equal(photographs.images, round_to_8bit(photographs.images))
    assert photographs.labels.tolist() == [classes[0] for classes in photographs.accepted]
    assert len(photographs.credits) == 5
    assert data.photographs(size=96).images.shape == (5, 3, 96, 96)


def test_photographs_are_named_by_mobilenet(assets):
    classifier = load("imagenet", weights=assets / "mobilenet_v2_imagenet_tf.safetensors")
    photographs = data.photographs()
    predicted = classifier(photographs.images).argmax(1).tolist()
    assert all(label in accepted for label, accepted in zip(predicted, photographs.accepted, strict=True))
