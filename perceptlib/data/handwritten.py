"""Handwritten digits: real pictures that ship with scikit-learn, set apart to train on and to attack."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from perceptlib.records import whole_number
from perceptlib.records.manifest import verify_pixels

SIZE = 32
DIGIT_CLASSES = tuple("0123456789")
DIGITS_MEAN, DIGITS_STD = 0.31, 0.32  # of the enlarged pictures
NUM_TEST = 597  # of 1797: a third


@dataclass(frozen=True)
class Digits:
    """Pictures of handwritten digits; ink is 1, paper 0."""

    images: Tensor  #: (N, 3, 32, 32), float32, in [0, 1], multiples of 1/255; the three channels are equal
    labels: Tensor  #: (N,), int64: the digit
    indices: Tensor  #: (N,), int64: places in scikit-learn's own order


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
    if num_images > NUM_TEST:
        raise ValueError(f"num_images is {num_images}; 1 to {NUM_TEST} are allowed, as so many digits are set apart")
    test = split_digits()[1]
    order = torch.randperm(NUM_TEST, generator=torch.Generator().manual_seed(seed))[:num_images]
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
    enlarged = functional.interpolate(small, (SIZE, SIZE), mode="bilinear", align_corners=False)
    # Multiples of 1/255, so that a picture survives being saved.
    images = ((enlarged * 255).round() / 255).expand(-1, 3, -1, -1)
    parts = train_test_split(range(len(labels)), test_size=NUM_TEST, stratify=classes, random_state=0)
    train, test = (Digits(images[part], labels[part], torch.tensor(part)) for part in parts)
    return train, test
