"""SSIM-ball adversarial attacks, their agreement with class activation maps, and the controls that test it."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"


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
    folder = Path(__file__).resolve().parent.parent / "data"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder}; perceptlib reads its data from its repository: "
            "clone it and install with `pip install -e .`"
        )
    return folder
