"""The shapes network: its form."""

from __future__ import annotations

import torch

from perceptlib.networks.small import shapes_network


def test_shapes_network_is_a_small_mobilenet_with_an_8x8_map() -> None:
    network = shapes_network()
    assert type(network).__name__ == "MobileNetV2"
    assert sum(parameter.numel() for parameter in network.parameters()) == 83_720
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features = network.eval().features(images)
        assert features.shape == (2, 256, 8, 8)
        linear = network.classifier[-1]
        # Classic CAM is exact: the mean of the map plus the bias is the logit.
        maps = torch.einsum("kd,ndij->nkij", linear.weight, features)
        torch.testing.assert_close(network(images), maps.mean((2, 3)) + linear.bias)
    assert shapes_network(3).classifier[-1].out_features == 3
