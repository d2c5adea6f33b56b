"""Structural similarity (SSIM): window, map, mean and distance, computed from exact identities.

With r = y - x, window mean m = W r and window variance V = W r^2 - m^2 (Brunet, Vrscay and Wang 2012, section II)::

    1 - S1 = m^2 / (mu_x^2 + mu_y^2 + C1)          luminance
    1 - S2 = V / (var_x + var_y + C2)              contrast-structure

so that 1 - S = (1 - S1) + (1 - S2) - (1 - S1)(1 - S2) has no cancellation when y is close to x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from perceptlib.records.checks import Values, as_images
from perceptlib.ssim.window import Window

__all__ = ["C1", "C2", "Reference", "Window", "change_map", "components", "distance", "mean_ssim", "ssim_map"]

C1 = 0.01**2  # (K1 * data range)^2 of Wang et al. 2004, data range 1
C2 = 0.03**2
CHUNK = 2**20  # bytes of pixels that are worked on at once on a CPU


@dataclass(frozen=True)
class Reference:
    """Clean images with their window statistics, computed once and compared with many perturbations.

    Parameters
    ----------
    images : Tensor or ndarray
        Clean images x, shape (N, C, H, W), range [0, 1], float32 or float64.
    window : Window
        Window of the statistics.

    Attributes
    ----------
    mean, variance : Tensor
        mu_x and var_x (at least 0), shape (N, C, H, W).

    Raises
    ------
    TypeError, ValueError
        Images that `perceptlib.records.checks.check_images` refuses; a window larger than the image.
    """

    images: Tensor
    window: Window = Window()
    mean: Tensor = field(init=False)
    variance: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.window, Window):
            raise TypeError(f"window is {self.window!r}; pass a Window such as Window(11)")
        object.__setattr__(self, "images", as_images(self.images))
        mean, variance = _chunked(self._statistics, self.images)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "variance", variance)

    def _statistics(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.window.filter(images)
        return mean, torch.addcmul(self.window.filter(images**2), mean, mean, value=-1).clamp_min(0)

    def losses(self, perturbation: Tensor) -> tuple[Tensor, Tensor]:
        """1 - S1 and 1 - S2 of images + perturbation, each (N, C, H, W), at least 0."""
        return ray_losses(1.0, self.mean, self.variance, *self.moments(perturbation))

    def moments(self, perturbation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """m, V (at least 0) and cov(x, r) of a perturbation r, each (N, C, H, W)."""
        mean, variance, covariance = _chunked(self._moments, perturbation, self.images, self.mean)
        return mean, variance, covariance

    def _moments(self, perturbation: Tensor, images: Tensor, images_mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = self.window.filter(perturbation)
        variance = torch.addcmul(self.window.filter(perturbation**2), mean, mean, value=-1).clamp_min(0)
        return mean, variance, torch.addcmul(self.window.filter(images * perturbation), images_mean, mean, value=-1)

    def loss_map(self, perturbation: Tensor) -> Tensor:
        """1 - S of images + perturbation, (N, C, H, W)."""

        def loss(perturbation: Tensor, images: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor]:
            moments = self._moments(perturbation, images, mean)
            return (_combine(*ray_losses(1.0, mean, variance, *moments)),)

        return _chunked(loss, perturbation, self.images, self.mean, self.variance)[0]

    def distance(self, perturbation: Tensor, *, components: str = "both") -> Tensor:
        """D(x, x + r): mean of 1 - S over all windows and channels, (N,); or of 1 - S1, or of 1 - S2, alone."""
        if components == "both":
            return self.loss_map(perturbation).mean(dim=(1, 2, 3))
        return _combine(*self.losses(perturbation), components).mean(dim=(1, 2, 3))

    def change_map(self, perturbation: Tensor) -> Tensor:
        """1 - S averaged over channels, (N, H, W)."""
        return self.loss_map(perturbation).mean(dim=1)

    def reach(self, perturbation: Tensor, budget: float | Tensor, *, components: str = "both") -> Tensor:
        """Perturbation at a given distance on the clipped ray: clip(x + t r, 0, 1) - x with D = budget.

        Parameters
        ----------
        perturbation : Tensor
            r, shape (N, C, H, W).
        budget : float or Tensor
            SSIM distance, above 0, scalar or (N,); of one component alone where ``components`` names it.

        Returns
        -------
        Tensor
            Shape (N, C, H, W); its distance is at most the budget and within 1e-3 (relative) below it, unless the ray
            has left [0, 1] in every pixel before. Zero where r is zero.
        """

        def along(current: Tensor) -> Callable[[Tensor], Tensor]:
            ray = self.ray(current, components)
            return lambda scale: ray(scale).mean(dim=1)

        return reach(self.images, along, perturbation, budget)

    def ray(self, perturbation: Tensor, components: str = "both") -> Callable[[Tensor], Tensor]:
        """Function of scales t, (N,): D(x, x + t r) of each channel, (N, C), for one set of filters."""
        statistics = (self.mean, self.variance, *self.moments(perturbation))
        return lambda scale: _distances_at(scale, statistics, components)


def reach(
    images: Tensor, ray: Callable[[Tensor], Callable[[Tensor], Tensor]], perturbation: Tensor, budget: float | Tensor
) -> Tensor:
    """`Reference.reach` for a distance given by its rays: ``ray(r)(t)`` are those of x + t r, (N,)."""
    goal = torch.as_tensor(budget, dtype=perturbation.dtype, device=perturbation.device)
    goal = goal.expand(perturbation.shape[0])
    # by its bounds, not as clip(x + r) - x, where what is small beside x would be lost to rounding
    low, high = -images, 1 - images
    current = perturbation.clamp(low, high)
    for _ in range(8):
        scale, value = _scale_within(ray(current), goal)
        current = scale.view(-1, 1, 1, 1) * current
        is_reached = (value >= (1 - 1e-3) * goal) | (value <= 0)
        if bool(is_reached.all()):
            return current
        # D is nearly quadratic along a ray: grow a little past the budget, the next turn cuts back exactly
        factor = torch.where(is_reached, 1, 1.05 * (goal / value.clamp_min(1e-30)).sqrt()).clamp_max(1e6)
        current = (factor.view(-1, 1, 1, 1) * current).clamp(low, high)
    scale, _ = _scale_within(ray(current), goal)
    return scale.view(-1, 1, 1, 1) * current


def _scale_within(distance: Callable[[Tensor], Tensor], goal: Tensor) -> tuple[Tensor, Tensor]:
    """Largest factor t in (0, 1] with a distance <= goal, to 1e-4 relative, and the distance there; each (N,)."""
    low, low_value, high = torch.zeros_like(goal), torch.zeros_like(goal), torch.ones_like(goal)
    trial = high
    for _ in range(60):
        value = distance(trial)
        is_inside = value <= goal
        low, high = torch.where(is_inside, trial, low), torch.where(is_inside, high, trial)
        low_value = torch.where(is_inside, value, low_value)
        is_done = (low >= 1) | (low_value >= (1 - 1e-4) * goal)
        if bool(is_done.all()):
            break
        # t sqrt(goal / D) almost hits; bisection guards it
        guess = trial * (goal * (1 - 1e-5) / value.clamp_min(1e-30)).sqrt()
        guess = torch.where((guess > low) & (guess < high), guess, (low + high) / 2)
        trial = torch.where(is_done, low, guess)
    return low, low_value


def _chunked(function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """A function of whole planes, applied to a few planes at once so that what lies between stays in the cache."""
    shape = tensors[0].shape
    pixels = shape[-2] * shape[-1]
    count = max(1, CHUNK // max(1, pixels * tensors[0].element_size()))
    if tensors[0].is_cuda or count * pixels >= tensors[0].numel():
        return function(*tensors)
    parts = zip(*(tensor.reshape(-1, 1, *shape[-2:]).split(count) for tensor in tensors), strict=True)
    results = zip(*(function(*part) for part in parts), strict=True)
    return tuple(torch.cat(result).view(shape) for result in results)


def ray_losses(
    scale: float | Tensor, mean: Tensor, variance: Tensor, shift: Tensor, spread: Tensor, covariance: Tensor
) -> tuple[Tensor, Tensor]:
    """1 - S1 and 1 - S2 of x + scale * r from mu_x, var_x and the m, V and cov of r: a ray for one set of filters."""
    # memory, not arithmetic, is what these passes over the planes cost: as few as there can be
    if isinstance(scale, Tensor) or scale != 1:
        shift, spread, covariance = scale * shift, scale**2 * spread, scale * covariance
    other_mean, other_variance = mean + shift, (torch.add(variance, covariance, alpha=2) + spread).clamp_min(0)
    luminance = shift**2 / torch.addcmul(mean**2 + C1, other_mean, other_mean)
    return luminance, spread / (other_variance + variance + C2)


def _distances_at(scale: Tensor, statistics: tuple[Tensor, ...], components: str) -> Tensor:
    """D of each channel of x + scale * r, (N, C), plane by plane: the many intermediate planes stay in the cache."""
    return torch.stack(
        [
            torch.stack(
                [_combine(*ray_losses(factor, *planes), components).mean() for planes in zip(*image, strict=True)]
            )
            for factor, *image in zip(scale, *statistics, strict=True)
        ]
    )


def _combine(luminance_loss: Tensor, contrast_loss: Tensor, components: str = "both") -> Tensor:
    if components != "both":
        return luminance_loss if components == "luminance" else contrast_loss
    return torch.addcmul(luminance_loss + contrast_loss, luminance_loss, contrast_loss, value=-1)


def _compare(images: Values, others: Values, window: Window) -> tuple[Reference, Tensor]:
    """Statistics of the images, and what the others differ by."""
    reference = Reference(cast(Tensor, images), window)
    first, second = reference.images, as_images(others, name="others")
    if first.shape != second.shape:
        raise ValueError(
            f"images {tuple(first.shape)} and others {tuple(second.shape)} differ in shape; pass equal shapes"
        )
    if first.dtype != second.dtype:
        raise TypeError(f"images are {first.dtype} and others {second.dtype}; convert one of them")
    if first.device != second.device:
        raise ValueError(f"images are on {first.device} and others on {second.device}; move one of them")
    return reference, second - first


def components(images: Values, others: Values, *, window: Window = Window()) -> tuple[Tensor, Tensor]:
    """Luminance S1 and contrast-structure S2 (Wang et al. 2004, equations 6 and 13 with C3 = C2 / 2).

    Parameters
    ----------
    images, others : Tensor or ndarray
        Shape (N, C, H, W), range [0, 1], both float32 or both float64, in any memory layout.
    window : Window
        Window of the local statistics.

    Returns
    -------
    luminance, contrast_structure : Tensor
        Each (N, C, H, W); luminance in (0, 1], contrast-structure in [-1, 1]. Differentiable in both images, forward
        and backward, and under `torch.func.vmap`; the same in every autograd mode and under autocast.

    Raises
    ------
    TypeError, ValueError
        What `perceptlib.records.checks.check_images` refuses (half precision, values outside [0, 1]); shapes, dtypes
        or devices that differ; a window larger than the image. `perceptlib.ssim.unchecked_range` spares the check of
        the values.
    """
    reference, difference = _compare(images, others, window)
    luminance_loss, contrast_loss = reference.losses(difference)
    return 1 - luminance_loss, 1 - contrast_loss


def ssim_map(images: Values, others: Values, *, window: Window = Window()) -> Tensor:
    """SSIM of every window, S = S1 S2, shape (N, C, H, W); parameters and errors as in `components`."""
    reference, difference = _compare(images, others, window)
    return 1 - reference.loss_map(difference)


def mean_ssim(images: Values, others: Values, *, window: Window = Window()) -> Tensor:
    """Mean SSIM as scikit-image reports it, shape (N,); parameters and errors as in `components`.

    Notes
    -----
    The mean leaves out a border of ``window.border`` pixels, as `skimage.metrics.structural_similarity` does,
    while `distance` covers every pixel: ``1 - mean_ssim`` and `distance` differ by the border.
    """
    maps = ssim_map(images, others, window=window)
    return window.inside(maps).mean(dim=(1, 2, 3))


def distance(images: Values, others: Values, *, window: Window = Window()) -> Tensor:
    """SSIM distance D, the mean of 1 - S over all windows and channels, shape (N,), at least 0.

    Parameters and errors as in `components`. Computed from the identities of this module, so that distances near
    1e-8 keep three digits in float32.
    """
    reference, difference = _compare(images, others, window)
    return reference.distance(difference)


def change_map(images: Values, others: Values, *, window: Window = Window()) -> Tensor:
    """SSIM change map 1 - S averaged over channels, shape (N, H, W), at least 0; errors as in `components`."""
    reference, difference = _compare(images, others, window)
    return reference.change_map(difference)
