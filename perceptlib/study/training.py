"""Train a small network, measure it and write its weights as float16 safetensors with all that is known of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from perceptlib.data import shapes
from perceptlib.data.bundled import DIGIT_CLASSES, DIGITS_MEAN, DIGITS_STD, split_digits, split_sha256
from perceptlib.data.scenes import CLASSES, SHAPES_MEAN, SHAPES_STD, Scenes
from perceptlib.maps import class_activation_map
from perceptlib.networks import Classifier, load
from perceptlib.networks.small import digits_network, shapes_network
from perceptlib.records import claimed, replacing, whole_number, writing_to
from perceptlib.records.device import one_thread
from perceptlib.records.provenance import provenance

# Pictures for training and for the table come from seeds far from each other and from those that a reader takes.
_TRAINING_SEED, _EVALUATION_SEED = 1_000_000_000, 2_000_000_000
_BATCH = 32
_EVALUATED_AT_ONCE = 100
_PEAK = 4e-3  # of the learning rate, in one cycle
_WEIGHT_DECAY = 0.02  # not on biases and batch norm
_WARM_UP = 0.12  # of the steps, on smooth textures alone: with textured ones from the start, learning starts late
# On the mean activation of the last map. Without it a third of a map's energy falls on empty places next to the shape.
_ACTIVATION_PENALTY = 1.0

DIGITS_EPOCHS = 12
_DIGITS_PEAK = 1e-2
_DIGITS_SHIFT = 2  # pixels, either way


def train(*, seed: int, num_images: int = 150_000, progress: bool = False) -> Any:
    """Train the shapes network, in evaluation mode, on fresh pictures, each seen once; about 4 minutes on one core.

    AdamW with one cycle of the learning rate on cross-entropy plus a penalty on the mean activation of the last map,
    which makes the map sparse. The mask is never used. On one thread, so that a seed gives the same weights on a
    machine whatever its cores; torch's random state is left as it was. At least 64 pictures.
    """
    seed = whole_number("seed", seed)
    num_steps = whole_number("num_images", num_images, least=2 * _BATCH) // _BATCH

    def losses(network: Any) -> Iterator[Tensor]:
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
            if step % 25 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}")
            yield loss

    with _seeded(seed), one_thread():
        network = shapes_network()
        weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
        groups = [{"params": weights, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        _descend(losses(network), torch.optim.AdamW(groups, lr=_PEAK), num_steps)
    return network.eval()


def train_digits(*, seed: int, epochs: int = DIGITS_EPOCHS) -> nn.Sequential:
    """Train the digits network on the 1200 pictures that `digits` never gives, shifted at random, in evaluation mode.

    AdamW with one cycle of the learning rate on cross-entropy; 12 epochs take about 4 seconds on one core. A seed gives
    the same weights on a machine with the same number of threads; torch's random state is left as it was.
    """
    seed, epochs = whole_number("seed", seed), whole_number("epochs", epochs, least=1)
    drawn = split_digits()[0]
    batches_each = len(drawn.labels) // _BATCH

    def losses(network: nn.Module) -> Iterator[Tensor]:
        for _ in range(epochs):
            order = torch.randperm(len(drawn.labels))
            for chosen in order[: batches_each * _BATCH].split(_BATCH):
                images = _shifted(drawn.images[chosen])
                yield functional.cross_entropy(network((images - DIGITS_MEAN) / DIGITS_STD), drawn.labels[chosen])

    with _seeded(seed):
        network = digits_network()
        optimizer = torch.optim.AdamW(network.parameters(), lr=_DIGITS_PEAK, weight_decay=0.01)
        _descend(losses(network), optimizer, epochs * batches_each)
    return network.eval()


def evaluate(
    classifier: Classifier, *, num_images: int = 1500, seed: int = _EVALUATION_SEED, progress: bool = False
) -> pd.DataFrame:
    """Accuracy and place of the classic CAM in each of four texture conditions, on the same scenes, and over all.

    For the shape's mask and for its convex hull: the share of the CAM's energy inside (`mask_energy`), the area's share
    of the picture, which is chance (`mask_share`), the quotient of the two (`mask_over_chance`), and the share of maps
    whose maximum is inside (`mask_pointing`). The `num_undefined` all-zero maps count for accuracy alone.
    """
    num_images = whole_number("num_images", num_images, least=1)
    scored = []
    with tqdm(total=4 * num_images, desc="evaluate", unit="image", disable=not progress) as bar:
        for textures in product(("smooth", "textured"), repeat=2):
            condition = dict(zip(("object_texture", "background_texture"), textures, strict=True))
            for first in range(0, num_images, _EVALUATED_AT_ONCE):
                number = min(_EVALUATED_AT_ONCE, num_images - first)
                scenes = shapes(number, seed=seed, first=first, **condition)
                scored.append(pd.DataFrame(condition | _scores(classifier, scenes)))
                bar.update(number)
    each = pd.concat(scored)
    both = pd.concat([each, each.assign(object_texture="all", background_texture="all")])
    groups = both.groupby(["object_texture", "background_texture"], sort=False)
    table = groups.mean()
    table.insert(0, "num_images", groups.size())
    for region in ("mask", "hull"):
        table[f"{region}_over_chance"] = table[f"{region}_energy"] / table[f"{region}_share"]
    table["num_undefined"] = table["num_images"] - groups["mask_energy"].count()
    return table.reset_index()


def train_and_save(
    *, seed: int, out: Path | str, num_images: int = 150_000, num_evaluated: int = 1500, progress: bool = False
) -> pd.DataFrame:
    """Train the shapes network and write it to `out`, which appears only when complete; `evaluate`'s table.

    The table is of the float16 weights as written. What forbids to write `out` is told before: a folder, a disk that is
    read-only, another run that is writing it.
    """
    whole_number("num_evaluated", num_evaluated, least=1)
    with _weights_file(Path(out)) as temporary:
        started = time.perf_counter()
        network = train(seed=seed, num_images=num_images, progress=progress)
        seconds = time.perf_counter() - started
        _write(network, temporary)
        with one_thread():
            table = evaluate(load("shapes", weights=temporary), num_images=num_evaluated, progress=progress)
        known = {
            "architecture": "torchvision MobileNetV2 as perceptlib.networks.small.shapes_network makes it",
            "classes": json.dumps(CLASSES),
            "mean": str(SHAPES_MEAN),
            "std": str(SHAPES_STD),
            "padding": "torch",
            "source": f"perceptlib train --seed {seed}",
            "num_images": str(num_images),
            "training_seconds": f"{seconds:.0f}",
            "table": json.dumps(table.to_dict("records")),
        }
        _write(network, temporary, known | _origin(seed, "shapes"))
    return table


def save_digits_network(*, seed: int, out: Path | str, epochs: int = DIGITS_EPOCHS) -> float:
    """Train the digits network and write it to `out`; the share of the 597 test pictures that it classifies correctly.

    `seed` and `epochs` are those of `train_digits`, `out` is as for `train_and_save`.
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
            "architecture": "perceptlib.networks.small.digits_network",
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


def _descend(losses: Iterable[Tensor], optimizer: torch.optim.Optimizer, num_steps: int) -> None:
    """One cycle of the learning rate, whose peak is the optimizer's; each loss is computed after the step before it."""
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, optimizer.defaults["lr"], total_steps=num_steps)
    for loss in losses:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's random numbers on the CPU from a seed; torch.manual_seed would reach those of GPUs as well."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _shifted(images: Tensor) -> Tensor:
    """Each picture moved by up to `_DIGITS_SHIFT` pixels either way, on paper."""
    padded = functional.pad(images, (_DIGITS_SHIFT,) * 4)
    corners = torch.randint(0, 2 * _DIGITS_SHIFT + 1, (len(images), 2)).tolist()
    side = images.shape[-1]
    parts = [part[:, top : top + side, left : left + side] for part, (top, left) in zip(padded, corners, strict=True)]
    return torch.stack(parts)


def _scores(classifier: Classifier, scenes: Scenes) -> dict[str, Any]:
    """Columns with a number for each scene."""
    with torch.no_grad():
        is_right = (classifier(scenes.images).argmax(1) == scenes.labels).double()
    cam = class_activation_map(classifier, scenes.images, scenes.labels).double().flatten(1)
    energy, peak = cam.sum(1), cam.argmax(1, keepdim=True)
    columns = {"accuracy": is_right}
    for name, region in (("mask", scenes.masks.double().flatten(1)), ("hull", scenes.hulls.double().flatten(1))):
        columns[f"{name}_energy"] = (cam * region).sum(1) / energy  # an all-zero map is 0 / 0: undefined
        columns[f"{name}_share"] = region.mean(1)
        columns[f"{name}_pointing"] = torch.where(energy > 0, region.gather(1, peak)[:, 0], torch.nan)
    return {name: values.numpy() for name, values in columns.items()}


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
