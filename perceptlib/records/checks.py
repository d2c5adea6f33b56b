"""Checks of what a caller hands in: images and labels, refused with a sentence that says what to write."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch


def check_images(images: torch.Tensor) -> None:
    """Refuse anything but a batch of pictures in [0, 1].

    Parameters
    ----------
    images
        Shape (N, C, H, W) with no empty axis, float32 or float64, every value finite and in [0, 1].

    Raises
    ------
    TypeError
        Not a tensor, or of another dtype than float32 or float64.
    ValueError
        Another rank, an empty axis, a NaN, or a value outside [0, 1].
    """
    if not isinstance(images, torch.Tensor):
        raise TypeError(
            f"images are a {type(images).__name__}; a torch tensor of shape (N, C, H, W) is needed; "
            "write torch.as_tensor(images)"
        )
    if images.dtype not in (torch.float32, torch.float64):
        hint = "images.float() / 255" if images.dtype == torch.uint8 else "images.float()"
        raise TypeError(
            f"images have dtype {_dtype_name(images)}; float32 or float64 with values in [0, 1] is allowed; "
            f"write {hint}"
        )
    shape = tuple(images.shape)
    if images.ndim != 4:
        hint = "; write images[None] for a single picture" if images.ndim == 3 else ""
        raise ValueError(f"images have shape {shape}; four axes (N, C, H, W) are needed{hint}")
    if images.numel() == 0:
        raise ValueError(f"images have shape {shape}, an empty batch; pass at least one picture with pixels")
    lowest, highest = (float(value) for value in torch.aminmax(images.detach()))
    if lowest != lowest:  # aminmax hands a NaN on
        num = int(images.isnan().flatten(1).any(1).sum())
        raise ValueError(
            f"images hold NaN in {num} of {shape[0]} pictures; only numbers in [0, 1] are allowed; "
            "find them with images.isnan().flatten(1).any(1)"
        )
    if lowest < 0 or highest > 1:
        hint = "write images / 255" if lowest >= 0 and 2 < highest <= 255 else "write images.clamp(0, 1)"
        raise ValueError(f"images hold values from {lowest:.9g} to {highest:.9g}; [0, 1] is allowed; {hint}")


def check_labels(labels: torch.Tensor, num_images: int, num_classes: int, *, name: str = "labels") -> None:
    """Refuse anything but one class index per image.

    Parameters
    ----------
    labels
        Shape (N,), int64, each in 0 to `num_classes` - 1.
    num_images
        N, the number of images that the labels belong to.
    num_classes
        Number of classes that the classifier knows.
    name
        What the message calls them, such as "targets".

    Raises
    ------
    TypeError
        Not a tensor, or of another dtype than int64.
    ValueError
        Another rank or length than (N,), or a class outside the range.
    """
    if not isinstance(labels, torch.Tensor):
        raise TypeError(
            f"{name} are a {type(labels).__name__}; a torch tensor of shape ({num_images},) is needed; "
            f"write torch.as_tensor({name})"
        )
    if labels.dtype != torch.int64:
        raise TypeError(f"{name} have dtype {_dtype_name(labels)}; int64 is allowed; write {name}.long()")
    if tuple(labels.shape) != (num_images,):
        raise ValueError(f"{name} have shape {tuple(labels.shape)}; one per image, shape ({num_images},), is needed")
    is_outside = (labels < 0) | (labels >= num_classes)
    if is_outside.any():
        raise ValueError(
            f"{name} hold class {int(labels[is_outside][0])}; 0 to {num_classes - 1} are allowed, "
            f"as the classifier knows {num_classes} classes"
        )


def check_classes(ids: Sequence[str], labels: torch.Tensor, num_classes: int) -> None:
    """Refuse listed pictures of a class that the network does not have: they would count as named wrongly.

    Parameters
    ----------
    ids
        N names of pictures.
    labels
        Shape (N,), int64, 0 or more.
    num_classes
        Number of classes that the network knows.

    Raises
    ------
    ValueError
        A label of `num_classes` or more; the message names the first picture that has one.
    """
    outside = (labels >= num_classes).nonzero().flatten().tolist()
    if outside:
        raise ValueError(
            f"{len(outside)} of {len(ids)} pictures have a label that the network does not know, first "
            f"{ids[outside[0]]} with {int(labels[outside[0]])}; 0 to {num_classes - 1} are allowed; correct the list, "
            "or name the network that it is for"
        )


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def whole_number(name: str, value: int, *, least: int = 0) -> int:
    """The value as an int.

    Parameters
    ----------
    name
        What the message calls it.
    value
        An int, or what stands for one (a NumPy integer).
    least
        Smallest value that is allowed.

    Returns
    -------
    int
        The same number.

    Raises
    ------
    TypeError
        Not a whole number.
    ValueError
        Less than `least`.
    """
    allowed = f"pass a whole number, {least} or more"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; {allowed}") from None
    if number < least:
        raise ValueError(f"{name} is {number}; {allowed}")
    return number
