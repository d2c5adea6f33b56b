"""Maps and scores written as loops in numpy, independent of the library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def classic_map(channels: Array, weights: Array) -> Array:
    """Zhou et al. 2016, equation 2, with its ReLU: channels (D, h, w), weights (D,)."""
    result = np.zeros(channels.shape[1:])
    for row in range(channels.shape[1]):
        for column in range(channels.shape[2]):
            for k in range(channels.shape[0]):
                result[row, column] += weights[k] * channels[k, row, column]
    return np.maximum(result, 0)


def bilinear(small: Array, height: int, width: int) -> Array:
    """Resized with pixel centres at half-integers and edges repeated."""
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * small.shape[0] / height - 0.5, 0), small.shape[0] - 1)
            x = min(max((j + 0.5) * small.shape[1] / width - 0.5, 0), small.shape[1] - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, small.shape[0] - 1), min(left + 1, small.shape[1] - 1)
            above = (1 - (x - left)) * small[top, left] + (x - left) * small[top, right]
            below = (1 - (x - left)) * small[bottom, left] + (x - left) * small[bottom, right]
            result[i, j] = (1 - (y - top)) * above + (y - top) * below
    return result


def top_share(cam: Array, q: float) -> Array:
    """Share of each pixel in the q of the pixels where `cam` is highest; pixels tied at the threshold share."""
    place = q * cam.size
    share = np.zeros(cam.shape)
    for value in sorted(set(cam.ravel().tolist()), reverse=True):
        tied = cam == value
        share[tied] = min(1.0, place / tied.sum())
        place -= share[tied].sum()
        if place <= 1e-12:
            break
    return share
