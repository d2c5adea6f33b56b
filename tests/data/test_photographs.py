"""Pictures of other packages: those that the manifest lists, and told where they are others; the photographs."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
import skimage.data
import torch

from perceptlib import data
from perceptlib.attacks import round_to_8bit
from perceptlib.data.photographs import bundled_picture
from perceptlib.data.textures import TEXTURES
from perceptlib.networks import load
from perceptlib.records import data_dir

LISTED = json.loads((data_dir() / "manifest.json").read_text(encoding="utf-8"))["pictures"]


def test_every_listed_picture_is_there_and_the_same() -> None:
    for name in LISTED:
        if name.startswith("skimage.data."):
            pixels = bundled_picture(name.removeprefix("skimage.data."))
            assert list(pixels.shape) == LISTED[name]["shape"] and LISTED[name]["licence"]


def test_every_texture_is_listed() -> None:
    names = {"stereo_motorcycle" if name == "motorcycle" else name for name in TEXTURES} - {"noise"}
    assert {f"skimage.data.{name}" for name in names} <= LISTED.keys()


def test_other_picture_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skimage.data, "camera", lambda: np.zeros((512, 512), np.uint8))
    with pytest.raises(ValueError, match=r"skimage\.data\.camera gives another picture"):
        bundled_picture("camera")


def test_photographs_are_complete_and_need_no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    photographs = data.photographs()
    assert photographs.names == ("cat", "espresso", "rocket", "tripod", "motorcycle")
    assert (photographs.images.shape, photographs.images.dtype) == ((5, 3, 224, 224), torch.float32)
    assert torch.equal(photographs.images, round_to_8bit(photographs.images))
    assert photographs.labels.tolist() == [classes[0] for classes in photographs.accepted]
    assert len(photographs.credits) == 5
    assert data.photographs(size=96).images.shape == (5, 3, 96, 96)


def test_photographs_are_named_by_mobilenet(assets):
    classifier = load("imagenet", weights=assets / "mobilenet_v2_imagenet_tf.safetensors")
    photographs = data.photographs()
    predicted = classifier(photographs.images).argmax(1).tolist()
    assert all(label in accepted for label, accepted in zip(predicted, photographs.accepted, strict=True))
