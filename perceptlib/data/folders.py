"""A user's own labelled pictures, read when they are asked for: listed in a CSV file, or in a folder for each class."""

from __future__ import annotations

import csv as csv_files
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from perceptlib.data.class_names import imagenet_names
from perceptlib.data.pictures import SUFFIXES, read_picture
from perceptlib.records import short, whole_number


@dataclass(frozen=True)
class ImageFolder:
    """Labelled picture files, read when they are asked for. `image_folder` makes one."""

    ids: tuple[str, ...]  #: the files as the CSV names them, or CLASS/FILE
    files: tuple[Path, ...]  #: where they lie
    labels: torch.Tensor  #: (N,), int64
    size: int  #: side in pixels that every picture is brought to
    is_by_class: bool = False  #: the pictures come class by class, from folders

    def __len__(self) -> int:
        return len(self.ids)

    def head(self, num_images: int) -> ImageFolder:
        """Some of the pictures, in the same order: of a CSV's the first, of folders of classes as `spread` says."""
        if num_images >= len(self):
            return self
        chosen = spread(self.labels.tolist(), num_images) if self.is_by_class else list(range(num_images))
        ids, files = zip(*((self.ids[place], self.files[place]) for place in chosen), strict=True)
        return replace(self, ids=ids, files=files, labels=self.labels[chosen])

    def batches(self, batch_size: int = 8) -> Iterator[tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]]:
        """Go through the pictures in order: images (B, 3, size, size) in [0, 1], labels (B,) int64, and B ids."""
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
        1000 are there, or by class name with ``_`` for spaces. Its pictures, by `perceptlib.data.pictures.SUFFIXES`,
        are sorted by path.
    size
        Side in pixels, by `resize_and_crop`.
    num_images
        Take so many, by `ImageFolder.head`; None takes all.
    class_names
        One per class, for folders; None for the 1000 of torchvision's ImageNet weights.

    Returns
    -------
    ImageFolder
        Every file is there; none has been opened. In the ids, which go into tables, bytes of a file's name that are no
        UTF-8 are written out, such as ``caf\\udce9.png``.

    Warns
    -----
    UserWarning
        A folder holds other files or deeper folders, which are left out; hidden ones are not told.

    Raises
    ------
    FileNotFoundError, ValueError
        The CSV, the folder or a picture is missing; no rows or pictures, a missing column, a label that is no class
        index, a file named twice or outside the CSV's folder, a folder whose name means no class, a wrong `num_images`.
    """
    path, is_by_class, size = Path(path), Path(path).is_dir(), whole_number("size", size, least=1)
    found = _in_class_folders(path, class_names) if is_by_class else _in_csv(path, num_images)
    if is_by_class:
        _check_number(num_images, len(found), path)
    names, files, labels = zip(*found, strict=True)
    # No table, JSON or terminal takes the surrogates that stand for bytes that are no UTF-8.
    ids = tuple(name.encode("utf-8", "backslashreplace").decode() for name in names)
    if doubled := [name for name, number in Counter(ids).items() if number > 1]:
        raise ValueError(f"two files have the name {short(doubled[0])} once it is written out; rename one of them")
    return ImageFolder(ids, files, torch.tensor(labels), size, is_by_class).head(num_images or len(found))


def _check_number(num_images: int | None, num_all: int, path: Path) -> None:
    if num_images is not None and not 1 <= num_images <= num_all:
        raise ValueError(f"num_images is {num_images}; 1 to {num_all} are allowed, as {path} has that many pictures")


def imagenet_assets() -> Path | None:
    """Folder of ImageNet weights and photographs that the variable PERCEPTLIB_ASSETS names, if it is set."""
    named = os.environ.get("PERCEPTLIB_ASSETS")
    if not named:
        return None
    if not Path(named).is_dir():
        raise FileNotFoundError(f"PERCEPTLIB_ASSETS names {named}, which is no folder; correct or unset it")
    return Path(named)


def spread(labels: Sequence[int], num_images: int) -> list[int]:
    """Places of some pictures, in rising order: each class gives its first, then each its second, and so on.

    Where the last turn is not whole, its classes are evenly spaced.
    """
    by_place = pd.Series(labels)
    turns = by_place.groupby(by_place).cumcount()
    chosen: list[int] = []
    for _, turn in turns.groupby(turns):
        places, left = turn.index.tolist(), num_images - len(chosen)
        chosen += places if len(places) <= left else [places[index * len(places) // left] for index in range(left)]
    return sorted(chosen)


def _in_csv(csv: Path, num_images: int | None) -> list[tuple[str, Path, int]]:
    """Name, file and class of each picture that a CSV file lists."""
    if not csv.is_file():
        raise FileNotFoundError(
            f"there is no CSV file {csv}; name one with the columns file and label, or a folder of class folders"
        )
    try:
        with csv.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:  # as the disk names files
            reader = csv_files.DictReader(lines)
            columns, rows = reader.fieldnames or [], list(reader)
    except csv_files.Error as error:
        raise ValueError(f"{csv} is no CSV file in UTF-8 ({error}); save it as one") from error
    if not {"file", "label"} <= set(columns):
        told = short(", ".join(columns)) if columns else "(none)"
        raise ValueError(f"{csv} has the columns {told}; file and label are needed")
    if not rows:
        raise ValueError(f"{csv} lists no pictures; a line 'name.png,0' for each is needed below the header")
    _check_number(num_images, len(rows), csv)
    found: dict[str, tuple[str, Path, int]] = {}
    for number, row in enumerate(rows[:num_images], start=1):
        where = f"{csv}, row {number}"
        name, label = (row["file"] or "").strip(), (row["label"] or "").strip()
        if os.path.normpath(name) in found:
            raise ValueError(f"{where} names {short(name)} a second time; each file is allowed once")
        if not (label.isascii() and label.isdigit() and len(label) < 10):
            raise ValueError(f"{where} has the label {short(label)}; a class index, 0 or more, is needed")
        found[os.path.normpath(name)] = name, _inside(csv.parent, name, where), int(label)
    return list(found.values())


def _inside(folder: Path, name: str, where: str) -> Path:
    """The file `name`, which must lie in the folder."""
    named = f"{where} names {short(name)}"
    for file in (folder / name, folder / "images" / name):
        try:
            is_inside, is_there = file.resolve().is_relative_to(folder.resolve()), file.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # too long, a circle of links, a zero byte
            why = f"which no folder can hold ({type(error).__name__}); correct the name"
            raise ValueError(f"{named}, {why}") from error
        if not is_inside:
            raise ValueError(f"{named}, which is outside {folder}; keep the pictures beside the CSV")
        if is_there:
            return file
    raise FileNotFoundError(f"{named}, which is neither in {folder} nor in its folder images")


def _in_class_folders(root: Path, class_names: Sequence[str] | None) -> list[tuple[str, Path, int]]:
    """FOLDER/FILE, file and class of each picture in the folders of a folder, sorted by the first."""
    there = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in there if entry.is_dir()]
    classes = _classes_of(root, [folder.name for folder in folders], class_names)
    found: list[tuple[str, Path, int]] = []
    left_out: Counter[str] = Counter(entry.suffix.lower() for entry in there if entry.suffix.lower() in SUFFIXES)
    for folder, label in zip(folders, classes, strict=True):
        for file in sorted(folder.iterdir()):
            if file.name.startswith("."):
                continue
            if file.suffix.lower() in SUFFIXES and file.is_file():  # and no link to nothing
                found.append((f"{folder.name}/{file.name}", file, label))
            else:
                left_out["folders" if file.is_dir() else file.suffix.lower() or "without suffix"] += 1
    if not found:
        raise ValueError(
            f"{root} holds no pictures in folders of classes; "
            "ROOT/CLASS/NAME.JPEG is needed, or pass a CSV file with the columns file and label"
        )
    if left_out:
        told = ", ".join(f"{short(kind)[1:-1]} ({number})" for kind, number in sorted(left_out.items()))
        warnings.warn(
            f"{left_out.total()} files or folders in {root} are left out, as they are no pictures in a folder of a "
            f"class: {told}; {len(found)} pictures are taken",
            UserWarning,
            stacklevel=3,
        )
    return found


def _classes_of(root: Path, folders: Sequence[str], class_names: Sequence[str] | None) -> list[int]:
    """Class index of each folder."""
    num_classes = 1000 if class_names is None else len(class_names)
    is_named = class_names is not None and set(folders) <= set(class_names)
    if len(folders) == num_classes and not is_named and all(re.fullmatch(r"n\d{8}", name) for name in folders):
        return list(range(num_classes))  # ImageNet counts its classes in the order of their WordNet ids
    classes = {str(index): [index] for index in range(num_classes)}
    if class_names is not None or not all(name in classes for name in folders):
        for index, name in enumerate(imagenet_names() if class_names is None else class_names):
            meant = classes.setdefault(name.replace(" ", "_"), [])
            meant += [index] if index not in meant else []
    means = [classes.get(name.replace(" ", "_"), []) for name in folders]
    wrong = [name for name, meant in zip(folders, means, strict=True) if len(meant) != 1]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(
            f"{root} holds folders that mean no one class: {', '.join(map(repr, wrong[:5]))}{more}; name each "
            f"folder by its class index, 0 to {num_classes - 1}, or by a class name that stands for one class alone, "
            f"with _ for spaces; WordNet ids are understood where all {num_classes} are there"
        )
    return [meant[0] for meant in means]
