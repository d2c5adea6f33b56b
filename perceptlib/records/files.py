"""Files that are whole or not there, folders that belong to one run at a time, and numbers as JSON holds them."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# What the disk or its rights are to blame for; other errors of the system tell of themselves.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG)


class FolderInUse(RuntimeError):
    """Another run is writing there."""


@contextmanager
def claimed(folder: str | Path, name: str = "") -> Iterator[None]:
    """Hold a folder, made if missing, or the file `name` in it; FolderInUse where another run holds it.

    The system lets go of the file ``.lock`` when the process ends in any way.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{name}.lock" if name else folder / ".lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:  # an OSError as well
        what, kind = (f" {folder / name}", "file") if name else (f" into {folder}", "folder")
        raise FolderInUse(f"another run is writing{what}; wait for it, or name another {kind}") from None
    try:
        yield
    finally:
        with suppress(OSError):  # some systems keep an open file; nobody waits for this one
            path.unlink()
        lock.release()


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Say what a full disk or a folder without rights means for what is written into a folder; still OSError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise OSError(
            f"{out} cannot be written ({error.strerror}); files under their final names are whole; free space or make "
            "the folder writable and start again, or name another folder"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all: a name in the same folder that takes the place of `path` at the end."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write what `json` can hold, without NaN and infinity."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing(path) as temporary:
        # a file's name that is no UTF-8 has lone surrogates, which JSON can hold as an escape
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path) -> dict[str, Any]:
    """Entries by name; ValueError for a file that is damaged or holds something else."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); make it again, or name another file") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; entries by name are needed; make it again")
    return content


def plain(numbers: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Scalars of Python, torch and numpy, None and texts, or mappings of these, as JSON can hold them; NaN as None.

    Names are of letters, digits, ``_`` and ``-``: a dot separates them where the book quotes a number.
    """
    for key in numbers:
        if not isinstance(key, str) or not re.fullmatch(r"[\w-]+", key):
            legal = re.sub(r"[^\w-]", "_", str(key)) or "name"
            raise ValueError(f"number's name {key!r}: letters, digits, _ and - are allowed; write {legal!r}")
    return {key: _plain(value, above + key) for key, value in numbers.items()}


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return plain(value, f"{where}.")
    if hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError):
            raise TypeError(
                f"number {where} is an array of shape {tuple(getattr(value, 'shape', ()))}; write one number, such as "
                "its mean, and keep the rows in a CSV file"
            ) from None
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"number {where} is {value}; JSON has no infinity; write NaN where it is undefined")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"number {where} is a {type(value).__name__}; bool, int, float, str, None or a mapping of these is allowed"
    )
