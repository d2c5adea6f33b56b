"""The networks under attack: pictures in [0, 1] in, logits out, everything else kept inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from perceptlib.data.class_folders import read_class_names
from perceptlib.networks.padding import pad_as_tensorflow
from perceptlib.networks.weights import Weights, cached_file, fill, read_weights, shipped_file
from perceptlib.records import check_images


class Classifier(nn.Module):
    """A network for RGB pictures in [0, 1] that owns its normalisation and stays in evaluation mode.

    Its parameters take no gradient; the input does. `load` makes one.

    Attributes
    ----------
    name
        As given to `load`.
    class_names
        One per class.
    num_classes
        K, the number of logits.
    input_size
        Side in pixels of the pictures that the network was trained on; it takes other sizes too.
    cam_layer
        The last feature block, (N, D, h, w), which class activation maps look at.
    linear_layer
        The only layer after `cam_layer` and its average over h and w: logits = weight @ average + bias. None where
        more than that stands between (VGG, DenseNet): the classic class activation map needs it.
    source
        Where the weights come from, for a record.
    sha256
        Of the weights file; empty for random weights.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        class_names: Sequence[str],
        input_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        cam_layer: nn.Module,
        linear_layer: nn.Linear | None,
        source: str,
        sha256: str,
    ) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.class_names = tuple(class_names)
        self.num_classes = len(self.class_names)
        self.input_size = input_size
        self.source = source
        self.sha256 = sha256
        # Held outside nn.Module's bookkeeping: both are already inside `network`.
        self._cam_and_linear = (cam_layer, linear_layer)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.requires_grad_(False)
        self.eval()

    @property
    def cam_layer(self) -> nn.Module:
        return self._cam_and_linear[0]

    @property
    def linear_layer(self) -> nn.Linear | None:
        return self._cam_and_linear[1]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of a batch.

        Parameters
        ----------
        images
            (N, 3, H, W), float32 or float64, in [0, 1].

        Returns
        -------
        torch.Tensor
            (N, K), in the network's precision; the gradient has the images' precision.

        Raises
        ------
        TypeError
            As `checks.check_images` says.
        ValueError
            As `checks.check_images` says, or another number of channels than 3.
        """
        check_images(images)
        if images.shape[1] != 3:
            raise ValueError(
                f"images have {images.shape[1]} channels; 3 (RGB) are needed; "
                "write images.expand(-1, 3, -1, -1) for grey pictures"
            )
        logits: torch.Tensor = self.network((images.to(self.mean) - self.mean) / self.std)
        return logits

    def train(self, mode: bool = True) -> Classifier:
        """Stay in evaluation mode, whatever is asked: batch statistics would tie images to each other."""
        return super().train(False)


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
        (the default): torchvision's own (`perceptlib.networks.architectures.published`), fetched once into torch's cache, or
        "random": as before training.
    labels
        Text file, one class name per line, line i for class i. Default: the names that come with the data.
    architecture
        Of "imagenet": torchvision's name of a classification network, such as "resnet50", "vgg16" or
        "efficientnet_b0".

    Returns
    -------
    Classifier
        On the CPU, float32.

    Raises
    ------
    FileNotFoundError
        There is no such file, or no shipped run of that seed.
    ValueError
        The file is no weights file, damaged, of another architecture or number of classes, or asks for an
        unknown padding; `name` or `architecture` is unknown, or an architecture is asked for that is not ImageNet's;
        the file of class names has another number of lines.
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
    return _load_shapes(seed, weights, labels) if name == "shapes" else _load_digits(seed, weights, labels)


def _load_shapes(seed: int, weights: str | Path | None, labels: str | Path | None) -> Classifier:
    # Here and not above: training measures what it trains with a Classifier, and scenes load pictures.
    from perceptlib.data.scenes import CLASSES, SHAPES_MEAN, SHAPES_STD
    from perceptlib.networks.small import shapes_network

    network = _undisturbed(shapes_network)
    return _filled(
        network,
        read_weights(shipped_file("shapes", "mobilenet_v2", seed) if weights is None else weights),
        name="shapes",
        architecture="the shapes network",
        class_names=tuple(CLASSES) if labels is None else read_class_names(labels, len(CLASSES)),
        input_size=64,
        mean=(SHAPES_MEAN,) * 3,
        std=(SHAPES_STD,) * 3,
        cam_layer=network.features[-1],
        linear_layer=network.classifier[-1],
    )


def _load_digits(seed: int, weights: str | Path | None, labels: str | Path | None) -> Classifier:
    from perceptlib.data.handwritten import DIGIT_CLASSES, DIGITS_MEAN, DIGITS_STD, SIZE
    from perceptlib.networks.small import digits_network

    network = _undisturbed(digits_network)
    return _filled(
        network,
        read_weights(shipped_file("digits", "small", seed) if weights is None else weights),
        name="digits",
        architecture="the digits network",
        class_names=DIGIT_CLASSES if labels is None else read_class_names(labels, len(DIGIT_CLASSES)),
        input_size=SIZE,
        mean=(DIGITS_MEAN,) * 3,
        std=(DIGITS_STD,) * 3,
        cam_layer=network.features,
        linear_layer=network.linear,
    )


def _load_imagenet(architecture: str, seed: int, weights: str | Path, labels: str | Path | None) -> Classifier:
    from perceptlib.networks.architectures import cam_and_linear, published, random_network, renamed

    known = published(architecture)
    network = random_network(architecture, seed=seed)
    cam_layer, linear_layer = cam_and_linear(network)
    described: dict[str, Any] = {
        "name": "imagenet",
        "class_names": known.class_names if labels is None else read_class_names(labels, len(known.class_names)),
        "input_size": known.input_size,
        "mean": known.mean,
        "std": known.std,
        "cam_layer": cam_layer,
        "linear_layer": linear_layer,
    }
    if weights == "random":
        return Classifier(network, source=f"random weights of {architecture}, seed {seed}", sha256="", **described)
    return _filled(
        network,
        renamed(read_weights(cached_file(known.url) if weights == "torchvision" else weights)),
        architecture=f"torchvision's {architecture}",
        source=f"torchvision {known.name}" if weights == "torchvision" else None,
        **described,
    )


def _undisturbed(make: Callable[[], Any]) -> Any:
    """A network whose first weights, which the file's replace, are drawn without moving torch's random state."""
    with torch.random.fork_rng(devices=[]):
        return make()


def _filled(
    network: nn.Module, weights: Weights, *, architecture: str, source: str | None = None, **described: Any
) -> Classifier:
    """A Classifier from a network and the weights that it is to have."""
    last_layer = list(network.state_dict())[-1].rpartition(".")[0]
    fill(network, weights, architecture=architecture, last_layer=f"{last_layer}.")
    padding = weights.metadata.get("padding", "torch")
    if padding not in ("torch", "tf_same"):
        raise ValueError(f"{weights.path} asks for padding {padding!r}; 'tf_same', or no entry, is allowed")
    if padding == "tf_same":
        pad_as_tensorflow(network)
    origin = weights.metadata.get("source")
    # The file's name, not its path: a record must not depend on where a user keeps files.
    source = source or (f"{weights.path.name} ({origin})" if origin else weights.path.name)
    return Classifier(network, source=source, sha256=weights.sha256, **described)
