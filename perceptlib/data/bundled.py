"""Pictures that ship with other packages: scikit-learn's handwritten digits and scikit-image's photographs.

They are compared with those that numbers were recorded with.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from perceptlib.data.pictures import resize_and_crop
from perceptlib.records import whole_number
from perceptlib.records.manifest import verify_pixels

DIGITS_SIDE = 32
DIGIT_CLASSES = tuple("0123456789")
DIGITS_MEAN, DIGITS_STD = 0.31, 0.32  # of the enlarged pictures
NUM_DIGITS = 597  # of 1797: a third

# Function of skimage.data, name, classes (the best first), credit. Labels say what is in the picture, not what some
# network answers: ImageNet has no motorcycle or rocket, and the cat's breed cannot be seen.
_PHOTOGRAPHS: tuple[tuple[str, str, tuple[int, ...], str], ...] = (
    ("chelsea", "cat", (282, 281, 285), "Stefan van der Walt, CC0"),  # tiger cat, tabby, Egyptian cat
    ("coffee", "espresso", (967,), "Rachel Michetti, CC0"),
    ("rocket", "rocket", (657, 744), "SpaceX, public domain"),  # missile, projectile
    ("camera", "tripod", (872,), "Lav Varshney, CC0"),
    # moped, motor scooter
    ("stereo_motorcycle", "motorcycle", (665, 670), "Middlebury 2014 stereo benchmark, Scharstein et al. 2014"),
)


@dataclass(frozen=True)
class Digits:
    """Pictures of handwritten digits; ink is 1, paper 0."""

    images: Tensor  #: (N, 3, 32, 32), float32, in [0, 1], multiples of 1/255; the three channels are equal
    labels: Tensor  #: (N,), int64: the digit
    indices: Tensor  #: (N,), int64: places in scikit-learn's own order


def digits(num_images: int = NUM_DIGITS, *, seed: int = 0) -> Digits:
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

    Raises
    ------
    TypeError, ValueError
        A number that is not a whole one, or out of range.

    Notes
    -----
    Pictures of one writer are in both parts, so accuracy is that for known writers. About a third of the pixels are
    exactly 0 and flat around: there the SSIM ball is at its narrowest.
    """
    num_images, seed = whole_number("num_images", num_images, least=1), whole_number("seed", seed)
    if num_images > NUM_DIGITS:
        raise ValueError(f"num_images is {num_images}; 1 to {NUM_DIGITS} are allowed, as so many digits are set apart")
    test = split_digits()[1]
    order = torch.randperm(NUM_DIGITS, generator=torch.Generator().manual_seed(seed), device="cpu")[:num_images]
    return Digits(test.images[order], test.labels[order], test.indices[order])


def split_sha256() -> str:
    """Of the test pictures' places in scikit-learn's order: tells whether a split is the one of the files."""
    places = sorted(split_digits()[1].indices.tolist())
    return hashlib.sha256(",".join(map(str, places)).encode()).hexdigest()


@cache
def split_digits() -> tuple[Digits, Digits]:
    """All digits, to train on and to test with; the same split always."""
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import
    from sklearn.model_selection import train_test_split

    loaded = load_digits()
    pixels, classes = loaded.images.astype(np.uint8), loaded.target.astype(np.int64)
    verify_pixels("sklearn.datasets.load_digits", pixels)
    labels = torch.from_numpy(classes)
    small = torch.from_numpy(pixels / 16).float()[:, None]
    enlarged = functional.interpolate(small, (DIGITS_SIDE, DIGITS_SIDE), mode="bilinear", align_corners=False)
    # Multiples of 1/255, so that a picture survives being saved.
    images = ((enlarged * 255).round() / 255).expand(-1, 3, -1, -1)
    parts = train_test_split(range(len(labels)), test_size=NUM_DIGITS, stratify=classes, random_state=0)
    train, test = (Digits(images[part], labels[part], torch.tensor(part)) for part in parts)
    return train, test


@dataclass(frozen=True)
class Photographs:
    """Photographs with the ImageNet classes that they show."""

    images: Tensor  #: (N, 3, size, size), float32, in [0, 1]
    names: tuple[str, ...]  #: what each shows, in a word
    labels: Tensor  #: (N,), int64: the class that fits best
    accepted: tuple[tuple[int, ...], ...]  #: every class that is right where ImageNet splits or lacks it
    credits: tuple[str, ...]  #: author and licence


def photographs(*, size: int = 224) -> Photographs:
    """The photographs in scikit-image's own package that ImageNet has a class for; nothing is downloaded.

    Parameters
    ----------
    size
        Side in pixels, by `resize_and_crop`.

    Returns
    -------
    Photographs
        Cat, espresso, rocket, tripod and motorcycle. The tripod's picture is grey, repeated over the channels.
    """
    pictures = []
    for function, *_ in _PHOTOGRAPHS:
        pixels = torch.from_numpy(bundled_picture(function).copy())
        channels = pixels.expand(3, -1, -1) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        pictures.append(resize_and_crop(channels[None].float() / 255, size))
    _, names, accepted, credits = zip(*_PHOTOGRAPHS, strict=True)
    labels = torch.tensor([classes[0] for classes in accepted])
    return Photographs(torch.cat(pictures), names, labels, accepted, credits)


def bundled_picture(name: str) -> NDArray[np.uint8]:
    """A picture by its function in ``skimage.data``, (H, W) or (H, W, 3); ValueError where its pixels are others."""
    import skimage.data

    loaded: Any = getattr(skimage.data, name)()
    pixels: NDArray[np.uint8] = loaded[0] if isinstance(loaded, tuple) else loaded
    verify_pixels(f"skimage.data.{name}", pixels)
    return pixels
