"""TensorFlow's SAME padding against its definition, written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from perceptlib.networks.padding import pad_as_tensorflow


def same_convolution(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's definition: ceil(n / stride) outputs, the first window starting half the lack before 0."""
    size, (height, width) = kernel.shape[0], image.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    top = max((rows - 1) * stride + size - height, 0) // 2
    left = max((columns - 1) * stride + size - width, 0) // 2
    result = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            for di in range(size):
                for dj in range(size):
                    row, column = i * stride - top + di, j * stride - left + dj
                    if 0 <= row < height and 0 <= column < width:
                        result[i, j] += kernel[di, dj] * image[row, column]
    return result


@pytest.mark.parametrize("height", [1, 2, 7, 8])
@pytest.mark.parametrize("width", [1, 2, 5, 6])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 3), (1, 2)])
def test_padding_equals_tensorflows_definition(height, width, kernel, stride):
    network = nn.Sequential(nn.Conv2d(1, 1, kernel, stride, padding=kernel // 2, bias=False).double())
    weight = network[0].weight.detach()[0, 0].numpy()
    pad_as_tensorflow(network)
    image = torch.rand(height, width, dtype=torch.float64)
    expected = same_convolution(image.numpy(), weight, stride)
    np.testing.assert_allclose(network(image[None, None])[0, 0].detach().numpy(), expected, atol=1e-12)


def test_padding_is_right_and_below_for_even_sizes():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, 2, padding=1, bias=False))
    network[0].weight.data.fill_(1)
    pad_as_tensorflow(network)
    # The window of the only output starts at the corner: torchvision's would start one pixel before it.
    image = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    assert network(image[None, None]).tolist() == [[[[15.0]]]]


def test_padding_leaves_unstrided_convolutions_and_reaches_nested_ones():
    inner = nn.Sequential(nn.Conv2d(2, 2, 3, 2, padding=1))
    network = nn.Sequential(nn.Conv2d(1, 2, 3, 1, padding=1), inner)
    plain = network[0]
    pad_as_tensorflow(network)
    assert network[0] is plain
    assert not isinstance(inner[0], nn.Conv2d)
