"""Train a small network, measure it and write its weights as float16 safetensors with all that is known of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
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
from perceptlib.networks.weights import shipped_networks
from perceptlib.records import claimed, replacing, whole_number, writing_to
from perceptlib.records.device import one_thread
from perceptlib.records.provenance import provenance
from perceptlib.training.robustness import TESTED_BY, Threat, hardest, withstands

# Pictures for training and for the table come from seeds far from each other and from those that a reader takes.
_TRAINING_SEED, _EVALUATION_SEED = 1_000_000_000, 2_000_000_000
_BATCH = 32
_EVALUATED_AT_ONCE = 100
_WEIGHT_DECAY = 0.02  # not on biases and batch norm
_WARM_UP = 0.12  # of the steps, on smooth textures alone: with textured ones from the start, learning starts late
# On the mean activation of the last map. Without it a third of a map's energy falls on empty places next to the shape.
_ACTIVATION_PENALTY = 1.0
_DIGITS_SHIFT = 2  # pixels, either way

# Peak of the learning rate, in one cycle: from random weights and from those of a network that is trained already.
_PEAK, _HARDENING_PEAK = 4e-3, 2e-3
_DIGITS_PEAK, _DIGITS_HARDENING_PEAK = 1e-2, 5e-3
SHAPES_IMAGES, SHAPES_HARDENING_IMAGES = 150_000, 9_600
DIGITS_EPOCHS, DIGITS_HARDENING_EPOCHS = 12, 12
SHAPES_ATTACK_STEPS, DIGITS_ATTACK_STEPS = 3, 5


def train(*, seed: int, num_images: int = SHAPES_IMAGES, progress: bool = False) -> Any:
    """Train the shapes network, in evaluation mode, on fresh pictures, each seen once; about 4 minutes on one core.

    AdamW with one cycle of the learning rate on cross-entropy plus a penalty on the mean activation of the last map,
    which makes the map sparse. The mask is never used. On one thread, so that a seed gives the same weights on a
    machine whatever its cores; torch's random state is left as it was. At least 64 pictures.
    """
    seed = whole_number("seed", seed)
    num_images = whole_number("num_images", num_images, least=2 * _BATCH)
    with _seeded(seed), one_thread():
        return _fit_shapes(shapes_network(), seed, num_images, _PEAK, progress=progress)


def harden(
    network: Any, threat: Threat, *, seed: int, num_images: int = SHAPES_HARDENING_IMAGES, progress: bool = False
) -> Any:
    """Adversarial training of a copy of a trained shapes network (Madry et al. 2018), in evaluation mode; 2 minutes.

    As `train`, on pictures of the seed that follow those of `train`, each changed by projected gradient descent of 3
    steps from a random start inside the threat, on which the network, as it is then, is evaluated.
    """
    seed = whole_number("seed", seed)
    num_images = whole_number("num_images", num_images, least=2 * _BATCH)
    with _seeded(seed), one_thread():
        return _fit_shapes(_trainable(network), seed, num_images, _HARDENING_PEAK, threat, progress=progress)


def train_digits(*, seed: int, epochs: int = DIGITS_EPOCHS, progress: bool = False) -> nn.Sequential:
    """Train the digits network on the 1200 pictures that `digits` never gives, shifted at random, in evaluation mode.

    AdamW with one cycle of the learning rate on cross-entropy; 12 epochs take about 4 seconds on one core. On one
    thread, so that a seed gives the same weights on a machine; torch's random state is left as it was.
    """
    seed, epochs = whole_number("seed", seed), whole_number("epochs", epochs, least=1)
    with _seeded(seed), one_thread():
        return _fit_digits(digits_network(), seed, epochs, _DIGITS_PEAK, progress=progress)


def harden_digits(
    network: Any, threat: Threat, *, seed: int, epochs: int = DIGITS_HARDENING_EPOCHS, progress: bool = False
) -> Any:
    """Adversarial training of a copy of a trained digits network, as `harden`, attacks of 5 steps; half a minute."""
    seed, epochs = whole_number("seed", seed), whole_number("epochs", epochs, least=1)
    with _seeded(seed), one_thread():
        return _fit_digits(_trainable(network), seed, epochs, _DIGITS_HARDENING_PEAK, threat, progress=progress)


def _fit_shapes(
    network: Any, seed: int, num_images: int, peak: float, threat: Threat | None = None, *, progress: bool
) -> Any:
    num_steps, start = num_images // _BATCH, 0 if threat is None else SHAPES_IMAGES
    generator = torch.Generator().manual_seed(seed)

    def losses() -> Iterator[Tensor]:
        for step in (bar := tqdm(range(num_steps), desc=f"seed {seed}", unit="step", disable=not progress)):
            texture = "smooth" if threat is None and step < _WARM_UP * num_steps else "mixed"
            scenes = shapes(
                _BATCH,
                seed=_TRAINING_SEED + seed,
                first=start + step * _BATCH,
                object_texture=texture,
                background_texture=texture,
            )
            images = scenes.images
            if threat is not None:
                images = hardest(
                    network,
                    lambda met: network((met - SHAPES_MEAN) / SHAPES_STD),
                    images,
                    scenes.labels,
                    threat,
                    steps=SHAPES_ATTACK_STEPS,
                    generator=generator,
                )
            features = network.features((images - SHAPES_MEAN) / SHAPES_STD)
            logits = network.classifier(features.mean((2, 3)))
            loss = functional.cross_entropy(logits, scenes.labels) + _ACTIVATION_PENALTY * features.mean()
            if step % 25 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}")
            yield loss

    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    _descend(losses(), torch.optim.AdamW(groups, lr=peak), num_steps)
    return network.eval()


def _fit_digits(
    network: Any, seed: int, epochs: int, peak: float, threat: Threat | None = None, *, progress: bool
) -> Any:
    drawn = split_digits()[0]
    batches_each = len(drawn.labels) // _BATCH
    generator = torch.Generator().manual_seed(seed)

    def losses() -> Iterator[Tensor]:
        for _ in tqdm(range(epochs), desc=f"seed {seed}", unit="epoch", disable=not progress):
            order = torch.randperm(len(drawn.labels))
            for chosen in order[: batches_each * _BATCH].split(_BATCH):
                images, labels = _shifted(drawn.images[chosen]), drawn.labels[chosen]
                if threat is not None:
                    images = hardest(
                        network,
                        lambda met: network((met - DIGITS_MEAN) / DIGITS_STD),
                        images,
                        labels,
                        threat,
                        steps=DIGITS_ATTACK_STEPS,
                        generator=generator,
                    )
                yield functional.cross_entropy(network((images - DIGITS_MEAN) / DIGITS_STD), labels)

    _descend(losses(), torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=0.01), epochs * batches_each)
    return network.eval()


def _trainable(network: Any) -> Any:
    return deepcopy(network).requires_grad_(True).train()


def evaluate(
    classifier: Classifier,
    *,
    num_images: int = 1500,
    seed: int = _EVALUATION_SEED,
    threat: Threat | None = None,
    num_attacked: int = 100,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy and place of the classic CAM in each of four texture conditions, on the same scenes, and over all.

    For the shape's mask and for its convex hull: the share of the CAM's energy inside (`mask_energy`), the area's share
    of the picture, which is chance (`mask_share`), the quotient of the two (`mask_over_chance`), and the share of maps
    whose maximum is inside (`mask_pointing`). The `num_undefined` all-zero maps count for accuracy alone. With a threat
    also `robust_accuracy`, the share of the first `num_attacked` scenes of a condition that `withstands` tells.
    """
    num_images = whole_number("num_images", num_images, least=1)
    num_attacked = 0 if threat is None else min(whole_number("num_attacked", num_attacked, least=1), num_images)
    scored = []
    with tqdm(total=4 * num_images, desc="evaluate", unit="image", disable=not progress) as bar:
        for textures in product(("smooth", "textured"), repeat=2):
            condition = dict(zip(("object_texture", "background_texture"), textures, strict=True))
            for first in range(0, num_images, _EVALUATED_AT_ONCE):
                number = min(_EVALUATED_AT_ONCE, num_images - first)
                scenes = shapes(number, seed=seed, first=first, **condition)
                columns = condition | _scores(classifier, scenes)
                if threat is not None:
                    columns["robust_accuracy"] = torch.full((number,), torch.nan, dtype=torch.float64).numpy()
                    if chosen := max(0, min(number, num_attacked - first)):
                        images, labels = scenes.images[:chosen], scenes.labels[:chosen]
                        columns["robust_accuracy"][:chosen] = withstands(classifier, images, labels, threat).numpy()
                scored.append(pd.DataFrame(columns))
                bar.update(number)
    each = pd.concat(scored)
    both = pd.concat([each, each.assign(object_texture="all", background_texture="all")])
    groups = both.groupby(["object_texture", "background_texture"], sort=False)
    table = groups.mean()
    table.insert(0, "num_images", groups.size())
    for region in ("mask", "hull"):
        table[f"{region}_over_chance"] = table[f"{region}_energy"] / table[f"{region}_share"]
    table["num_undefined"] = table["num_images"] - groups["mask_energy"].count()
    if threat is not None:
        table["num_attacked"] = groups["robust_accuracy"].count()
    return table.reset_index()


def evaluate_digits(classifier: Classifier, *, threat: Threat | None = None, num_attacked: int = 300) -> pd.DataFrame:
    """A row with the share of the 597 test pictures that are classified correctly; of the first ones that `withstands`
    a threat, where there is one."""
    num_attacked = whole_number("num_attacked", num_attacked, least=1)
    test = split_digits()[1]
    with torch.no_grad():
        accuracy = (classifier(test.images).argmax(1) == test.labels).double().mean().item()
    row: dict[str, Any] = {"num_images": len(test.labels), "accuracy": accuracy}
    if threat is not None:
        chosen = slice(min(num_attacked, len(test.labels)))
        is_robust = withstands(classifier, test.images[chosen], test.labels[chosen], threat)
        row |= {"robust_accuracy": is_robust.double().mean().item(), "num_attacked": len(is_robust)}
    return pd.DataFrame([row])


def train_and_save(
    *,
    seed: int,
    out: Path | str,
    threat: Threat | None = None,
    num_images: int | None = None,
    num_evaluated: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train the shapes network and write it to `out`, which appears only when complete; `evaluate`'s table.

    With a threat the standard network of the seed (the shipped one; where none is, it is trained first) is hardened,
    and the table has what the standard network reaches as well, in columns ``standard_...``. `num_images` is that of
    `train` or `harden`, `num_evaluated` by itself 1500, and 500 with a threat, in each texture condition. The table is
    of the float16 weights as written. What forbids to write `out` is told before: a folder, a disk that is read-only,
    another run that is writing it.
    """
    known = {
        "architecture": "torchvision MobileNetV2 as perceptlib.networks.small.shapes_network makes it",
        "classes": json.dumps(CLASSES),
        "mean": str(SHAPES_MEAN),
        "std": str(SHAPES_STD),
        "padding": "torch",
    }
    return _save(
        "shapes",
        (train, harden),
        {"num_images": _chosen(num_images, threat, SHAPES_IMAGES, SHAPES_HARDENING_IMAGES)},
        SHAPES_ATTACK_STEPS,
        partial(
            evaluate,
            num_images=whole_number("num_evaluated", _chosen(num_evaluated, threat, 1500, 500), least=1),
            progress=progress,
        ),
        known,
        seed=seed,
        out=Path(out),
        threat=threat,
        progress=progress,
    )


def train_and_save_digits(
    *,
    seed: int,
    out: Path | str,
    threat: Threat | None = None,
    epochs: int | None = None,
    num_attacked: int = 300,
    progress: bool = False,
) -> pd.DataFrame:
    """Train the digits network and write it to `out`, as `train_and_save`; the table of `evaluate_digits`."""
    known = {
        "architecture": "perceptlib.networks.small.digits_network",
        "classes": json.dumps(DIGIT_CLASSES),
        "mean": str(DIGITS_MEAN),
        "std": str(DIGITS_STD),
        "split_sha256": split_sha256(),
    }
    return _save(
        "digits",
        (train_digits, harden_digits),
        {"epochs": _chosen(epochs, threat, DIGITS_EPOCHS, DIGITS_HARDENING_EPOCHS)},
        DIGITS_ATTACK_STEPS,
        partial(evaluate_digits, num_attacked=num_attacked),
        known,
        seed=seed,
        out=Path(out),
        threat=threat,
        progress=progress,
    )


def _chosen(given: int | None, threat: Threat | None, usual: int, hardening: int) -> int:
    return given if given is not None else usual if threat is None else hardening


def _save(
    data: str,
    functions: tuple[Callable[..., Any], Callable[..., Any]],
    amount: dict[str, int],
    attack_steps: int,
    measure: Callable[..., pd.DataFrame],
    known: dict[str, str],
    *,
    seed: int,
    out: Path,
    threat: Threat | None,
    progress: bool,
) -> pd.DataFrame:
    """Train by the first of the functions, or harden by the second, measure, write; the table."""
    fit, options = functions[0], {"seed": seed, "progress": progress}
    command = f"perceptlib train --data {data} --seed {seed}"
    with _weights_file(out) as temporary:
        if threat is not None:
            is_shipped = f"{data}-{seed}" in shipped_networks()
            if not is_shipped:
                _write(fit(**options), temporary)
            standard = load(data, seed=seed, weights=None if is_shipped else temporary)
            fit = partial(functions[1], standard.network, threat)
            command += f" --robust {threat.norm} --radius {threat.radius}"
        started = time.perf_counter()
        network = fit(**options, **amount)
        seconds = time.perf_counter() - started
        _write(network, temporary)
        with one_thread():
            table = measure(load(data, weights=temporary), threat=threat)
            if threat is not None:
                compared = measure(standard, threat=threat).filter(["accuracy", "robust_accuracy", "mask_over_chance"])
                table = table.join(compared.add_prefix("standard_"))
        known |= {name: str(value) for name, value in amount.items()}
        known |= {"source": command, "training_seconds": f"{seconds:.0f}"}
        known |= {"table": json.dumps(table.to_dict("records")), "accuracy": f"{table['accuracy'].iloc[-1]:.4f}"}
        if threat is not None:
            known |= {
                "norm": threat.norm,
                "radius": str(threat.radius),
                "attack": f"projected gradient descent, {attack_steps} steps from a random start, lowest margin kept",
                "attack_steps": str(attack_steps),
                "robust_accuracy": f"{table['robust_accuracy'].iloc[-1]:.4f}",
                "tested_by": TESTED_BY,
                "started_from": standard.source,
                "started_from_sha256": standard.sha256,
            }
        _write(network, temporary, known | _origin(seed, data, *(["scikit-learn"] if data == "digits" else [])))
    return table


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
