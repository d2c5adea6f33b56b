"""The small networks that ship, as they are before training."""

from __future__ import annotations

from typing import Any

from torch import nn

from perceptlib.data.bundled import DIGIT_CLASSES
from perceptlib.data.scenes import CLASSES


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
