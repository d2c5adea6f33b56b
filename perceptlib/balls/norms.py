"""Norm balls (l2, linf) and the small tensor helpers that all balls share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from perceptlib.records.checks import DTYPES, Values, as_tensor, ordinary, own_mode
from perceptlib.records.messages import short

_ANEW = "make a ball of these images, or use ball.select(index) for some of those that it has"


def per_image(value: float | Tensor, like: Tensor) -> Tensor:
    """A scalar or an (N,) tensor as (N, 1, 1, 1), in the dtype and on the device of images ``like``."""
    tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if tensor.ndim and len(tensor) != like.shape[0]:
        raise ValueError(f"{len(tensor)} radii for {like.shape[0]} images; pass a float or one value per image")
    return tensor.expand(like.shape[0]).view(-1, 1, 1, 1)


def inner(first: Tensor, second: Tensor, scratch: Tensor | None = None) -> Tensor:
    """<a, b> of each image, shape (..., N, 1, 1, 1); scratch of the same shape spares fresh memory."""
    return torch.mul(first, second, out=scratch).sum(dim=(-3, -2, -1), keepdim=True)


def normalized(gradient: Tensor) -> Tensor:
    """Gradient divided by its largest entry, so that squares neither vanish nor overflow; zero stays zero."""
    # both NaN where an entry is; the pass of isfinite over all entries would take ten times as long
    lowest, highest = gradient.amin(dim=(1, 2, 3), keepdim=True), gradient.amax(dim=(1, 2, 3), keepdim=True)
    largest = torch.maximum(-lowest, highest)
    if not bool(torch.isfinite(largest).all()):
        raise ValueError("gradient has NaN or infinite entries; check the classifier's output on these images")
    return gradient / torch.where(largest > 0, largest, 1)


def as_change(values: Values, images: Tensor | None = None) -> Tensor:
    """A gradient or a perturbation as balls compute with it: float32 or float64, of the images' shape and device."""
    values = as_tensor(values)
    if values.dtype not in DTYPES:
        raise TypeError(f"gradient or perturbation is {values.dtype}; pass float32 or float64")
    if images is not None:
        _check_like(values, images)
    return ordinary(values)


def check_made_for(kept: Tensor, images: Tensor) -> None:
    """Raise ValueError unless images are those that a ball was made for and has kept."""
    _check_like(images, kept)
    if images.dtype != kept.dtype:
        raise ValueError(f"the ball was made for images of {kept.dtype} and met {images.dtype}; {_ANEW}")
    if not torch.equal(images, kept):
        first = int((images != kept).flatten(1).any(1).nonzero()[0])
        raise ValueError(f"the ball was made for other images, the first of them at {first}; {_ANEW}")


def _check_like(values: Tensor, images: Tensor) -> None:
    if values.shape != images.shape:
        raise ValueError(
            f"the ball was made for images of shape {tuple(images.shape)} and met {tuple(values.shape)}; {_ANEW}"
        )
    if values.device != images.device:
        raise ValueError(f"the ball is on {images.device} and met images on {values.device}; {_ANEW}")


def as_radius(radius: float | Tensor, name: str, *, is_distance: bool = False) -> float | Tensor:
    """A radius, finite and above 0 (an SSIM distance below 1 as well), that nobody else can change."""
    try:
        values = torch.as_tensor(radius, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} is {short(radius)}; pass a float or one value per image") from None
    if values.ndim > 1:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; pass a float or one value per image, shape (N,)")
    if not bool((torch.isfinite(values) & (values > 0)).all()):
        raise ValueError(f"{name} {radius} is not a finite number above 0; pass a float or one value per image")
    if is_distance and not bool((values < 1).all()):
        raise ValueError(f"{name} {radius} is not below 1; pass an SSIM distance such as 0.01")
    return ordinary(as_tensor(radius).detach().clone()) if isinstance(radius, Tensor | np.ndarray) else radius


def radius_of(radius: float | Tensor, index: Tensor) -> float | Tensor:
    """The radius of some of the images."""
    return radius[index] if isinstance(radius, Tensor) and radius.ndim else radius


def check_support(support: Tensor | None, shape: tuple[int, ...] | None = None) -> Tensor | None:
    """A mask of the pixels that may change as (N, 1 or C, H, W); None, everything may, stays None."""
    if support is None:
        return None
    if support.dtype != torch.bool:
        raise TypeError(f"support is {support.dtype}; pass a bool mask, True where pixels may change: support > 0")
    planes = support[:, None] if support.ndim == 3 else support
    fits = shape is None or (planes.shape in (shape, (shape[0], 1, *shape[2:])))
    if planes.ndim != 4 or not fits:
        images = "(N, C, H, W)" if shape is None else tuple(shape)
        raise ValueError(
            f"support has shape {tuple(support.shape)} for images of shape {images}; "
            "pass (N, H, W), (N, 1, H, W) or (N, C, H, W), with ball.select(index) for some of the images"
        )
    is_empty = ~planes.flatten(1).any(1)
    if bool(is_empty.any()):
        first = int(is_empty.nonzero()[0])
        raise ValueError(f"support of image {first} is empty; allow it a pixel, or leave the image out")
    return planes


def restrict(values: Tensor, support: Tensor | None) -> Tensor:
    """Values with 0 outside the support, (N, C, H, W); NaN and infinity stay visible."""
    return values if support is None else values * support


def leaves(perturbation: Tensor, support: Tensor) -> Tensor:
    """Whether a perturbation is non-zero outside the support, (N,), bool."""
    return ((perturbation != 0) & ~support).flatten(1).any(1)


def finite_within(perturbation: Tensor, size: Tensor, support: Tensor | None) -> Tensor:
    """Size of perturbations, (N,), infinite for those that leave the support."""
    return size if support is None else torch.where(leaves(perturbation, support), torch.inf, size)


@dataclass(frozen=True)
class _NormBall(ABC):
    """Perturbations whose norm is at most epsilon, zero outside a support."""

    epsilon: float | Tensor
    support: Tensor | None = None

    def __post_init__(self) -> None:
        with own_mode():
            object.__setattr__(self, "epsilon", as_radius(self.epsilon, "epsilon"))
            support = None if self.support is None else as_tensor(self.support).clone()
            check_support(support)
            object.__setattr__(self, "support", support)

    @property
    def radius(self) -> float | Tensor:
        return self.epsilon

    @abstractmethod
    def _norm(self, perturbation: Tensor) -> Tensor:
        """Norm of each perturbation, (N,)."""

    def _planes(self, like: Tensor) -> Tensor | None:
        """Support of images of this shape, on their device."""
        return None if self.support is None else check_support(self.support.to(like.device), tuple(like.shape))

    def _restrict(self, values: Tensor) -> Tensor:
        return restrict(values, self._planes(values))

    def check(self, images: Tensor) -> None:
        """Raise ValueError where radii or support are those of another number or shape of images."""
        per_image(self.epsilon, images)
        self._planes(images)

    def measure(self, perturbation: Tensor) -> Tensor:
        perturbation = as_change(perturbation)
        return finite_within(perturbation, self._norm(perturbation), self._planes(perturbation))

    def gauge(self, perturbation: Tensor) -> Tensor:
        perturbation = as_change(perturbation)
        return self.measure(perturbation) / per_image(self.epsilon, perturbation).flatten()

    @own_mode()
    def pull_back(self, perturbation: Tensor) -> Tensor:
        perturbation = self._restrict(as_change(perturbation))
        return perturbation / self.gauge(perturbation).clamp_min(1).view(-1, 1, 1, 1)

    def select(self, index: Tensor) -> Self:
        """The ball of some of the images; index is boolean (N,) or int64."""
        support = None if self.support is None else self.support[index]
        return replace(self, epsilon=radius_of(self.epsilon, index), support=support)


class LinfBall(_NormBall):
    """Largest absolute change at most epsilon.

    Parameters
    ----------
    epsilon : float or Tensor
        Radius in [0, 1] pixel units, above 0; scalar or (N,).
    support : Tensor, optional
        Where a perturbation may be non-zero, bool, shape (N, H, W), (N, 1, H, W) or (N, C, H, W). A perturbation that
        leaves it has the size infinity; `project` and `pull_back` drop what is outside.

    Raises
    ------
    TypeError, ValueError
        An epsilon that is not above 0 and at most 1; a support that is not bool, is empty for an image or does not fit.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool((torch.as_tensor(self.epsilon, device="cpu") > 1).any()):
            raise ValueError(f"epsilon {self.epsilon} is above 1, the range of a pixel; write {self.epsilon} / 255")

    @own_mode()
    def steepest(self, gradient: Tensor) -> Tensor:
        """epsilon sign(g) (Goodfellow, Shlens and Szegedy 2015)."""
        gradient = normalized(self._restrict(as_change(gradient)))
        return per_image(self.epsilon, gradient) * gradient.sign()

    @own_mode()
    def project(self, perturbation: Tensor) -> Tensor:
        perturbation = self._restrict(as_change(perturbation))
        limit = per_image(self.epsilon, perturbation)
        return torch.minimum(torch.maximum(perturbation, -limit), limit)

    def _norm(self, perturbation: Tensor) -> Tensor:
        return perturbation.abs().amax(dim=(1, 2, 3))


class L2Ball(_NormBall):
    """Euclidean norm over all pixels and channels at most epsilon, of any size; otherwise as `LinfBall`."""

    @own_mode()
    def steepest(self, gradient: Tensor) -> Tensor:
        """epsilon g / norm(g)."""
        gradient = normalized(self._restrict(as_change(gradient)))
        norm = inner(gradient, gradient).sqrt()
        return per_image(self.epsilon, gradient) / torch.where(norm > 0, norm, 1) * gradient

    @own_mode()
    def project(self, perturbation: Tensor) -> Tensor:
        return self.pull_back(perturbation)

    def _norm(self, perturbation: Tensor) -> Tensor:
        return inner(perturbation, perturbation).sqrt().flatten()
