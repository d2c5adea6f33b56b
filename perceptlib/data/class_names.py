"""Names of classes from a file, in whatever form they are handed around."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A line of a numbered list: "0: tench", "0,tench", "1 tench"; a line of ImageNet's synset list: "n01440764 tench".
_NUMBERED = (
    re.compile(r"(?P<number>\d+)\s*[\s:,;.)]\s*(?P<name>\D.*)"),
    re.compile(r"(?P<name>\D.*?)[\s,;:]+(?P<number>\d+)"),
)
_SYNSET = re.compile(r"n\d{8}")
_QUOTED = re.compile(r"""(["'])(.*)\1,?""")  # of a table or a list: "tench, Tinca tinca",


def imagenet_names() -> tuple[str, ...]:
    """The 1000 of torchvision's weights."""
    import torchvision  # its import takes seconds

    return tuple(torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])


def read_class_names(path: str | Path, num_classes: int) -> tuple[str, ...]:
    """Read a file of `num_classes` class names.

    One name per line, or numbered lines ("0: tench", "tench 0", from 0 or 1), or lines that begin with a WordNet id; or
    a list or dictionary as JSON or Python writes it: names in order, names by class index, [WordNet id, name] by index
    (Keras), class indices by name (torchvision's ``class_to_idx``), names by WordNet id in ImageNet's order, or any of
    them as the entry ``id2label`` of a configuration. FileNotFoundError or ValueError say what else was found.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of class names {path}; name a text file with one per line")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}); save it as such, one class name per line") from error
    names = _written_out(text, path) if text.lstrip()[:1] in ("[", "{") else _lines(text.rstrip().splitlines(), path)
    if len(names) != num_classes:
        raise ValueError(
            f"{path} holds {len(names)} class names; {num_classes} are needed, one per line or class index"
        )
    return tuple(names)


def _lines(lines: Sequence[str], path: Path) -> list[str]:
    """Names without the dashes, numbers or WordNet ids that every line has, and without quotes."""
    is_yaml = bool(lines) and all(line.lstrip().startswith("- ") for line in lines)
    lines = [line.strip().removeprefix("- " if is_yaml else "") for line in lines]
    numbered = _numbered(lines)
    names = lines if numbered is None else [numbered[number] for number in sorted(numbered)]
    parts = [name.split(maxsplit=1) for name in names]
    if lines and all(len(part) == 2 and _SYNSET.fullmatch(part[0]) for part in parts):
        in_order = parts if numbered else sorted(parts)
        names = [part[1] for part in in_order]
        if numbered is None and (counted := _numbered(names)) is not None:
            if list(counted) != sorted(counted):
                raise ValueError(f"{path} numbers its classes in another order than their WordNet ids have; {_ADVICE}")
            names = list(counted.values())
    return [match[2] if (match := _QUOTED.fullmatch(name)) else name for name in names]


def _numbered(lines: Sequence[str]) -> dict[int, str] | None:
    """Names by the numbers that the lines have, in their order, where they count them."""
    for form in _NUMBERED if lines else ():
        found = [form.fullmatch(line) for line in lines]
        numbered = {int(match["number"][:9]): match["name"].strip() for match in found if match}
        is_count = sorted(numbered) in [list(range(first, first + len(lines))) for first in (0, 1)]
        if is_count and 2 * len(set(numbered.values())) > len(lines):  # not so for "class 0", "class 1"
            return numbered
    return None


def _written_out(text: str, path: Path) -> Sequence[str]:
    """Names of a list or dictionary in JSON or Python."""
    try:
        try:
            content = json.loads(text)
        except ValueError:
            content = ast.literal_eval(text.strip().removesuffix(";"))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"{path} is neither JSON nor a Python literal ({type(error).__name__}); {_ADVICE}") from error
    if isinstance(content, Mapping) and isinstance(content.get("id2label"), Mapping):
        content = content["id2label"]
    is_pairs = isinstance(content, list) and all(isinstance(part, list | tuple) and len(part) == 2 for part in content)
    if is_pairs and all(type(index) is int for index, _ in content):
        content = dict(content)
    if isinstance(content, Mapping):
        content = _in_order(content)
    names = [part[-1] if isinstance(part, list | tuple) and part else part for part in content or ()]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} holds no names by class index; {_ADVICE}")
    return names


_ADVICE = "a list of names, or a dictionary of names by class index from 0 on, is needed"


def _in_order(entries: Mapping[Any, Any]) -> list[Any] | None:
    """Values by class index, or by WordNet id; or names of the indices. None where it is neither."""
    if all(isinstance(value, int) for value in entries.values()):
        entries = {value: name for name, value in entries.items()}
    if all(_SYNSET.fullmatch(str(key)) for key in entries):
        return [entries[key] for key in sorted(entries)]
    by_index = {int(str(key)): value for key, value in entries.items() if re.fullmatch(r"\d{1,9}", str(key))}
    is_whole = len(by_index) == len(entries) and sorted(by_index) == list(range(len(entries)))
    return [by_index[index] for index in range(len(entries))] if is_whole else None
