"""Regions that an attack is allowed in: the ball's support, as boolean masks of equal area."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from perceptlib.maps.controls import white_noise

Array = NDArray[np.float64]


def top_region(cam: Tensor, share: float) -> Tensor:
    """Pixels of a map's highest values.

    Parameters
    ----------
    cam : Tensor
        Shape (N, H, W), 0 or more.
    share : float
        Of the picture's pixels, between 0 and 1.

    Returns
    -------
    Tensor
        Bool, (N, H, W), on the device of the map: round(share H W) pixels of each image.

    Raises
    ------
    ValueError
        A share outside (0, 1) or of no pixel; a map of another rank, or with NaN or infinite values.

    Notes
    -----
    Class activation maps are zero on large parts of a picture. Among equal values those count as higher whose
    surroundings are (a Gaussian mean over a quarter of the side), and then those that come first, row by row. A map
    without mass has no top: leave such images out.
    """
    return _highest(*_ranked(cam), _count(cam, share)).to(cam.device)


def bottom_region(cam: Tensor, share: float) -> Tensor:
    """Pixels of a map's lowest values, among equal ones those farthest from its mass; otherwise as `top_region`."""
    values, surroundings = _ranked(cam)
    return _highest(-values, -surroundings, _count(cam, share)).to(cam.device)


def random_region(cam: Tensor, share: float, *, seed: int) -> Tensor:
    """Pixels anywhere, in blobs as large and as smooth as those of a map; otherwise as `top_region`.

    The highest values of white noise, seeded by the image's own map and ``seed``, behind a Gaussian filter. Its width
    makes mean square gradient over variance that of the map: 1 / width^2 for such a field, and what sets the length of
    its contours (Rice 1944).
    """
    _check_map(cam)
    noise = white_noise(cam[:, None].float().cpu(), seed=seed)[:, 0].double().numpy()
    fields = [_smooth(plane, _width(values)) for plane, values in zip(noise, _as_array(cam), strict=True)]
    field = np.stack(fields)
    return _highest(field, np.zeros_like(field), _count(cam, share)).to(cam.device)


def object_region(masks: Tensor) -> Tensor:
    """The object's own pixels: masks, bool, (N, H, W), True on the object, checked.

    TypeError for masks that are not bool, ValueError for another rank, or without object.
    """
    if masks.dtype != torch.bool:
        raise TypeError(f"masks are {masks.dtype}; pass bool, True on the object: masks > 0")
    if masks.ndim != 3:
        raise ValueError(f"masks have shape {tuple(masks.shape)}; pass (N, H, W)")
    is_empty = ~masks.flatten(1).any(1)
    if bool(is_empty.any()):
        raise ValueError(f"mask {int(is_empty.nonzero()[0])} holds no object; leave that image out")
    return masks


def background_region(masks: Tensor, *, seed: int) -> Tensor:
    """As many pixels as the object has, in random blobs of about its size, none of them on the object.

    The region of an image depends on its own mask and the seed, not on its batch. Errors as `object_region`; ValueError
    for an object of more than half the picture.
    """
    areas = object_region(masks).flatten(1).sum(1)
    too_large = 2 * areas > masks[0].numel()
    if bool(too_large.any()):
        raise ValueError(
            f"the object of mask {int(too_large.nonzero()[0])} covers more than half of its picture, which leaves no "
            "background of equal area; leave that image out"
        )
    noise = white_noise(masks[:, None].float().cpu(), seed=seed)[:, 0].double().numpy()
    field = np.stack(
        [_smooth(plane, math.sqrt(area / math.pi)) for plane, area in zip(noise, areas.tolist(), strict=True)]
    )
    field[masks.cpu().numpy()] = -np.inf
    return _highest(field, np.zeros_like(field), areas.cpu().numpy()).to(masks.device)


def _check_map(cam: Tensor) -> None:
    if cam.ndim != 3:
        raise ValueError(f"the map has shape {tuple(cam.shape)}; pass (N, H, W)")
    if not bool(torch.isfinite(cam).all()):
        raise ValueError("the map has NaN or infinite values; leave those images out")


def _count(cam: Tensor, share: float) -> NDArray[np.int64]:
    """How many pixels of each image, (N,)."""
    if not 0 < share < 1:
        raise ValueError(f"share {share} is not between 0 and 1; pass e.g. share=0.2")
    pixels = cam[0].numel()
    count = round(share * pixels)
    if not 0 < count < pixels:
        raise ValueError(f"share {share} of {pixels} pixels is {count} of them; pass e.g. share=0.2")
    return np.full(len(cam), count)


def _as_array(cam: Tensor) -> Array:
    return cam.detach().double().cpu().numpy()


def _ranked(cam: Tensor) -> tuple[Array, Array]:
    """Values, and the mean of what surrounds each, by which equal values are told apart."""
    _check_map(cam)
    values = _as_array(cam)
    return values, np.stack([_smooth(plane, min(plane.shape) / 4) for plane in values])


def _smooth(plane: Array, width: float) -> Array:
    smoothed: Array = ndimage.gaussian_filter(plane, width, mode="reflect")
    return smoothed


def _width(values: Array) -> float:
    """Standard deviation in pixels of the Gaussian filter that makes noise as smooth as a map."""
    largest = min(values.shape) / 4
    slope = sum(float((np.diff(values, axis=axis) ** 2).mean()) for axis in (0, 1))
    return float(np.clip(math.sqrt(values.var() / slope), 1.0, largest)) if slope > 0 else largest


def _highest(values: Array, surroundings: Array, counts: NDArray[np.int64]) -> Tensor:
    """Mask of the highest values of each image, then of the highest surroundings, then of the first pixels."""
    masks = np.zeros(values.shape, dtype=bool)
    for mask, plane, around, count in zip(masks, values, surroundings, counts, strict=True):
        mask.flat[np.lexsort((-around.ravel(), -plane.ravel()))[:count]] = True
    return torch.from_numpy(masks)
