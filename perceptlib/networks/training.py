"""Train the small networks for shapes and digits; a seed gives the same weights on the same machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from perceptlib.data import shapes
from perceptlib.data.handwritten import DIGITS_MEAN, DIGITS_STD, SIZE, split_digits
from perceptlib.data.scenes import SHAPES_MEAN, SHAPES_STD
from perceptlib.networks.small import digits_network, shapes_network
from perceptlib.records import whole_number

_TRAINING_SEED = 1_000_000_000  # pictures for training come from seeds far from those that a reader takes

_BATCH = 32
_LEARNING_RATE = 4e-3  # the peak of one cycle
_WEIGHT_DECAY = 0.02  # not on biases and batch norm
_WARM_UP = 0.12  # of the steps, on smooth textures alone: with textured ones from the start, learning starts late
# On the mean activation of the last map. Without it a third of a map's energy falls on empty places next to the shape.
_ACTIVATION_PENALTY = 1.0

DIGITS_EPOCHS = 12
_DIGITS_BATCH = 32
_DIGITS_LEARNING_RATE = 1e-2  # the peak of one cycle
_DIGITS_SHIFT = 2  # pixels, either way


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
    with torch.random.fork_rng(devices=[]), one_thread():
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


def train_digits(*, seed: int, epochs: int = DIGITS_EPOCHS) -> nn.Sequential:
    """Train the digits network on the 1200 pictures that `digits` never gives, shifted at random.

    AdamW with one cycle of the learning rate on cross-entropy.

    Parameters
    ----------
    seed
        0 or more; first weights, order and shifts follow from it.
    epochs
        Times that each picture is seen, 1 or more. The default takes about 4 seconds on one core.

    Returns
    -------
    torch.nn.Sequential
        As `digits_network`, in evaluation mode.

    Raises
    ------
    TypeError
        A number is not a whole one.
    ValueError
        `seed` is negative or `epochs` less than 1.

    Notes
    -----
    A seed gives the same weights on the same machine with the same number of threads. torch's random state is left
    as it was.
    """
    seed, epochs = whole_number("seed", seed), whole_number("epochs", epochs, least=1)
    train = split_digits()[0]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the random states of GPUs as well
        network = digits_network()
        optimizer = torch.optim.AdamW(network.parameters(), lr=_DIGITS_LEARNING_RATE, weight_decay=0.01)
        batches_each = len(train.labels) // _DIGITS_BATCH
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, _DIGITS_LEARNING_RATE, total_steps=epochs * batches_each
        )
        for _ in range(epochs):
            order = torch.randperm(len(train.labels))
            for chosen in order[: batches_each * _DIGITS_BATCH].split(_DIGITS_BATCH):
                images = _shifted(train.images[chosen])
                loss = functional.cross_entropy(network((images - DIGITS_MEAN) / DIGITS_STD), train.labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return network.eval()


def _parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Weights with decay; biases and batch norm without."""
    parameters = list(network.parameters())
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _shifted(images: Tensor) -> Tensor:
    """Each picture moved by up to `_DIGITS_SHIFT` pixels either way, on paper."""
    padded = functional.pad(images, (_DIGITS_SHIFT,) * 4)
    corners = torch.randint(0, 2 * _DIGITS_SHIFT + 1, (len(images), 2)).tolist()
    return torch.stack(
        [picture[:, top : top + SIZE, left : left + SIZE] for picture, (top, left) in zip(padded, corners, strict=True)]
    )
