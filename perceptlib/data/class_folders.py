"""Names of classes: of the folders that hold the pictures of each, as ImageNet has them, and in a file of their own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


def list_class_folders(root: Path, class_names: Sequence[str] | None = None) -> list[tuple[str, Path, int]]:
    """Picture files in the folders of a folder, one folder for each class.

    Parameters
    ----------
    root
        Holds the folders. Hidden ones, files that are no pictures by their suffix, and deeper folders are passed over.
    class_names
        One per class; None for ImageNet's 1000.

    Returns
    -------
    list of (str, pathlib.Path, int)
        FOLDER/FILE, the file, and its class index; sorted by the first.

    Raises
    ------
    ValueError
        A folder's name means no class, or there is no picture.
    """
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    classes = _classes_of(root, [folder.name for folder in folders], class_names)
    found = [
        (f"{folder.name}/{file.name}", file, label)
        for folder, label in zip(folders, classes, strict=True)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
    ]
    if not found:
        raise ValueError(
            f"{root} holds no pictures in folders of classes; "
            "ROOT/CLASS/NAME.JPEG is needed, or pass a CSV file with the columns file and label"
        )
    return found


def read_class_names(path: str | Path, num_classes: int) -> tuple[str, ...]:
    """Read a text file of class names, one per line, line i for class i.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Not text in UTF-8, or another number of lines than `num_classes`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file of class names {path}; name a text file with one per line")
    try:
        names = tuple(Path(path).read_text(encoding="utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}); save it as such, one class name per line") from error
    if len(names) != num_classes:
        raise ValueError(f"{path} holds {len(names)} class names; {num_classes} are needed, one per line")
    return names


def spread(labels: Sequence[int], num_images: int) -> list[int]:
    """Places of some pictures, taken from the classes in turn.

    Each class gives its first picture, then each its second, and so on; where the last turn is not whole, its classes
    are evenly spaced.

    Parameters
    ----------
    labels
        Class of each picture.
    num_images
        1 to as many as there are.

    Returns
    -------
    list of int
        In rising order.
    """
    turns: dict[int, list[int]] = defaultdict(list)
    seen: dict[int, int] = defaultdict(int)
    for place, label in enumerate(labels):
        turns[seen[label]].append(place)
        seen[label] += 1
    chosen: list[int] = []
    for turn in turns.values():
        left = num_images - len(chosen)
        chosen += turn if len(turn) <= left else [turn[index * len(turn) // left] for index in range(left)]
        if len(chosen) == num_images:
            break
    return sorted(chosen)


def _classes_of(root: Path, folders: Sequence[str], class_names: Sequence[str] | None) -> list[int]:
    """Class index of each folder."""
    num_classes = 1000 if class_names is None else len(class_names)
    if len(folders) == num_classes and all(re.fullmatch(r"n\d{8}", name) for name in folders):
        return list(range(num_classes))  # ImageNet counts its classes in the order of their WordNet ids
    classes = {str(index): [index] for index in range(num_classes)}
    if not all(name in classes for name in folders):
        for index, name in enumerate(_imagenet_names() if class_names is None else class_names):
            classes.setdefault(name.replace(" ", "_"), []).append(index)
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


def _imagenet_names() -> tuple[str, ...]:
    import torchvision  # its import takes seconds

    return tuple(torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])
