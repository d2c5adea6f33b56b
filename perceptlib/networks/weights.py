"""Read a network's weights from a file without running anything that the file may hold."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import pickle
import re
import socket
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from perceptlib.data import imagenet_assets
from perceptlib.records import data_dir, read_verified

# Old files, and files with batch norm folded away, lack this counter; eval mode never reads it.
_UNUSED_AT_INFERENCE = "num_batches_tracked"
# Of a checkpoint, the best known first; what else it holds tensors in may be another average of the weights.
_ENTRIES = ("state_dict", "model_state_dict", "model", "network", "net", "weights", "params")
MOBILENET_URL = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"  # torchvision's IMAGENET1K_V1
SILENT_SECONDS = 60  # a server that says nothing for so long is given up


@dataclass(frozen=True)
class Weights:
    """What a weights file holds.

    Tensors by their names in the network's ``state_dict``; the text entries of a safetensors file, such as
    ``padding: tf_same``; the sha256 of the file; and which part of the file this is, where it holds more.
    """

    path: Path
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]
    sha256: str
    told: tuple[str, ...] = ()


def read_weights(path: str | Path) -> Weights:
    """Read a safetensors file or a file that ``torch.save(network.state_dict())`` wrote, in its own precision.

    The kind is told from the content, not from the name. ``state_dict`` files are read with ``weights_only=True``, so
    pickled code is refused and never run. Of a training run's checkpoint, such as ``{"epoch": 90, "state_dict": ...}``,
    the weights are taken. FileNotFoundError where there is no file, ValueError for one that is truncated, holds
    anything but tensors by name, or ships and is not as `perceptlib.records.manifest` lists it.
    """
    path = Path(path)
    if not path.is_file():
        got = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"weights file {path} {got}; name a safetensors or state_dict file, or write 'torchvision'"
        )
    content = read_verified(path)
    told: tuple[str, ...] = ()
    if content[8:9] == b"{":
        tensors, metadata = _from_safetensors(content, path)
    elif content.startswith((b"PK\x03\x04", pickle.PROTO)):
        (tensors, told), metadata = _from_state_dict(content, path), {}
    else:
        raise ValueError(
            f"{path} ({len(content)} bytes) is not a weights file; "
            "a safetensors file or one written by torch.save(network.state_dict()) is needed"
        )
    return Weights(path, tensors, metadata, hashlib.sha256(content).hexdigest(), told)


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


def cache_path(url: str) -> Path:
    """Where torch's download cache keeps a file."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def cached_file(url: str) -> Path:
    """Weights in torch's download cache, fetched if they are not there, or ConnectionError.

    The address ends, as torchvision's do, in ``NAME-HASH.pth`` with the start of the file's sha256.
    """
    path = cache_path(url)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENT_SECONDS)  # torch's download has none of its own
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise ConnectionError(
            f"torchvision's weights are not at {path} and could not be fetched ({error}); "
            "name a safetensors or state_dict file of that architecture: weights=PATH in Python and in notebooks, "
            "--weights PATH behind `perceptlib attack`, for MobileNetV2 PERCEPTLIB_WEIGHTS=PATH for all; or take the "
            "network 'efficientnet-lite0', whose weights are installed"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path


def shipped_networks() -> dict[str, Path]:
    """The small networks for shapes and digits that ship, by their names: "shapes-0", "digits-l2-1" and so on."""
    found = {}
    for path in sorted(data_dir().glob("*/*_seed*.safetensors")):
        match = re.fullmatch(rf".*?_{path.parent.name}(_\w+?)?_seed(\d+)", path.stem)
        if match:
            found[f"{path.parent.name}{(match[1] or '').replace('_', '-')}-{match[2]}"] = path
    return found


def _from_safetensors(content: bytes, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # of the library, or of a type of numbers that torch lacks
        raise ValueError(_damaged(path, content, error)) from error
    # The library hands metadata out only for a file on disk; the header is 8 bytes of length, then JSON.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return tensors, dict(header.get("__metadata__", {}))


def _from_state_dict(content: bytes, path: Path) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    if content.startswith(b"PK") and _is_compressed(content, path):
        raise ValueError(
            f"{path} holds compressed entries, which torch.save does not write and which may unpack to any size, so "
            "it was not read; save the network again with torch.save(network.state_dict(), path)"
        )
    try:
        with warnings.catch_warnings():
            # A file of another pickle protocol warns before it is refused.
            warnings.simplefilter("ignore", UserWarning)
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds pickled Python objects besides tensors, which could run code, so it was not read; "
            "save the network again with torch.save(network.state_dict(), path)"
        ) from error
    except Exception as error:  # a damaged pickle can end in any exception
        raise ValueError(_damaged(path, content, error)) from error
    told: list[str] = []
    while (found := _weights_within(loaded)) is not None:
        told.append(f"entry {found!r}")
        loaded = loaded[found]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ValueError(
            f"{path} holds a {type(loaded).__name__} of other things than tensors; "
            "a state_dict is needed: torch.save(network.state_dict(), path)"
        )
    return {str(name): tensor for name, tensor in loaded.items()}, tuple(told)


def _weights_within(loaded: Any, depth: int = 3) -> Any:
    """Entry of a checkpoint that holds the network's weights: by its name, or the only one that holds tensors."""
    is_outer = isinstance(loaded, Mapping) and not any(isinstance(value, torch.Tensor) for value in loaded.values())
    if not is_outer or depth == 0:
        return None

    def holds_tensors(value: Any) -> bool:
        parts = list(value.values()) if isinstance(value, Mapping) else []
        is_whole = all(isinstance(part, torch.Tensor) for part in parts)
        return bool(parts) and (is_whole or _weights_within(value, depth - 1) is not None)

    held = [name for name, value in loaded.items() if holds_tensors(value)]
    return next((name for name in _ENTRIES if name in held), held[0] if len(held) == 1 else None)


def _is_compressed(content: bytes, path: Path) -> bool:
    """Whether an archive's entries are anything but stored; torch would unpack them."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except Exception as error:  # a damaged archive can end in any exception
        raise ValueError(_damaged(path, content, error)) from error


def _damaged(path: Path, content: bytes, error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".split("\n")[0].split(". ")[0]
    return f"{path} ({len(content)} bytes) is cut short or damaged ({reason}); fetch or copy it again"


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
