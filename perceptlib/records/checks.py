"""The door: what a caller hands in, made ordinary tensors or refused with a sentence that says what to write."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Values = torch.Tensor | NDArray[Any]

DTYPES = (torch.float32, torch.float64)
_AUTOCAST = ("cpu", "cuda", "mps")
_IS_RANGE_CHECKED = ContextVar("_IS_RANGE_CHECKED", default=True)


def as_images(images: Values, *, name: str = "images") -> torch.Tensor:
    """Pictures as the library computes with them: checked, contiguous, no tensor of inference mode; a graph is kept."""
    images = as_tensor(images)
    check_images(images, name=name)
    return ordinary(images)


def as_labels(labels: Values, images: torch.Tensor, num_classes: int, *, name: str = "labels") -> torch.Tensor:
    """Class indices on the device of their images."""
    labels = as_tensor(labels)
    check_labels(labels, len(images), num_classes, name=name)
    return ordinary(labels.detach().to(images.device))


def ordinary(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers contiguous, and where they were made in inference mode as a tensor that autograd takes."""
    if tensor.is_inference():
        with torch.inference_mode(False):
            tensor = tensor.clone()
    return tensor.contiguous()


@contextmanager
def own_mode() -> Iterator[None]:
    """Neither inference mode nor graph nor autocast, whatever the caller's; all are left as they were found."""
    with torch.inference_mode(False), torch.no_grad(), full_precision():
        yield


def full_precision() -> ExitStack:
    """Context without autocast."""
    stack = ExitStack()
    for device in filter(torch.is_autocast_enabled, _AUTOCAST):
        stack.enter_context(torch.autocast(device, enabled=False))
    return stack


@contextmanager
def unchecked_range() -> Iterator[None]:
    """Within, images are taken to be in [0, 1]: below 64 x 64 pixels that check is more than 2 % of an SSIM's time."""
    token = _IS_RANGE_CHECKED.set(False)
    try:
        yield
    finally:
        _IS_RANGE_CHECKED.reset(token)


def check_images(images: torch.Tensor, *, name: str = "images") -> None:
    """Refuse anything but a batch of pictures: (N, C, H, W), no axis empty, float32 or float64, finite, in [0, 1]."""
    if not isinstance(images, torch.Tensor) or images.layout is not torch.strided:
        kind = str(images.layout) if isinstance(images, torch.Tensor) else type(images).__name__
        advice = f"; write {name}.to_dense()" if isinstance(images, torch.Tensor) else _as_tensor_advice(name, images)
        raise TypeError(f"{name} are a {kind}; a torch tensor of shape (N, C, H, W) is needed{advice}")
    if images.dtype not in DTYPES:
        scale = {torch.uint8: " / 255", torch.uint16: " / 65535"}.get(images.dtype, "")
        raise TypeError(
            f"{name} have dtype {_dtype_name(images)}; float32 or float64 with values in [0, 1] is allowed; "
            f"write torch.as_tensor({name}).float(){scale}"
        )
    shape = tuple(images.shape)
    if images.ndim != 4:
        hint = f"; write {name}[None] for a single picture" if images.ndim == 3 else ""
        raise ValueError(f"{name} have shape {shape}; four axes (N, C, H, W) are needed{hint}")
    if images.numel() == 0:
        raise ValueError(f"{name} have shape {shape}, an empty batch; pass at least one picture with pixels")
    if not _IS_RANGE_CHECKED.get():
        return
    try:
        lowest, highest = torch.stack(torch.aminmax(images.detach())).tolist()
    except RuntimeError:  # under vmap a tensor has no values
        return
    if lowest != lowest:  # aminmax hands a NaN on
        num = int(images.isnan().flatten(1).any(1).sum())
        raise ValueError(
            f"{name} hold NaN in {num} of {shape[0]} pictures; only numbers in [0, 1] are allowed; "
            f"find them with {name}.isnan().flatten(1).any(1)"
        )
    if lowest < 0 or highest > 1:
        advice = _range_advice(name, lowest, highest)
        raise ValueError(f"{name} hold values from {lowest:.9g} to {highest:.9g}; [0, 1] is allowed; {advice}")


def _range_advice(name: str, lowest: float, highest: float) -> str:
    """What makes pictures of values that others know, too, those of [0, 1]."""
    if lowest >= 0 and 2 < highest <= 65535:
        return f"write {name} / {255 if highest <= 255 else 65535}"
    if lowest < -1e-3 and highest <= 1 and lowest >= -1:
        return f"write ({name} + 1) / 2 for pictures of -1 to 1"
    if lowest < -1e-3 and highest < 10:
        return f"write {name} * std + mean where they were normalised, and let the network normalise"
    return f"write {name}.clip(0, 1)"


def _as_tensor_advice(name: str, values: object) -> str:
    """How what is no tensor becomes one."""
    if isinstance(values, np.ndarray) and as_tensor(values) is values:
        return f", and not of {values.dtype}; write {name}.astype('float32')"
    if isinstance(values, np.ndarray | Sequence) and not isinstance(values, str):
        return f"; write torch.{'stack' if isinstance(next(iter(values), 0), torch.Tensor) else 'as_tensor'}({name})"
    if hasattr(values, "getbands"):  # of Pillow
        return f"; write torchvision.transforms.functional.to_tensor({name})[None]"
    return ""


def check_labels(labels: torch.Tensor, num_images: int, num_classes: int, *, name: str = "labels") -> None:
    """Refuse anything but one class index per image: (`num_images`,), int64, each in 0 to `num_classes` - 1."""
    if not isinstance(labels, torch.Tensor):
        is_number = isinstance(labels, int | np.integer)
        advice = f"; write torch.full(({num_images},), {labels})" if is_number else _as_tensor_advice(name, labels)
        raise TypeError(
            f"{name} are a {type(labels).__name__}; a torch tensor of shape ({num_images},) is needed{advice}"
        )
    if tuple(labels.shape) != (num_images,):
        hint = f"; write {name}.argmax(1)" if labels.shape == (num_images, num_classes) else ""
        hint = f"; write {name}.reshape({num_images})" if labels.numel() == num_images else hint
        raise ValueError(
            f"{name} have shape {tuple(labels.shape)}; one per image, shape ({num_images},), is needed{hint}"
        )
    if labels.dtype != torch.int64:
        raise TypeError(
            f"{name} have dtype {_dtype_name(labels)}; int64 is allowed; write torch.as_tensor({name}).long()"
        )
    is_outside = (labels < 0) | (labels >= num_classes)
    if is_outside.any():
        raise ValueError(
            f"{name} hold class {int(labels[is_outside][0])}; 0 to {num_classes - 1} are allowed, "
            f"as the classifier knows {num_classes} classes"
        )


def check_classes(ids: Sequence[str], labels: torch.Tensor, num_classes: int) -> None:
    """Refuse listed pictures of a class that the network does not have: they would count as misclassified."""
    outside = (labels >= num_classes).nonzero().flatten().tolist()
    if outside:
        raise ValueError(
            f"{len(outside)} of {len(ids)} pictures have a label that the network does not know, first "
            f"{ids[outside[0]]} with {int(labels[outside[0]])}; 0 to {num_classes - 1} are allowed; correct the list, "
            "or name the network that it is for"
        )


def as_tensor(values: Values) -> torch.Tensor:
    """A NumPy array copied, whatever its strides, byte order and writability; anything else as it is."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError("a masked array may hide numbers; write array.filled(0), or leave out what is masked")
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biufc" or values.dtype.char in "gG":
        return values  # type: ignore[return-value]
    return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))


def as_numbers(name: str, maps: Values) -> torch.Tensor:
    """A map of any layout, where it is, without its graph."""
    values = as_tensor(maps)
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"{name} is a {type(maps).__name__}; a torch tensor or numpy array is needed")
    if values.is_complex():
        raise TypeError(f"{name} holds complex numbers; pass its absolute value")
    return values.detach()


def as_maps(name: str, maps: Values) -> torch.Tensor:
    """Maps (N, H, W), finite and 0 or more, in float64."""
    values = as_numbers(f"the {name}", maps).double()
    if values.ndim != 3 or values.numel() == 0:
        raise ValueError(
            f"the {name} has shape {tuple(values.shape)}; (N, H, W), none of them 0, is needed; "
            "write maps[None] for a single one"
        )
    if not values.isfinite().all():
        raise ValueError(f"the {name} holds NaN or infinity; only finite values of 0 or more are allowed")
    if (values < 0).any():
        raise ValueError(
            f"the {name} holds values down to {float(values.min()):.3g}; 0 or more is allowed; write maps.clamp(min=0)"
        )
    return values


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def whole_number(name: str, value: int, *, least: int = 0) -> int:
    """The value as an int; TypeError where it is no whole number, ValueError where it is less than `least`."""
    allowed = f"pass a whole number, {least} or more"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; {allowed}") from None
    if number < least:
        raise ValueError(f"{name} is {number}; {allowed}")
    return number
