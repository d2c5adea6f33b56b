"""Insertion and deletion curves: does what a map points at suffice for the class, and is it needed?

Petsiuk, Das and Saenko 2018, "RISE: Randomized input sampling for explanation of black-box models", section 4.2. The
pixels where a map is highest are inserted into an empty picture, or deleted from the whole one, a step at a time, while
the network's probability of the label is watched. Unlike a score against a class activation map, the curves take no
other map for the truth.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from perceptlib.records.checks import Values, as_images, as_labels, as_maps, own_mode, whole_number
from perceptlib.records.modules import evaluating, logits_of
from perceptlib.ssim import Window

EMPTIES = ("blur", "mean")
STEPS = 16
_BLUR = 11, 5.0  # side and deviation of the Gaussian, those of the authors' code


def empty_pictures(images: Tensor, kind: str) -> Tensor:
    """Pictures that say little of the class, (N, C, H, W), from images of that shape in [0, 1].

    "blur": under a Gaussian window of 11 pixels and deviation 5, or the largest that fits. "mean": each channel's mean.
    """
    if kind == "mean":
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images).contiguous()
    if kind != "blur":
        raise ValueError(f"there is no empty picture {kind!r}; {', '.join(EMPTIES)} are")
    most = min(images.shape[-2:])
    return Window(max(3, min(_BLUR[0], most - 1 + most % 2)), _BLUR[1]).filter(images)


def curves(
    classifier: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    maps: Values,
    *,
    empty: str = "blur",
    steps: int = STEPS,
    batch_size: int = 4,
) -> tuple[Tensor, Tensor]:
    """Probability of the label while pixels are inserted, and while they are deleted, from the map's highest down.

    Parameters
    ----------
    classifier
        From images in [0, 1] to logits (N, K); it is kept in evaluation mode.
    images : Tensor
        Shape (N, C, H, W), range [0, 1], float32 or float64.
    labels : Tensor
        (N,), int64.
    maps : Tensor or ndarray
        (N, H, W), 0 or more; only the order of its values counts. Pixels that are tied, as outside the mass of a CAM,
        are taken in one scattered order, the same for every picture of a size.
    empty : str
        What stands where a pixel is not: "blur" or "mean" (`empty_pictures`).
    steps : int
        Parts of equal area that the pixels are moved in.
    batch_size : int
        Pictures in a pass of the network; of a few the intermediate planes stay in the cache.

    Returns
    -------
    insertion, deletion : Tensor
        Each (N, steps + 1), float64, softmax probabilities: from the empty picture to the whole one, and from the whole
        one to the empty one. `area` of the first is the larger, and of the second the smaller, the better.

    Raises
    ------
    TypeError, ValueError
        Images, labels and maps that are refused everywhere, maps of another size than the images, an unknown empty
        picture, and no step or no picture in a batch.

    Notes
    -----
    ``2 * steps`` forward passes a picture and map.
    """
    whole_number("steps", steps, least=1)
    whole_number("batch_size", batch_size, least=1)
    with own_mode(), evaluating(classifier):
        images = as_images(images)
        values = as_maps("map", maps).to(images.device)
        if values.shape != (len(images), *images.shape[-2:]):
            raise ValueError(
                f"the maps have shape {tuple(values.shape)} for images of shape {tuple(images.shape)}; pass a map "
                "(N, H, W) of each image"
            )
        others = empty_pictures(images, empty)
        ranks, num_pixels = _ranks(values), values[0].numel()
        labels = as_labels(labels, images, logits_of(classifier(images[:1]), 1).shape[1])
        found = []
        for image, other, rank, label in zip(images, others, ranks, labels, strict=True):
            pictures = []
            for step in range(steps):
                is_top = rank < round(step / steps * num_pixels)
                pictures += [torch.where(is_top, image, other), torch.where(is_top, other, image)]
            # the whole and the empty picture are looked at once
            logits = torch.cat(
                [logits_of(classifier(part), len(part)) for part in torch.stack(pictures).split(batch_size)]
            )
            probabilities = logits.double().softmax(1)[:, label].cpu()
            insertion, deletion = probabilities[::2], probabilities[1::2]
            found.append((torch.cat([insertion, deletion[:1]]), torch.cat([deletion, insertion[:1]])))
    return torch.stack([pair[0] for pair in found]), torch.stack([pair[1] for pair in found])


def area(curve: Tensor) -> Tensor:
    """Area under curves (N, steps + 1) over [0, 1] by the trapezoid rule: (N,), a mean probability."""
    return (curve[:, 1:] + curve[:, :-1]).mean(1) / 2


def _ranks(maps: Tensor) -> Tensor:
    """Place of every pixel from the highest down, 0 for the first, (N, H, W), int64."""
    flat = maps.flatten(1)
    order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(0), device="cpu").to(flat.device)
    places = order[flat[:, order].argsort(dim=1, descending=True, stable=True)]
    ranks = torch.empty_like(places)
    ranks.scatter_(1, places, torch.arange(flat.shape[1], device=flat.device).expand_as(places))
    return ranks.view_as(maps)
