"""The small network for shapes: its architecture, how it is trained, and what it reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn


def shapes_network(num_classes: int = 8) -> nn.Module:
    """torchvision's `MobileNetV2`, width 0.5, of total stride 8, with a head of 256 channels; random weights.

    Parameters
    ----------
    num_classes
        Number of outputs, 1 or more.

    Returns
    -------
    torchvision.models.MobileNetV2
        `features[-1]` gives (N, 256, 8, 8) for 64x64 input, `classifier[-1]` is the one linear layer after
        global average pooling, so that the classic CAM is exact. Input: ``(images - SHAPES_MEAN) / SHAPES_STD``.
    """
    from perceptlib._torchvision import torchvision  # its import takes seconds: only when needed

    settings = [[1, 32, 1, 2], [4, 64, 2, 2], [4, 96, 3, 1]]  # expansion, channels (before the width), blocks, stride
    network = torchvision.models.MobileNetV2(num_classes, width_mult=0.5, inverted_residual_setting=settings)
    in_channels = network.features[-1][0].in_channels
    network.features[-1] = torchvision.ops.Conv2dNormActivation(
        in_channels, 256, kernel_size=1, activation_layer=nn.ReLU6
    )
    network.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(256, num_classes))
    network.last_channel = 256
    return network


def train_and_save(
    *, seed: int, out: Path | str, epochs: int = 6, num_images: int = 20_000, progress: bool = False
) -> list[dict[str, Any]]:
    """Train the shapes network and write it to `out` as float16 safetensors.

    Parameters
    ----------
    seed
        0 or more; weights, pictures and their order follow from it.
    out
        File to write, ``.safetensors``; it appears only when complete. Missing folders are made.
    epochs
        Passes over the pictures, 1 or more.
    num_images
        Pictures to train on, 64 or more.
    progress
        Show a progress bar.

    Returns
    -------
    list of dict
        The table of `evaluate` for the weights as written, one row for each texture condition and one for all.
    """
    raise NotImplementedError
