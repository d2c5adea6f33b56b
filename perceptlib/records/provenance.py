"""Where numbers come from: versions, machine, seed and weights, written beside them as JSON."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import torch

from perceptlib.records.package import ROOT, __version__

# The packages whose version can change a number.
_PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-image", "scikit-learn", "statsmodels", "grad-cam", "cvxpy"),
    *("clarabel", "foolbox", "adv-lib", "piq", "flip-evaluator", "cvvdp", "numba"),
)
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
    """What a number depends on besides the code that computes it: command, seed, versions, machine, commit, weights.

    `classifier` is the network that was attacked, `pictures` what `perceptlib.study.presets.Pictures.listing` gives,
    `device` where it was computed; default: where the classifier is, or "cpu".
    """
    versions = {"perceptlib": __version__}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
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
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.check_output(words, stderr=subprocess.DEVNULL, text=True, timeout=10).strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def told_in(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Provenance inside a JSON file that this library wrote, one for each time that something was added to it."""
    inside = content.get("provenance")
    if isinstance(inside, dict) and inside:
        return [inside]
    if isinstance(content.get("runs"), list):
        common = {name: value for name, value in content.items() if name != "runs"}
        return [common | run for run in content["runs"] if isinstance(run, dict)]
    if isinstance(content.get("machine"), dict):  # of a benchmark of an earlier version
        machine = dict(content["machine"])
        versions = {"torch": machine.pop("torch", None)}
        return [{"versions": versions, "machine": machine.pop("processor", None)} | machine]
    return [dict(content)] if "versions" in content else []
