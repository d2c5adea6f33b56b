"""One run at a time in a folder, or for one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class FolderInUse(RuntimeError):
    """Another run is writing there."""


@contextmanager
def claimed(folder: str | Path, name: str = "") -> Iterator[None]:
    """Hold a folder for one run, by a file ``.lock`` in it; the system lets go of it when the process ends in any way.

    Parameters
    ----------
    folder
        Made if missing.
    name
        Hold one file of the folder, which is to be written, in place of the whole.

    Raises
    ------
    FolderInUse
        Another run holds it, in this process or another.
    OSError
        The folder cannot be made or written.
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
