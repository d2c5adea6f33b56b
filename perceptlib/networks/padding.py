"""TensorFlow's SAME padding for a torch network, as weights that were trained with it need."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def pad_as_tensorflow(network: nn.Module) -> None:
    """Give every strided convolution of a network TensorFlow's SAME padding, at any input size.

    Parameters
    ----------
    network
        Changed in place; the convolution `name` becomes `name.convolution`.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            # With stride 1 both paddings are the same.
            if isinstance(child, nn.Conv2d) and max(child.stride) > 1:
                setattr(parent, name, _TensorFlowSame(child))


class _TensorFlowSame(nn.Module):
    """A convolution with SAME padding: ceil(size / stride) outputs, the odd zero to the right and below."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        convolution.padding = (0, 0)
        self.convolution = convolution

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        padding: list[int] = []
        sides = zip(images.shape[-2:], self.convolution.kernel_size, self.convolution.stride, strict=True)
        for side, kernel, stride in sides:
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            padding = [total // 2, total - total // 2, *padding]  # functional.pad starts with the last axis
        features: torch.Tensor = self.convolution(functional.pad(images, padding))
        return features
