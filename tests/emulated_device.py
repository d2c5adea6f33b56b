"""A second device that every machine has: torch's "meta" with numbers behind it, kept apart from the processor's.

An operation that mixes it with tensors of the processor fails as it would on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "meta"
ATEN = torch.ops.aten
# these take tensors of the processor beside those of a GPU: copies between them, and whole numbers as an index
MIXING = {ATEN.copy_.default, ATEN._to_copy.default, ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default}
# no single number of the processor either
STRICT = {ATEN.cat.default, ATEN.stack.default}


class Emulated(torch.Tensor):
    """A tensor on the second device; its numbers are in `inner`."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Emulated:
        made: Emulated = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=NAME,
            requires_grad=False,
        )
        made.inner = inner
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Emulated({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Tensors that are made on the second device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What torch does in C++ without asking a subclass."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and _is_named(kwargs.get("device")):
            del kwargs["device"]
            return func(*args, **kwargs).to(NAME)
        if func is torch.Tensor.tolist and isinstance(args[0], Emulated):
            return args[0].detach().cpu().tolist()
        if func is torch.Tensor.numpy and isinstance(args[0], Emulated):
            raise TypeError("can't convert a tensor of another device to numpy; use Tensor.cpu() first")
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[0], Emulated):
            args = (args[0], _index(args[1]), *args[2:])
        return func(*args, **kwargs)


@contextmanager
def emulated_device() -> Iterator[str]:
    """Context in which device "meta" holds numbers; yields its name."""
    with _Factories(), _Functions():
        yield NAME


def _index(index: Any) -> Any:
    """Lists as tensors: torch would make those on the device of what is indexed, without asking."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return torch.tensor(index) if isinstance(index, list) else index


def _is_named(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    kwargs = dict(kwargs)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    is_there = any(isinstance(tensor, Emulated) for tensor in tensors)
    if is_there and func not in MIXING:
        for tensor in tensors:
            if not isinstance(tensor, Emulated) and (tensor.dim() or func in STRICT):
                raise RuntimeError(f"{func}: expected all tensors on one device, but found {NAME} and cpu")
    if func is ATEN.copy_.default and _is_same(*map(_inner, args[:2])):
        return args[0]
    target = kwargs.get("device")
    goes_there = _is_named(target) if target is not None else is_there
    if func is ATEN.copy_.default:
        goes_there = isinstance(args[0], Emulated)
    if goes_there and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"{func}: expected a generator of device {NAME}, but found one of cpu")
    if _is_named(target):
        kwargs["device"] = "cpu"
    found = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if not goes_there:
        return found
    for tensor in tensors:  # changed in place: the same object comes back
        if isinstance(tensor, Emulated) and found is tensor.inner:
            return tensor
    return tree_map(_outer, found)


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Of a result written into ``out=``, which is then copied to where it is."""
    return one.data_ptr() == other.data_ptr() and one.numel() == other.numel() and one.is_contiguous()


def _inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, Emulated) else leaf


def _outer(leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor) or isinstance(leaf, Emulated):
        return leaf
    return Emulated(leaf.resolve_conj())  # a mark of the tensor that its wrapper would lose
