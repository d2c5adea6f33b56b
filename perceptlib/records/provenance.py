"""Where numbers come from: versions, machine, seed and weights, written beside them as JSON."""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import torch

from perceptlib.records.package import ROOT, __version__

# The packages whose version can change a number.
_PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-image", "scikit-learn", "statsmodels", "grad-cam", "cvxpy"),
    *("clarabel", "foolbox"),
)
# What the disk or its rights are to blame for; other errors of the system tell of themselves.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG)
# The folders of an absolute path: at the start of a word, or where a value or an entry of a list begins.
_ABSOLUTE = re.compile(r"""(?:(?<=^)|(?<=[=,\[('" ]))(?:[A-Za-z]:)?[/\\](?=\S)(?:[^=,\[\]()'"]*[/\\])?""")


class Network(Protocol):
    """What a record says of a network; a classifier of `perceptlib.networks` has it."""

    name: str
    source: str
    mean: torch.Tensor

    @property
    def sha256(self) -> str: ...


def provenance(
    *,
    seed: int,
    preset: str | None = None,
    classifier: Network | None = None,
    pictures: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Describe what a number depends on besides the code that computes it.

    Parameters
    ----------
    seed
        The seed that was used.
    preset
        Name of the input, such as ``"shapes"``.
    classifier
        The network that was attacked; its name, source and sha256 are kept.
    pictures
        ``number`` and ``sha256`` of the pictures, as `perceptlib.study.presets.Pictures.listing` gives them.
    device
        Where it was computed; default: where the classifier is, or "cpu".

    Returns
    -------
    dict
        ``command``, ``seed``, ``preset``, ``date`` (UTC, ISO 8601), ``python``, ``versions`` of the installed packages,
        ``machine``, ``device``, ``threads`` of torch, ``commit`` (None outside a clone), ``weights`` (``name``,
        ``source``, ``sha256``; None without a classifier) and ``pictures``.
    """
    versions = {"perceptlib": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    weights = None
    if classifier is not None:
        weights = {"name": classifier.name, "source": classifier.source, "sha256": classifier.sha256}
        device = device or str(classifier.mean.device)
    device = device or "cpu"
    if device.startswith("cuda") and torch.cuda.is_available():
        device += f" ({torch.cuda.get_device_name(device)})"
    return {
        "command": command(),
        "preset": preset,
        "seed": seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": device,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "weights": weights,
        "pictures": None if pictures is None else dict(pictures),
    }


def command() -> str:
    """The command that runs, as it may be typed again; absolute paths, which other machines lack, as names alone.

    A notebook's kernel has that of ``perceptlib run`` or of what else started it, in PERCEPTLIB_COMMAND.
    """
    if given := os.environ.get("PERCEPTLIB_COMMAND"):
        return given
    program, *words = sys.argv or [""]
    path = Path(program)
    if path.name == "ipykernel_launcher.py":  # its words are a file of this session
        return "cells of a notebook"
    if path.name == "__main__.py":
        program = f"python -m {path.parent.name}"
    elif path.is_relative_to(package := ROOT / "perceptlib"):
        program = f"python -m perceptlib.{'.'.join(path.relative_to(package).with_suffix('').parts)}"
    elif path.suffix == ".py" or program == "-c":
        program = f"python {path.name if path.is_absolute() else path}"
    else:
        program = path.name
    return " ".join([program, *(shlex.quote(_ABSOLUTE.sub("", word)) for word in words)])


def commit() -> str | None:
    """Commit of the code in this repository, with "-dirty" where its tracked files differ; None without git."""
    if not (ROOT / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Turn numbers into what JSON can hold.

    Parameters
    ----------
    numbers
        Bools, ints, floats, strings, None, torch and numpy scalars, or mappings of these, under names of letters,
        digits, ``_`` and ``-``.

    Returns
    -------
    dict
        The same with Python's own types; NaN, which JSON does not have, as None: an undefined number stays visible
        as undefined.

    Raises
    ------
    TypeError
        A value of another kind, such as a list or an array of several entries.
    ValueError
        An infinite number, or a name with another character: a dot separates names where the book quotes a number.
    """
    return {_name(key): _plain(value, str(key)) for key, value in numbers.items()}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Parameters
    ----------
    path
        The file; replaced where it exists.
    content
        What `json` can hold, without NaN and infinity.
    """
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:
        # a file's name that is no UTF-8 has lone surrogates, which JSON can hold as an escape
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path) -> dict[str, Any]:
    """Content of a JSON file that holds entries by name.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Damaged, or holding something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); make it again, or name another file") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; entries by name are needed; make it again")
    return content


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Say what a full disk or a folder without rights means for what is written into a folder.

    Raises
    ------
    OSError
        The disk is full or cannot be written; files under their final names are whole.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise OSError(
            f"{out} cannot be written ({error.strerror}); files under their final names are whole; free space or make "
            "the folder writable and start again, or name another folder"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Parameters
    ----------
    path
        The file to be made or replaced.

    Yields
    ------
    pathlib.Path
        A temporary name in the same folder and with the same suffix. It takes the place of `path` at the end, and is
        removed when the block raises.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


def _name(key: object) -> str:
    if not isinstance(key, str) or not re.fullmatch(r"[\w-]+", key):
        raise ValueError(f"number's name {key!r}: letters, digits, _ and - are allowed; write {_legal(key)!r}")
    return key


def _legal(key: object) -> str:
    return re.sub(r"[^\w-]", "_", str(key)) or "name"


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {_name(key): _plain(entry, f"{where}.{key}") for key, entry in value.items()}
    if hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError):
            shape = tuple(getattr(value, "shape", ()))
            raise TypeError(
                f"number {where} is an array of shape {shape}; write one number, such as its mean, "
                "and keep the rows in a CSV file"
            ) from None
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"number {where} is {value}; JSON has no infinity; write NaN where it is undefined")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"number {where} is a {type(value).__name__}; bool, int, float, str, None or a mapping of these is allowed"
    )
