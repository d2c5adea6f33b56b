"""The small network for shapes: its architecture, and how it is trained and written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from perceptlib.evaluation import evaluate
from perceptlib.provenance import provenance, replacing, writing_to
from perceptlib.scenes import CLASSES, SHAPES_MEAN, SHAPES_STD, shapes
from perceptlib.sketches import whole_number
from perceptlib.tables import Row, Table

_TRAINING_SEED = 1_000_000_000  # pictures for training come from seeds far from those that a reader takes

_BATCH = 32
_LEARNING_RATE = 4e-3  # the peak of one cycle
_WEIGHT_DECAY = 0.02  # not on biases and batch norm
_WARM_UP = 0.12  # of the steps, on smooth textures alone: with textured ones from the start, learning starts late
# On the mean activation of the last map. Without it a third of a map's energy falls on empty places next to the shape.
_ACTIVATION_PENALTY = 1.0


def shapes_network(num_classes: int = len(CLASSES)) -> Any:
    """torchvision's `MobileNetV2`, width 0.5, of total stride 8, with a head of 256 channels; random weights.

    Parameters
    ----------
    num_classes
        Number of outputs, 1 or more.

    Returns
    -------
    torchvision.models.MobileNetV2
        `features[-1]` gives (N, 256, 8, 8) for 64x64 input, `classifier[-1]` is the one linear layer after
        global average pooling, so that the classic CAM is exact. Input: ``(images - SHAPES_MEAN) / SHAPES_STD``.
        84,000 parameters.
    """
    from perceptlib._torchvision import torchvision  # its import takes seconds: only when needed

    settings = [[1, 32, 1, 2], [4, 64, 2, 2], [4, 96, 3, 1]]  # expansion, channels (before the width), blocks, stride
    network = torchvision.models.MobileNetV2(num_classes, width_mult=0.5, inverted_residual_setting=settings)
    in_channels = network.features[-1][0].in_channels
    network.features[-1] = torchvision.ops.Conv2dNormActivation(
        in_channels, 256, kernel_size=1, activation_layer=nn.ReLU6
    )
    network.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(256, num_classes))
    network.last_channel = 256
    return network


def train(*, seed: int, num_images: int = 150_000, progress: bool = False) -> Any:
    """Train the shapes network on fresh pictures, each seen once.

    AdamW with one cycle of the learning rate on cross-entropy plus a penalty on the mean activation of the last map,
    which makes the map sparse. The mask is never used. Textures are "mixed", after a start on smooth ones.

    Parameters
    ----------
    seed
        0 or more; weights and pictures follow from it.
    num_images
        Pictures to train on, 64 or more. The default takes about 4 minutes on one core.
    progress
        Show a progress bar.

    Returns
    -------
    torchvision.models.MobileNetV2
        As `shapes_network`, in evaluation mode.

    Raises
    ------
    TypeError
        `seed` or `num_images` is not a whole number.
    ValueError
        `seed` is negative or `num_images` less than 64.

    Notes
    -----
    Runs on one thread, so that a seed gives the same weights on the same machine whatever its cores, and because
    two threads are slower for pictures this small as soon as anything else runs. torch's random state and number of
    threads are left as they were.
    """
    seed = whole_number("seed", seed)
    num_steps = whole_number("num_images", num_images, least=2 * _BATCH) // _BATCH
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the random states of GPUs as well
        network = shapes_network()
        optimizer = torch.optim.AdamW(_parameter_groups(network), lr=_LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=num_steps)
        for step in (bar := tqdm(range(num_steps), desc=f"seed {seed}", unit="step", disable=not progress)):
            texture = "smooth" if step < _WARM_UP * num_steps else "mixed"
            scenes = shapes(
                _BATCH,
                seed=_TRAINING_SEED + seed,
                first=step * _BATCH,
                object_texture=texture,
                background_texture=texture,
            )
            features = network.features((scenes.images - SHAPES_MEAN) / SHAPES_STD)
            logits = network.classifier(features.mean((2, 3)))
            loss = functional.cross_entropy(logits, scenes.labels) + _ACTIVATION_PENALTY * features.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 25 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}")
    return network.eval()


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
        As `perceptlib.provenance.writing_to`.
    """
    from perceptlib.classifier import load  # imports torchvision, and this module

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
        with _one_thread():
            rows = evaluate(load("shapes", weights=temporary), num_images=num_evaluated, progress=progress)
        recorded = provenance(seed=seed, preset="shapes")
        metadata = {
            "architecture": "torchvision MobileNetV2 as perceptlib.training.shapes_network makes it",
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


def accuracy_table(rows: Sequence[Row]) -> Table:
    """The columns of `train_and_save`'s rows that fit a terminal."""
    columns = ("object_texture", "background_texture", "accuracy", "mask_energy", "mask_over_chance", "hull_pointing")
    cells = [[row[column] for column in columns] for row in rows]
    return Table(
        columns, tuple(tuple(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row) for row in cells)
    )


def _parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Weights with decay; biases and batch norm without."""
    parameters = list(network.parameters())
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
