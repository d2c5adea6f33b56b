"""Maps that no perturbation makes: does a change map follow the class, or only the picture?

The SSIM ball is wider where a picture is textured, objects are textured, and photographers centre objects. Each map
here is scored as if it were a change map; what a change map scores above them is what the attack adds.
"""

from __future__ import annotations

import torch
from skimage import color, filters
from torch import Tensor

from perceptlib.records import check_images
from perceptlib.ssim import Reference, Window
from perceptlib.ssim.measure import C2


def texture(images: Tensor, *, window: Window = Window()) -> Tensor:
    """Local width of the SSIM ball, ``2 var_x + C2``, mean over channels.

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W), range [0, 1], float32 or float64.
    window : Window
        Window of the variance.

    Returns
    -------
    Tensor
        Shape (N, H, W), from C2 to 0.5 + C2; dtype and device of the images.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.records.checks.check_images` says; a window larger than the image.
    """
    return (2 * _variance(images, window) + C2).mean(1)


def log_variance(images: Tensor, *, window: Window = Window()) -> Tensor:
    """Logarithm of the local variance, ``log(var_x + C2)``, mean over channels: (N, H, W), any sign.

    The covariate of `perceptlib.maps.spatial.partial_correlation`: variances of a photograph range over several powers of
    ten. C2 keeps flat windows finite. Parameters and errors as of `texture`.
    """
    return (_variance(images, window) + C2).log().mean(1)


def edges(images: Tensor) -> Tensor:
    """Magnitude of the luma's gradient by Sobel's filters (`skimage.filters.sobel`).

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W), range [0, 1], float32 or float64. The luma of three channels is
        ``0.2125 R + 0.7154 G + 0.0721 B`` (`skimage.color.rgb2gray`), that of another number their mean.

    Returns
    -------
    Tensor
        Shape (N, H, W), 0 or more; dtype and device of the images.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.records.checks.check_images` says.
    """
    check_images(images)
    planes = images.detach().double().cpu().movedim(1, -1).numpy()
    luma = color.rgb2gray(planes) if planes.shape[-1] == 3 else planes.mean(-1)
    return torch.stack([torch.from_numpy(filters.sobel(picture)) for picture in luma]).to(images)


def centre(images: Tensor) -> Tensor:
    """Gaussian about the middle of the picture, its deviation a quarter of each side: where photographers aim.

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W), range [0, 1], float32 or float64; only the shape counts.

    Returns
    -------
    Tensor
        Shape (N, H, W), above 0 and up to 1; dtype and device of the images.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.records.checks.check_images` says.
    """
    check_images(images)
    height, width = (_bell(side) for side in images.shape[-2:])
    return (height[:, None] * width).to(images).repeat(len(images), 1, 1)


def squared_gradient(gradient: Tensor) -> Tensor:
    """Squares of a gradient, summed over channels: the network alone, without any ball.

    Parameters
    ----------
    gradient : Tensor
        Shape (N, C, H, W), with respect to the images.

    Returns
    -------
    Tensor
        Shape (N, H, W), 0 or more.

    Raises
    ------
    ValueError
        Another number of axes.
    """
    if gradient.ndim != 4:
        raise ValueError(f"the gradient has shape {tuple(gradient.shape)}; pass (N, C, H, W), that of the images")
    return gradient.square().sum(1)


def control_maps(images: Tensor, gradient: Tensor, *, window: Window = Window()) -> dict[str, Tensor]:
    """Every map of this module that is scored beside change maps, (N, H, W) each, by its name.

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W), range [0, 1], float32 or float64.
    gradient : Tensor
        Same shape: of the margin or loss, at the images.
    window : Window
        Window of the texture.

    Returns
    -------
    dict
        "squared_gradient", "texture", "edges", "centre".

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.records.checks.check_images` says; a gradient of another shape; a window larger than the image.
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


def _variance(images: Tensor, window: Window) -> Tensor:
    check_images(images)
    return Reference(images, window).variance


def _bell(side: int) -> Tensor:
    """Gaussian over the pixels of one side, float64."""
    place = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    return torch.exp(-0.5 * (place / (side / 4)).square())
