"""Pictures of a study: the same ones whatever part is asked for, and unreadable ones told by position."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from perceptlib.study.config import StudyConfig
from perceptlib.study.pictures import Source, listing
from perceptlib.study.presets import load_pictures


@pytest.mark.parametrize("preset", ["shapes", "digits"])
def test_batches_hold_the_pictures_of_the_preset(preset: str) -> None:
    whole = load_pictures(preset, num_images=5, seed=3)
    source = Source(StudyConfig(preset=preset, num_images=5, seed=3))
    assert len(source) == 5
    for start, stop in ((0, 2), (2, 5), (4, 5)):
        pictures, named, failures = source.batch(start, stop)
        assert torch.equal(pictures.images, whole.images[start:stop])
        assert torch.equal(named.labels, whole.labels[start:stop])
        assert pictures.ids == named.ids == whole.ids[start:stop]
        assert pictures.accepted == whole.accepted[start:stop]
        assert (pictures.masks is None) == (whole.masks is None)
        if whole.masks is not None and pictures.masks is not None:
            assert torch.equal(pictures.masks, whole.masks[start:stop])
        assert failures == {}


@pytest.fixture
def listed(tmp_path: Path) -> StudyConfig:
    """Five photographs: good, truncated, no picture, good, good."""
    lines = ["file,label"]
    for place in range(5):
        colour = tuple(40 * place + 20 * channel for channel in range(3))
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{place}.jpg")
        lines.append(f"{place}.jpg,{place}")
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "2.jpg").write_bytes(b"no picture")
    (tmp_path / "images.csv").write_text("\n".join(lines))
    return StudyConfig(preset="imagenet", num_images=4, csv=str(tmp_path / "images.csv"))


def test_unreadable_files_are_told_and_the_others_read(listed: StudyConfig, tmp_path: Path) -> None:
    source = Source(listed, size=16)
    assert len(source) == 4
    (tmp_path / "3.jpg").unlink()  # after the list was read
    pictures, named, failures = source.batch(0, 4)
    assert pictures.ids == ("0.jpg",)
    assert pictures.images.shape == (1, 3, 16, 16)
    assert pictures.accepted == ((0,),)
    assert named.ids == ("0.jpg", "1.jpg", "2.jpg", "3.jpg")
    assert named.labels.tolist() == [0, 1, 2, 3]
    assert sorted(failures) == [1, 2, 3]
    assert "1.jpg is truncated or damaged" in failures[1]
    assert "2.jpg is not a picture that can be read" in failures[2]
    assert "3.jpg does not exist" in failures[3]
    assert not any(str(tmp_path) in reason for reason in failures.values())  # rows are for other machines as well


def test_batch_without_a_readable_picture_is_empty(listed: StudyConfig) -> None:
    pictures, named, failures = Source(listed, size=16).batch(1, 3)
    assert len(pictures) == 0
    assert pictures.images.shape == (0, 3, 16, 16)
    assert named.ids == ("1.jpg", "2.jpg")
    assert sorted(failures) == [1, 2]


def test_listed_class_that_the_network_does_not_have_is_refused(listed: StudyConfig) -> None:
    source = Source(listed, size=16)
    source.check_classes(4)
    sentence = r"2 of 4 pictures have a label .*, first 2\.jpg with 2; 0 to 1 are allowed; correct the list"
    with pytest.raises(ValueError, match=sentence):
        source.check_classes(2)
    Source(StudyConfig(num_images=2)).check_classes(8)


def test_picture_missing_from_the_start_is_refused(listed: StudyConfig, tmp_path: Path) -> None:
    (tmp_path / "3.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.jpg"):
        len(Source(listed, size=16))


def test_listing_names_the_pictures_by_their_list(listed: StudyConfig) -> None:
    source = Source(listed)
    _, named, _ = source.batch(0, len(source))
    lines = "".join(f"{name},{label}\n" for name, label in zip(named.ids, named.labels.tolist(), strict=True))
    assert source.listing() == {"number": len(source), "sha256": hashlib.sha256(lines.encode()).hexdigest()}
    shapes, others = (Source(StudyConfig(num_images=3, seed=seed)).listing() for seed in (0, 1))
    assert shapes["number"] == others["number"] == 3
    assert shapes["sha256"] != others["sha256"]
    assert Source(StudyConfig(preset="digits", num_images=3)).listing()["number"] == 3


def test_listing_of_loaded_pictures_knows_every_pixel_and_label() -> None:
    pictures = load_pictures("shapes", num_images=3)
    known = listing(pictures)
    assert known["number"] == 3 and known == listing(load_pictures("shapes", num_images=3))
    changed = pictures.images.clone()
    changed[2, 0, 5, 5] = 1 - changed[2, 0, 5, 5].round()
    others = [
        replace(pictures, images=changed),
        replace(pictures, accepted=((0,), (1,), (2, 3))),
        replace(pictures, ids=("a", "b", "c")),
        pictures.head(2),
    ]
    assert len({known["sha256"], *(listing(other)["sha256"] for other in others)}) == 5
