"""Train a small network, measure it and write its weights as float16 safetensors with all that is known of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
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

# Peak of the learning rate, in one cycle, and how much is seen: of pictures, for digits times all of them. From random
# weights, and from those of a network that is trained already.
_PEAK, _DIGITS_PEAK = (4e-3, 2e-3), (1e-2, 5e-3)
SHAPES_IMAGES, DIGITS_EPOCHS = (150_000, 9_600), (12, 12)
ATTACK_STEPS = {"shapes": 3, "digits": 5}


def train(
    *,
    seed: int,
    num_images: int | None = None,
    start: Any = None,
    threat: Threat | None = None,
    progress: bool = False,
) -> Any:
    """Train the shapes network, in evaluation mode, on fresh pictures, each seen once; about 4 minutes on one core.

    AdamW with one cycle of the learning rate on cross-entropy plus a penalty on the mean activation of the last map,
    which makes the map sparse. The mask is never used. On one thread, so that a seed gives the same weights on a
    machine whatever its cores; torch's random state is left as it was. At least 64 pictures.

    With a threat, and a trained network to start from a copy of, adversarial training (Madry et al. 2018), 2 minutes:
    on pictures of the seed that follow those, each changed by projected gradient descent of 3 steps from a random start
    inside the threat, on which the network, as it is then, is evaluated.
    """
    is_hardening = threat is not None
    seed = whole_number("seed", seed)
    num_images = SHAPES_IMAGES[is_hardening] if num_images is None else num_images
    num_steps = whole_number("num_images", num_images, least=2 * _BATCH) // _BATCH
    with _seeded(seed), one_thread():
        network = shapes_network() if start is None else deepcopy(start).requires_grad_(True).train()
        harder = _harder(network, "shapes", SHAPES_MEAN, SHAPES_STD, threat, seed)

        def losses() -> Iterator[Tensor]:
            for step in (bar := tqdm(range(num_steps), desc=f"seed {seed}", unit="step", disable=not progress)):
                texture = "smooth" if not is_hardening and step < _WARM_UP * num_steps else "mixed"
                first = SHAPES_IMAGES[0] * is_hardening + step * _BATCH
                textures = {"object_texture": texture, "background_texture": texture}
                scenes = shapes(_BATCH, seed=_TRAINING_SEED + seed, first=first, **textures)
                features = network.features((harder(scenes.images, scenes.labels) - SHAPES_MEAN) / SHAPES_STD)
                logits = network.classifier(features.mean((2, 3)))
                loss = functional.cross_entropy(logits, scenes.labels) + _ACTIVATION_PENALTY * features.mean()
                if step % 25 == 0:
                    bar.set_postfix(loss=f"{loss.item():.3f}")
                yield loss

        weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
        groups = [{"params": weights, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        _descend(losses(), torch.optim.AdamW(groups, lr=_PEAK[is_hardening]), num_steps)
    return network.eval()


def train_digits(
    *, seed: int, epochs: int | None = None, start: Any = None, threat: Threat | None = None, progress: bool = False
) -> Any:
    """Train the digits network on the 1200 pictures that `digits` never gives, shifted at random, in evaluation mode.

    AdamW with one cycle of the learning rate on cross-entropy; 12 epochs take about 4 seconds on one core, with a
    threat half a minute. Start, threat, thread and random state as of `train`, attacks of 5 steps.
    """
    is_hardening = threat is not None
    seed = whole_number("seed", seed)
    epochs = whole_number("epochs", DIGITS_EPOCHS[is_hardening] if epochs is None else epochs, least=1)
    drawn = split_digits()[0]
    batches_each = len(drawn.labels) // _BATCH
    with _seeded(seed), one_thread():
        network = digits_network() if start is None else deepcopy(start).requires_grad_(True).train()
        harder = _harder(network, "digits", DIGITS_MEAN, DIGITS_STD, threat, seed)

        def losses() -> Iterator[Tensor]:
            for _ in tqdm(range(epochs), desc=f"seed {seed}", unit="epoch", disable=not progress):
                order = torch.randperm(len(drawn.labels))
                for chosen in order[: batches_each * _BATCH].split(_BATCH):
                    labels = drawn.labels[chosen]
                    images = harder(_shifted(drawn.images[chosen]), labels)
                    yield functional.cross_entropy(network((images - DIGITS_MEAN) / DIGITS_STD), labels)

        optimizer = torch.optim.AdamW(network.parameters(), lr=_DIGITS_PEAK[is_hardening], weight_decay=0.01)
        _descend(losses(), optimizer, epochs * batches_each)
    return network.eval()


def _harder(
    network: nn.Module, data: str, mean: float, std: float, threat: Threat | None, seed: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """From pictures and their labels to the pictures to train on: the same, or the `hardest` inside a threat."""
    if threat is None:
        return lambda images, labels: images
    generator = torch.Generator().manual_seed(seed)
    options: dict[str, Any] = {"steps": ATTACK_STEPS[data], "generator": generator}

    def harder(images: Tensor, labels: Tensor) -> Tensor:
        return hardest(network, lambda met: network((met - mean) / std), images, labels, threat, **options)

    return harder


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
    data: str,
    *,
    seed: int,
    out: Path | str,
    threat: Threat | None = None,
    amount: int | None = None,
    num_evaluated: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train the network for "shapes" or "digits" and write it to `out`, which appears only when complete; its table.

    With a threat the standard network of the seed (the shipped one; where none is, it is trained first) is hardened,
    and the table has what the standard network reaches as well, in columns ``standard_...``. `amount` are the pictures
    of `train` or the epochs of `train_digits`; `num_evaluated` by itself 1500, and 500 with a threat, in each texture
    condition, of digits those attacked, 300. The table is of the float16 weights as written. What forbids to write
    `out` is told before: a folder, a disk that is read-only, another run that is writing it.
    """
    is_hardening, out = threat is not None, Path(out)
    fit: Callable[..., nn.Module]
    measure: Callable[..., pd.DataFrame]
    if data == "shapes":
        fit, unit, usual = train, "num_images", SHAPES_IMAGES[is_hardening]
        given = (1500, 500)[is_hardening] if num_evaluated is None else num_evaluated
        number = whole_number("num_evaluated", given, least=1)
        measure = partial(evaluate, num_images=number, progress=progress)
        known = {"architecture": "torchvision MobileNetV2 as perceptlib.networks.small.shapes_network makes it"}
        known |= {"classes": json.dumps(CLASSES), "mean": str(SHAPES_MEAN), "std": str(SHAPES_STD), "padding": "torch"}
    else:
        fit, unit, usual = train_digits, "epochs", DIGITS_EPOCHS[is_hardening]
        measure = partial(evaluate_digits, num_attacked=300 if num_evaluated is None else num_evaluated)
        known = {"architecture": "perceptlib.networks.small.digits_network", "split_sha256": split_sha256()}
        known |= {"classes": json.dumps(DIGIT_CLASSES), "mean": str(DIGITS_MEAN), "std": str(DIGITS_STD)}
    amount = usual if amount is None else amount
    options: dict[str, Any] = {"seed": seed, "progress": progress}
    command = f"perceptlib train --data {data} --seed {seed}"
    with _weights_file(out) as temporary:
        if threat is not None:
            is_shipped = f"{data}-{seed}" in shipped_networks()
            if not is_shipped:
                _write(fit(**options), temporary)
            standard = load(data, seed=seed, weights=None if is_shipped else temporary)
            options |= {"start": standard.network, "threat": threat}
            command += f" --robust {threat.norm} --radius {threat.radius}"
        started = time.perf_counter()
        options[unit] = amount
        network = fit(**options)
        seconds = time.perf_counter() - started
        _write(network, temporary)
        with one_thread():
            table = measure(load(data, weights=temporary), threat=threat)
            if threat is not None:
                compared = measure(standard, threat=threat).filter(["accuracy", "robust_accuracy", "mask_over_chance"])
                table = table.join(compared.add_prefix("standard_"))
        known |= {unit: str(amount), "source": command, "training_seconds": f"{seconds:.0f}"}
        known |= {"table": json.dumps(table.to_dict("records")), "accuracy": f"{table['accuracy'].iloc[-1]:.4f}"}
        if threat is not None:
            steps = ATTACK_STEPS[data]
            known |= {
                "norm": threat.norm,
                "radius": str(threat.radius),
                "attack": f"projected gradient descent, {steps} steps from a random start, lowest margin kept",
                "attack_steps": str(steps),
                "robust_accuracy": f"{table['robust_accuracy'].iloc[-1]:.4f}",
                "tested_by": TESTED_BY,
                "started_from": standard.source,
                "started_from_sha256": standard.sha256,
            }
        _write(network, temporary, known | _origin(seed, data))
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


def _origin(seed: int, preset: str) -> dict[str, str]:
    recorded = provenance(seed=seed, preset=preset)
    told = {"provenance": json.dumps(recorded), "versions": json.dumps(recorded["versions"])}
    return {"seed": str(seed), "date": recorded["date"]} | told
