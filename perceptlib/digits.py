"""Handwritten digits: real pictures that ship with scikit-learn, and a small network trained on them in seconds."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from perceptlib.bundled import bundled_digits
from perceptlib.provenance import provenance, replacing
from perceptlib.sketches import whole_number

SIZE = 32
DIGIT_CLASSES = tuple("0123456789")
DIGITS_MEAN, DIGITS_STD = 0.31, 0.32  # of the enlarged pictures
NUM_TEST = 597  # of 1797: a third

_EPOCHS = 12
_BATCH = 32
_LEARNING_RATE = 1e-2  # the peak of one cycle
_SHIFT = 2  # pixels, either way


@dataclass(frozen=True)
class Digits:
    """Pictures of handwritten digits.

    Attributes
    ----------
    images
        (N, 3, 32, 32), float32, in [0, 1], multiples of 1/255; the three channels are equal.
    labels
        (N,), int64: the digit.
    indices
        (N,), int64: places in scikit-learn's own order.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


def digits(num_images: int = NUM_TEST, *, seed: int = 0) -> Digits:
    """Handwritten digits that no shipped network was trained on.

    The 1797 pictures of 8x8 pixels and 17 greys come with scikit-learn (`sklearn.datasets.load_digits`; Alpaydin and
    Kaynak 1998, UCI Optical Recognition of Handwritten Digits, the test part). They are enlarged bilinearly to
    32x32. Once and for all 597 of them, every digit in proportion, are set apart; these are returned.

    Parameters
    ----------
    num_images
        1 to 597.
    seed
        Of their order, 0 or more. A smaller number gives the first of a larger one's.

    Returns
    -------
    Digits
        Ink is 1, paper 0.

    Raises
    ------
    TypeError
        A number is not a whole one.
    ValueError
        `num_images` is out of range or `seed` negative.

    Notes
    -----
    Pictures of one writer are in both parts, so accuracy is that for known writers. About a third of the pixels are
    exactly 0 and flat around: there the SSIM ball is at its narrowest.
    """
    num_images, seed = whole_number("num_images", num_images, least=1), whole_number("seed", seed)
    if num_images > NUM_TEST:
        raise ValueError(f"num_images is {num_images}; 1 to {NUM_TEST} are allowed, as so many digits are set apart")
    test = _parts()[1]
    order = torch.randperm(NUM_TEST, generator=torch.Generator().manual_seed(seed))[:num_images]
    return Digits(test.images[order], test.labels[order], test.indices[order])


def digits_network() -> nn.Sequential:
    """The small network for digits, with random weights.

    Returns
    -------
    torch.nn.Sequential
        `features` gives (N, 64, 8, 8) for 32x32 input, `linear` is the one layer after its average over places, so
        that the classic CAM is exact. Input: ``(images - DIGITS_MEAN) / DIGITS_STD``. 61,000 parameters.
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


def train_digits(*, seed: int, epochs: int = _EPOCHS) -> nn.Sequential:
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
    train = _parts()[0]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the random states of GPUs as well
        network = digits_network()
        optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=0.01)
        batches_each = len(train.labels) // _BATCH
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=epochs * batches_each)
        for _ in range(epochs):
            order = torch.randperm(len(train.labels))
            for chosen in order[: batches_each * _BATCH].split(_BATCH):
                images = _shifted(train.images[chosen])
                loss = functional.cross_entropy(network((images - DIGITS_MEAN) / DIGITS_STD), train.labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return network.eval()


def save_digits_network(*, seed: int, out: Path | str, epochs: int = _EPOCHS) -> float:
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
    from perceptlib.classifier import load  # imports torchvision, and this module

    started = time.perf_counter()
    network = train_digits(seed=seed, epochs=epochs)
    training_seconds = time.perf_counter() - started
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    recorded = provenance(seed=seed, preset="digits")
    metadata = {
        "architecture": "perceptlib.digits.digits_network",
        "classes": json.dumps(DIGIT_CLASSES),
        "mean": str(DIGITS_MEAN),
        "std": str(DIGITS_STD),
        "source": f"perceptlib.digits.save_digits_network(seed={seed})",
        "seed": str(seed),
        "epochs": str(epochs),
        "training_seconds": f"{training_seconds:.1f}",
        "date": recorded["date"],
        "provenance": json.dumps(recorded),
        "versions": json.dumps(recorded["versions"] | {"scikit-learn": version("scikit-learn")}),
        "split_sha256": split_sha256(),
    }
    test = _parts()[1]
    with replacing(Path(out)) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors))
        with torch.no_grad():
            is_right = load("digits", weights=temporary)(test.images).argmax(1) == test.labels
        accuracy = is_right.double().mean().item()
        metadata["accuracy"] = f"{accuracy:.4f}"
        temporary.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    return accuracy


def split_sha256() -> str:
    """Of the test pictures' places in scikit-learn's order, sorted: tells whether a split is the one of the files."""
    places = sorted(_parts()[1].indices.tolist())
    return hashlib.sha256(",".join(map(str, places)).encode()).hexdigest()


@cache
def _parts() -> tuple[Digits, Digits]:
    """All digits, to train on and to test with; the same split always."""
    from sklearn.model_selection import train_test_split  # scikit-learn takes a second to import

    pixels, classes = bundled_digits()
    labels = torch.from_numpy(classes)
    small = torch.from_numpy(pixels / 16).float()[:, None]
    enlarged = functional.interpolate(small, (SIZE, SIZE), mode="bilinear", align_corners=False)
    # Multiples of 1/255, so that a picture survives being saved.
    images = ((enlarged * 255).round() / 255).expand(-1, 3, -1, -1)
    parts = train_test_split(range(len(labels)), test_size=NUM_TEST, stratify=classes, random_state=0)
    train, test = (Digits(images[part], labels[part], torch.tensor(part)) for part in parts)
    return train, test


def _shifted(images: Tensor) -> Tensor:
    """Each picture moved by up to `_SHIFT` pixels either way, on paper."""
    padded = functional.pad(images, (_SHIFT,) * 4)
    corners = torch.randint(0, 2 * _SHIFT + 1, (len(images), 2)).tolist()
    return torch.stack(
        [picture[:, top : top + SIZE, left : left + SIZE] for picture, (top, left) in zip(padded, corners, strict=True)]
    )
