"""Train a small network, measure it and write its weights with all that is known of them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from perceptlib.analysis.tables import Row, Table
from perceptlib.data.handwritten import DIGIT_CLASSES, DIGITS_MEAN, DIGITS_STD, split_digits, split_sha256
from perceptlib.data.scenes import CLASSES, SHAPES_MEAN, SHAPES_STD
from perceptlib.maps.evaluation import evaluate
from perceptlib.networks import load
from perceptlib.networks.training import DIGITS_EPOCHS, one_thread, train, train_digits
from perceptlib.records import replacing, whole_number, writing_to
from perceptlib.records.provenance import provenance


def train_and_save(
    *, seed: int, out: Path | str, num_images: int = 150_000, num_evaluated: int = 1500, progress: bool = False
) -> list[dict[str, Any]]:
    """Train the shapes network and write it to `out` as float16 safetensors.

    Parameters
    ----------
    seed
        0 or more; weights and pictures follow from it.
    out
        File to write, replaced where it exists; it appears only when complete. Missing folders are made.
    num_images
        Pictures to train on, 64 or more. The default takes about 4 minutes on one core.
    num_evaluated
        Fresh scenes for the table, 1 or more, each in four conditions.
    progress
        Show progress bars.

    Returns
    -------
    list of dict
        The table of `evaluation.evaluate` for the float16 weights as written.

    Raises
    ------
    TypeError
        A number is not a whole one.
    ValueError
        `seed` is negative, `num_images` less than 64 or `num_evaluated` less than 1.
    IsADirectoryError
        `out` is a folder.
    OSError
        As `perceptlib.records.provenance.writing_to`.
    """

    out = Path(out)
    if out.is_dir():  # known before minutes are spent
        raise IsADirectoryError(f"{out} is a folder; name a file in it, such as {out / 'shapes.safetensors'}")
    whole_number("num_evaluated", num_evaluated, least=1)
    with writing_to(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    # The temporary name first: a folder that cannot be written is known before minutes are spent.
    with writing_to(out.parent), replacing(out) as temporary:
        started = time.perf_counter()
        network = train(seed=seed, num_images=num_images, progress=progress)
        training_seconds = time.perf_counter() - started
        tensors = {
            name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in network.state_dict().items()
        }
        temporary.write_bytes(safetensors.torch.save(tensors))
        with one_thread():
            rows = evaluate(load("shapes", weights=temporary), num_images=num_evaluated, progress=progress)
        recorded = provenance(seed=seed, preset="shapes")
        metadata = {
            "architecture": "torchvision MobileNetV2 as perceptlib.networks.training.shapes_network makes it",
            "classes": json.dumps(CLASSES),
            "mean": str(SHAPES_MEAN),
            "std": str(SHAPES_STD),
            "padding": "torch",
            "source": f"perceptlib train --seed {seed}",
            "seed": str(seed),
            "num_images": str(num_images),
            "training_seconds": f"{training_seconds:.0f}",
            "date": recorded["date"],
            "provenance": json.dumps(recorded),
            "versions": json.dumps(recorded["versions"]),
            "table": json.dumps(rows),
        }
        temporary.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    return rows


def save_digits_network(*, seed: int, out: Path | str, epochs: int = DIGITS_EPOCHS) -> float:
    """Train the digits network and write it to `out` as float16 safetensors.

    Parameters
    ----------
    seed, epochs
        As for `train_digits`.
    out
        File to write, replaced where it exists; it appears only when complete. Its folder must be there.

    Returns
    -------
    float
        Share of the 597 test pictures that the float16 weights as written name rightly. It is in the metadata too,
        with seed, versions, date and the sha256 of the test pictures' places.

    Raises
    ------
    TypeError
        A number is not a whole one.
    ValueError
        `seed` is negative or `epochs` less than 1.
    """

    started = time.perf_counter()
    network = train_digits(seed=seed, epochs=epochs)
    training_seconds = time.perf_counter() - started
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    recorded = provenance(seed=seed, preset="digits")
    metadata = {
        "architecture": "perceptlib.data.handwritten.digits_network",
        "classes": json.dumps(DIGIT_CLASSES),
        "mean": str(DIGITS_MEAN),
        "std": str(DIGITS_STD),
        "source": f"perceptlib.data.handwritten.save_digits_network(seed={seed})",
        "seed": str(seed),
        "epochs": str(epochs),
        "training_seconds": f"{training_seconds:.1f}",
        "date": recorded["date"],
        "provenance": json.dumps(recorded),
        "versions": json.dumps(recorded["versions"] | {"scikit-learn": version("scikit-learn")}),
        "split_sha256": split_sha256(),
    }
    test = split_digits()[1]
    with replacing(Path(out)) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors))
        with torch.no_grad():
            is_right = load("digits", weights=temporary)(test.images).argmax(1) == test.labels
        accuracy = is_right.double().mean().item()
        metadata["accuracy"] = f"{accuracy:.4f}"
        temporary.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    return accuracy


def accuracy_table(rows: Sequence[Row]) -> Table:
    """The columns of `train_and_save`'s rows that fit a terminal."""
    columns = ("object_texture", "background_texture", "accuracy", "mask_energy", "mask_over_chance", "hull_pointing")
    cells = [[row[column] for column in columns] for row in rows]
    return Table(
        columns, tuple(tuple(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row) for row in cells)
    )
