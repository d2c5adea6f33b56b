"""A network that exists already, as a classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perceptlib.data.class_names import read_class_names
from perceptlib.networks.classifier import Classifier
from perceptlib.networks.layers import bare, drawn_picture, find_layers, layer_of
from perceptlib.records.checks import own_mode
from perceptlib.records.modules import evaluating, logits_of

Statistic = float | Sequence[float] | Any  # also a tensor or an array

_SIDES = (224, 32, 64, 28, 96, 128, 160, 192, 256, 299, 336, 384, 448, 512, 518)  # what networks are made for


def wrap(
    module: nn.Module,
    *,
    mean: Statistic,
    std: Statistic,
    class_names: Sequence[str] | str | Path | None = None,
    cam_layer: str | nn.Module | None = None,
    input_size: int | None = None,
) -> Classifier:
    """Make a classifier of your own network, for attacks, maps, studies and notebooks.

    Parameters
    ----------
    module
        Takes normalised pictures (N, C, H, W), gives logits as `perceptlib.records.modules.logits_of` reads them. It
        is not copied, and keeps its training mode, its hooks and which parameters take a gradient; it runs in
        evaluation mode.
    mean, std
        Of the normalisation, for pictures in [0, 1]: ``(images - mean) / std`` is what the module sees. One number, or
        one for each channel; 0 and 1 where the module normalises by itself.
    class_names
        One per class, or a file of them as `load` takes it. Default: the numbers of the classes.
    cam_layer
        Which layer class activation maps look at: its name in ``module.named_modules()``, such as "layer4", or the
        module itself. Default: the last one before the pooling, told from a pass of one picture.
    input_size
        Side in pixels of the pictures that it is made for. Default: the first that it takes of 224, 32, 64 and others.

    Returns
    -------
    Classifier
        Its `cam_layer` is None where none was found, and its `linear_layer` where the classic class activation map is
        not defined: attacks need neither. Of DataParallel and torch.compile the layers are those of the network inside.

    Raises
    ------
    TypeError
        No module; a mean or deviation that is no number; class names without order; an output that holds no logits.
    ValueError
        A mean or deviation of the wrong length, not finite, or for values up to 255; another number of class names than
        of logits; a module that takes pictures of no size that was tried, or was made inside torch.inference_mode; a
        `cam_layer` that it does not have, that runs not just once in a pass, or whose output is no map.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"the network is a {type(module).__name__}; a torch.nn.Module is needed; attacks alone take any function"
        )
    if any(tensor.is_inference() for tensor in (*module.parameters(), *module.buffers())):
        raise ValueError(
            "the network was made inside torch.inference_mode, so no gradient can pass it; make or load it outside"
        )
    inside = bare(module)
    means, deviations = _statistics(inside, mean, std)
    layer = None if cam_layer is None else layer_of(module, cam_layer)
    kind = type(inside)
    described: dict[str, Any] = {"name": kind.__name__, "source": f"{kind.__module__}.{kind.__qualname__}, wrapped"}
    described |= {"mean": means, "std": deviations}
    with own_mode(), torch.random.fork_rng(devices=[]):
        unnamed = Classifier(module, class_names=(), input_size=0, **described)
        images, logits = _tried(unnamed, len(means), _SIDES if input_size is None else (input_size,))
        layers = find_layers(lambda pictures: unnamed.run(inside, pictures), inside, images, layer)
    num_classes = logits.shape[1]
    if isinstance(class_names, str | Path):
        class_names = read_class_names(class_names, num_classes)
    if isinstance(class_names, Mapping | Set):
        raise TypeError(
            f"class_names are a {type(class_names).__name__}; a list is needed, in the order of the classes"
        )
    names = tuple(map(str, range(num_classes) if class_names is None else class_names))
    if len(names) != num_classes:
        raise ValueError(f"class_names holds {len(names)} names; the network has {num_classes} classes, name each")
    return Classifier(module, class_names=names, input_size=images.shape[-1], **layers, **described)


def _statistics(network: nn.Module, mean: Statistic, std: Statistic) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel."""
    first = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    given = {"mean": _numbers("mean", mean), "std": _numbers("std", std)}
    longest = max(map(len, given.values()))
    channels = first.in_channels if first is not None else longest if longest > 1 else 3
    for name, values in given.items():
        if len(values) not in (1, channels):
            raise ValueError(f"{name} holds {len(values)} numbers; 1 is needed, or {channels}, one for each channel")
        if not all(map(math.isfinite, values)):
            raise ValueError(f"{name} is {values}; finite numbers are needed")
    if any(abs(value) > 1 for value in given["mean"]) or any(value > 2 for value in given["std"]):
        raise ValueError(
            f"mean is {given['mean']} and std {given['std']}, as for values up to 255; pictures here are in [0, 1]; "
            "divide both by 255"
        )
    if any(value <= 0 for value in given["std"]):
        raise ValueError(f"std is {given['std']}; numbers above 0 are needed; write 1 for no change of scale")
    means, deviations = (values * (channels // len(values)) for values in given.values())
    return means, deviations


def _numbers(name: str, values: Statistic) -> list[float]:
    try:
        numbers = torch.as_tensor(values, dtype=torch.float64, device="cpu").flatten().tolist()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} is {values!r}; a number is needed, or one for each channel") from None
    return list(numbers)


def _tried(classifier: Classifier, channels: int, sides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """A drawn picture of the first size that the network takes, and its logits."""
    network = classifier.network
    failures: list[Exception] = []
    for side in sides:
        pictures = drawn_picture(channels, side).to(next(network.parameters(), torch.empty(0)).device)
        try:
            with evaluating(network):
                output = network(classifier.normalised(pictures))
        except Exception as error:  # whatever a network's own code ends in
            failures.append(error)
        else:
            return pictures, logits_of(output, 1)
    told = f"{type(failures[0]).__name__}: {failures[0]}".split("\n")[0]
    raise ValueError(
        f"the network takes no pictures of {channels} channels and {sides[0]}x{sides[0]} pixels"
        f"{' or of other usual sizes' * (len(sides) > 1)} ({told}); pass the input_size that it is made for"
    ) from failures[0]
