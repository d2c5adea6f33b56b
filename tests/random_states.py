"""Results compared by digest, computed under given random states of the process."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch


def digest(value: Any) -> str:
    """Of everything in a result but times."""
    total = hashlib.sha256()

    def add(entry: Any) -> None:
        if isinstance(entry, torch.Tensor | np.ndarray):
            array = entry.detach().cpu().numpy() if isinstance(entry, torch.Tensor) else entry
            total.update(repr((array.shape, str(array.dtype))).encode() + array.tobytes())
        elif isinstance(entry, pd.DataFrame):
            add(entry.to_dict("list"))
        elif isinstance(entry, torch.nn.Module):
            add(entry.state_dict())
        elif isinstance(entry, Mapping):
            for name in entry:
                if "seconds" not in str(name):
                    total.update(str(name).encode())
                    add(entry[name])
        elif is_dataclass(entry) and not isinstance(entry, type):
            add({field.name: getattr(entry, field.name) for field in fields(entry)})
        elif isinstance(entry, list | tuple):
            for inner in entry:
                add(inner)
        else:
            assert entry is None or isinstance(entry, str | int | float | bool), type(entry)
            total.update(repr(entry).encode())

    add(value)
    return total.hexdigest()


def states() -> str:
    """Of the process's three random states."""
    return digest([torch.get_rng_state(), repr(random.getstate()), repr(np.random.get_state(legacy=False))])  # noqa: NPY002


def under(state: int, call: Callable[[], Any]) -> str:
    """Digest of a result that was computed with other random states, which must stay as they are."""
    torch.manual_seed(state)
    random.seed(state)
    np.random.seed(state)  # noqa: NPY002
    before = states()
    result = digest(call())
    assert states() == before, "a random state of the process was moved"
    return result
