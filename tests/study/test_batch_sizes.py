"""Batch sizes follow the free memory and the size of the pictures."""

from __future__ import annotations

import pytest
import torch

from perceptlib.study import batch_sizes
from perceptlib.study.presets import load_network


def test_bytes_grow_with_the_pixels_and_hold_the_first_layers_output() -> None:
    classifier = load_network("shapes")
    small, large = (batch_sizes.bytes_of_gradient(classifier, side) for side in (64, 128))
    assert 3.5 < large / small < 4.1
    with torch.no_grad():
        first = classifier.network.features[0](torch.zeros(1, 3, 64, 64))
    assert small > 2 * 3 * first.numel() * 4  # convolution, batch norm and activation, each with its gradient
    assert not any(module._forward_hooks for module in classifier.modules())


@pytest.mark.parametrize(("pictures", "expected"), [(0.3, 1), (1.0, 1), (2.5, 2), (9.0, 8), (1e6, 32)])
def test_batch_fits_in_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch, pictures: float, expected: int) -> None:
    classifier = load_network("shapes")
    size = batch_sizes.bytes_of_gradient(classifier, 64)
    monkeypatch.setattr(batch_sizes, "free_memory", lambda device: int(2 * pictures * size) + 1)
    assert batch_sizes.fitting_batch_size(classifier, 64) == expected
    assert batch_sizes.fitting_batch_size(classifier, 64, workers=4) <= expected


def test_free_memory_of_this_machine_is_some() -> None:
    assert batch_sizes.free_memory("cpu") > 2**20
