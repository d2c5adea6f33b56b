"""The pictures and the network of a study: of a preset, by one word, or a user's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from perceptlib.data import ImageFolder, digits, image_folder, imagenet_assets, photographs, read_picture, shapes
from perceptlib.data.bundled import DIGIT_CLASSES, NUM_DIGITS
from perceptlib.data.scenes import CLASSES
from perceptlib.networks import Classifier, load
from perceptlib.records import check_classes, check_images, check_labels
from perceptlib.records.device import chosen_device
from perceptlib.study.config import PRESETS, StudyConfig

_ALL = 1000  # more than there are photographs


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures; what is left out follows from the labels."""

    images: Tensor  # (N, 3, H, W), float32, in [0, 1]
    labels: Tensor  # (N,), int64: the class that fits best
    accepted: tuple[tuple[int, ...], ...] = ()  # every class that is right for a picture; left out: its label alone
    ids: tuple[str, ...] = ()  # a name for each, for the rows of a table; left out: "picture-0" and so on
    masks: Tensor | None = None  # (N, H, W), bool: the object's pixels, where they are known

    def __post_init__(self) -> None:
        labels = torch.as_tensor(self.labels).tolist()
        object.__setattr__(self, "accepted", tuple(self.accepted) or tuple((label,) for label in labels))
        object.__setattr__(self, "ids", tuple(self.ids) or tuple(f"picture-{place}" for place in range(len(labels))))

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
        """Go through the pictures, `batch_size` at once, which is 1 or more."""
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; 1 or more is allowed, such as 8 for photographs")
        for start in range(0, len(self), batch_size):
            yield self.select(torch.arange(start, min(start + batch_size, len(self))))

    def correct(self, answers: Sequence[int]) -> Pictures:
        """Those for which a network's answer is right, with the answer as their label."""
        is_right = [answer in right for answer, right in zip(answers, self.accepted, strict=True)]
        device = self.images.device
        answered = replace(self, labels=torch.tensor(answers, dtype=torch.int64, device=device))
        return answered.select(torch.tensor(is_right, dtype=torch.bool, device=device).nonzero()[:, 0])

    def listing(self) -> dict[str, int | str]:
        """``number`` of the pictures, and the ``sha256`` of their names, right classes and pixels of 8 bits."""
        total = hashlib.sha256(repr((self.ids, self.accepted)).encode())
        total.update((self.images * 255).round().byte().cpu().numpy().tobytes())
        return {"number": len(self), "sha256": total.hexdigest()}


@dataclass(frozen=True)
class Study:
    """A network with the pictures that it classifies correctly, whose `labels` hold its answers."""

    classifier: Classifier
    pictures: Pictures
    examples: Pictures  # what a book may show: the same, and scikit-image's photographs in place of "imagenet"
    num_loaded: int  # before the misclassified ones were left out

    def head(self, num_images: int) -> Study:
        """The same with the first pictures alone."""
        return replace(self, pictures=self.pictures.head(num_images))

    @property
    def accuracy(self) -> float:
        """Share of the loaded pictures that the network classifies correctly."""
        return len(self.pictures) / self.num_loaded


def load_pictures(preset: str, *, num_images: int, seed: int = 0, csv: str = "", size: int = 224) -> Pictures:
    """The pictures of a preset, at most `num_images` (1 or more), in a fixed order.

    "shapes": the embedded shapes of a seed, 64x64. "digits": scikit-learn's 597 handwritten digits, 32x32, in an order
    of the seed. "photos": scikit-image's own five, and "imagenet": labelled photographs that the CSV file lists, or of
    each of its class folders some (`perceptlib.data.image_folder`); both have `size` x `size` pixels.
    """
    _check_preset(preset)
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}; 1 or more is allowed")
    if preset == "shapes":
        return _drawn(seed, 0, num_images)
    if preset == "digits":
        drawn = digits(min(num_images, NUM_DIGITS), seed=seed)
        return Pictures(drawn.images, drawn.labels, ids=tuple(f"digits-{index}" for index in drawn.indices.tolist()))
    if preset == "photos":
        photos = photographs(size=size)
        return Pictures(photos.images, photos.labels, photos.accepted, photos.names).head(num_images)
    listed = image_folder(pictures_list(csv), size=size).head(num_images)
    return Pictures(torch.cat([images for images, _, _ in listed.batches(8)]), listed.labels, ids=listed.ids)


def pictures_list(csv: str = "") -> Path:
    """`csv`, or else ``images.csv`` in the folder that PERCEPTLIB_ASSETS names."""
    assets = imagenet_assets()
    if not csv and assets is None:
        raise FileNotFoundError(
            "preset 'imagenet' needs labelled photographs; pass csv=PATH of a list with the columns file and label "
            "or of a folder of class folders, or name a folder with an images.csv in PERCEPTLIB_ASSETS"
        )
    return Path(csv) if csv or assets is None else assets / "images.csv"


def load_network(preset: str, *, network: str = "", weights: str = "") -> Classifier:
    """The network of a name, as `perceptlib.load` takes it with its `weights`, on the device of PERCEPTLIB_DEVICE.

    Without a name it is the preset's: "shapes-0", "digits-0", and for photographs MobileNetV2 where weights are named
    or found, else "efficientnet-lite0". A ValueError tells of one that knows other classes than shapes or digits have.
    """
    _check_preset(preset)
    device = chosen_device()
    classifier = load(network or ("imagenet" if preset == "photos" else preset), weights=weights or None)
    needed = {"shapes": len(CLASSES), "digits": len(DIGIT_CLASSES)}.get(preset, classifier.num_classes)
    if classifier.num_classes != needed:
        raise ValueError(
            f"network {classifier.name!r} has {classifier.num_classes} classes, and the pictures of preset {preset!r} "
            f"have {needed}; name one such as '{preset}-0', or another preset"
        )
    return classifier.to(device)


def load_study(
    preset: str,
    *,
    num_images: int,
    seed: int = 0,
    network: str = "",
    weights: str = "",
    csv: str = "",
) -> Study:
    """A preset's network (`load_network`) and those of its pictures (`load_pictures`) that it classifies correctly.

    A ValueError tells of no such picture, and of a class that the network does not have.
    """
    classifier = load_network(preset, network=network, weights=weights)
    size = classifier.input_size
    pictures = load_pictures(preset, num_images=num_images, seed=seed, csv=csv, size=size)
    check_classes(pictures.ids, pictures.labels, classifier.num_classes)
    correct = _correctly_classified(classifier, pictures)
    if not len(correct):
        raise ValueError(
            f"{classifier.source} classifies none of the {len(pictures)} pictures of preset {preset!r} correctly; "
            "pass more num_images, or check that the weights fit the labels"
        )
    examples = correct
    if preset == "imagenet":
        examples = _correctly_classified(classifier, load_pictures("photos", num_images=_ALL, size=size))
    return Study(classifier, correct, examples, len(pictures))


def photograph(name: str) -> Pictures:
    """One of scikit-image's photographs by its name, such as "cat"."""
    photos = load_pictures("photos", num_images=_ALL)
    if name not in photos.ids:
        raise ValueError(f"there is no photograph {name!r}; {', '.join(photos.ids)} are")
    return photos.select(torch.tensor([photos.ids.index(name)]))


@dataclass(frozen=True)
class Source:
    """The pictures of a study in a fixed order, whatever part of them is asked for."""

    config: StudyConfig
    size: int = 224  # side in pixels that photographs are brought to: the network's input
    given: Pictures | None = None  # in place of the preset's

    @cached_property
    def _held(self) -> Pictures | ImageFolder | None:
        """What is given, listed or loaded at once; None for shapes, which are drawn when they are asked for."""
        config, size = self.config, self.size
        if self.given is not None or config.preset == "shapes":
            return self.given
        if config.preset == "imagenet":
            return image_folder(pictures_list(config.csv), size=size).head(config.num_images)
        return load_pictures(config.preset, num_images=config.num_images, seed=config.seed, size=size)

    def __len__(self) -> int:
        return self.config.num_images if self._held is None else len(self._held)

    def check(self, num_classes: int) -> None:
        """Refuse, before any work, what a network of so many classes does not know and what no row can hold."""
        if isinstance(self._held, ImageFolder):
            check_classes(self._held.ids, self._held.labels, num_classes)
        if self.given is None:
            return
        number, names = len(self.given.images), self.given.ids
        check_images(self.given.images)
        check_labels(self.given.labels, number, num_classes)
        if len({*names}) != number or len(self.given.accepted) != number:
            raise ValueError(
                f"{number} pictures have {len({*names})} different ids and "
                f"{len(self.given.accepted)} tuples of right classes; one for each is needed"
            )
        if unwritable := [name for name in names if name != writable(name)]:
            name = unwritable[0]
            raise ValueError(f"id {name!r} is no text that can be written; use {writable(name)!r}")

    def listing(self) -> dict[str, int | str]:
        """``number`` of the pictures, and the ``sha256`` of their list: a line with id and label for each.

        Shapes are drawn when they are asked for, so their lines have no label: seed and place say it. Of given pictures
        the pixels count as well.
        """
        if self.given is not None:
            return self.given.listing()
        if self._held is None:
            lines = "".join(f"{name},\n" for name in _drawn_ids(self.config.seed, 0, len(self)))
        else:
            named = zip(self._held.ids, self._held.labels.tolist(), strict=True)
            lines = "".join(f"{name},{label}\n" for name, label in named)
        return {"number": len(self), "sha256": hashlib.sha256(lines.encode()).hexdigest()}

    def batch(self, start: int, stop: int) -> tuple[Pictures, Pictures, dict[int, str]]:
        """Of positions start to stop - 1: pictures that could be read, ids and labels of all, why others could not."""
        if isinstance(self._held, ImageFolder):
            return _read(self._held, start, stop)
        if self._held is None:
            pictures = _drawn(self.config.seed, start, stop)
        else:
            pictures = self._held.select(torch.arange(start, stop))
        return pictures, replace(pictures, images=torch.empty(0), masks=None), {}


def writable(text: str) -> str:
    """A text that a file of UTF-8 can hold: bytes of a file's name that are no UTF-8 are written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def load_classifier(config: StudyConfig) -> Classifier:
    """The network of a study; errors as `load_network`."""
    return load_network(config.preset, network=config.network, weights=config.weights)


def _check_preset(preset: str) -> None:
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; pass one of {', '.join(map(repr, PRESETS))}")


@torch.no_grad()
def _correctly_classified(classifier: Classifier, pictures: Pictures) -> Pictures:
    answers = [classifier(batch.images).argmax(1) for batch in pictures.batches(8)]
    return pictures.correct(torch.cat(answers).tolist())


def _drawn_ids(seed: int, start: int, stop: int) -> tuple[str, ...]:
    return tuple(f"shapes-{seed}-{index}" for index in range(start, stop))


def _drawn(seed: int, start: int, stop: int) -> Pictures:
    """Shapes of a seed."""
    scenes = shapes(stop - start, seed=seed, first=start, object_texture="mixed", background_texture="mixed")
    return Pictures(scenes.images, scenes.labels, ids=_drawn_ids(seed, start, stop), masks=scenes.masks)


def _read(folder: ImageFolder, start: int, stop: int) -> tuple[Pictures, Pictures, dict[int, str]]:
    images, failures = [torch.empty(0, 3, folder.size, folder.size)], {}
    for position in range(start, stop):
        try:
            images.append(read_picture(folder.files[position], size=folder.size))
        except (ValueError, OSError) as error:
            failures[position] = str(error).replace(str(folder.files[position]), Path(folder.ids[position]).name)
    named = Pictures(torch.empty(0), folder.labels[start:stop], ids=folder.ids[start:stop])
    readable = [place for place in range(len(named)) if start + place not in failures]
    labels, ids = named.labels[readable], tuple(named.ids[place] for place in readable)
    return Pictures(torch.cat(images), labels, ids=ids), named, failures
