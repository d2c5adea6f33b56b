"""Pictures and network of a study, loaded batch by batch; a picture that cannot be read is told, not fatal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from perceptlib.data import ImageFolder, image_folder, read_picture, shapes
from perceptlib.networks import Classifier
from perceptlib.records import check_classes
from perceptlib.study.config import StudyConfig
from perceptlib.study.presets import Pictures, load_network, load_pictures, pictures_list


@dataclass(frozen=True)
class Source:
    """The pictures of a study in a fixed order, whatever part of them is asked for.

    Attributes
    ----------
    config
        Whose pictures they are.
    size
        Side in pixels that photographs are brought to: the network's input.
    """

    config: StudyConfig
    size: int = 224

    @cached_property
    def _folder(self) -> ImageFolder | None:
        if self.config.preset != "imagenet":
            return None
        listed = image_folder(pictures_list(self.config.csv), size=self.size)
        return listed.head(self.config.num_images)

    @cached_property
    def _loaded(self) -> Pictures | None:
        """Of the small presets, all at once."""
        if self.config.preset not in ("photos", "digits"):
            return None
        return load_pictures(
            self.config.preset, num_images=self.config.num_images, seed=self.config.seed, size=self.size
        )

    def __len__(self) -> int:
        if self._folder is not None:
            return len(self._folder)
        return self.config.num_images if self._loaded is None else len(self._loaded)

    def check_classes(self, num_classes: int) -> None:
        """Refuse a list with labels that a network of so many classes does not know (`perceptlib.records.checks`).

        Raises
        ------
        ValueError
            Such a label.
        """
        if self._folder is not None:
            check_classes(self._folder.ids, self._folder.labels, num_classes)

    def listing(self) -> dict[str, int | str]:
        """``number`` of the pictures, and the ``sha256`` of their list: a line with id and label for each.

        Shapes are drawn when they are asked for, so their lines have no label: seed and place say it.
        """
        if self._folder is not None:
            named = list(zip(self._folder.ids, self._folder.labels.tolist(), strict=True))
        elif self._loaded is not None:
            named = list(zip(self._loaded.ids, self._loaded.labels.tolist(), strict=True))
        else:
            named = [(f"shapes-{self.config.seed}-{index}", "") for index in range(len(self))]
        lines = "".join(f"{name},{label}\n" for name, label in named)
        return {"number": len(named), "sha256": hashlib.sha256(lines.encode()).hexdigest()}

    def batch(self, start: int, stop: int) -> tuple[Pictures, Pictures, dict[int, str]]:
        """Pictures at positions start to stop - 1.

        Returns
        -------
        pictures
            Those that could be read.
        named
            Ids and labels of all of them, with empty images.
        failures
            Position -> why a picture could not be read.
        """
        if self._folder is not None:
            return _read(self._folder, start, stop)
        if self._loaded is not None:
            pictures = self._loaded.select(torch.arange(start, stop))
        else:
            scenes = shapes(
                stop - start, seed=self.config.seed, first=start, object_texture="mixed", background_texture="mixed"
            )
            ids = tuple(f"shapes-{self.config.seed}-{index}" for index in range(start, stop))
            accepted = tuple((label,) for label in scenes.labels.tolist())
            pictures = Pictures(scenes.images, scenes.labels, accepted, ids, scenes.masks)
        return pictures, replace(pictures, images=torch.empty(0), masks=None), {}


def listing(pictures: Pictures) -> dict[str, int | str]:
    """``number`` of loaded pictures, and the ``sha256`` of their names, right classes and pixels of 8 bits."""
    total = hashlib.sha256(repr((pictures.ids, pictures.accepted)).encode())
    total.update((pictures.images * 255).round().byte().cpu().numpy().tobytes())
    return {"number": len(pictures), "sha256": total.hexdigest()}


def load_classifier(config: StudyConfig) -> Classifier:
    """The network of a study; errors as `perceptlib.study.presets.load_study`."""
    return load_network(config.preset, network=config.network, weights=config.weights, architecture=config.architecture)


def _read(folder: ImageFolder, start: int, stop: int) -> tuple[Pictures, Pictures, dict[int, str]]:
    images, readable, failures = [], [], {}
    for position in range(start, stop):
        try:
            images.append(read_picture(folder.files[position], size=folder.size))
            readable.append(position - start)
        except (ValueError, OSError) as error:
            failures[position] = str(error).replace(str(folder.files[position]), Path(folder.ids[position]).name)
    labels = folder.labels[start:stop]
    accepted = tuple((label,) for label in labels.tolist())
    named = Pictures(torch.empty(0), labels, accepted, folder.ids[start:stop])
    index = torch.tensor(readable, dtype=torch.int64)
    stacked = torch.cat(images) if images else torch.empty(0, 3, folder.size, folder.size)
    pictures = Pictures(
        stacked, labels[index], tuple(accepted[place] for place in readable), tuple(named.ids[p] for p in readable)
    )
    return pictures, named, failures
