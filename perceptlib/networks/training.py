"""The small networks that ship: made, and trained, where a seed gives the same weights on the same machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from perceptlib.data import shapes
from perceptlib.data.handwritten import DIGIT_CLASSES, DIGITS_MEAN, DIGITS_STD, SIZE, split_digits
from perceptlib.data.scenes import CLASSES, SHAPES_MEAN, SHAPES_STD
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


def shapes_network(num_classes: int = len(CLASSES)) -> Any:
    """torchvision's `MobileNetV2`, width 0.5, of total stride 8, with a head of 256 channels; random weights.

    `features[-1]` gives (N, 256, 8, 8) for 64x64 input, `classifier[-1]` is the one linear layer after global average
    pooling, so that the classic CAM is exact. Input: ``(images - SHAPES_MEAN) / SHAPES_STD``. 84,000 parameters.
    """
    import torchvision  # its import takes seconds: only when needed

    settings = [[1, 32, 1, 2], [4, 64, 2, 2], [4, 96, 3, 1]]  # expansion, channels (before the width), blocks, stride
    network = torchvision.models.MobileNetV2(num_classes, width_mult=0.5, inverted_residual_setting=settings)
    in_channels = network.features[-1][0].in_channels
    network.features[-1] = torchvision.ops.Conv2dNormActivation(
        in_channels, 256, kernel_size=1, activation_layer=nn.ReLU6
    )
    network.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(256, num_classes))
    network.last_channel = 256
    return network


def digits_network() -> nn.Sequential:
    """The small network for digits, with random weights.

    `features` gives (N, 64, 8, 8) for 32x32 input, `linear` is the one layer after its average over places, so that the
    classic CAM is exact. Input: ``(images - DIGITS_MEAN) / DIGITS_STD``. 61,000 parameters.
    """

    def block(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )

    network = nn.Sequential()
    network.add_module("features", nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 64, 1), block(64, 64, 1)))
    network.add_module("average", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("linear", nn.Linear(64, len(DIGIT_CLASSES)))
    return network


def train(*, seed: int, num_images: int = 150_000, progress: bool = False) -> Any:
    """Train the shapes network on fresh pictures, each seen once; 150,000 take about 4 minutes on one core.

    AdamW with one cycle of the learning rate on cross-entropy plus a penalty on the mean activation of the last map,
    which makes the map sparse. The mask is never used. Textures are "mixed", after a start on smooth ones. TypeError or
    ValueError for a seed below 0 or fewer than 64 images.

    Runs on one thread, so that a seed gives the same weights on the same machine whatever its cores, and because
    two threads are slower for pictures this small as soon as anything else runs. torch's random state and number of
    threads are left as they were. The network is as `shapes_network` makes it, in evaluation mode.
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
    """Train the digits network on the 1200 pictures that `digits` never gives, shifted at random, in evaluation mode.

    AdamW with one cycle of the learning rate on cross-entropy; 12 epochs take about 4 seconds on one core. A seed gives
    the same weights on the same machine with the same number of threads; torch's random state is left as it was.
    TypeError or ValueError for a seed below 0 or no epoch.
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
