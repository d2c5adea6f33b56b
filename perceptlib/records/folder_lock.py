"""One run at a time in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FolderInUse(RuntimeError):
    """Another run is writing into the folder."""


@contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """Hold a folder for one run, from its file ``.lock`` on; the system lets go of it when the process ends in any way.

    Parameters
    ----------
    folder
        Made if missing.

    Raises
    ------
    FolderInUse
        Another run holds it, in this process or another.
    OSError
        The folder cannot be made or written.
    """
    from filelock import FileLock, Timeout

    Path(folder).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(folder) / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:  # an OSError as well
        raise FolderInUse(f"another run is writing into {folder}; wait for it, or name another folder") from None
    try:
        yield
    finally:
        lock.release()
