"""What has to be the same on two machines for the bits of a number to be the same."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from perceptlib.records.provenance import provenance

# Of /proc/cpuinfo, on Intel's and AMD's processors and on Arm's; libraries fit their blocks to the cache.
_PROCESSOR_NUMBERS = ("cpu family", "model", "stepping", "cache size", "CPU implementer", "CPU part", "CPU variant")


def environment() -> dict[str, Any]:
    """Processor, its instruction set, threads and versions: where all are equal, so are the bits."""
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": provenance(seed=0)["versions"],
    }


def differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Entries of two environments that differ, as texts."""
    texts = []
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            texts += differing(old, new)
        elif old != new:
            texts.append(f"{name} {old} recorded, {new} here")
    return texts


def _processor() -> str:
    """Model of the processor; with its family and stepping, as some systems call every model by one name."""
    told: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            told.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    numbers = [f"{key} {told[key]}" for key in _PROCESSOR_NUMBERS if key in told]
    return ", ".join([told.get("model name") or platform.processor() or platform.machine(), *numbers])
