"""What a classifier of shapes reaches: accuracy, and how much of its class activation map lies on the shape."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from perceptlib.data import shapes
from perceptlib.data.scenes import Scenes
from perceptlib.records import whole_number

if TYPE_CHECKING:
    from perceptlib.networks import Classifier

_SEED = 2_000_000_000  # scenes for the table come from a seed far from those of training and of a reader
_BATCH = 100


def evaluate(
    classifier: Classifier, *, num_images: int = 1500, seed: int = _SEED, progress: bool = False
) -> list[dict[str, Any]]:
    """Accuracy and place of the class activation map in each texture condition, on the same scenes.

    Parameters
    ----------
    classifier
        For shapes; as ``load("shapes")`` gives it.
    num_images
        Scenes, 1 or more; each is drawn in four conditions.
    seed
        Of the scenes, 0 or more; the default is far from the seeds of training.
    progress
        Show a progress bar.

    Returns
    -------
    list of dict
        One row for each condition, and one over all of them ("all"): `object_texture`, `background_texture`,
        `num_images`, `accuracy`; for the shape's mask and for its convex hull the share of the classic CAM's energy
        (the label's map, upsampled bilinearly) inside (`mask_energy`), the area's share of the picture, which is
        chance (`mask_share`), the quotient of the two (`mask_over_chance`) and the share of maps whose maximum is
        inside (`mask_pointing`); `num_undefined`, the all-zero maps, which count for accuracy alone.
    """
    num_images = whole_number("num_images", num_images, least=1)
    conditions = list(product(("smooth", "textured"), repeat=2))
    rows, scores = [], []
    with tqdm(total=len(conditions) * num_images, desc="evaluate", unit="image", disable=not progress) as bar:
        for object_texture, background_texture in conditions:
            batches = []
            for first in range(0, num_images, _BATCH):
                scenes = shapes(
                    min(_BATCH, num_images - first),
                    seed=seed,
                    first=first,
                    object_texture=object_texture,
                    background_texture=background_texture,
                )
                batches.append(_scores(classifier, scenes))
                bar.update(len(scenes.labels))
            scores.append(torch.cat(batches, dim=1))
            rows.append(_row(object_texture, background_texture, scores[-1]))
    return [*rows, _row("all", "all", torch.cat(scores, dim=1))]


def _scores(classifier: Classifier, scenes: Scenes) -> torch.Tensor:
    """(7, N): whether right, then for mask and hull energy inside, share of the area, whether the maximum hits."""
    from perceptlib.maps.cam import class_activation_map  # imports torchvision

    with torch.no_grad():
        is_right = (classifier(scenes.images).argmax(1) == scenes.labels).double()
    cam = class_activation_map(classifier, scenes.images, scenes.labels).double().flatten(1)
    energy, peak = cam.sum(1), cam.argmax(1, keepdim=True)
    columns = [is_right]
    for region in (scenes.masks.double().flatten(1), scenes.hulls.double().flatten(1)):
        hit = torch.where(energy > 0, region.gather(1, peak)[:, 0], torch.nan)
        columns += [(cam * region).sum(1) / energy, region.mean(1), hit]  # an all-zero map is 0 / 0: undefined
    return torch.stack(columns)


def _row(object_texture: str, background_texture: str, scores: torch.Tensor) -> dict[str, Any]:
    means = [float(mean) for mean in scores.nanmean(dim=1)]
    row = {
        "object_texture": object_texture,
        "background_texture": background_texture,
        "num_images": scores.shape[1],
        "accuracy": means[0],
    }
    for name, (energy, share, pointing) in (("mask", means[1:4]), ("hull", means[4:7])):
        row |= {
            f"{name}_energy": energy,
            f"{name}_share": share,
            f"{name}_over_chance": energy / share,
            f"{name}_pointing": pointing,
        }
    return row | {"num_undefined": int(scores[1].isnan().sum())}
