"""Pictures that come with scikit-image and scikit-learn, compared with those that numbers were recorded with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceptlib.records.manifest import verify_pixels


def bundled_picture(name: str) -> NDArray[np.uint8]:
    """A picture in scikit-image's own package; nothing is downloaded for those that ``data/manifest.json`` lists.

    Parameters
    ----------
    name
        Of a function of ``skimage.data``; of a stereo pair the left picture is meant.

    Returns
    -------
    numpy.ndarray
        (H, W) or (H, W, 3).

    Raises
    ------
    ValueError
        As `perceptlib.records.manifest.verify_pixels`.
    """
    import skimage.data

    loaded: Any = getattr(skimage.data, name)()
    pixels: NDArray[np.uint8] = loaded[0] if isinstance(loaded, tuple) else loaded
    verify_pixels(f"skimage.data.{name}", pixels)
    return pixels


def bundled_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The 1797 handwritten digits of scikit-learn.

    Returns
    -------
    pixels
        (1797, 8, 8), 0 to 16.
    labels
        (1797,).

    Raises
    ------
    ValueError
        As `perceptlib.records.manifest.verify_pixels`.
    """
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import

    loaded = load_digits()
    pixels = loaded.images.astype(np.uint8)
    verify_pixels("sklearn.datasets.load_digits", pixels)
    return pixels, loaded.target.astype(np.int64)
