"""Controls: what a score is worth is what it exceeds. Perturbations that know nothing of the network."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from perceptlib.attacks import rescale_to_distance
from perceptlib.balls import Ball
from perceptlib.ssim import Window


def white_noise(images: Tensor, *, seed: int) -> Tensor:
    """Standard normal noise, one stream per image, whatever batch the image is in.

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W). The stream of an image is seeded by its own values and by ``seed``, so that neither the
        batch size nor the order of the images changes it.
    seed : int
        At least 0.

    Returns
    -------
    Tensor
        Shape, dtype and device of the images.

    Raises
    ------
    ValueError
        A negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed {seed} is negative; pass seed=0 or more")
    noise = []
    for image in images.detach().cpu():
        content = image.float().contiguous().numpy().tobytes() + seed.to_bytes(8, "little")
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(content).digest()[:7], "little"))
        noise.append(torch.randn(image.shape, generator=generator))
    return torch.stack(noise).to(images)


def random_direction(images: Tensor, ball: Ball, *, seed: int) -> Tensor:
    """Steepest perturbation of a ball for white noise in place of the gradient: the shape of the ball alone.

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W), the images of the ball.
    ball : Ball
        One of `perceptlib.balls.protocol`.
    seed : int
        At least 0.

    Returns
    -------
    Tensor
        Perturbation on the boundary of the ball, shape (N, C, H, W); not clipped to [0, 1].

    Raises
    ------
    ValueError
        A negative seed.
    """
    return ball.steepest(white_noise(images, seed=seed))


def equal_distance_noise(images: Tensor, budget: float | Tensor, *, seed: int, window: Window = Window()) -> Tensor:
    """White noise scaled to an SSIM distance: as visible as the attack, and blind to network and ball.

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W), range [0, 1], float32 or float64.
    budget : float or Tensor
        SSIM distance D to reach on the noise's clipped ray, above 0; scalar or (N,).
    seed : int
        Of `white_noise`, at least 0.
    window : Window
        Window of the SSIM.

    Returns
    -------
    Tensor
        Adversarial images, shape (N, C, H, W), range [0, 1]; as near to the budget as
        `perceptlib.attacks.maximize.rescale_to_distance` comes.

    Raises
    ------
    ValueError
        A negative seed.
    """
    # From so small a deviation the ray grows to its budget; from 1 it would be clipped nearly everywhere beforehand.
    return rescale_to_distance(images, 1e-3 * white_noise(images, seed=seed), budget, window=window)
