"""Controls: what a score is worth is what it exceeds. Perturbations that know nothing of the network, and maps that no
perturbation makes.

The SSIM ball is wider where a picture is textured, objects are textured, and photographers centre objects. Each map
here is scored as if it were a change map; what a change map scores above them is what the attack adds.
"""

from __future__ import annotations

import hashlib

import torch
from skimage import color, filters
from torch import Tensor

from perceptlib.attacks import rescale_to_distance
from perceptlib.balls import Ball
from perceptlib.records import check_images
from perceptlib.ssim import Reference, Window
from perceptlib.ssim.measure import C2


def white_noise(images: Tensor, *, seed: int) -> Tensor:
    """Standard normal noise of the shape, dtype and device of the images, one stream for each.

    The stream of an image is seeded by its own values and by ``seed``, 0 or more, so that neither the batch size nor
    the order of the images changes it.
    """
    if seed < 0:
        raise ValueError(f"seed {seed} is negative; pass seed=0 or more")
    noise = []
    for image in images.detach().cpu():
        content = image.float().contiguous().numpy().tobytes() + seed.to_bytes(8, "little")
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(content).digest()[:7], "little"))
        noise.append(torch.randn(image.shape, generator=generator, dtype=torch.float32, device="cpu"))
    return torch.stack(noise).to(images)


def random_direction(images: Tensor, ball: Ball, *, seed: int) -> Tensor:
    """Steepest perturbation of a ball for white noise in place of the gradient: the shape of the ball alone.

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W), the images of the ball.
    ball : Ball
        One of `perceptlib.balls`.
    seed : int
        Of `white_noise`, at least 0; ValueError below.

    Returns
    -------
    Tensor
        Perturbation on the boundary of the ball, (N, C, H, W); not clipped to [0, 1].
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
        Adversarial images, (N, C, H, W), as near to the budget as `perceptlib.attacks.rescale_to_distance` comes.
    """
    # From so small a deviation the ray grows to its budget; from 1 it would be clipped nearly everywhere beforehand.
    return rescale_to_distance(images, 1e-3 * white_noise(images, seed=seed), budget, window=window)


def texture(images: Tensor, *, window: Window = Window()) -> Tensor:
    """Local width of the SSIM ball, ``2 var_x + C2``, mean over channels: (N, H, W), from C2 to 0.5 + C2.

    Images are (N, C, H, W) in [0, 1], checked as everywhere; ``window`` is that of the variance.
    """
    return (2 * Reference(images, window).variance + C2).mean(1)


def log_variance(images: Tensor, *, window: Window = Window()) -> Tensor:
    """Logarithm of the local variance, ``log(var_x + C2)``, mean over channels: (N, H, W), any sign.

    The covariate of `perceptlib.maps.spatial.partial_correlation`: variances of a photograph range over several powers
    of ten. C2 keeps flat windows finite. Arguments as of `texture`.
    """
    return (Reference(images, window).variance + C2).log().mean(1)


def edges(images: Tensor) -> Tensor:
    """Magnitude of the luma's gradient by Sobel's filters (`skimage.filters.sobel`), (N, H, W), 0 or more.

    The luma of three channels is ``0.2125 R + 0.7154 G + 0.0721 B`` (`skimage.color.rgb2gray`), that of another number
    their mean.
    """
    check_images(images)
    planes = images.detach().double().cpu().movedim(1, -1).numpy()
    luma = color.rgb2gray(planes) if planes.shape[-1] == 3 else planes.mean(-1)
    return torch.stack([torch.from_numpy(filters.sobel(picture)) for picture in luma]).to(images)


def centre(images: Tensor) -> Tensor:
    """Gaussian about the middle of the picture, its deviation a quarter of each side: where photographers aim.

    Of the images only the shape counts; (N, H, W), above 0 and up to 1, in their dtype and on their device.
    """
    check_images(images)
    bells = []
    for side in images.shape[-2:]:
        place = torch.arange(side, dtype=torch.float64, device="cpu") - (side - 1) / 2
        bells.append(torch.exp(-0.5 * (place / (side / 4)).square()))
    return (bells[0][:, None] * bells[1]).to(images).repeat(len(images), 1, 1)


def squared_gradient(gradient: Tensor) -> Tensor:
    """Squares of a gradient (N, C, H, W) with respect to the images, summed over channels: the network alone, without
    any ball.
    """
    if gradient.ndim != 4:
        raise ValueError(f"the gradient has shape {tuple(gradient.shape)}; pass (N, C, H, W), that of the images")
    return gradient.square().sum(1)


def control_maps(images: Tensor, gradient: Tensor, *, window: Window = Window()) -> dict[str, Tensor]:
    """Every map of this module that is scored beside change maps, (N, H, W) each, by its name.

    "squared_gradient" of a gradient of the images' shape, of the margin or loss; "texture", "edges" and "centre" of the
    images. Errors as theirs; a gradient of another shape is refused.
    """
    if gradient.shape != images.shape:
        raise ValueError(
            f"the gradient has shape {tuple(gradient.shape)} and the images {tuple(images.shape)}; pass equal shapes"
        )
    return {
        "squared_gradient": squared_gradient(gradient),
        "texture": texture(images, window=window),
        "edges": edges(images),
        "centre": centre(images),
    }
