"""Folders of pictures: what they hold, and the sentence for each folder that is not right."""

from __future__ import annotations

import json
import os
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perceptlib import data
from perceptlib.data import folders, pictures


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
        ("a.png,1\n./a.png,1\n", ValueError, "row 2 names './a.png' a second time"),
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
    with pytest.raises(ValueError, match="has the columns 'name, class'; file and label are needed"):
        data.image_folder(folder / "list.csv")
    (folder / "list.csv").write_text("")
    with pytest.raises(ValueError, match=r"has the columns \(none\); file and label are needed"):
        data.image_folder(folder / "list.csv")
    with pytest.raises(FileNotFoundError, match=r"there is no CSV file .*none.csv; name one with the columns"):
        data.image_folder(folder / "none.csv")


def test_head_of_a_csv_takes_the_first(folder):
    listed = data.image_folder(folder / "list.csv")
    assert listed.head(2).ids == ("a.png", "b.png") and listed.head(2).labels.tolist() == [5, 0]
    assert listed.head(9) is listed


@pytest.fixture
def classes(tmp_path):
    """Folders of two classes by index and one by name, with three, two and one picture, and things to pass over."""
    for name, number in (("20", 3), ("3", 2), ("great_white_shark", 1)):
        (tmp_path / name).mkdir()
        for index in range(number):
            Image.fromarray(np.full((6, 8), index, np.uint8)).save(tmp_path / name / f"{index}.JPEG")
    (tmp_path / "3" / ".hidden.png").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "LOC_synset_mapping.txt").touch()
    return tmp_path


def test_class_folders_give_labels_sorted_by_path(classes):
    listed = data.image_folder(classes, size=4)
    assert listed.ids == ("20/0.JPEG", "20/1.JPEG", "20/2.JPEG", "3/0.JPEG", "3/1.JPEG", "great_white_shark/0.JPEG")
    assert listed.labels.tolist() == [20, 20, 20, 3, 3, 2]
    images, labels, ids = next(listed.batches(4))
    assert (images.shape, labels.tolist(), ids[3]) == ((4, 3, 4, 4), [20, 20, 20, 3], "3/0.JPEG")


def test_some_of_class_folders_are_spread_over_the_classes(classes):
    assert data.image_folder(classes, num_images=1).ids == ("20/0.JPEG",)
    assert data.image_folder(classes, num_images=2).labels.tolist() == [20, 3]
    assert data.image_folder(classes, num_images=4).labels.tolist() == [20, 20, 3, 2]
    assert data.image_folder(classes).head(5).labels.tolist() == [20, 20, 3, 3, 2]
    with pytest.raises(ValueError, match=r"num_images is 7; 1 to 6 are allowed, as .* has that many pictures"):
        data.image_folder(classes, num_images=7)


def test_few_of_many_classes_are_evenly_spaced():
    labels = [label for label in range(1000) for _ in range(2)]
    assert [labels[place] for place in folders.spread(labels, 4)] == [0, 250, 500, 750]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.data())
def test_spread_leaves_no_class_more_than_one_behind(labels, drawn):
    num_images = drawn.draw(st.integers(1, len(labels)))
    chosen = folders.spread(labels, num_images)
    assert len(chosen) == num_images and chosen == sorted(set(chosen))
    taken, there = Counter(labels[place] for place in chosen), Counter(labels)
    most = max(taken.values())
    assert all(taken[label] >= min(there[label], most - 1) for label in there)


def test_wordnet_ids_are_counted_in_order_where_all_are_there(tmp_path):
    for index in range(1000):
        (tmp_path / f"n{1440764 + 7 * index:08d}").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"n{1440764 + 7 * 281:08d}" / "cat.JPEG")
    assert data.image_folder(tmp_path).labels.tolist() == [281]
    (tmp_path / "n01440764").rmdir()
    with pytest.raises(
        ValueError, match=r"no one class: 'n01440771', .* and 994 more; .* WordNet ids .* where all 1000 are there"
    ):
        data.image_folder(tmp_path)


def test_class_folders_follow_the_names_that_are_given(tmp_path):
    for name in ("red_fox", "hare"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name / "a.png")
    assert data.image_folder(tmp_path, class_names=("hare", "elk", "red fox")).labels.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"no one class: 'hare', 'red_fox'; name each .* index, 0 to 1, or by a class"):
        data.image_folder(tmp_path, class_names=("fox", "elk"))


def test_class_name_that_stands_for_two_classes_is_refused(tmp_path):
    (tmp_path / "crane").mkdir()  # the bird and the machine
    with pytest.raises(ValueError, match=r"mean no one class: 'crane'; name each folder by its class index, 0 to 1"):
        data.image_folder(tmp_path, class_names=("crane", "crane"))


@pytest.mark.parametrize(
    ("class_names", "labels"),
    [(("1", "2", "3"), None), (("0", "1", "2"), [1, 2]), (("x", "y", "z"), [1, 2]), (("7", "2", "1"), None)],
)
def test_folder_that_is_an_index_and_another_name_is_refused(tmp_path, class_names, labels):
    for name in "12":
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name / "a.png")
    if labels is not None:
        assert data.image_folder(tmp_path, class_names=class_names).labels.tolist() == labels
    else:
        with pytest.raises(ValueError, match="mean no one class: '1'"):
            data.image_folder(tmp_path, class_names=class_names)


def test_wordnet_ids_among_the_names_are_names(tmp_path):
    for name in ("n00000001", "n00000002"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "n00000001" / "nowhere.png").symlink_to(tmp_path / "none")
    with pytest.warns(UserWarning, match=r"left out, .* class: .png \(1\); 2 pictures"):
        assert data.image_folder(tmp_path, class_names=("n00000002", "n00000001")).labels.tolist() == [1, 0]
    with pytest.raises(ValueError, match="size is 0; pass a whole number"):
        data.image_folder(tmp_path, size=0)


def test_class_folders_of_no_class_are_refused(tmp_path):
    for name in ("train", "tabby"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=r"mean no one class: 'train'; name each folder by its class index, 0 to 999"):
        data.image_folder(tmp_path)


def test_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "5").mkdir()
    with pytest.raises(ValueError, match=r"holds no pictures in folders of classes; ROOT/CLASS/NAME.JPEG is needed"):
        data.image_folder(tmp_path)


def test_assets_are_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PERCEPTLIB_ASSETS", str(tmp_path))
    assert data.imagenet_assets() == tmp_path
    monkeypatch.setenv("PERCEPTLIB_ASSETS", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="which is no folder; correct or unset it"):
        data.imagenet_assets()
    monkeypatch.delenv("PERCEPTLIB_ASSETS")
    assert data.imagenet_assets() is None


def test_what_is_left_out_of_class_folders_is_counted_and_told(classes):
    (classes / "3" / "raw").mkdir()
    (classes / "20" / "README").touch()
    (classes / "3" / "notes.txt").touch()
    for name in ("a.heic", "b.HEIC"):
        (classes / "20" / name).touch()
    (classes / "stray.png").touch()
    with pytest.warns(UserWarning) as told:
        assert len(data.image_folder(classes)) == 6
    assert len(told) == 1 and str(told[0].message).endswith(
        ": .heic (2), .png (1), .txt (1), folders (1), without suffix (1); 6 pictures are taken"
    )
    assert "6 files or folders in " in str(told[0].message)


def test_every_suffix_of_a_picture_that_can_be_read_is_listed(tmp_path):
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in pictures._READ}
    assert known - {".pfm"} <= pictures.SUFFIXES  # a PFM holds real numbers
    (tmp_path / "0").mkdir()
    for suffix in pictures.SUFFIXES:
        Image.new("L", (4, 4)).save(tmp_path / "0" / f"it{suffix}", format="PNG")
    listed = data.image_folder(tmp_path, class_names=["one"])
    assert len(listed) == len(pictures.SUFFIXES) and len(next(listed.batches(99))[0]) == len(listed)


LATIN_1 = os.fsdecode("café.png".encode("latin-1"))


def test_names_that_are_no_utf_8_are_read_and_have_ids_that_can_be_written(tmp_path):
    (tmp_path / "0").mkdir()
    try:
        Image.new("L", (4, 4)).save(tmp_path / "0" / LATIN_1)
    except OSError:
        pytest.skip("this disk takes no such name")
    by_class = data.image_folder(tmp_path, class_names=["one"])
    (tmp_path / "list.csv").write_bytes("file,label\n0/café.png,3\n".encode("latin-1"))
    by_csv = data.image_folder(tmp_path / "list.csv")
    for listed in (by_class, by_csv):
        assert listed.ids == ("0/caf\\udce9.png",) and json.dumps(listed.ids).encode("utf-8")
        assert next(listed.batches())[0].shape == (1, 3, 224, 224)
    Image.new("L", (4, 4)).save(tmp_path / "0" / "caf\\udce9.png")
    with pytest.raises(ValueError, match=r"two files have the name '0/caf.*udce9.png' once it is written out; rename"):
        data.image_folder(tmp_path, class_names=["one"])
