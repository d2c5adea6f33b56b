"""The shapes network: its form, its training, and the weights that ship."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from scipy.stats import binom

from perceptlib.data import shapes
from perceptlib.data.scenes import CLASSES
from perceptlib.maps.evaluation import evaluate
from perceptlib.networks import load
from perceptlib.networks.training import shapes_network, train
from perceptlib.records import data_dir
from perceptlib.study import training
from perceptlib.study.training import train_and_save

SHIPPED_SEEDS = (0, 1, 2)
CONDITIONS = [("smooth", "smooth"), ("smooth", "textured"), ("textured", "smooth"), ("textured", "textured")]
# A check on a sample fails by luck once in a million runs.
LUCK = 1e-6


def test_shapes_network_is_a_small_mobilenet_with_an_8x8_map() -> None:
    network = shapes_network()
    assert type(network).__name__ == "MobileNetV2"
    assert sum(parameter.numel() for parameter in network.parameters()) == 83_720
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features = network.eval().features(images)
        assert features.shape == (2, 256, 8, 8)
        linear = network.classifier[-1]
        # Classic CAM is exact: the mean of the map plus the bias is the logit.
        maps = torch.einsum("kd,ndij->nkij", linear.weight, features)
        torch.testing.assert_close(network(images), maps.mean((2, 3)) + linear.bias)
    assert shapes_network(3).classifier[-1].out_features == 3


def test_train_repeats_itself_and_leaves_torch_as_it_was() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    networks = [train(seed=seed, num_images=64) for seed in (4, 4, 5)]
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
    assert not any(network.training for network in networks)
    first, again, other = (network.classifier[-1].weight for network in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_train_learns_something_from_few_pictures() -> None:
    network = train(seed=0, num_images=6400)  # a twentieth of the whole
    scenes = shapes(256, seed=5, object_texture="smooth", background_texture="smooth")
    with torch.no_grad():
        num_right = int((network((scenes.images - 0.5) / 0.25).argmax(1) == scenes.labels).sum())
    assert num_right > binom.ppf(1 - LUCK, 256, 1 / len(CLASSES))


def test_train_and_save_writes_what_the_classifier_reads(tmp_path: Path) -> None:
    out = tmp_path / "new" / "weights.safetensors"
    rows = train_and_save(seed=7, out=out, num_images=64, num_evaluated=4)
    assert rows == evaluate(load("shapes", weights=out), num_images=4)
    assert list(out.parent.iterdir()) == [out]
    with safetensors.safe_open(out, "pt") as file:
        metadata = file.metadata()
        assert file.get_tensor("classifier.1.weight").dtype == torch.float16
    assert json.loads(metadata["classes"]) == list(CLASSES)
    recorded = {key: metadata[key] for key in ("seed", "mean", "std", "padding", "num_images")}
    assert recorded == {"seed": "7", "mean": "0.5", "std": "0.25", "padding": "torch", "num_images": "64"}
    assert json.loads(metadata["versions"])["torch"] == version("torch")
    assert json.loads(metadata["table"])[-1]["num_images"] == 16


def test_train_and_save_leaves_nothing_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("stopped")

    monkeypatch.setattr(training, "evaluate", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        train_and_save(seed=0, out=tmp_path / "weights.safetensors", num_images=64)
    assert not list(tmp_path.iterdir())


def test_training_refuses_bad_numbers_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed is -1; pass a whole number, 0 or more"):
        train(seed=-1)
    with pytest.raises(TypeError, match="seed is None, a NoneType; pass a whole number"):
        train(seed=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_images is 63; pass a whole number, 64 or more"):
        train(seed=0, num_images=63)
    with pytest.raises(ValueError, match="num_evaluated is 0; pass a whole number, 1 or more"):
        train_and_save(seed=0, out=tmp_path / "weights.safetensors", num_evaluated=0)
    with pytest.raises(TypeError, match=r"num_evaluated is 2.5, a float; pass a whole number"):
        train_and_save(seed=0, out=tmp_path / "weights.safetensors", num_evaluated=2.5)  # type: ignore[arg-type]
    with pytest.raises(IsADirectoryError, match=r"is a folder; name a file in it, such as .*weights\.safetensors"):
        train_and_save(seed=0, out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", SHIPPED_SEEDS)
def test_shipped_weights_were_recorded_as_good_enough(seed: int) -> None:
    path = data_dir() / "shapes" / f"mobilenet_v2_shapes_seed{seed}.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    *conditions, total = json.loads(metadata["table"])
    assert metadata["seed"] == str(seed)
    assert [(row["object_texture"], row["background_texture"]) for row in conditions] == CONDITIONS
    assert total["accuracy"] >= 0.99
    assert min(row["accuracy"] for row in conditions) >= 0.98
    assert total["mask_over_chance"] >= 3


@pytest.mark.parametrize("seed", SHIPPED_SEEDS)
def test_shipped_weights_still_are_good_enough(seed: int) -> None:
    num_images = 150
    *conditions, total = evaluate(load("shapes", seed=seed), num_images=num_images, seed=31)
    # What a network at the stated accuracy could score by bad luck.
    assert total["accuracy"] * 4 * num_images >= binom.ppf(LUCK, 4 * num_images, 0.99)
    for row in conditions:
        assert row["accuracy"] * num_images >= binom.ppf(LUCK, num_images, 0.98)
    assert total["mask_over_chance"] >= 2.8  # 3 on 6000 images, less sampling
    assert total["num_undefined"] == 0


def test_shipped_weights_are_small() -> None:
    files = sorted((data_dir() / "shapes").glob("*.safetensors"))
    assert [file.name for file in files] == [f"mobilenet_v2_shapes_seed{seed}.safetensors" for seed in SHIPPED_SEEDS]
    assert all(file.stat().st_size < 210_000 for file in files)
