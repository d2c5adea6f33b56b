"""Where networks run: names of devices as torch has them, and whether this machine has one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

VARIABLE = "PERCEPTLIB_DEVICE"  # what `perceptlib run --device` tells a notebook's kernel


def checked_device(device: str) -> str:
    """The same name; ValueError for one that networks do not run on, or that torch does not find here."""
    try:
        asked = torch.device(device)
    except RuntimeError:
        asked = None
    if asked is None or asked.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device is {device!r}; cpu, cuda, cuda:NUMBER and mps are allowed")
    num_devices = torch.cuda.device_count()
    if asked.type == "cuda" and (asked.index or 0) >= num_devices:
        raise ValueError(f"device is {device!r}, but torch finds {num_devices} CUDA devices here; write cpu")
    if asked.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device is {device!r}, but torch finds no Apple GPU here; write cpu")
    return device


def chosen_device(default: str = "cpu") -> str:
    """The device that PERCEPTLIB_DEVICE names, checked; `default` where it names none."""
    named = os.environ.get(VARIABLE)
    if not named:
        return default
    try:
        return checked_device(named)
    except ValueError as error:
        raise ValueError(f"PERCEPTLIB_DEVICE: {error}") from None


@contextmanager
def one_thread() -> Iterator[None]:
    """On one thread of torch; afterwards on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
