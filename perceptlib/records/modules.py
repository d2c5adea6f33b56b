"""What a network is asked for: logits of the form (N, K) whatever it returns, in evaluation mode while it runs."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_lock = threading.Lock()
_held: dict[nn.Module, int] = {}  # modules that were in training mode, and how many callers keep them out of it


@contextmanager
def evaluating(network: object) -> Iterator[None]:
    """Keep a network in evaluation mode, and give every part of it its own mode back.

    Batch statistics would tie pictures to each other, dropout would draw. Threads may share the network: it is given
    back by the last of them. A function, bound method or object has the Modules that it refers to by name.
    """
    with _lock:
        modules = _parts(modules_of(network))
        if any(isinstance(part, _BatchNorm) and part.running_mean is None for part in modules):
            raise ValueError(
                "the network's BatchNorm has no running statistics, so that what it says of a picture depends on the "
                "others of the batch; make it with track_running_stats=True, or use GroupNorm"
            )
        parts = [part for part in modules if part.training or part in _held]
        for part in parts:
            _held[part] = _held.get(part, 0) + 1
            part.training = False
    try:
        yield
    finally:
        with _lock:
            for part in parts:
                _held[part] -= 1
                if not _held[part]:
                    del _held[part]
                    part.training = True


def _parts(modules: list[nn.Module]) -> set[nn.Module]:
    """All modules inside, in a fifth of the time that `nn.Module.modules` takes: this runs in every pass."""
    found: set[nn.Module] = set()
    rest: list[nn.Module | None] = [*modules]
    while rest:
        part = rest.pop()
        if part is not None and part not in found:
            found.add(part)
            rest.extend(part._modules.values())
    return found


def modules_of(network: object) -> list[nn.Module]:
    """The Module itself, or those that a function, a bound method or an object refers to by name."""
    if isinstance(network, nn.Module):
        return [network]
    owner = getattr(network, "__self__", network)
    found = [owner, *getattr(owner, "__dict__", {}).values(), *getattr(owner, "args", ()), getattr(owner, "func", None)]
    if inspect.isfunction(network):
        names = inspect.getclosurevars(network)
        found += [*names.globals.values(), *names.nonlocals.values()]
    return [value for value in found if isinstance(value, nn.Module)]


def _is_of_sigmoid(output: Tensor) -> bool:
    """Whether its graph says so, changes of shape and type left aside."""
    step = output.grad_fn
    while step is not None and re.match("View|Squeeze|Unsqueeze|Select|Slice|Reshape|ToCopy", type(step).__name__):
        step = step.next_functions[0][0]
    return type(step).__name__ == "SigmoidBackward0"


def logits_of(output: Any, num_images: int) -> Tensor:
    """Logits (N, K), K at least 2, float32 or float64, of what a network returned for N pictures.

    A dictionary or object counts by ``logits``, a dictionary of one entry by that, a tuple or list by its first entry.
    One logit z for each picture stands against 0: (-z / 2, z / 2), so that class 1 has the margin z and the probability
    that a sigmoid gives. Where a graph shows that it is that probability itself, it is refused, and so is a tuple of
    several tensors that may be logits, of different numbers of classes.
    """
    if isinstance(output, Mapping):
        if "logits" not in output and len(output) != 1:
            raise ValueError(
                f"the network returns a dictionary of {', '.join(map(repr, output)) or 'nothing'}; an entry 'logits' "
                "is needed; wrap the network in a module that returns the logits alone"
            )
        return logits_of(output["logits"] if "logits" in output else next(iter(output.values())), num_images)
    if not isinstance(output, Tensor) and hasattr(output, "logits"):
        return logits_of(output.logits, num_images)
    if isinstance(output, tuple | list) and len(output):
        tensors = [part for part in output if isinstance(part, Tensor) and part.ndim == 2 and len(part) == num_images]
        if len({part.shape[1] for part in tensors}) > 1:
            raise ValueError(
                f"the network returns tensors of shape {', '.join(str(tuple(part.shape)) for part in tensors)}, and "
                "which are logits cannot be told; wrap the network in a module that returns the logits alone"
            )
        return logits_of(output[0], num_images)
    if not isinstance(output, Tensor):
        raise TypeError(
            f"the network returns a {type(output).__name__}; a tensor of logits (N, K) is needed, or a tuple that "
            "begins with it; wrap the network in a module that returns the logits alone"
        )
    if not output.is_floating_point():
        raise TypeError(
            f"the network returns numbers of type {str(output.dtype).removeprefix('torch.')}, which have no gradient; "
            "return the logits and not the classes"
        )
    logits = output
    while logits.ndim > 2 and logits.shape[-1] == 1:
        logits = logits[..., 0]
    if num_images == 1 and (logits.ndim == 0 or (logits.ndim == 1 and len(logits) > 1)):
        logits = logits[None]  # a network that drops every axis of length 1
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.ndim != 2 or len(logits) != num_images or not logits.shape[1]:
        raise ValueError(
            f"the network returns shape {tuple(output.shape)} for {num_images} "
            f"{'picture' if num_images == 1 else 'pictures'}; (N, K), a logit of each class for each picture, is "
            "needed; average over places, or take one of several outputs, in a module around it"
        )
    if logits.shape[1] == 1 and _is_of_sigmoid(logits):
        raise ValueError("the network returns the probability that a sigmoid gives; return the logit that goes into it")
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    return torch.cat([-logits / 2, logits / 2], dim=1) if logits.shape[1] == 1 else logits
