"""The package itself: its version, and the folder of the files that ship with it."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"
ROOT = Path(__file__).resolve().parent.parent.parent  # the clone, or what the package is installed into


def data_dir() -> Path:
    """Folder of the files that ship with the project (weights, manifests, recorded results).

    Returns
    -------
    pathlib.Path
        The repository's ``data/``.

    Raises
    ------
    FileNotFoundError
        The package was copied away from its repository.
    """
    folder = ROOT / "data"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder}; perceptlib reads its data from its repository: "
            "clone it and install with `pip install -e .`"
        )
    return folder
