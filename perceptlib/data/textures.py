"""Texture tiles from scikit-image's bundled pictures: grey, high-passed, divided by their local deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import color, transform

from perceptlib.data.bundled import bundled_picture

# Scales at which a picture gives a tile. Left out on purpose: coins and clock (real disks), rocket, retina and the
# Hubble field (JPEG: blocks, and pixels that depend on the decoder), the moon and the cell at full scale (pixelated
# or blurred), horse and colorwheel (flat). "noise" is 1/f noise, the one tile that is no picture.
_SCALES: dict[str, tuple[float, ...]] = {
    "brick": (1.0, 0.5),
    "grass": (1.0, 0.5),
    "gravel": (1.0, 0.5),
    "astronaut": (0.5,),
    "camera": (0.5,),
    "cell": (0.5,),
    "chelsea": (1.0, 0.5),
    "coffee": (0.5,),
    "immunohistochemistry": (1.0, 0.5),
    "moon": (0.5,),
    "motorcycle": (0.5,),
    "page": (1.0,),
    "noise": (1.0,),
}
TEXTURES = tuple(_SCALES)

_HIGH_PASS_SIGMA = 6.0  # pixels; what is larger than a shape's details is taken out
_LOCAL_SIGMA = 12.0  # pixels over which the deviation is evened out
_LIMIT = 2.5  # deviations; beyond it a texture would only be clipped by the range of a picture
_NOISE_SIDE = 256


@dataclass(frozen=True)
class TextureBank:
    """Tiles end to end, mean 0 and deviation 1: row r, column c of t is ``values[starts[t] + r * widths[t] + c]``."""

    values: NDArray[np.float32]
    starts: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    names: tuple[str, ...]


def texture_bank(textures: Sequence[str] = TEXTURES) -> TextureBank:
    """Tiles of the named pictures, one per scale, in the order of the names."""
    if isinstance(textures, str):
        textures = (textures,)
    unknown = sorted(set(textures) - set(TEXTURES))
    if unknown or not textures:
        got = f"unknown texture {unknown[0]!r}" if unknown else "no texture is named"
        raise ValueError(f"{got}; pass at least one of {', '.join(TEXTURES)}")
    return _bank(tuple(textures))


@lru_cache(maxsize=8)
def _bank(textures: tuple[str, ...]) -> TextureBank:
    tiles = [(name, tile) for name in textures for tile in _tiles(name)]
    sizes = np.array([tile.size for _, tile in tiles])
    return TextureBank(
        values=np.concatenate([tile.ravel() for _, tile in tiles]),
        starts=np.cumsum(sizes) - sizes,
        heights=np.array([tile.shape[0] for _, tile in tiles]),
        widths=np.array([tile.shape[1] for _, tile in tiles]),
        names=tuple(name for name, _ in tiles),
    )


@lru_cache(maxsize=len(TEXTURES))
def _tiles(name: str) -> tuple[NDArray[np.float32], ...]:
    if name == "noise":
        grey = _noise()
    else:
        picture = bundled_picture("stereo_motorcycle" if name == "motorcycle" else name)
        grey = color.rgb2gray(picture) if picture.ndim == 3 else picture / 255.0
    sizes = [tuple(round(side * scale) for side in grey.shape) for scale in _SCALES[name]]
    return tuple(
        _even(grey if size == grey.shape else transform.resize(grey, size, anti_aliasing=True)) for size in sizes
    )


def _even(grey: NDArray[np.float64]) -> NDArray[np.float32]:
    """High-pass, then divide by the local deviation; a floor keeps flat places from becoming noise."""
    detail = grey - ndimage.gaussian_filter(grey, _HIGH_PASS_SIGMA, mode="reflect")
    local = np.sqrt(ndimage.gaussian_filter(detail**2, _LOCAL_SIGMA, mode="reflect"))
    even = detail / (local + 0.25 * detail.std())
    clipped = np.clip(even, *(even.mean() + np.array([-_LIMIT, _LIMIT]) * even.std()))
    return ((clipped - clipped.mean()) / clipped.std()).astype(np.float32)


def _noise() -> NDArray[np.float64]:
    """1/f noise: amplitude falls as the inverse of the frequency, phases from a fixed seed."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_NOISE_SIDE), np.fft.fftfreq(_NOISE_SIDE)))
    frequency[0, 0] = np.inf  # no mean
    white = np.fft.fft2(np.random.default_rng(0).standard_normal((_NOISE_SIDE, _NOISE_SIDE)))
    return np.fft.ifft2(white / frequency).real
