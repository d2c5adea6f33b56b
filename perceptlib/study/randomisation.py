"""Weights drawn anew from the top down: a map that explains the network must follow (Adebayo et al. 2018).

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim 2018, "Sanity checks for saliency maps", section 3: cascading
randomisation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from perceptlib.networks import Classifier
from perceptlib.networks.layers import bare


def stages(classifier: Classifier) -> tuple[str, ...]:
    """Names of the stages of a classifier's network, from the top, each a part that holds weights.

    Names as of ``network.named_modules()``: the parts of the network in the order in which they run, where a sequence
    of several parts with weights counts as those. A MobileNetV2 has "classifier", "features.18", ..., "features.0".
    ValueError for a weight that lies in no part, or in one that cannot draw it anew.
    """
    network = bare(classifier.network)
    names = tuple(_names(network))[::-1]
    held = {id(weight) for name in names for weight in network.get_submodule(name).parameters()}
    for name, weight in network.named_parameters():
        if id(weight) not in held:
            raise ValueError(f"weight {name!r} lies in no part of the network; put it into a module of its own")
    for name in names:
        for path, module in network.get_submodule(name).named_modules(prefix=name):
            if any(True for _ in module.parameters(recurse=False)) and not hasattr(module, "reset_parameters"):
                raise ValueError(
                    f"{path} is a {type(module).__name__} without reset_parameters, so its weights cannot be drawn "
                    "anew; define that method"
                )
    return names


def numbers_of_stages(classifier: Classifier, asked: Iterable[int]) -> list[int]:
    """Those of some numbers of `stages` that a classifier has, rising; -1 stands for all."""
    most = len(stages(classifier))
    return sorted({most if number == -1 else number for number in asked if number <= most})


def randomise(classifier: Classifier, num_stages: int, *, seed: int) -> Classifier:
    """Copy of a classifier whose uppermost stages have new random weights.

    Parameters
    ----------
    classifier
        Left as it is.
    num_stages
        How many of `stages` are drawn anew, from the top; 0 gives an equal copy.
    seed
        0 or more. One more stage leaves the weights drawn for those above it as they are.

    Returns
    -------
    Classifier
        On the device of the original; `source` says what was drawn, `sha256` remains that of the file before.

    Raises
    ------
    ValueError
        A number of stages that the classifier does not have, a negative seed, or as `stages`.

    Notes
    -----
    Each module draws its weights by its own ``reset_parameters``, as before training; batch normalisation gets scale 1
    and shift 0 and keeps its running statistics: those belong to the trained weights, so activations and gradients
    shrink or grow from stage to stage by orders of magnitude. Scores of maps do not depend on scale, but a gradient
    that underflows to 0 gives a map without mass: an undefined case to be counted.
    """
    names = stages(classifier)
    if not 0 <= num_stages <= len(names):
        raise ValueError(f"num_stages is {num_stages}; 0 to {len(names)} are allowed, as the network has {len(names)}")
    if seed < 0:
        raise ValueError(f"seed {seed} is negative; pass seed=0 or more")
    drawn = copy.deepcopy(classifier)
    if num_stages == 0:
        return drawn
    device = next(drawn.parameters()).device
    drawn.cpu()  # the same weights whatever the device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for name in names[:num_stages]:
            _draw(bare(drawn.network).get_submodule(name))
    drawn.source = f"{classifier.source}, {num_stages} of {len(names)} stages from the top random (seed {seed})"
    return drawn.to(device)


def _names(network: nn.Module) -> Iterator[str]:
    for name, part in network.named_children():
        inner = [child for child, module in part.named_children() if _has_weights(module)]
        if type(part) is nn.Sequential and len(inner) > 1:
            yield from (f"{name}.{child}" for child in inner)
        elif _has_weights(part):
            yield name


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _draw(stage: nn.Module) -> None:
    for module in stage.modules():
        if isinstance(module, _BatchNorm):
            if module.affine:
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        elif reset := getattr(module, "reset_parameters", None):
            reset()
