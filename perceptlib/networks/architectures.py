"""torchvision's classification networks: made by name, with the layers that class activation maps look at."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from perceptlib.data._torchvision import torchvision
from perceptlib.networks.weights import Weights

# Class of the network -> where its last feature maps before the average over places come from, and where the linear
# layer is, if the logits are linear in that average. They are not where a ReLU (DenseNet), a layer norm (ConvNeXt) or
# further layers (AlexNet, MaxViT, MobileNetV3, VGG) stand between, or the average comes last (SqueezeNet).
# Of a sequence of modules the last is meant.
_LAYERS: dict[str, tuple[str, str | None]] = {
    "AlexNet": ("features", None),
    "ConvNeXt": ("features", None),
    "DenseNet": ("features", None),
    "EfficientNet": ("features", "classifier"),
    "GoogLeNet": ("inception5b", "fc"),
    "Inception3": ("Mixed_7c", "fc"),
    "MNASNet": ("layers", "classifier"),
    "MaxVit": ("blocks", None),
    "MobileNetV2": ("features", "classifier"),
    "MobileNetV3": ("features", None),
    "RegNet": ("trunk_output", "fc"),
    "ResNet": ("layer4", "fc"),
    "ShuffleNetV2": ("conv5", "fc"),
    "SqueezeNet": ("features", None),
    "SwinTransformer": ("permute", "head"),
    "VGG": ("features", None),
}
# As torchvision sets them where it loads its own weights; without the second it warns.
_OPTIONS = {name: {"transform_input": True, "init_weights": True} for name in ("googlenet", "inception_v3")}


@dataclass(frozen=True)
class Published:
    """What torchvision publishes with an architecture's weights for ImageNet.

    Attributes
    ----------
    name
        Of the weights, such as ``MobileNet_V2_Weights.IMAGENET1K_V1``.
    url
        Of their file.
    class_names
        1000 of them.
    input_size
        Side in pixels of the pictures that they are made for.
    mean, std
        Of the normalisation, for RGB in [0, 1].
    """

    name: str
    url: str
    class_names: tuple[str, ...]
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def published(architecture: str) -> Published:
    """What torchvision publishes for an architecture: its best weights, for MobileNetV2 the first.

    Parameters
    ----------
    architecture
        torchvision's name, such as "resnet50".

    Returns
    -------
    Published
        Nothing is fetched.

    Raises
    ------
    ValueError
        No classification network of torchvision has that name, or it has no feature maps to look at.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=5, cutoff=0.5)
        close = close or ["mobilenet_v2", "resnet50", "vgg16", "efficientnet_b0"]
        raise ValueError(
            f"torchvision has no classification network {architecture!r}; pass one of its names, "
            f"such as {', '.join(map(repr, close))}"
        )
    if architecture.startswith("vit_"):
        raise ValueError(
            f"{architecture} has tokens and no feature maps, so no class activation map; "
            "pass a network with feature maps up to its end, such as 'resnet50' or 'swin_t'"
        )
    weights = torchvision.models.get_model_weights(architecture)
    # The second weights of MobileNetV2 are better, and not those of the paper and of this project's records.
    chosen = weights.IMAGENET1K_V1 if architecture == "mobilenet_v2" else weights.DEFAULT
    transform = chosen.transforms()
    return Published(
        name=str(chosen),
        url=chosen.url,
        class_names=tuple(chosen.meta["categories"]),
        input_size=transform.crop_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )


def random_network(architecture: str, *, seed: int) -> nn.Module:
    """A network as torchvision draws its weights before training.

    Parameters
    ----------
    architecture
        As for `published`.
    seed
        Of the weights; torch's random state is left as it was.

    Returns
    -------
    torch.nn.Module
        For 1000 classes, in training mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the random states of GPUs as well
        network: torch.nn.Module = torchvision.models.get_model(architecture, **_OPTIONS.get(architecture, {}))
    return network


def cam_and_linear(network: nn.Module) -> tuple[nn.Module, nn.Linear | None]:
    """The layers of a torchvision network for class activation maps.

    Parameters
    ----------
    network
        As `random_network` makes it, with any weights.

    Returns
    -------
    cam_layer : torch.nn.Module
        Gives the last feature maps before the average over places, (N, D, h, w).
    linear_layer : torch.nn.Linear or None
        Where logits = weight @ average + bias; None where more than that stands between.
    """
    features, linear = _LAYERS[type(network).__name__]
    return _last(getattr(network, features)), None if linear is None else _last(getattr(network, linear))


def renamed(weights: Weights) -> Weights:
    """The same with the names that DenseNet's layers have today; torchvision's files of it are older."""
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    return replace(weights, tensors={old.sub(r"\1\2", name): tensor for name, tensor in weights.tensors.items()})


def _last(module: Any) -> Any:
    return module[-1] if isinstance(module, nn.Sequential | nn.ModuleList) else module
