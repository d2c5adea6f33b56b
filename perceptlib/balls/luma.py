"""The SSIM ball of the luma alone: colour handled as one grey plane instead of three channels."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor

from perceptlib.balls.norms import as_change, check_made_for, per_image
from perceptlib.balls.ssim_ball import SSIMBall
from perceptlib.records.checks import as_images, own_mode
from perceptlib.ssim import Window

LUMA = (0.299, 0.587, 0.114)  # of R, G and B (ITU-R BT.601, 2.5.1)


def luma(images: Tensor) -> Tensor:
    """Rec. 601 luma of RGB pictures, or of a perturbation, (N, 3, H, W): (N, 1, H, W)."""
    images = as_change(images)
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images have shape {tuple(images.shape)}; the luma needs red, green and blue: (N, 3, H, W)")
    weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


class LumaBall:
    """Perturbations equal in all three channels, r = (s, s, s), with Q(s) <= budget for the luma of the images.

    Parameters
    ----------
    images : Tensor
        Clean RGB images, shape (N, 3, H, W), range [0, 1], float32 or float64.
    budget : float or Tensor
        SSIM distance of the luma, above 0 and below 1; scalar or (N,).
    **options
        Of `SSIMBall`: window, coupling, components, cg_steps, tolerance; support of shape (N, H, W) or (N, 1, H, W).

    Raises
    ------
    TypeError, ValueError
        Images that are not RGB in [0, 1], float32 or float64; otherwise as `SSIMBall`.

    Notes
    -----
    The luma does not see chroma, so that without the condition r = (s, s, s) the ball would have no end. `gauge` and
    `measure` take the luma of any perturbation: an attack that clips to [0, 1] leaves the channels different where
    one of them is at an end, which `pull_back` mends.
    """

    def __init__(self, images: Tensor, budget: float | Tensor, **options: Any) -> None:
        with own_mode():
            images = as_images(images)
            # rounding may put the luma of white a little above 1
            self.inner = SSIMBall(luma(images).clamp(0, 1), budget, **options)
            self.low, self.high = -images.amin(1, keepdim=True), 1 - images.amax(1, keepdim=True)

    @property
    def radius(self) -> float | Tensor:
        return self.inner.radius

    @property
    def window(self) -> Window:
        return self.inner.window

    def check(self, images: Tensor) -> None:
        """Raise ValueError unless the ball was made for images of this luma and range."""
        self.inner.check(luma(images).clamp(0, 1))
        check_made_for(self.low, -images.amin(1, keepdim=True))
        check_made_for(self.high, 1 - images.amax(1, keepdim=True))

    def select(self, index: Tensor) -> LumaBall:
        """The ball of some of the images; index is boolean (N,) or int64."""
        ball = copy(self)
        ball.inner, ball.low, ball.high = self.inner.select(index), self.low[index], self.high[index]
        return ball

    @own_mode()
    def steepest(self, gradient: Tensor) -> Tensor:
        """The maximiser of <g, r>, which is <g_R + g_G + g_B, s>; errors as `SSIMBall.steepest`."""
        return _grey(self.inner.steepest(as_change(gradient).sum(1, keepdim=True)))

    def gauge(self, perturbation: Tensor) -> Tensor:
        return self.inner.gauge(luma(perturbation))

    @own_mode()
    def project(self, perturbation: Tensor) -> Tensor:
        """Nearest point of the ball in the Euclidean norm: that of the channels' mean."""
        return _grey(self.inner.project(as_change(perturbation).mean(1, keepdim=True)))

    def measure(self, perturbation: Tensor) -> Tensor:
        """True SSIM distance of the luma, shape (N,)."""
        return self.inner.measure(luma(perturbation))

    @own_mode()
    def pull_back(self, perturbation: Tensor) -> Tensor:
        """Grey perturbation on the ray of the luma of r, every channel in [0, 1], with true distance <= budget."""
        plane = luma(perturbation)
        budget = per_image(self.inner.budget, plane)
        for _ in range(4):  # where the box of all three channels binds, reaching the budget again takes turns
            plane = torch.minimum(torch.maximum(self.inner.pull_back(plane), self.low), self.high)
        # clipping can add contrast; cutting back along the ray, to 0, leaves the box no more
        is_outside = self.inner.measure(plane).view(-1, 1, 1, 1) > budget
        return _grey(torch.where(is_outside, self.inner.pull_back(plane), plane))


def _grey(plane: Tensor) -> Tensor:
    return plane.repeat(1, 3, 1, 1)
