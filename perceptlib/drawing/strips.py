"""Pictures as the explorer page stores them, without loss: perturbations in strips of whole levels, maps in shades.

An adversarial picture is its photograph and a perturbation of few levels: the photograph is stored once, the
perturbations of one ball below each other, on the left what they add and on the right what they take away. A browser
adds and subtracts that exactly.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import approximate_polygon, find_contours
from torch import Tensor

ZERO = 128  # level of "unchanged" in an amplified perturbation
SHADES = 64
# matplotlib's magma at ten equal steps: the figures' colours
COLOURS = ("#000004", "#180f3d", "#440f76", "#721f81", "#9e2f7f", "#cd4071", "#f1605d", "#fd9668", "#feca8d", "#fcfdbf")


def levels_of(picture: Tensor) -> NDArray[np.int64]:
    """(3, H, W) in [0, 1] as (H, W, 3), 0 to 255."""
    return (picture * 255).round().permute(1, 2, 0).long().numpy()


def shaded(values: Tensor) -> NDArray[np.int64]:
    """A map (H, W) in [0, 1] in `SHADES` colours, (H, W, 3), 0 to 255."""
    anchors = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in COLOURS])
    positions = np.linspace(0, len(anchors) - 1, SHADES)
    table = np.stack([np.interp(positions, np.arange(len(anchors)), channel) for channel in anchors.T], axis=1)
    shades = (values.double().clamp(0, 1) * (SHADES - 1)).round().long().numpy()
    return table.round().astype(int)[shades]


def amplification(perturbations: NDArray[np.int64]) -> int:
    """Power of two that brings nearly all changes, in levels, into half of the range; a browser doubles exactly."""
    largest = float(np.quantile(np.abs(perturbations), 0.995)) or float(np.abs(perturbations).max()) or 1.0
    return int(2 ** max(0, math.floor(math.log2(ZERO / largest))))


def outline(cam: Tensor) -> str:
    """SVG path, in pixels, around the fifth of the pixels where a map (H, W) is highest; empty for a flat map."""
    values = cam.double().numpy()
    lines = find_contours(values, np.quantile(values, 0.8))
    simple = [approximate_polygon(line, 0.4) + 0.5 for line in lines]
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in line) for line in simple if len(line) > 2)


def signed(changes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Changes in levels, (H, W, 3), as what is added beside what is taken away, (H, 2 W, 3), 0 to 255."""
    return np.concatenate([changes.clip(min=0), (-changes).clip(min=0)], axis=1)


def save(levels: NDArray[np.int64], path: Path) -> None:
    """Write levels (H, W, 3), 0 to 255, as lossless WebP."""
    Image.fromarray(levels.astype(np.uint8)).save(path, "WEBP", lossless=True)
