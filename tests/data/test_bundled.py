"""Pictures of other packages: those that the manifest lists, and told where they are others."""

from __future__ import annotations

import json

import numpy as np
import pytest
import skimage.data
from sklearn.datasets import load_digits

from perceptlib.data import bundled
from perceptlib.data.textures import TEXTURES
from perceptlib.records import data_dir

LISTED = json.loads((data_dir() / "manifest.json").read_text(encoding="utf-8"))["pictures"]


def test_every_listed_picture_is_there_and_the_same() -> None:
    for name in LISTED:
        if name.startswith("skimage.data."):
            pixels = bundled.bundled_picture(name.removeprefix("skimage.data."))
            assert list(pixels.shape) == LISTED[name]["shape"] and LISTED[name]["licence"]


def test_every_texture_is_listed() -> None:
    names = {"stereo_motorcycle" if name == "motorcycle" else name for name in TEXTURES} - {"noise"}
    assert {f"skimage.data.{name}" for name in names} <= LISTED.keys()


def test_digits_are_scikit_learns() -> None:
    pixels, labels = bundled.bundled_digits()
    assert np.array_equal(pixels, load_digits().images) and np.array_equal(labels, load_digits().target)


def test_other_picture_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skimage.data, "camera", lambda: np.zeros((512, 512), np.uint8))
    with pytest.raises(ValueError, match=r"skimage\.data\.camera gives another picture"):
        bundled.bundled_picture("camera")
