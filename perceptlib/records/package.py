"""The package itself: its version, and the folder of the files that ship with it."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"
PACKAGE = Path(__file__).resolve().parent.parent
ROOT = PACKAGE.parent  # the clone, or what the package is installed into
INSTALLED_DATA = PACKAGE / "_data"


def is_clone() -> bool:
    """Whether the package lies in its repository, with notebooks and book beside it."""
    return not INSTALLED_DATA.is_dir()


def ships(name: str) -> bool:
    """Whether a file of ``data/`` is in this copy: the book's executed pages are in a clone alone."""
    return is_clone() or not name.startswith("recorded/0")


def data_dir() -> Path:
    """Folder of the files that ship: the repository's ``data/``, or the copy within an installed package."""
    folder = ROOT / "data" if is_clone() else INSTALLED_DATA
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder}; perceptlib was copied away from its data: `pip install .` in its clone brings both"
        )
    return folder
