"""Presets: the pictures and the network of a notebook, by one word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from perceptlib.data import digits, image_folder, imagenet_assets, photographs, shapes
from perceptlib.data.handwritten import NUM_TEST
from perceptlib.networks import Classifier, load
from perceptlib.networks.weights import mobilenet_weights
from perceptlib.records import check_classes

PRESETS = ("shapes", "digits", "photos", "imagenet")
_ALL = 1000  # more than there are photographs


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures of a preset.

    Attributes
    ----------
    images
        (N, 3, H, W), float32, in [0, 1].
    labels
        (N,), int64: the class that fits best.
    accepted
        Every class that is right for a picture, N tuples.
    ids
        A name for each picture, for the rows of a table.
    masks
        (N, H, W), bool: the object's pixels; None where they are not known.
    """

    images: Tensor
    labels: Tensor
    accepted: tuple[tuple[int, ...], ...]
    ids: tuple[str, ...]
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, index: Tensor) -> Pictures:
        """Some of the pictures; index is int64, (M,)."""
        chosen = index.tolist()
        return Pictures(
            images=self.images[index],
            labels=self.labels[index],
            accepted=tuple(self.accepted[position] for position in chosen),
            ids=tuple(self.ids[position] for position in chosen),
            masks=None if self.masks is None else self.masks[index],
        )

    def head(self, num_images: int) -> Pictures:
        """The first pictures, all of them where there are fewer."""
        return self.select(torch.arange(min(num_images, len(self))))

    def batches(self, batch_size: int) -> Iterator[Pictures]:
        """Go through the pictures, `batch_size` at once.

        Raises
        ------
        ValueError
            A `batch_size` below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; 1 or more is allowed, such as 8 for photographs")
        for start in range(0, len(self), batch_size):
            yield self.select(torch.arange(start, min(start + batch_size, len(self))))


@dataclass(frozen=True)
class Study:
    """A network with the pictures that it names rightly.

    Attributes
    ----------
    classifier
        The network.
    pictures
        Those whose most likely class is right; `labels` hold that class.
    examples
        Pictures that a book may show, with the same network: the pictures themselves, and for "imagenet"
        scikit-image's photographs in their place.
    num_loaded
        Pictures before the wrongly named ones were left out.
    """

    classifier: Classifier
    pictures: Pictures
    examples: Pictures
    num_loaded: int

    def head(self, num_images: int) -> Study:
        """The same with the first pictures alone."""
        return replace(self, pictures=self.pictures.head(num_images))

    @property
    def accuracy(self) -> float:
        """Share of the loaded pictures that the network names rightly."""
        return len(self.pictures) / self.num_loaded


def load_pictures(preset: str, *, num_images: int, seed: int = 0, csv: str = "", size: int = 224) -> Pictures:
    """Load the pictures of a preset.

    Parameters
    ----------
    preset
        "shapes": the embedded shapes, 64x64. "digits": scikit-learn's handwritten digits, 32x32. "photos":
        scikit-image's own photographs. "imagenet": labelled photographs that a CSV file lists, or a folder of class
        folders (`perceptlib.data.folders.image_folder`).
    num_images
        How many, 1 or more. There are 597 digits, five photos, and as many of imagenet as the CSV lists; fewer are no
        error. Of class folders some of each class are taken (`perceptlib.data.folders.ImageFolder.head`).
    seed
        Of the shapes; of the order of the digits.
    csv
        The list or the folder of "imagenet"; empty for ``images.csv`` in the folder that PERCEPTLIB_ASSETS names.
    size
        Side in pixels of "photos" and "imagenet".

    Returns
    -------
    Pictures
        In a fixed order.

    Raises
    ------
    FileNotFoundError
        "imagenet" without a CSV file or folder.
    ValueError
        An unknown preset, or `num_images` below 1; what `perceptlib.data.folders` refuses.
    """
    _check_preset(preset)
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}; 1 or more is allowed")
    if preset == "shapes":
        scenes = shapes(num_images, seed=seed, object_texture="mixed", background_texture="mixed")
        ids = tuple(f"shapes-{seed}-{index}" for index in range(num_images))
        return Pictures(scenes.images, scenes.labels, _alone(scenes.labels), ids, scenes.masks)
    if preset == "digits":
        drawn = digits(min(num_images, NUM_TEST), seed=seed)
        ids = tuple(f"digits-{index}" for index in drawn.indices.tolist())
        return Pictures(drawn.images, drawn.labels, _alone(drawn.labels), ids)
    if preset == "photos":
        photos = photographs(size=size)
        return Pictures(photos.images, photos.labels, photos.accepted, photos.names).head(num_images)
    listed = image_folder(pictures_list(csv), size=size).head(num_images)
    images = torch.cat([batch for batch, _, _ in listed.batches(8)])
    return Pictures(images, listed.labels, _alone(listed.labels), listed.ids)


def pictures_list(csv: str = "") -> Path:
    """The CSV file or folder of "imagenet": `csv`, or else ``images.csv`` in the folder that PERCEPTLIB_ASSETS names.

    Raises
    ------
    FileNotFoundError
        Neither is named, or PERCEPTLIB_ASSETS names no folder.
    """
    if csv:
        return Path(csv)
    assets = imagenet_assets()
    if assets is None:
        raise FileNotFoundError(
            "preset 'imagenet' needs labelled photographs; pass csv=PATH of a list with the columns file and label "
            "or of a folder of class folders, or name a folder with an images.csv in PERCEPTLIB_ASSETS"
        )
    return assets / "images.csv"


def load_network(preset: str, *, network: int = 0, weights: str = "", architecture: str = "mobilenet_v2") -> Classifier:
    """Load the network of a preset.

    Parameters
    ----------
    preset
        As for `load_pictures`.
    network
        Which of the shipped networks for shapes or digits; the seed of random weights.
    weights
        Path of a weights file; for ImageNet also "torchvision" (fetched once) or "random". Empty: for shapes and
        digits the shipped network; for MobileNetV2 the file that PERCEPTLIB_WEIGHTS names,
        ``mobilenet_v2_imagenet_tf.safetensors`` in the folder that PERCEPTLIB_ASSETS names, or "torchvision", in that
        order; for another architecture "torchvision".
    architecture
        Of photos and imagenet, by torchvision's name.

    Raises
    ------
    FileNotFoundError
        A file that is named is not there.
    ValueError
        An unknown preset; what `perceptlib.networks.classifier.load` refuses.
    """
    _check_preset(preset)
    if preset in ("shapes", "digits"):
        return load(
            cast(Literal["shapes", "digits"], preset), seed=network, weights=weights or None, architecture=architecture
        )
    if not weights:
        weights = mobilenet_weights() if architecture == "mobilenet_v2" else "torchvision"
    return load("imagenet", seed=network, weights=weights, architecture=architecture)


def load_study(
    preset: str,
    *,
    num_images: int,
    seed: int = 0,
    network: int = 0,
    weights: str = "",
    csv: str = "",
    architecture: str = "mobilenet_v2",
) -> Study:
    """Load a preset's network and those of its pictures that the network names rightly.

    Parameters
    ----------
    preset, num_images, seed, csv
        As for `load_pictures`.
    network, weights, architecture
        As for `load_network`.

    Returns
    -------
    Study
        At least one picture in it; photographs of the size that the architecture is made for.

    Raises
    ------
    FileNotFoundError
        A file that is named is not there.
    ValueError
        The network names no picture rightly, or does not have a picture's class; what `load_pictures` and
        `load_network` refuse.
    """
    classifier = load_network(preset, network=network, weights=weights, architecture=architecture)
    size = classifier.input_size
    pictures = load_pictures(preset, num_images=num_images, seed=seed, csv=csv, size=size)
    check_classes(pictures.ids, pictures.labels, classifier.num_classes)
    right = _named_rightly(classifier, pictures)
    if not len(right):
        raise ValueError(
            f"{classifier.source} names none of the {len(pictures)} pictures of preset {preset!r} rightly; "
            "pass more num_images, or check that the weights fit the labels"
        )
    examples = right
    if preset == "imagenet":
        examples = _named_rightly(classifier, load_pictures("photos", num_images=_ALL, size=size))
    return Study(classifier, right, examples, len(pictures))


def photograph(name: str) -> Pictures:
    """One of scikit-image's photographs by its name, such as "cat".

    Raises
    ------
    ValueError
        No photograph of that name.
    """
    photos = load_pictures("photos", num_images=_ALL)
    if name not in photos.ids:
        raise ValueError(f"there is no photograph {name!r}; {', '.join(photos.ids)} are")
    return photos.select(torch.tensor([photos.ids.index(name)]))


def _alone(labels: Tensor) -> tuple[tuple[int, ...], ...]:
    return tuple((label,) for label in labels.tolist())


def _check_preset(preset: str) -> None:
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; pass one of {', '.join(map(repr, PRESETS))}")


@torch.no_grad()
def _named_rightly(classifier: Classifier, pictures: Pictures) -> Pictures:
    predicted: list[Any] = []
    for batch in pictures.batches(8):
        predicted += classifier(batch.images).argmax(1).tolist()
    is_right = torch.tensor([label in right for label, right in zip(predicted, pictures.accepted, strict=True)])
    return replace(pictures, labels=torch.tensor(predicted)).select(is_right.nonzero()[:, 0])
