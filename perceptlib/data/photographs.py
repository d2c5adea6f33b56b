"""scikit-image's own pictures, compared with those that numbers were recorded with, and the photographs among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perceptlib.data.pictures import resize_and_crop
from perceptlib.records.manifest import verify_pixels

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
class Photographs:
    """Photographs with the ImageNet classes that they show."""

    images: torch.Tensor  #: (N, 3, size, size), float32, in [0, 1]
    names: tuple[str, ...]  #: what each shows, in a word
    labels: torch.Tensor  #: (N,), int64: the class that fits best
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
        pixels = torch.tensor(bundled_picture(function))
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
