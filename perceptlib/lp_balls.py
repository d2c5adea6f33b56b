"""Norm balls (l2, linf) and the small tensor helpers that all balls share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def per_image(value: float | Tensor, like: Tensor) -> Tensor:
    """A scalar or an (N,) tensor as (N, 1, 1, 1), in the dtype and on the device of images ``like``."""
    tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if tensor.ndim and len(tensor) != like.shape[0]:
        raise ValueError(f"{len(tensor)} radii for {like.shape[0]} images; pass a float or one value per image")
    return tensor.expand(like.shape[0]).view(-1, 1, 1, 1)


def inner(first: Tensor, second: Tensor, scratch: Tensor | None = None) -> Tensor:
    """<a, b> of each image, shape (N, 1, 1, 1); scratch of the same shape spares fresh memory."""
    return torch.mul(first, second, out=scratch).sum(dim=(1, 2, 3), keepdim=True)


def normalized(gradient: Tensor) -> Tensor:
    """Gradient divided by its largest entry, so that squares neither vanish nor overflow; zero stays zero."""
    if not bool(torch.isfinite(gradient).all()):
        raise ValueError("gradient has NaN or infinite entries; check the classifier's output on these images")
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    return gradient / torch.where(largest > 0, largest, 1)


def check_shape(values: Tensor, images: Tensor) -> None:
    """Raise ValueError unless values are of the shape of the images that a ball was made for."""
    if values.shape != images.shape:
        raise ValueError(
            f"the ball was made for images of shape {tuple(images.shape)} and met {tuple(values.shape)}; "
            "make it anew, or use ball.select(index) for some of its images"
        )


def check_radius(radius: float | Tensor, name: str) -> None:
    """Raise ValueError unless every radius is finite and above 0."""
    values = torch.as_tensor(radius, dtype=torch.float64)
    if values.ndim > 1 or not bool((torch.isfinite(values) & (values > 0)).all()):
        raise ValueError(f"{name} {radius} is not a finite number above 0; pass a float or one value per image")


def _selected(radius: float | Tensor, index: Tensor) -> float | Tensor:
    return radius[index] if isinstance(radius, Tensor) and radius.ndim else radius


@dataclass(frozen=True)
class LinfBall:
    """Largest absolute change at most epsilon.

    Parameters
    ----------
    epsilon : float or Tensor
        Radius in [0, 1] pixel units, above 0; scalar or (N,).

    Raises
    ------
    ValueError
        An epsilon that is not a finite number above 0.
    """

    epsilon: float | Tensor

    def __post_init__(self) -> None:
        check_radius(self.epsilon, "epsilon")

    @property
    def radius(self) -> float | Tensor:
        return self.epsilon

    def steepest(self, gradient: Tensor) -> Tensor:
        """epsilon sign(g) (Goodfellow, Shlens and Szegedy 2015)."""
        return per_image(self.epsilon, gradient) * normalized(gradient).sign()

    def gauge(self, perturbation: Tensor) -> Tensor:
        return (perturbation.abs().amax(dim=(1, 2, 3), keepdim=True) / per_image(self.epsilon, perturbation)).flatten()

    def project(self, perturbation: Tensor) -> Tensor:
        limit = per_image(self.epsilon, perturbation)
        return torch.minimum(torch.maximum(perturbation, -limit), limit)

    def measure(self, perturbation: Tensor) -> Tensor:
        return perturbation.abs().amax(dim=(1, 2, 3))

    def pull_back(self, perturbation: Tensor) -> Tensor:
        return perturbation / self.gauge(perturbation).clamp_min(1).view(-1, 1, 1, 1)

    def select(self, index: Tensor) -> LinfBall:
        return LinfBall(_selected(self.epsilon, index))


@dataclass(frozen=True)
class L2Ball:
    """Euclidean norm over all pixels and channels at most epsilon.

    Parameters
    ----------
    epsilon : float or Tensor
        Radius in [0, 1] pixel units, above 0; scalar or (N,).

    Raises
    ------
    ValueError
        An epsilon that is not a finite number above 0.
    """

    epsilon: float | Tensor

    def __post_init__(self) -> None:
        check_radius(self.epsilon, "epsilon")

    @property
    def radius(self) -> float | Tensor:
        return self.epsilon

    def steepest(self, gradient: Tensor) -> Tensor:
        """epsilon g / norm(g)."""
        gradient = normalized(gradient)
        norm = inner(gradient, gradient).sqrt()
        return per_image(self.epsilon, gradient) / torch.where(norm > 0, norm, 1) * gradient

    def gauge(self, perturbation: Tensor) -> Tensor:
        return (inner(perturbation, perturbation).sqrt() / per_image(self.epsilon, perturbation)).flatten()

    def project(self, perturbation: Tensor) -> Tensor:
        return self.pull_back(perturbation)

    def measure(self, perturbation: Tensor) -> Tensor:
        return inner(perturbation, perturbation).sqrt().flatten()

    def pull_back(self, perturbation: Tensor) -> Tensor:
        return perturbation / self.gauge(perturbation).clamp_min(1).view(-1, 1, 1, 1)

    def select(self, index: Tensor) -> L2Ball:
        return L2Ball(_selected(self.epsilon, index))
