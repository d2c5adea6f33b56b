"""Balls of every kind on small pictures, shared by the tests of balls and of attacks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from perceptlib.balls import Ball, L2Ball, LinfBall, MultiScaleBall, SSIMBall, WindowBall
from perceptlib.ssim import Window


def dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).flatten(1).sum(1)


def pictures(count: int = 2, channels: int = 3, height: int = 14, width: int = 17) -> Tensor:
    """Half textured, half smooth, with dark and bright ends; float64."""
    generator = torch.Generator().manual_seed(count)
    ramp = torch.linspace(0, 1, width, dtype=torch.float64).expand(count, channels, height, width).clone()
    ramp[..., : height // 2, :] += 0.3 * torch.randn(count, channels, height // 2, width, generator=generator).double()
    return ramp.clamp(0, 1)


def noise(like: Tensor, seed: int) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))


def regions(like: Tensor) -> Tensor:
    """A different, ragged support for each image, (N, H, W)."""
    return noise(like, 77).mean(1) > torch.linspace(-0.3, 0.3, like.shape[-1])


BALLS: dict[str, Callable[[Tensor], Ball]] = {
    "linf": lambda images: LinfBall(0.03),
    "l2": lambda images: L2Ball(torch.tensor([0.5, 0.7], dtype=torch.float64)),
    "ssim": lambda images: SSIMBall(images, 0.01, cg_steps=200, tolerance=1e-12),
    "ssim diagonal": lambda images: SSIMBall(images, torch.tensor([0.01, 0.002]), coupling="diagonal"),
    "ssim luminance": lambda images: SSIMBall(images, 0.01, components="luminance", cg_steps=2000, tolerance=1e-12),
    "ssim luminance diagonal": lambda images: SSIMBall(images, 0.01, components="luminance", coupling="diagonal"),
    "ssim contrast": lambda images: SSIMBall(
        images, 0.01, components="contrast_structure", cg_steps=2000, tolerance=1e-12
    ),
    "multi-scale": lambda images: MultiScaleBall(images, 0.01, window=Window(5), cg_steps=300, tolerance=1e-12),
    "multi-scale luma": lambda images: MultiScaleBall(
        images, 0.01, colour="luma", window=Window(3), cg_steps=2000, tolerance=1e-12
    ),
    "multi-scale rgb": lambda images: MultiScaleBall(
        images, torch.tensor([0.01, 0.02]), colour="rgb", window=Window(3), cg_steps=300, tolerance=1e-12
    ),
    "window": lambda images: WindowBall(images, 0.02, size=5),
    "linf, support": lambda images: LinfBall(0.03, support=regions(images)),
    "l2, support": lambda images: L2Ball(torch.tensor([0.5, 0.7]), support=noise(images, 78) > 0),
    "ssim, support": lambda images: SSIMBall(images, 0.01, cg_steps=200, tolerance=1e-12, support=regions(images)),
    "ssim diagonal, support": lambda images: SSIMBall(
        images, torch.tensor([0.01, 0.002]), coupling="diagonal", support=regions(images)[:, None]
    ),
    "multi-scale, support": lambda images: MultiScaleBall(
        images, 0.01, window=Window(3), cg_steps=300, tolerance=1e-12, support=regions(images)
    ),
    "multi-scale, ragged support": lambda images: MultiScaleBall(
        images, 0.01, window=Window(3), cg_steps=300, tolerance=1e-12, support=noise(images, 78) > 0
    ),
}
