"""Naive numpy loops, independent of the library: the truth that its fast code is held to."""

from __future__ import annotations

import math

import numpy as np

C1, C2 = 0.01**2, 0.03**2


def window_weights(size: int = 11, sigma: float = 1.5) -> np.ndarray:
    """Two-dimensional Gaussian weights, sum 1."""
    half = size // 2
    weights = np.array(
        [[math.exp(-(i * i + j * j) / (2 * sigma**2)) for j in range(-half, half + 1)] for i in range(-half, half + 1)]
    )
    return weights / weights.sum()


def mirrored(index: int, side: int) -> int:
    """Edge-repeating reflection: ... 1 0 | 0 1 2 ... side-1 | side-1 side-2 ..."""
    if index < 0:
        return -1 - index
    return 2 * side - 1 - index if index >= side else index


def window_matrix(height: int, width: int, weights: np.ndarray) -> np.ndarray:
    """W as a dense matrix, (H W, H W)."""
    half = weights.shape[0] // 2
    matrix = np.zeros((height * width, height * width))
    for row in range(height):
        for column in range(width):
            for i in range(-half, half + 1):
                for j in range(-half, half + 1):
                    source = mirrored(row + i, height) * width + mirrored(column + j, width)
                    matrix[row * width + column, source] += weights[i + half, j + half]
    return matrix


def ssim_maps(first: np.ndarray, second: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luminance and contrast-structure of one channel (H, W) by the textbook formulas."""
    x, y = first.ravel(), second.ravel()
    mean_x, mean_y = matrix @ x, matrix @ y
    var_x, var_y = matrix @ x**2 - mean_x**2, matrix @ y**2 - mean_y**2
    covariance = matrix @ (x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    contrast = (2 * covariance + C2) / (var_x + var_y + C2)
    return luminance.reshape(first.shape), contrast.reshape(first.shape)


def quadratic_matrix(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A with Q(r) = r'A r for one image (C, H, W), dense, built from the window matrix entry by entry."""
    channels, height, width = image.shape
    pixels = height * width
    full = np.zeros((channels * pixels, channels * pixels))
    for channel in range(channels):
        x = image[channel].ravel()
        mean = matrix @ x
        variance = matrix @ x**2 - mean**2
        block = np.zeros((pixels, pixels))
        for window in range(pixels):
            row = matrix[window]
            spread = np.diag(row) - np.outer(row, row)  # V = r' spread r
            block += spread / (2 * variance[window] + C2) + np.outer(row, row) / (2 * mean[window] ** 2 + C1)
        start = channel * pixels
        full[start : start + pixels, start : start + pixels] = block
    return full / (channels * pixels)
