"""Train a small network, measure it and write its weights as float16 safetensors with all that is known of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import nn

from perceptlib.data.handwritten import DIGIT_CLASSES, DIGITS_MEAN, DIGITS_STD, split_digits, split_sha256
from perceptlib.data.scenes import CLASSES, SHAPES_MEAN, SHAPES_STD
from perceptlib.maps.evaluation import evaluate
from perceptlib.networks import load
from perceptlib.networks.training import DIGITS_EPOCHS, one_thread, train, train_digits
from perceptlib.records import claimed, replacing, whole_number, writing_to
from perceptlib.records.provenance import provenance


def train_and_save(
    *, seed: int, out: Path | str, num_images: int = 150_000, num_evaluated: int = 1500, progress: bool = False
) -> list[dict[str, Any]]:
    """Train the shapes network on `num_images` (64 or more) and write it to `out`, which appears only when complete.

    Handed back: the table of `perceptlib.maps.evaluation.evaluate`, for the float16 weights as written, of
    `num_evaluated` fresh scenes in four conditions. It takes about 4 minutes on one core. What forbids to write `out`
    is told before: a folder, a disk that is read-only, another run that is writing it.
    """
    whole_number("num_evaluated", num_evaluated, least=1)
    with _weights_file(Path(out)) as temporary:
        started = time.perf_counter()
        network = train(seed=seed, num_images=num_images, progress=progress)
        seconds = time.perf_counter() - started
        _write(network, temporary)
        with one_thread():
            rows = evaluate(load("shapes", weights=temporary), num_images=num_evaluated, progress=progress)
        known = {
            "architecture": "torchvision MobileNetV2 as perceptlib.networks.training.shapes_network makes it",
            "classes": json.dumps(CLASSES),
            "mean": str(SHAPES_MEAN),
            "std": str(SHAPES_STD),
            "padding": "torch",
            "source": f"perceptlib train --seed {seed}",
            "num_images": str(num_images),
            "training_seconds": f"{seconds:.0f}",
            "table": json.dumps(rows),
        }
        _write(network, temporary, known | _origin(seed, "shapes"))
    return rows


def save_digits_network(*, seed: int, out: Path | str, epochs: int = DIGITS_EPOCHS) -> float:
    """Train the digits network and write it to `out`; the share of the 597 test pictures that it classifies correctly.

    `seed` and `epochs` are those of `perceptlib.networks.training.train_digits`, `out` is as for `train_and_save`.
    """
    with _weights_file(Path(out)) as temporary:
        started = time.perf_counter()
        network = train_digits(seed=seed, epochs=epochs)
        seconds = time.perf_counter() - started
        _write(network, temporary)
        test = split_digits()[1]
        with torch.no_grad():
            is_right = load("digits", weights=temporary)(test.images).argmax(1) == test.labels
        accuracy = is_right.double().mean().item()
        known = {
            "architecture": "perceptlib.networks.training.digits_network",
            "classes": json.dumps(DIGIT_CLASSES),
            "mean": str(DIGITS_MEAN),
            "std": str(DIGITS_STD),
            "source": f"perceptlib.study.training.save_digits_network(seed={seed})",
            "epochs": str(epochs),
            "training_seconds": f"{seconds:.1f}",
            "split_sha256": split_sha256(),
            "accuracy": f"{accuracy:.4f}",
        }
        _write(network, temporary, known | _origin(seed, "digits", "scikit-learn"))
    return accuracy


def accuracy_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The columns of `train_and_save`'s rows that fit a terminal."""
    columns = ["object_texture", "background_texture", "accuracy", "mask_energy", "mask_over_chance", "hull_pointing"]
    return pd.DataFrame(rows)[columns].to_string(index=False, float_format="{:.3f}".format)


@contextmanager
def _weights_file(out: Path) -> Iterator[Path]:
    """A temporary name that becomes `out` at the end; what forbids that is known before minutes are spent."""
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; name a file in it, such as {out / 'weights.safetensors'}")
    with writing_to(out.parent), claimed(out.parent, out.name), replacing(out) as temporary:
        yield temporary


def _write(network: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    path.write_bytes(safetensors.torch.save(tensors, metadata=None if metadata is None else dict(metadata)))


def _origin(seed: int, preset: str, *packages: str) -> dict[str, str]:
    recorded = provenance(seed=seed, preset=preset)
    versions = recorded["versions"] | {package: version(package) for package in packages}
    return {
        "seed": str(seed),
        "date": recorded["date"],
        "provenance": json.dumps(recorded),
        "versions": json.dumps(versions),
    }
