"""Photographs and folders of pictures: what they hold, and the sentence for each folder that is not right."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch
from PIL import Image

from perceptlib import data, scenes
from perceptlib.classifier import load
from perceptlib.results import round_to_8bit


def test_shapes_are_those_of_scenes():
    assert data.shapes is scenes.shapes


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


@pytest.fixture
def folder(tmp_path):
    """Three pictures of one grey each, one of them in the folder images."""
    (tmp_path / "images").mkdir()
    for value, name in enumerate(["a.png", "b.png", "images/c.png"]):
        Image.fromarray(np.full((6, 8), value, np.uint8)).save(tmp_path / name)
    write(tmp_path, "a.png,5,x\nb.png,0,y\nc.png,999,z\n", header="file,label,author")
    return tmp_path


def write(folder, rows, header="file,label"):
    (folder / "list.csv").write_text(f"{header}\n{rows}", encoding="utf-8")


def test_folder_gives_batches_in_order(folder):
    pictures = data.image_folder(folder / "list.csv", size=4)
    assert len(pictures) == 3
    assert pictures.ids == ("a.png", "b.png", "c.png")
    batches = list(pictures.batches(2))
    assert [ids for _, _, ids in batches] == [("a.png", "b.png"), ("c.png",)]
    assert [labels.tolist() for _, labels, _ in batches] == [[5, 0], [999]]
    assert [images.shape for images, _, _ in batches] == [(2, 3, 4, 4), (1, 3, 4, 4)]
    assert torch.cat([images for images, _, _ in batches])[:, 0, 0, 0].mul(255).round().tolist() == [0, 1, 2]


def test_folder_opens_pictures_only_when_asked(folder):
    (folder / "b.png").write_text("no picture")
    batches = data.image_folder(folder / "list.csv").batches(1)
    next(batches)
    with pytest.raises(ValueError, match=r"b.png is not a picture that can be read"):
        next(batches)


def test_folder_takes_the_first_rows(folder):
    write(folder, "a.png,5\nb.png,0\nmissing.png,0\n")
    assert data.image_folder(folder / "list.csv", num_images=2).ids == ("a.png", "b.png")
    for number in (0, 4):
        with pytest.raises(ValueError, match=f"num_images is {number}; 1 to 3 are allowed"):
            data.image_folder(folder / "list.csv", num_images=number)


def test_folder_refuses_a_batch_size_below_1(folder):
    with pytest.raises(ValueError, match="batch_size is 0; 1 or more is allowed"):
        next(data.image_folder(folder / "list.csv").batches(0))


def test_csv_with_a_byte_order_mark_is_read(folder):
    (folder / "list.csv").write_text("file,label\r\na.png,5\r\n", encoding="utf-8-sig")
    assert data.image_folder(folder / "list.csv").labels.tolist() == [5]


@pytest.mark.parametrize(
    ("rows", "error", "sentence"),
    [
        ("", ValueError, "lists no pictures; a line 'name.png,0' for each is needed"),
        ("a.png,0\nnone.png,1\n", FileNotFoundError, "row 2 names 'none.png', which is neither in"),
        (",1\n", FileNotFoundError, "row 1 names '', which is neither in"),
        ("a.png,cat\n", ValueError, "row 1 has the label 'cat'; a class index, 0 or more, is needed"),
        ("a.png,1.5\n", ValueError, "has the label '1.5'; a class index"),
        ("a.png,-1\n", ValueError, "has the label '-1'; a class index"),
        ("a.png\n", ValueError, "has the label ''; a class index"),
        ("a.png,1\na.png,2\n", ValueError, "row 2 names 'a.png' a second time; each file is allowed once"),
        ("../secret.png,1\n", ValueError, "names '../secret.png', which is outside .*; keep the pictures beside"),
        ("/etc/hostname,1\n", ValueError, "names '/etc/hostname', which is outside"),
    ],
)
def test_bad_rows_refused(folder, rows, error, sentence):
    (folder.parent / "secret.png").write_bytes((folder / "a.png").read_bytes())
    write(folder, rows)
    with pytest.raises(error, match=sentence):
        data.image_folder(folder / "list.csv")


def test_links_out_of_the_folder_refused(folder):
    (folder.parent / "outside.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    write(folder, "link.png,1\n")
    with pytest.raises(ValueError, match=r"names 'link.png', which is outside"):
        data.image_folder(folder / "list.csv")


def test_bad_csv_files_refused(folder):
    write(folder, "a.png,1\n", header="name,class")
    with pytest.raises(ValueError, match="has the columns name, class; file and label are needed"):
        data.image_folder(folder / "list.csv")
    (folder / "list.csv").write_text("")
    with pytest.raises(ValueError, match=r"has the columns \(none\); file and label are needed"):
        data.image_folder(folder / "list.csv")
    with pytest.raises(FileNotFoundError, match=r"there is no CSV file .*none.csv; name one with the columns"):
        data.image_folder(folder / "none.csv")


def test_assets_are_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PERCEPTLIB_ASSETS", str(tmp_path))
    assert data.imagenet_assets() == tmp_path
    monkeypatch.setenv("PERCEPTLIB_ASSETS", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="which is no folder; correct or unset it"):
        data.imagenet_assets()
    monkeypatch.delenv("PERCEPTLIB_ASSETS")
    assert data.imagenet_assets() is None
