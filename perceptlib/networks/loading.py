"""Classifiers by a word: the small networks that ship, and torchvision's networks for ImageNet by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from perceptlib.data.bundled import DIGIT_CLASSES, DIGITS_MEAN, DIGITS_SIDE, DIGITS_STD
from perceptlib.data.class_names import read_class_names
from perceptlib.data.scenes import CLASSES, SHAPES_MEAN, SHAPES_STD, SIDE
from perceptlib.networks.classifier import Classifier
from perceptlib.networks.layers import drawn_picture, find_layers
from perceptlib.networks.small import digits_network, shapes_network
from perceptlib.networks.weights import Weights, cached_file, fill, read_weights, shipped_file

# As torchvision sets them where it loads its own weights; without the second it warns.
_OPTIONS: dict[str, dict[str, Any]] = {
    name: {"transform_input": True, "init_weights": True} for name in ("googlenet", "inception_v3")
}


@torch.inference_mode(False)  # weights made under it would let no gradient pass
def load(
    name: Literal["shapes", "digits", "imagenet"],
    *,
    seed: int = 0,
    weights: str | Path | None = None,
    labels: str | Path | None = None,
    architecture: str = "mobilenet_v2",
) -> Classifier:
    """Load a classifier.

    Parameters
    ----------
    name
        "shapes": the small MobileNetV2 for the embedded shapes, whose weights ship with the project.
        "digits": the small network for handwritten digits, likewise. "imagenet": a network of torchvision for the
        1000 classes of ImageNet.
    seed
        Which shipped training run of the shapes or digits network; of random weights.
    weights
        A safetensors or ``state_dict`` file, instead of the shipped ones; for "imagenet" also "torchvision"
        (the default): torchvision's own (`published`), fetched once into torch's cache, or
        "random": as before training.
    labels
        File of class names, as `perceptlib.data.class_names.read_class_names` reads it. Default: the names that come
        with the data.
    architecture
        Of "imagenet": torchvision's name of a classification network, such as "resnet50", "vit_b_16" or
        "efficientnet_b0".

    Returns
    -------
    Classifier
        On the CPU, float32; its parameters take no gradient. Its `source` says what of a checkpoint was read, and what
        was left off the names of its weights.

    Raises
    ------
    FileNotFoundError
        There is no such file, or no shipped run of that seed.
    ValueError
        The file is no weights file, damaged, of another architecture or number of classes, or asks for an
        unknown padding; `name` or `architecture` is unknown, or an architecture is asked for that is not ImageNet's;
        the file of class names is none, or has another number of them.
    ConnectionError
        torchvision's weights are neither in the cache nor could they be fetched.

    Notes
    -----
    A safetensors file whose metadata says ``padding: tf_same`` is run with TensorFlow's SAME padding.
    """
    if name == "imagenet":
        return _load_imagenet(architecture, seed, "torchvision" if weights is None else weights, labels)
    if name not in ("shapes", "digits"):
        raise ValueError(f"there is no classifier {name!r}; write load('shapes'), load('digits') or load('imagenet')")
    if architecture != "mobilenet_v2":
        raise ValueError(
            f"architecture {architecture!r} is for 'imagenet' alone; leave it out for {name!r}, which has its own"
        )
    classes: tuple[str, ...]
    if name == "shapes":
        network = _undisturbed(shapes_network)
        classes, side, mean, std = CLASSES, SIDE, SHAPES_MEAN, SHAPES_STD
        layers = {"cam_layer": network.features[-1], "linear_layer": network.classifier[-1]}
        shipped = "mobilenet_v2"
    else:
        network = _undisturbed(digits_network)
        classes, side, mean, std = DIGIT_CLASSES, DIGITS_SIDE, DIGITS_MEAN, DIGITS_STD
        layers = {"cam_layer": network.features, "linear_layer": network.linear}
        shipped = "small"
    return _filled(
        network,
        read_weights(shipped_file(name, shipped, seed) if weights is None else weights),
        architecture=f"the {name} network",
        name=name,
        class_names=_names(classes, labels),
        input_size=side,
        mean=(mean,) * 3,
        std=(std,) * 3,
        **layers,
    )


def _load_imagenet(architecture: str, seed: int, weights: str | Path, labels: str | Path | None) -> Classifier:
    known = published(architecture)
    network = random_network(architecture, seed=seed)
    described: dict[str, Any] = {
        "name": "imagenet",
        "class_names": _names(known.class_names, labels),
        "input_size": known.input_size,
        "mean": known.mean,
        "std": known.std,
    }
    if weights == "random":
        return _with_layers(network, source=f"random weights of {architecture}, seed {seed}", sha256="", **described)
    return _filled(
        network,
        renamed(read_weights(cached_file(known.url) if weights == "torchvision" else weights)),
        architecture=f"torchvision's {architecture}",
        source=f"torchvision {known.name}" if weights == "torchvision" else None,
        **described,
    )


def _names(known: Sequence[str], labels: str | Path | None) -> tuple[str, ...]:
    return tuple(known) if labels is None else read_class_names(labels, len(known))


def _undisturbed(make: Callable[[], Any]) -> Any:
    """A network whose first weights, which the file's replace, are drawn without moving torch's random state."""
    with torch.random.fork_rng(devices=[]):
        return make()


def _filled(
    network: nn.Module, weights: Weights, *, architecture: str, source: str | None = None, **described: Any
) -> Classifier:
    """A Classifier from a network and the weights that it is to have."""
    last_layer = list(network.state_dict())[-1].rpartition(".")[0]
    told = fill(network, weights, architecture=architecture, last_layer=f"{last_layer}.")
    padding = weights.metadata.get("padding", "torch")
    if padding not in ("torch", "tf_same"):
        raise ValueError(f"{weights.path} asks for padding {padding!r}; 'tf_same', or no entry, is allowed")
    if padding == "tf_same":
        pad_as_tensorflow(network)
    # The file's name, not its path: a record must not depend on where a user keeps files.
    if source is None:
        notes = "; ".join(filter(None, [weights.metadata.get("source"), *weights.told, *told]))
        source = f"{weights.path.name} ({notes})" if notes else weights.path.name
    return _with_layers(network, source=source, sha256=weights.sha256, **described)


def _with_layers(network: nn.Module, **described: Any) -> Classifier:
    network.requires_grad_(False).eval()
    if "cam_layer" not in described:
        classifier = Classifier(network, **described)
        try:  # small pictures tell as much, where they are taken
            layers = find_layers(classifier, network, drawn_picture(3, min(160, classifier.input_size)))
        except (AssertionError, RuntimeError):
            layers = find_layers(classifier, network, drawn_picture(3, classifier.input_size))
        described |= dict(zip(("cam_layer", "linear_layer"), layers, strict=True))
    return Classifier(network, **described)


@dataclass(frozen=True)
class Published:
    """What torchvision publishes with an architecture's weights for ImageNet: name and address of the weights, 1000
    class names, the side in pixels of the pictures that they are made for, mean and deviation for RGB in [0, 1].
    """

    name: str
    url: str
    class_names: tuple[str, ...]
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def published(architecture: str) -> Published:
    """What torchvision publishes for an architecture: its best weights, for MobileNetV2 the first; nothing is fetched.

    ValueError where no classification network of torchvision has that name.
    """
    from torchvision import models  # its import takes seconds

    known = models.list_models(module=models)
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=5, cutoff=0.5)
        close = close or ["mobilenet_v2", "resnet50", "vgg16", "efficientnet_b0"]
        raise ValueError(
            f"torchvision has no classification network {architecture!r}; pass one of its names, "
            f"such as {', '.join(map(repr, close))}"
        )
    weights = models.get_model_weights(architecture)
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
    """A network for 1000 classes as torchvision draws its weights before training, in training mode.

    torch's random state is left as it was.
    """
    from torchvision import models

    options = _OPTIONS.get(architecture, {})
    if architecture.startswith("vit_"):  # whose positions are those of one size
        options = {"image_size": published(architecture).input_size}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the random states of GPUs as well
        network: nn.Module = models.get_model(architecture, **options)
    return network


def renamed(weights: Weights) -> Weights:
    """The same with the names that DenseNet's layers have today; torchvision's files of it are older."""
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    return replace(weights, tensors={old.sub(r"\1\2", name): tensor for name, tensor in weights.tensors.items()})


def pad_as_tensorflow(network: nn.Module) -> None:
    """Give every strided convolution of a network TensorFlow's SAME padding, at any input size, in place.

    The convolution `name` becomes `name.convolution`.
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

    def forward(self, images: Tensor) -> Tensor:
        padding: list[int] = []
        sides = zip(images.shape[-2:], self.convolution.kernel_size, self.convolution.stride, strict=True)
        for side, kernel, stride in sides:
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            padding = [total // 2, total - total // 2, *padding]  # functional.pad starts with the last axis
        padded: Tensor = self.convolution(functional.pad(images, padding))
        return padded
