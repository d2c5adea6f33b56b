"""Layers of a network: found, listened to in one pass of one thread, and read as maps (N, D, h, w)."""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

_MOST_TOKENS = 16  # that stand before those of the places: class, distillation, registers
_compiling = threading.RLock()


def bare(network: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel and torch.compile, whose names its layers have."""
    for name in ("_orig_mod", "module"):
        is_around = name == "_orig_mod" or isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel)
        if is_around and isinstance(inside := getattr(network, name, None), nn.Module):
            return bare(inside)
    return network


def layer_of(network: nn.Module, layer: str | nn.Module) -> nn.Module:
    """A part of a network, by its name in ``named_modules()`` or itself; ValueError where it has no such part."""
    layers: dict[str, nn.Module] = dict(bare(network).named_modules(remove_duplicate=False))
    if isinstance(layer, nn.Module):
        if not any(part is layer for part in layers.values()):
            raise ValueError(f"the layer, a {type(layer).__name__}, is no part of the network; pass one of its modules")
        return layer
    if not isinstance(layer, str):
        raise TypeError(f"the layer is a {type(layer).__name__}; pass the module itself or its name, one alone")
    if layer not in layers or not layer:
        close = difflib.get_close_matches(layer, [known for known in layers if known], n=5, cutoff=0)
        raise ValueError(f"the network has no layer {layer!r}; pass a name such as {', '.join(map(repr, close))}")
    return layers[layer]


@contextmanager
def listening(network: nn.Module, layer: nn.Module, *, cut: bool) -> Iterator[list[Tensor]]:
    """Keep what a layer gives in the passes of this thread: one entry a run, apart from memory that later layers write.

    With ``cut`` the graph begins at the layer: what is kept is a leaf that takes a gradient. Compiled parts of the
    network, which call no hooks, run as they were written meanwhile.
    """
    if isinstance(layer, torch.jit.ScriptModule):
        raise ValueError("the layer is TorchScript, which shows nothing of itself; pass the network as it was written")
    kept: list[Tensor] = []
    thread = threading.get_ident()

    def keep(module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
        if threading.get_ident() != thread:
            return None
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the layer gives a {type(output).__name__}; pass a layer that gives feature maps, (N, D, h, w)"
            )
        kept.append(output.detach().requires_grad_(cut))
        return kept[-1].clone()

    hook = layer.register_forward_hook(keep)
    try:
        with _as_written(network):
            yield kept
    finally:
        hook.remove()


@contextmanager
def _as_written(network: nn.Module) -> Iterator[None]:
    """No compiled code in this network, where it has any."""
    if not any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in network.modules()):
        yield
        return
    with _compiling, torch.compiler.set_stance("force_eager"):  # the stance is one for all threads
        yield


def reading(network: nn.Module, layer: nn.Module, output: Tensor, images: Tensor) -> Callable[[Tensor], Tensor]:
    """How a layer's output for images, or its gradient, is read as maps: a function of it to (N, D, h, w).

    The output may have its channels first, (N, D, h, w), or last, (N, h, w, D), or be tokens of places in rows, (N, T,
    D), with up to 16 others before them. ValueError where it is none of these, or cannot be told.
    """
    shape, sides = tuple(output.shape), tuple(images.shape[-2:])
    if shape[:1] == (len(images),):
        if len(shape) == 4:
            is_last = _has_channels_last(layer, shape, sides)
            return lambda maps: maps.permute(0, 3, 1, 2) if is_last else maps
        if len(shape) == 3 and (grid := _grid(network, shape, sides)):
            prefix = shape[1] - grid[0] * grid[1]
            return lambda tokens: tokens[:, prefix:].transpose(1, 2).unflatten(2, grid)
    raise ValueError(
        f"the layer gives shape {shape}; pass a layer that gives feature maps, (N, D, h, w), or a reshape_transform "
        "that makes them of it"
    )


def _has_channels_last(layer: nn.Module, shape: tuple[int, ...], sides: tuple[int, ...]) -> bool:
    if type(layer) in (nn.Linear, nn.LayerNorm):  # they act on the last axis; subclasses turn it first
        return True
    if isinstance(layer, _ConvNd | _BatchNorm):
        return False
    first, last = _misfit(shape[2:], sides), _misfit(shape[1:3], sides)
    if first != last:
        return last < first
    parts = list(layer.modules())
    if any(isinstance(part, nn.Linear | nn.LayerNorm) for part in parts) or not any(
        isinstance(part, _ConvNd | _BatchNorm) for part in parts
    ):
        raise ValueError(
            f"the layer gives shape {shape}, in which channels cannot be told from places; pass a reshape_transform: "
            "lambda maps: maps if they come first, lambda maps: maps.permute(0, 3, 1, 2) if last"
        )
    return False


def _misfit(grid: tuple[int, ...], sides: tuple[int, ...]) -> float:
    """By how many places a grid is not in the proportion of the picture."""
    return abs(grid[0] * sides[1] - grid[1] * sides[0]) / max(sides)


def _grid(network: nn.Module, shape: tuple[int, ...], sides: tuple[int, ...]) -> tuple[int, int] | None:
    """Rows and columns of the places that tokens stand for."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d) and part.kernel_size == part.stride != (1, 1):  # cuts the picture into patches
            grid = sides[0] // part.stride[0], sides[1] // part.stride[1]
            if 0 <= shape[1] - grid[0] * grid[1] <= _MOST_TOKENS:
                return grid
            break
    return None if _proportional(shape[2], sides) else _proportional(shape[1], sides)


def _proportional(count: int, sides: tuple[int, ...]) -> tuple[int, int] | None:
    """A grid of at least two rows and columns in the picture's proportion, with as few other tokens as can be."""
    for places in range(count, max(count - _MOST_TOKENS, 4) - 1, -1):
        rows = round((places * sides[0] / sides[1]) ** 0.5)
        if rows > 1 and places % rows == 0 and rows * sides[1] == places // rows * sides[0]:
            return rows, places // rows
    return None


def drawn_picture(channels: int, side: int) -> Tensor:
    """Noise in [0, 1] to run a network on, (1, C, side, side), always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, channels, side, side, generator=generator, dtype=torch.float32, device="cpu")


def find_layers(
    run: Callable[[Tensor], Tensor], network: nn.Module, images: Tensor, cam_layer: nn.Module | None = None
) -> dict[str, Any]:
    """`cam_layer` and `linear_layer` of a `Classifier`, told from one pass.

    ``run`` takes images to logits (N, K) through the network, in evaluation mode. The first is the last layer, no
    pooling and none that runs twice, whose output is maps of more than one place on which the logits depend in more
    than one: so not the last of a vision transformer, of which the class token alone counts, but the norm before its
    last attention; or it is known, and a ValueError tells that it runs not just once or is not read as maps. The second
    is where logits = weight @ average of the maps over their places + bias. None where there is no such layer.
    """
    ran: dict[nn.Module, list[Tensor]] = {}
    versions: dict[nn.Module, int] = {}
    fed: dict[nn.Linear, Tensor] = {}
    thread = threading.get_ident()

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if threading.get_ident() == thread and isinstance(output, Tensor):
            ran.setdefault(module, []).append(output)
            versions[module] = output._version
            if isinstance(module, nn.Linear) and inputs and inputs[0].ndim == 2:
                fed[module] = inputs[0]

    parts = [part for part in network.modules() if part is not network and not isinstance(part, torch.jit.ScriptModule)]
    hooks = [part.register_forward_hook(keep) for part in parts]
    try:
        with torch.enable_grad(), _as_written(network):
            logits = run(images.requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    last = None  # the linear layer whose output the logits are, or are made of as its only number
    for linear in (linear for linear in fed if len(ran[linear]) == 1):
        output = ran[linear][0]
        if output.numel() == len(logits) or (output.numel() == logits.numel() and bool((output == logits).all())):
            last = linear
    end = logits if last is None else fed[last]

    maps: dict[nn.Module, Callable[[Tensor], Tensor]] = {}
    attention = [part for part in network.modules() if re.search("Attention|Attn", type(part).__name__)]
    hidden = {inner for part in attention for inner in part.modules()}
    if cam_layer is None:
        for part, outputs in ran.items():
            if len(outputs) == 1 and part not in hidden and "Pool" not in type(part).__name__:
                with suppress(ValueError):
                    read = reading(network, part, outputs[0], images)
                    if read(outputs[0])[0, 0].numel() > 1:
                        maps[part] = read
        cam_layer = _last_that_counts(end, {part: ran[part][0] for part in maps}, maps)
    else:
        check_runs(ran.get(cam_layer, []))
        maps[cam_layer] = reading(network, cam_layer, ran[cam_layer][0], images)
    if cam_layer is None or last is None:
        return {"cam_layer": cam_layer, "linear_layer": None}
    output = ran[cam_layer][0]
    average = maps[cam_layer](output).mean((2, 3))
    is_average = average.shape == end.shape and bool((average - end).abs().max() <= 0.01 * end.abs().max())
    is_itself = output._version == versions[cam_layer]  # and not what a ReLU in its place has made of it
    return {"cam_layer": cam_layer, "linear_layer": last if is_average and is_itself else None}


def check_runs(kept: list[Tensor]) -> None:
    """Refuse a layer that gave not just one output in a pass."""
    if len(kept) != 1:
        raise ValueError(f"the layer runs {len(kept)} times for an image; pass one that runs once")


@torch.enable_grad()
def _last_that_counts(
    end: Tensor, outputs: dict[nn.Module, Tensor], maps: dict[nn.Module, Callable[[Tensor], Tensor]]
) -> nn.Module | None:
    """The last layer on whose maps `end` depends at more than one place; the last of all where no gradient tells."""
    parts = [part for part, output in outputs.items() if output.requires_grad]
    if end.requires_grad and parts:
        drawn = torch.randn(end.shape, generator=torch.Generator().manual_seed(0), device="cpu").to(end)
        gradients = torch.autograd.grad((end * drawn).sum(), [outputs[part] for part in parts], allow_unused=True)
        for part, gradient in reversed(list(zip(parts, gradients, strict=True))):
            if gradient is not None and int((maps[part](gradient) != 0).any(1).sum()) > 1:
                return part
    return next(reversed(outputs), None)
