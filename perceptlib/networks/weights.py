"""A network filled with the weights of a file, and where such files are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from torch import nn

from perceptlib.data import imagenet_assets
from perceptlib.records import data_dir
from perceptlib.records.tensors import Weights, cache_path

# Old files, and files with batch norm folded away, lack this counter; eval mode never reads it.
_UNUSED_AT_INFERENCE = "num_batches_tracked"
MOBILENET_URL = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"  # torchvision's IMAGENET1K_V1


def fill(network: nn.Module, weights: Weights, *, architecture: str, last_layer: str) -> list[str]:
    """Put weights into a network, every tensor of which must fit, or ValueError; returns what was left off the names.

    Names may have what DataParallel and torch.compile add, ``module.`` and ``_orig_mod.``, or one prefix for all of
    them, such as ``model.``. Messages call the network ``architecture``; ``last_layer`` is that of the classes.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors, told = _own_names(weights.tensors, list(expected))
    got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    missing = [name for name in expected if name not in got and not name.endswith(_UNUSED_AT_INFERENCE)]
    unexpected = [name for name in got if name not in expected]
    reshaped = [name for name in expected if name in got and got[name] != expected[name]]
    if not missing and not unexpected and reshaped and all(name.startswith(last_layer) for name in reshaped):
        num_got, num_expected = got[reshaped[0]][0], expected[reshaped[0]][0]
        raise ValueError(
            f"{weights.path} holds {num_got} classes; {architecture} has {num_expected}; "
            "name a file with that many classes"
        )
    problems = [f"lacks {name}" for name in missing]
    problems += [f"has {name}, which is not in it" for name in unexpected]
    problems += [f"{name} is {got[name]}, {expected[name]} is needed" for name in reshaped]
    if problems:
        more = f" (and {len(problems) - 2} more differences)" if len(problems) > 2 else ""
        raise ValueError(
            f"{weights.path} does not hold {architecture}: {'; '.join(problems[:2])}{more}; "
            "name a file of that architecture"
        )
    # By hand: load_state_dict of MNASNet asks for a version that safetensors files do not hold.
    for name, tensor in network.state_dict().items():
        if name in tensors:
            if unfit := _unfit(name, tensors[name], tensor):
                raise ValueError(f"{weights.path} holds {name}, which {unfit}; train or save the network again")
            tensor.copy_(tensors[name])
    return told


def _own_names(tensors: dict[str, torch.Tensor], expected: list[str]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Tensors by the names that the network has for them, and what was left off."""
    told = []
    if "n_averaged" not in expected:  # a count of torch.optim.swa_utils.AveragedModel
        tensors = {name: tensor for name, tensor in tensors.items() if name != "n_averaged"}
    for added in ("_orig_mod.", "module."):
        shortened = {re.sub(rf"(^|\.){re.escape(added)}", r"\1", name): tensor for name, tensor in tensors.items()}
        if not any(added in name for name in expected) and shortened.keys() != tensors.keys():
            if len(shortened) < len(tensors):
                break  # two tensors would have one name
            tensors = shortened
            told.append(f"names without {added!r}")
    first = next(name for name in expected if not name.endswith(_UNUSED_AT_INFERENCE))
    prefixes = [name.removesuffix(first) for name in tensors if name.endswith(f".{first}")]
    if first not in tensors and len(prefixes) == 1:
        told.append(f"names without {prefixes[0]!r}")
        tensors = {name.removeprefix(prefixes[0]): tensor for name, tensor in tensors.items()}
    return tensors, told


def _unfit(name: str, tensor: torch.Tensor, place: torch.Tensor) -> str:
    """Why a tensor cannot be a network's weights; empty where it can."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return f"is no plain tensor of numbers ({tensor.layout}, {tensor.device}, {kind})"
    if name.endswith(_UNUSED_AT_INFERENCE):
        return ""
    if tensor.is_floating_point() != place.is_floating_point() or tensor.is_complex():
        return f"is of type {kind} in place of {str(place.dtype).removeprefix('torch.')}"
    if not bool(tensor.to(place.dtype).isfinite().all()):
        return "has NaN or infinite entries"
    return "has variances below 0" if name.endswith("running_var") and bool((tensor < 0).any()) else ""


def shipped_networks() -> dict[str, Path]:
    """The small networks for shapes and digits that ship, by their names: "shapes-0", "digits-l2-1" and so on."""
    found = {}
    for path in sorted(data_dir().glob("*/*_seed*.safetensors")):
        match = re.fullmatch(rf".*?_{path.parent.name}(_\w+?)?_seed(\d+)", path.stem)
        if match:
            found[f"{path.parent.name}{(match[1] or '').replace('_', '-')}-{match[2]}"] = path
    return found


def mobilenet_weights() -> Path | None:
    """The file of MobileNetV2's weights for ImageNet where none is named; None where none is at hand.

    The one that PERCEPTLIB_WEIGHTS names, or FileNotFoundError; else ``mobilenet_v2_imagenet_tf.safetensors`` in the
    folder PERCEPTLIB_ASSETS; else torchvision's in torch's download cache.
    """
    if named := os.environ.get("PERCEPTLIB_WEIGHTS"):
        if not Path(named).is_file():
            raise FileNotFoundError(f"PERCEPTLIB_WEIGHTS names {named}, which is no file; name one or unset it")
        return Path(named)
    assets = imagenet_assets()
    files = [assets / "mobilenet_v2_imagenet_tf.safetensors"] if assets else []
    return next((file for file in (*files, cache_path(MOBILENET_URL)) if file.is_file()), None)
