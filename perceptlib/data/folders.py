"""Pictures to attack: embedded shapes, scikit-learn's digits, scikit-image's photographs, and a user's own folders."""

from __future__ import annotations

import csv as csv_files
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from perceptlib.data.bundled import bundled_picture
from perceptlib.data.class_folders import list_class_folders, spread
from perceptlib.data.handwritten import Digits, digits
from perceptlib.data.pictures import read_picture, resize_and_crop, save_picture
from perceptlib.data.scenes import shapes
from perceptlib.records import short

__all__ = [
    "Digits",
    "ImageFolder",
    "Photographs",
    "digits",
    "image_folder",
    "imagenet_assets",
    "photographs",
    "read_picture",
    "resize_and_crop",
    "save_picture",
    "shapes",
]


@dataclass(frozen=True)
class Photographs:
    """Photographs with the ImageNet classes that they show.

    Attributes
    ----------
    images
        (N, 3, size, size), float32, in [0, 1].
    names
        What each shows, in a word.
    labels
        (N,), int64: the class that fits best.
    accepted
        Every class, `labels` among them, that is right for the picture, where ImageNet splits or lacks it.
    credits
        Author and licence of each.
    """

    images: torch.Tensor
    names: tuple[str, ...]
    labels: torch.Tensor
    accepted: tuple[tuple[int, ...], ...]
    credits: tuple[str, ...]


# Function of skimage.data, name, classes (the best first), credit. Labels say what is in the picture, not what some
# network answers: ImageNet has no motorcycle or rocket, and the cat's breed cannot be seen.
_PHOTOGRAPHS: tuple[tuple[str, str, tuple[int, ...], str], ...] = (
    ("chelsea", "cat", (282, 281, 285), "Stefan van der Walt, CC0"),  # tiger cat, tabby, Egyptian cat
    ("coffee", "espresso", (967,), "Rachel Michetti, CC0"),
    ("rocket", "rocket", (657, 744), "SpaceX, public domain"),  # missile, projectile
    ("camera", "tripod", (872,), "Lav Varshney, CC0"),
    (
        "stereo_motorcycle",
        "motorcycle",
        (665, 670),  # moped, motor scooter
        "Middlebury 2014 stereo benchmark, Scharstein et al. 2014",
    ),
)


def photographs(*, size: int = 224) -> Photographs:
    """The photographs in scikit-image's own package that ImageNet has a class for; nothing is downloaded.

    Parameters
    ----------
    size
        Side in pixels, by `resize_and_crop`.

    Returns
    -------
    Photographs
        Cat, espresso, rocket, tripod and motorcycle. The tripod's picture is grey, repeated over the channels.

    Raises
    ------
    ValueError
        As `resize_and_crop` says.
    """
    pictures = []
    for function, *_ in _PHOTOGRAPHS:
        pixels = torch.tensor(bundled_picture(function))
        channels = pixels.expand(3, -1, -1) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        pictures.append(resize_and_crop(channels[None].float() / 255, size))
    return Photographs(
        images=torch.cat(pictures),
        names=tuple(name for _, name, _, _ in _PHOTOGRAPHS),
        labels=torch.tensor([classes[0] for _, _, classes, _ in _PHOTOGRAPHS]),
        accepted=tuple(classes for _, _, classes, _ in _PHOTOGRAPHS),
        credits=tuple(credit for *_, credit in _PHOTOGRAPHS),
    )


@dataclass(frozen=True)
class ImageFolder:
    """Labelled picture files, read when they are asked for. `image_folder` makes one.

    Attributes
    ----------
    ids
        The files as the CSV names them, or CLASS/FILE.
    files
        Where they lie.
    labels
        (N,), int64.
    size
        Side in pixels that every picture is brought to.
    is_by_class
        The pictures come class by class, from folders.
    """

    ids: tuple[str, ...]
    files: tuple[Path, ...]
    labels: torch.Tensor
    size: int
    is_by_class: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def head(self, num_images: int) -> ImageFolder:
        """Some of the pictures, in the same order; all of them where there are fewer.

        Parameters
        ----------
        num_images
            1 or more. Of a CSV's pictures the first are taken; of folders of classes one from each class in turn, the
            first of its name each time, and from evenly spaced classes where not every one gets its turn.
        """
        if num_images >= len(self):
            return self
        chosen = spread(self.labels.tolist(), num_images) if self.is_by_class else list(range(num_images))
        ids, files = zip(*((self.ids[place], self.files[place]) for place in chosen), strict=True)
        return replace(self, ids=ids, files=files, labels=self.labels[chosen])

    def batches(self, batch_size: int = 8) -> Iterator[tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]]:
        """Go through the pictures in order.

        Parameters
        ----------
        batch_size
            Pictures at once, 1 or more; the last batch may hold fewer.

        Yields
        ------
        images : torch.Tensor
            (B, 3, size, size), float32, in [0, 1].
        labels : torch.Tensor
            (B,), int64.
        ids : tuple of str
            B of them.

        Raises
        ------
        ValueError
            A `batch_size` below 1, or a file that `read_picture` refuses.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; 1 or more is allowed")
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            images = torch.cat([read_picture(file, size=self.size) for file in self.files[part]])
            yield images, self.labels[part], self.ids[part]


def image_folder(
    path: str | Path, *, size: int = 224, num_images: int | None = None, class_names: Sequence[str] | None = None
) -> ImageFolder:
    """Labelled pictures listed in a CSV file, or in one folder for each class.

    Parameters
    ----------
    path
        A CSV file: UTF-8 with a header line and the columns ``file`` (relative to the CSV's folder, or to the folder
        ``images`` in it) and ``label`` (class index, 0 or more); other columns are ignored. Or a folder, ImageNet's
        own layout ``ROOT/n01440764/*.JPEG``: a folder for each class, named by class index, by WordNet id where all
        1000 are there, or by class name with ``_`` for spaces. Its pictures are sorted by path.
    size
        Side in pixels, by `resize_and_crop`.
    num_images
        Take so many, by `ImageFolder.head`; None takes all.
    class_names
        One per class, for folders; None for the 1000 of torchvision's ImageNet weights.

    Returns
    -------
    ImageFolder
        Every file is there; none has been opened.

    Raises
    ------
    FileNotFoundError
        The CSV, the folder or a picture is missing.
    ValueError
        No rows or pictures, a missing column, a label that is no class index, a file named twice or outside the CSV's
        folder, a folder whose name means no class, or a `num_images` below 1 or above the number of pictures.
    """
    path = Path(path)
    if path.is_dir():
        found = list_class_folders(path, class_names)
        ids, files, labels = zip(*found, strict=True)
        _check_number(num_images, len(ids), path)
        listed = ImageFolder(ids, files, torch.tensor(labels), size, is_by_class=True)
        return listed if num_images is None else listed.head(num_images)
    return _listed_in_csv(path, size, num_images)


def _check_number(num_images: int | None, num_all: int, path: Path) -> None:
    if num_images is not None and not 1 <= num_images <= num_all:
        raise ValueError(f"num_images is {num_images}; 1 to {num_all} are allowed, as {path} has that many pictures")


def _listed_in_csv(csv: Path, size: int, num_images: int | None) -> ImageFolder:
    if not csv.is_file():
        raise FileNotFoundError(
            f"there is no CSV file {csv}; name one with the columns file and label, or a folder of class folders"
        )
    try:
        with csv.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv_files.DictReader(lines)
            columns, rows = reader.fieldnames or [], list(reader)
    except (UnicodeDecodeError, csv_files.Error) as error:
        raise ValueError(f"{csv} is no CSV file in UTF-8 ({error}); save it as one") from error
    if not {"file", "label"} <= set(columns):
        told = short(", ".join(columns)) if columns else "(none)"
        raise ValueError(f"{csv} has the columns {told}; file and label are needed")
    if not rows:
        raise ValueError(f"{csv} lists no pictures; a line 'name.png,0' for each is needed below the header")
    _check_number(num_images, len(rows), csv)
    ids: dict[str, tuple[Path, int]] = {}
    for number, row in enumerate(rows[:num_images], start=1):
        where = f"{csv}, row {number}"
        name, label = (row["file"] or "").strip(), (row["label"] or "").strip()
        if name in ids:
            raise ValueError(f"{where} names {short(name)} a second time; each file is allowed once")
        if not (label.isascii() and label.isdigit() and len(label) < 10):
            raise ValueError(f"{where} has the label {short(label)}; a class index, 0 or more, is needed")
        ids[name] = (_inside(csv.parent, name, where), int(label))
    return ImageFolder(
        ids=tuple(ids),
        files=tuple(file for file, _ in ids.values()),
        labels=torch.tensor([label for _, label in ids.values()]),
        size=size,
    )


def imagenet_assets() -> Path | None:
    """Folder with ImageNet weights and photographs that the environment variable PERCEPTLIB_ASSETS names.

    Returns
    -------
    pathlib.Path or None
        None where the variable is not set.

    Raises
    ------
    FileNotFoundError
        It names no folder.
    """
    named = os.environ.get("PERCEPTLIB_ASSETS")
    if not named:
        return None
    if not Path(named).is_dir():
        raise FileNotFoundError(f"PERCEPTLIB_ASSETS names {named}, which is no folder; correct or unset it")
    return Path(named)


def _inside(folder: Path, name: str, where: str) -> Path:
    """The file `name`, which must lie in the folder."""
    for file in (folder / name, folder / "images" / name):
        try:
            is_inside, is_there = file.resolve().is_relative_to(folder.resolve()), file.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # too long, a circle of links, a zero byte
            raise ValueError(
                f"{where} names {short(name)}, which no folder can hold ({type(error).__name__}); correct the name"
            ) from error
        if not is_inside:
            raise ValueError(
                f"{where} names {short(name)}, which is outside {folder}; keep the pictures beside the CSV"
            )
        if is_there:
            return file
    raise FileNotFoundError(f"{where} names {short(name)}, which is neither in {folder} nor in its folder images")
