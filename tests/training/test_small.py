"""Training: the weights that it makes, the table that measures them, and those that ship."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors
import torch
from scipy.stats import binom
from small_networks import classifier_of, random_classifier
from torch import nn

from perceptlib.data import shapes
from perceptlib.data.scenes import CLASSES
from perceptlib.networks import Classifier, load
from perceptlib.networks.weights import shipped_networks
from perceptlib.records import data_dir
from perceptlib.training import small as training
from perceptlib.training.robustness import RADII, Threat
from perceptlib.training.small import (
    evaluate,
    evaluate_digits,
    train,
    train_and_save,
    train_digits,
)

SHIPPED_SEEDS = (0, 1, 2)
ROBUST = sorted(name for name in shipped_networks() if "-l" in name)
# What the file of a robust network says besides its seed, norm and radius.
TOLD = {
    *("attack", "attack_steps", "tested_by", "started_from", "started_from_sha256", "accuracy", "robust_accuracy"),
    *("table", "training_seconds", "versions", "provenance", "date", "source", "classes", "mean", "std"),
}
CONDITIONS = [("smooth", "smooth"), ("smooth", "textured"), ("textured", "smooth"), ("textured", "textured")]
# A check on a sample fails by luck once in a million runs.
LUCK = 1e-6


def test_train_repeats_itself_and_leaves_torch_as_it_was() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    networks = [train(seed=seed, num_images=64) for seed in (4, 4, 5)]
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
    assert not any(network.training for network in networks)
    first, again, other = (network.classifier[-1].weight for network in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.slow
def test_train_learns_something_from_few_pictures() -> None:
    network = train(seed=0, num_images=6400)  # a twentieth of the whole
    scenes = shapes(256, seed=5, object_texture="smooth", background_texture="smooth")
    with torch.no_grad():
        num_right = int((network((scenes.images - 0.5) / 0.25).argmax(1) == scenes.labels).sum())
    assert num_right > binom.ppf(1 - LUCK, 256, 1 / len(CLASSES))


def test_train_and_save_writes_what_the_classifier_reads(tmp_path: Path) -> None:
    out = tmp_path / "new" / "weights.safetensors"
    table = train_and_save("shapes", seed=7, out=out, amount=64, num_evaluated=4)
    pd.testing.assert_frame_equal(table, evaluate(load("shapes", weights=out), num_images=4))
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
        train_and_save("shapes", seed=0, out=tmp_path / "weights.safetensors", amount=64)
    assert not list(tmp_path.iterdir())


def test_training_refuses_bad_numbers_before_it_starts(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    with pytest.raises(ValueError, match="seed is -1; pass a whole number, 0 or more"):
        train(seed=-1)
    with pytest.raises(ValueError, match="num_images is 63; pass a whole number, 64 or more"):
        train(seed=0, num_images=63)
    with pytest.raises(ValueError, match="num_images is 0; pass a whole number, 64 or more"):
        train_and_save("shapes", seed=0, out=out, amount=0)
    hard: Any = {"start": load("shapes").network, "threat": (threat := Threat("l2", 1.0))}
    with pytest.raises(ValueError, match="seed is -1; pass a whole number, 0 or more"):
        train(**hard, seed=-1)
    with pytest.raises(ValueError, match="num_images is 63; pass a whole number, 64 or more"):
        train(**hard, seed=0, num_images=63)
    with pytest.raises(ValueError, match="seed is -1; pass a whole number, 0 or more"):
        train_digits(**hard, seed=-1)
    with pytest.raises(ValueError, match="epochs is 0; pass a whole number, 1 or more"):
        train_digits(**hard, seed=0, epochs=0)
    with pytest.raises(ValueError, match="num_attacked is 0; pass a whole number, 1 or more"):
        evaluate(constant_classifier(1.0), num_images=1, threat=threat, num_attacked=0)
    with pytest.raises(ValueError, match="num_attacked is -1; pass a whole number, 1 or more"):
        evaluate_digits(load("digits"), num_attacked=-1)
    with pytest.raises(TypeError, match=r"num_evaluated is 2.5, a float; pass a whole number"):
        train_and_save("shapes", seed=0, out=out, num_evaluated=2.5)  # type: ignore[arg-type]
    with pytest.raises(IsADirectoryError, match=r"is a folder; name a file in it, such as .*weights\.safetensors"):
        train_and_save("shapes", seed=0, out=tmp_path)
    with pytest.raises(ValueError, match="num_images is 0; pass a whole number, 1 or more"):
        evaluate(constant_classifier(1.0), num_images=0)
    with pytest.raises(ValueError, match="seed is -2; pass a whole number, 0 or more"):
        evaluate(constant_classifier(1.0), num_images=1, seed=-2)
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
    table = evaluate(load("shapes", seed=seed), num_images=num_images, seed=31)
    conditions, total = table[:-1], table.iloc[-1]
    # What a network at the stated accuracy could score by bad luck.
    assert total["accuracy"] * 4 * num_images >= binom.ppf(LUCK, 4 * num_images, 0.99)
    assert (conditions["accuracy"] * num_images >= binom.ppf(LUCK, num_images, 0.98)).all()
    assert total["mask_over_chance"] >= 2.8  # 3 on 6000 images, less sampling
    assert total["num_undefined"] == 0


@pytest.mark.parametrize(("data", "most_bytes"), [("shapes", 210_000), ("digits", 140_000)])
def test_shipped_weights_are_small_and_in_the_readme(data: str, most_bytes: int) -> None:
    files = (data_dir() / data).glob("*.safetensors")
    assert all(file.stat().st_size < most_bytes for file in files)
    names = {name for name in shipped_networks() if name.startswith(data)}
    assert names == {f"{data}{kind}-{seed}" for kind in ("", "-l2", "-linf") for seed in SHIPPED_SEEDS}


@pytest.mark.parametrize("name", ROBUST)
def test_shipped_robust_weights_were_recorded_as_robust(name: str) -> None:
    """In every texture condition by itself: at least twice the standard network's robust accuracy, itself low."""
    metadata, table = recorded(name)
    data, norm, seed = name.split("-")
    assert {"seed": seed, "norm": norm, "radius": str(RADII[data][norm])}.items() <= metadata.items()
    assert metadata.keys() >= TOLD
    assert "-dirty" not in json.loads(metadata["provenance"])["commit"]
    assert metadata["started_from_sha256"] == load(data, seed=int(seed)).sha256
    assert (table["accuracy"] >= 0.95).all()
    assert (table["robust_accuracy"] >= 2 * table["standard_robust_accuracy"]).all()
    assert (table["standard_robust_accuracy"] < 0.2).all()
    row = "| " + " | ".join([name, *readme_cells(table)]) + " |"
    assert row in (data_dir() / data / "README.md").read_text(encoding="utf-8")


def readme_cells(table: pd.DataFrame) -> list[str]:
    """Clean / robust accuracy, and the standard network's robust accuracy, as the page shows them."""
    columns = ["accuracy", "robust_accuracy", "standard_robust_accuracy"]
    return ["{:.3f} / {:.3f} ({:.3f})".format(*row) for row in table[columns].itertuples(index=False)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ROBUST)
def test_shipped_robust_weights_still_are_robust(name: str) -> None:
    metadata, table = recorded(name)
    threat = Threat(metadata["norm"], float(metadata["radius"]))
    if name.startswith("shapes"):
        now = evaluate(load(name), num_images=50, num_attacked=50, threat=threat, seed=32).iloc[-1]
    else:
        now = evaluate_digits(load(name), threat=threat, num_attacked=200).iloc[-1]
    for column, number in (("accuracy", now["num_images"]), ("robust_accuracy", now["num_attacked"])):
        # What a network at the stated accuracy, less the sampling of that, could score by bad luck.
        stated = table[column].iloc[-1] - 0.02
        assert now[column] * number >= binom.ppf(LUCK, number, stated)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["shapes", "digits"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_hardened_weights_say_all_of_themselves(data: Any, norm: str, tmp_path: Path) -> None:
    threat, out = Threat(norm, 0.5), tmp_path / "weights.safetensors"
    if data == "shapes":
        table = train_and_save("shapes", seed=1, out=out, threat=threat, amount=64, num_evaluated=4)
        again = evaluate(load("shapes", weights=out), num_images=4, threat=threat)
        standard = evaluate(load("shapes", seed=1), num_images=4, threat=threat)
        assert table["num_attacked"].tolist() == [4, 4, 4, 4, 16]
    else:
        table = train_and_save("digits", seed=1, out=out, threat=threat, amount=1, num_evaluated=16)
        again = evaluate_digits(load("digits", weights=out), threat=threat, num_attacked=16)
        standard = evaluate_digits(load("digits", seed=1), threat=threat, num_attacked=16)
    pd.testing.assert_frame_equal(table[again.columns], again)
    for column in ("accuracy", "robust_accuracy"):
        assert table[f"standard_{column}"].tolist() == standard[column].tolist()
    with safetensors.safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["table"]) == table.to_dict("records")
    expected = {
        **{"seed": "1", "norm": norm, "radius": "0.5", "attack_steps": "3" if data == "shapes" else "5"},
        **({"num_images": "64"} if data == "shapes" else {"epochs": "1"}),
        "source": f"perceptlib train --data {data} --seed 1 --robust {norm} --radius 0.5",
        "started_from": load(data, seed=1).source,
        "started_from_sha256": load(data, seed=1).sha256,
        "accuracy": f"{table['accuracy'].iloc[-1]:.4f}",
        "robust_accuracy": f"{table['robust_accuracy'].iloc[-1]:.4f}",
    }
    assert {name: metadata[name] for name in expected} == expected
    assert metadata.keys() >= TOLD


def test_hardening_leaves_the_network_it_starts_from_and_repeats_itself() -> None:
    standard, threat = load("shapes"), Threat("l2", 1.0)
    state = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in standard.network.state_dict().items()}
    first, again, other = (train(seed=seed, num_images=64, start=standard.network, threat=threat) for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), state) and not first.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in standard.network.state_dict().items())
    name = "classifier.1.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], before[name])


@pytest.mark.slow
def test_seed_that_does_not_ship_is_trained_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def quick(*, seed: int, start: Any = None, **options: Any) -> Any:
        asked.append(seed)
        return load("digits", seed=0).network if start is None else start

    monkeypatch.setattr(training, "train_digits", quick)
    table = train_and_save("digits", seed=77, out=tmp_path / "net", threat=Threat("l2", 1.0), amount=1, num_evaluated=4)
    assert asked == [77, 77]
    assert table["standard_accuracy"].tolist() == evaluate_digits(load("digits", seed=0))["accuracy"].tolist()
    assert list(tmp_path.iterdir()) == [tmp_path / "net"]


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_two_epochs_make_digits_more_robust(norm: str, tmp_path: Path) -> None:
    threat = Threat(norm, RADII["digits"][norm])
    table = train_and_save("digits", seed=0, out=tmp_path / "net", threat=threat, amount=2, num_evaluated=50)
    row = table.loc[0]
    assert row["robust_accuracy"] > 2 * row["standard_robust_accuracy"]


def recorded(name: str) -> tuple[dict[str, str], pd.DataFrame]:
    """What the file of a shipped network says, and its table."""
    with safetensors.safe_open(shipped_networks()[name], "pt") as file:
        metadata = file.metadata()
    return metadata, pd.DataFrame(json.loads(metadata["table"]))


def constant_classifier(value: float) -> Classifier:
    """Sees the same in every place: the map of every class is `value` everywhere; it always says class 0."""

    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 1, 8, 8), value)

    linear = nn.Linear(1, len(CLASSES))
    nn.init.ones_(linear.weight)
    nn.init.zeros_(linear.bias)
    linear.bias.data[0] = 1
    features = Constant()
    network = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    return classifier_of(network, features, linear)


def test_evaluate_of_a_flat_map_is_chance() -> None:
    table = evaluate(constant_classifier(1.0), num_images=40, seed=3)
    textures = table[["object_texture", "background_texture"]].itertuples(index=False, name=None)
    assert list(textures) == [*CONDITIONS, ("all", "all")]
    assert table["num_images"].tolist() == [40] * 4 + [160]
    assert not table["num_undefined"].any()
    scenes = shapes(40, seed=3)
    assert table["accuracy"].tolist() == pytest.approx([float((scenes.labels == 0).double().mean())] * 5)
    for name, regions in (("mask", scenes.masks), ("hull", scenes.hulls)):
        share = float(regions.double().mean())
        assert table[f"{name}_share"].tolist() == pytest.approx([share] * 5)
        assert table[f"{name}_energy"].tolist() == pytest.approx([share] * 5, rel=1e-6)
        assert table[f"{name}_over_chance"].tolist() == pytest.approx([1] * 5, rel=1e-6)


def test_evaluate_counts_maps_without_mass() -> None:
    total = evaluate(constant_classifier(0.0), num_images=5, seed=3).iloc[-1]
    assert total["num_undefined"] == 20
    assert math.isnan(total["mask_energy"]) and math.isnan(total["hull_pointing"])
    assert total["mask_share"] > 0.05


def test_evaluate_does_not_depend_on_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(random_classifier(), num_images=9)
    monkeypatch.setattr(training, "_EVALUATED_AT_ONCE", 4)
    pd.testing.assert_frame_equal(evaluate(random_classifier(), num_images=9), whole, rtol=1e-4)
