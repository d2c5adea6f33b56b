"""The window ball: a budget for every window by itself, in closed form on disjoint windows.

Brunet, Vrscay and Wang (2012): for a fixed x both factors of 1 - SSIM bound a set of perturbations that is exactly
convex. With k = e / (1 - e), a centred patch r~ and a window mean m::

    1 - S2 <= e   <=>   mean (r~ - k x~)^2 <= e (2 var_x + C2) / (1 - e) + k^2 var_x
    1 - S1 <= e   <=>   (m - k mu_x)^2     <= e (2 mu_x^2 + C1) / (1 - e) + k^2 mu_x^2
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perceptlib.balls.norms import as_change, as_radius, check_made_for, normalized, per_image, radius_of
from perceptlib.records.checks import as_images, own_mode
from perceptlib.ssim.measure import C1, C2


class WindowBall:
    """Perturbations with SSIM at least 1 - budget in every one of the disjoint square windows of each channel.

    Parameters
    ----------
    images : Tensor or ndarray
        Clean images, shape (N, C, H, W), range [0, 1], float32 or float64; the ball keeps a copy.
    budget : float or Tensor
        Largest 1 - S of a window, above 0 and below 1; scalar or (N,). Each factor gets e = 1 - sqrt(1 - budget),
        so that S1 S2 >= 1 - budget.
    size : int
        Side of the windows in pixels, at least 2; uniform weights; windows at the right and bottom may be smaller.

    Raises
    ------
    ValueError
        A budget outside (0, 1), a size below 2, images that are not four-dimensional.

    Notes
    -----
    A linear objective saturates every window, so the change map of `steepest` is flat: this ball cannot localise.
    """

    def __init__(self, images: Tensor, budget: float | Tensor, *, size: int = 8) -> None:
        if size < 2:
            raise ValueError(f"window size {size} is below 2; pass e.g. size=8")
        with own_mode():
            self.radius = self.budget = as_radius(budget, "budget", is_distance=True)
            self.images, self.size = as_images(images).clone(), size
            self._set_statistics()

    def _set_statistics(self) -> None:
        images = self.images
        self.counts = self._sum(torch.ones_like(images[:1, :1]))
        self.mean = self._window_mean(images)
        self.centred = images - self._spread(self.mean)
        self.variance = self._window_mean(self.centred**2)
        loss = 1 - (1 - per_image(self.budget, images)).sqrt()
        self.share = loss / (1 - loss)  # k
        self.luminance_limit = self.share * (2 * self.mean**2 + C1)
        self.contrast_limit = self.share * (2 * self.variance + C2)

    def check(self, images: Tensor) -> None:
        """Raise ValueError unless the ball was made for these images."""
        check_made_for(self.images, images)

    def select(self, index: Tensor) -> WindowBall:
        """The ball of some of the images; index is boolean (N,) or int64."""
        return WindowBall(self.images[index], radius_of(self.budget, index), size=self.size)

    def _sum(self, values: Tensor) -> Tensor:
        """Sum over each window, (N, C, rows, columns)."""
        height, width = values.shape[-2:]
        size = self.size
        rows, columns = math.ceil(height / size), math.ceil(width / size)
        values = torch.nn.functional.pad(values, (0, columns * size - width, 0, rows * size - height))
        summed: torch.Tensor = values.unflatten(-1, (columns, size)).sum(-1).unflatten(-2, (rows, size)).sum(-2)
        return summed

    def _spread(self, values: Tensor) -> Tensor:
        """One value per window back on its pixels, (N, C, H, W)."""
        height, width = self.images.shape[-2:]
        values = values.repeat_interleave(self.size, -2).repeat_interleave(self.size, -1)
        return values[..., :height, :width]

    def _window_mean(self, values: Tensor) -> Tensor:
        return self._sum(values) / self.counts

    def _split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Window means, and what is left of the pixels."""
        values = as_change(values, self.images)
        mean = self._window_mean(values)
        return mean, values - self._spread(mean)

    def _radii(self) -> tuple[Tensor, Tensor]:
        """Half width of the interval of m, and root mean square radius of the ball of r~."""
        luminance = (self.luminance_limit + (self.share * self.mean) ** 2).sqrt()
        contrast = (self.contrast_limit + self.share**2 * self.variance).sqrt()
        return luminance, contrast

    @own_mode()
    def steepest(self, gradient: Tensor) -> Tensor:
        """The maximiser of <g, r>: every window with a gradient ends on both of its bounds."""
        gradient = normalized(as_change(gradient, self.images))
        mean, centred = self._split(gradient)
        half_width, radius = self._radii()
        shift = torch.where(mean != 0, self.share * self.mean + mean.sign() * half_width, 0)
        length = self._window_mean(centred**2).sqrt()
        has_slope = length > 0
        step = self._spread(torch.where(has_slope, radius / torch.where(has_slope, length, 1), 0))
        patch = self._spread(has_slope.to(gradient.dtype)) * self.share * self.centred + step * centred
        return self._spread(shift) + patch

    def gauge(self, perturbation: Tensor) -> Tensor:
        """Largest factor over windows and both factors: the positive root of a quadratic each."""
        mean, centred = self._split(perturbation)

        def root(square: Tensor, along: Tensor, limit: Tensor) -> Tensor:
            along = self.share * along
            return (((along**2 + square * limit).sqrt() - along) / limit).amax(dim=(1, 2, 3))

        luminance = root(mean**2, mean * self.mean, self.luminance_limit)
        contrast = root(self._window_mean(centred**2), self._window_mean(centred * self.centred), self.contrast_limit)
        return torch.maximum(luminance, contrast)

    @own_mode()
    def project(self, perturbation: Tensor) -> Tensor:
        """Nearest point of the ball in the Euclidean norm, window by window in closed form."""
        mean, centred = self._split(perturbation)
        half_width, radius = self._radii()
        middle = self.share * self.mean
        mean = middle + torch.minimum(torch.maximum(mean - middle, -half_width), half_width)
        offset = centred - self.share * self.centred
        length = self._window_mean(offset**2).sqrt()
        shrink = torch.where(length > radius, radius / torch.where(length > 0, length, 1), 1)
        patch = self.share * self.centred + self._spread(shrink) * offset
        return self._spread(mean) + torch.where(self._spread(shrink) < 1, patch, centred)

    def measure(self, perturbation: Tensor) -> Tensor:
        """Largest true 1 - S of the windows, shape (N,)."""
        mean, centred = self._split(perturbation)
        other_mean = self.mean + mean
        other_variance = self._window_mean((self.centred + centred) ** 2)
        luminance = mean**2 / (self.mean**2 + other_mean**2 + C1)
        contrast = self._window_mean(centred**2) / (self.variance + other_variance + C2)
        return (luminance + contrast - luminance * contrast).amax(dim=(1, 2, 3))

    @own_mode()
    def pull_back(self, perturbation: Tensor) -> Tensor:
        perturbation = as_change(perturbation, self.images)
        return perturbation / self.gauge(perturbation).clamp_min(1).view(-1, 1, 1, 1)
