"""Files of tensors by name, such as networks' weights: fetched, and read without running what they may hold."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import pickle
import socket
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from perceptlib.records.manifest import read_verified

# Of a checkpoint, the best known first; what else it holds tensors in may be another average of the weights.
_ENTRIES = ("state_dict", "model_state_dict", "model", "network", "net", "weights", "params")
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
