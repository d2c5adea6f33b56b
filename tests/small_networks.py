"""Networks of drawn weights for tests that need no trained one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from perceptlib.networks import Classifier
from perceptlib.networks.small import shapes_network


def random_network(make: Callable[[], nn.Module] = shapes_network, *, seed: int = 0) -> nn.Module:
    """Drawn batch norm statistics, so that training mode shows, and classes far apart."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.05, 0.2)
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        nn.init.normal_(last.weight)
        nn.init.normal_(last.bias)
    return network.eval()


def random_classifier(*, seed: int = 0) -> Classifier:
    """The shapes network with drawn weights, which take no gradient."""
    network = random_network(seed=seed).requires_grad_(False)
    return classifier_of(network, network.features[-1], network.classifier[-1])


def classifier_of(
    network: nn.Module, cam_layer: nn.Module, linear_layer: nn.Linear, *, input_size: int = 64
) -> Classifier:
    """With the statistics of shapes, and letters for the names of classes."""
    described = {"name": "random", "source": "drawn", "sha256": "", "mean": [0.5] * 3, "std": [0.25] * 3}
    layers = {"cam_layer": cam_layer, "linear_layer": linear_layer}
    names = "abcdefgh"[: linear_layer.out_features]
    return Classifier(network, class_names=names, input_size=input_size, **described, **layers)
