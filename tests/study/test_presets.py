"""Pictures and networks of a study: of presets, of lists and folders, and a user's own."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from perceptlib.data import photographs, save_picture
from perceptlib.study import presets
from perceptlib.study.config import StudyConfig


@pytest.fixture(autouse=True)
def no_assets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "assets" not in request.fixturenames:
        monkeypatch.delenv("PERCEPTLIB_ASSETS", raising=False)
    monkeypatch.delenv("PERCEPTLIB_WEIGHTS", raising=False)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Two small pictures with labels."""
    for index in range(2):
        save_picture(torch.full((1, 3, 8, 8), index / 2), tmp_path / f"{index}.png")
    (tmp_path / "images.csv").write_text("file,label\n0.png,7\n1.png,9\n")
    return tmp_path


def test_shapes_come_with_masks_and_are_told_apart_by_seed() -> None:
    pictures = presets.load_pictures("shapes", num_images=5, seed=3)
    assert pictures.images.shape == (5, 3, 64, 64) and pictures.masks is not None
    assert pictures.ids[4] == "shapes-3-4"
    assert pictures.accepted[0] == (int(pictures.labels[0]),)
    assert not torch.equal(pictures.images, presets.load_pictures("shapes", num_images=5, seed=4).images)


def test_pictures_in_batches_are_the_pictures() -> None:
    pictures = presets.load_pictures("shapes", num_images=5)
    batches = list(pictures.batches(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat([batch.images for batch in batches]), pictures.images)
    assert sum((batch.ids for batch in batches), ()) == pictures.ids
    assert pictures.head(100).ids == pictures.ids
    with pytest.raises(ValueError, match="batch_size is 0; 1 or more is allowed, such as 8 for photographs"):
        next(pictures.batches(0))


def test_photos_are_scikit_images_with_every_right_class() -> None:
    pictures = presets.load_pictures("photos", num_images=2)
    assert pictures.ids == photographs().names[:2] and pictures.accepted[0] == (282, 281, 285)
    assert presets.photograph("rocket").ids == ("rocket",)
    with pytest.raises(ValueError, match="there is no photograph 'dog'; cat, espresso, rocket, tripod, motorcycle are"):
        presets.photograph("dog")


def test_imagenet_is_what_a_csv_lists(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = presets.load_pictures("imagenet", num_images=200, csv=str(listed / "images.csv"))
    assert pictures.images.shape == (2, 3, 224, 224) and pictures.labels.tolist() == [7, 9]
    assert pictures.accepted == ((7,), (9,)) and pictures.masks is None
    with pytest.raises(FileNotFoundError, match=r"or name a folder with an images.csv in PERCEPTLIB_ASSETS"):
        presets.load_pictures("imagenet", num_images=1)
    monkeypatch.setenv("PERCEPTLIB_ASSETS", str(listed))
    assert presets.load_pictures("imagenet", num_images=1).ids == ("0.png",)


def test_imagenet_in_class_folders_is_spread_over_classes(tmp_path: Path) -> None:
    for name in ("3", "7", "9"):
        (tmp_path / name).mkdir()
        for index in range(3):
            save_picture(torch.full((1, 3, 8, 8), index / 3), tmp_path / name / f"{index}.png")
    pictures = presets.load_pictures("imagenet", num_images=4, csv=str(tmp_path), size=32)
    assert pictures.ids == ("3/0.png", "3/1.png", "7/0.png", "9/0.png")
    assert pictures.labels.tolist() == [3, 3, 7, 9] and pictures.images.shape == (4, 3, 32, 32)
    assert len(presets.load_pictures("imagenet", num_images=99, csv=str(tmp_path), size=8)) == 9


def test_digits_are_told_apart_by_seed_and_end_with_the_last() -> None:
    pictures = presets.load_pictures("digits", num_images=5, seed=3)
    assert pictures.images.shape == (5, 3, 32, 32) and pictures.masks is None
    assert pictures.ids[0].startswith("digits-") and pictures.ids != presets.load_pictures("digits", num_images=5).ids
    assert len(set(presets.load_pictures("digits", num_images=10_000).ids)) == 597


def test_study_of_digits_keeps_nearly_all() -> None:
    study = presets.load_study("digits", num_images=200, network="digits-2")
    assert study.classifier.name == "digits-2" and study.num_loaded == 200 and study.accuracy > 0.97
    assert study.examples is study.pictures


def test_study_brings_photographs_to_the_size_of_its_network(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = tuple(range(1000))
    photos = presets.Pictures(torch.rand(1, 3, 64, 64), torch.tensor([1]), (everything,), ("a",))
    sizes: list[int] = []

    def loaded(*args: object, size: int, **options: object) -> presets.Pictures:
        sizes.append(size)
        return photos

    monkeypatch.setattr(presets, "load_pictures", loaded)
    study = presets.load_study("photos", num_images=1, weights="random", network="regnet_y_400mf")
    assert sizes == [224] and study.classifier.input_size == 224
    presets.load_study("imagenet", num_images=1, weights="random", network="efficientnet_b1")
    assert sizes[1:] == [240, 240]


def test_unknown_preset_and_no_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="'mnist'; pass one of 'shapes', 'digits', 'photos', 'imagenet'"):
        presets.load_pictures("mnist", num_images=1)
    with pytest.raises(ValueError, match="there is no preset 'mnist'"):
        presets.load_network("mnist")
    with pytest.raises(ValueError, match="num_images is 0; 1 or more is allowed"):
        presets.load_pictures("shapes", num_images=0)


def test_study_keeps_pictures_that_the_network_classifies_correctly() -> None:
    study = presets.load_study("shapes", num_images=200)
    with torch.no_grad():
        answers = study.classifier(study.pictures.images).argmax(1)
    assert torch.equal(answers, study.pictures.labels)
    assert study.num_loaded == 200 and study.accuracy == len(study.pictures) / 200 > 0.97
    assert study.examples is study.pictures
    assert study.head(3).pictures.ids == study.pictures.ids[:3]


def test_study_takes_the_networks_answer_among_the_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = presets.load_pictures("shapes", num_images=4)
    everything = tuple(tuple(range(8)) for _ in range(4))
    changed = presets.Pictures(pictures.images, (pictures.labels + 1) % 8, everything, pictures.ids)
    monkeypatch.setattr(presets, "load_pictures", lambda *args, **options: changed)
    study = presets.load_study("shapes", num_images=4)
    assert study.pictures.labels.tolist() == pictures.labels.tolist()


def test_study_without_a_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = presets.load_pictures("shapes", num_images=4)
    nothing = presets.Pictures(pictures.images, pictures.labels, ((99,),) * 4, pictures.ids)
    monkeypatch.setattr(presets, "load_pictures", lambda *args, **options: nothing)
    with pytest.raises(ValueError, match="classifies none of the 4 pictures of preset 'shapes' correctly; pass more"):
        presets.load_study("shapes", num_images=4)


def test_study_refuses_a_class_that_the_network_does_not_have(listed: Path) -> None:
    (listed / "images.csv").write_text("file,label\n0.png,7\n1.png,1000\n")
    with pytest.raises(ValueError, match=r"1 of 2 pictures have a label .*, first 1\.png with 1000; 0 to 999 are"):
        presets.load_study("imagenet", num_images=2, csv=str(listed / "images.csv"), weights="random")


def test_imagenet_study_shows_photographs_of_its_own_and_none_of_the_list(assets: Path) -> None:
    study = presets.load_study("imagenet", num_images=4)
    assert set(study.examples.ids) <= set(photographs().names) and len(study.examples) >= 3
    assert study.num_loaded == 4 and study.classifier.sha256


@pytest.mark.parametrize("preset", ["shapes", "digits"])
def test_batches_hold_the_pictures_of_the_preset(preset: str) -> None:
    whole = presets.load_pictures(preset, num_images=5, seed=3)
    source = presets.Source(StudyConfig(preset=preset, num_images=5, seed=3))
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
def damaged(tmp_path: Path) -> StudyConfig:
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


def test_unreadable_files_are_told_and_the_others_read(damaged: StudyConfig, tmp_path: Path) -> None:
    source = presets.Source(damaged, size=16)
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


def test_batch_without_a_readable_picture_is_empty(damaged: StudyConfig) -> None:
    pictures, named, failures = presets.Source(damaged, size=16).batch(1, 3)
    assert len(pictures) == 0
    assert pictures.images.shape == (0, 3, 16, 16)
    assert named.ids == ("1.jpg", "2.jpg")
    assert sorted(failures) == [1, 2]


def test_listed_class_that_the_network_does_not_have_is_refused(damaged: StudyConfig) -> None:
    source = presets.Source(damaged, size=16)
    source.check(4)
    sentence = r"2 of 4 pictures have a label .*, first 2\.jpg with 2; 0 to 1 are allowed; correct the list"
    with pytest.raises(ValueError, match=sentence):
        source.check(2)
    presets.Source(StudyConfig(num_images=2)).check(8)


def test_picture_missing_from_the_start_is_refused(damaged: StudyConfig, tmp_path: Path) -> None:
    (tmp_path / "3.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.jpg"):
        len(presets.Source(damaged, size=16))


def test_listing_names_the_pictures_by_their_list(damaged: StudyConfig) -> None:
    source = presets.Source(damaged)
    _, named, _ = source.batch(0, len(source))
    lines = "".join(f"{name},{label}\n" for name, label in zip(named.ids, named.labels.tolist(), strict=True))
    assert source.listing() == {"number": len(source), "sha256": hashlib.sha256(lines.encode()).hexdigest()}
    shapes, others = (presets.Source(StudyConfig(num_images=3, seed=seed)).listing() for seed in (0, 1))
    assert shapes["number"] == others["number"] == 3
    assert shapes["sha256"] != others["sha256"]
    assert presets.Source(StudyConfig(preset="digits", num_images=3)).listing()["number"] == 3


def test_listing_of_loaded_pictures_knows_every_pixel_and_label() -> None:
    pictures = presets.load_pictures("shapes", num_images=3)
    known = pictures.listing()
    assert known["number"] == 3 and known == presets.load_pictures("shapes", num_images=3).listing()
    changed = pictures.images.clone()
    changed[2, 0, 5, 5] = 1 - changed[2, 0, 5, 5].round()
    others = [
        replace(pictures, images=changed),
        replace(pictures, accepted=((0,), (1,), (2, 3))),
        replace(pictures, ids=("a", "b", "c")),
        pictures.head(2),
    ]
    assert len({known["sha256"], *(other.listing()["sha256"] for other in others)}) == 5


def test_network_is_loaded_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEPTLIB_DEVICE", "cuda:99")
    with pytest.raises(ValueError, match="PERCEPTLIB_DEVICE: device is 'cuda:99', but torch finds"):
        presets.load_network("shapes")
    monkeypatch.setenv("PERCEPTLIB_DEVICE", "cpu")
    assert presets.load_network("shapes").mean.device.type == "cpu"


def test_network_is_the_presets_own_or_the_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert presets.load_network("shapes").name == "shapes-0" and presets.load_network("digits").name == "digits-0"
    assert presets.load_network("shapes", network="shapes-2").name == "shapes-2"
    monkeypatch.setattr("perceptlib.networks.loading.mobilenet_weights", lambda: None)
    assert {presets.load_network(preset).name for preset in ("photos", "imagenet")} == {"efficientnet-lite0"}
    with pytest.raises(ValueError, match=r"network 'mobilenet_v2' has 1000 classes, .* 'shapes' have 8; name one"):
        presets.load_network("shapes", network="mobilenet_v2", weights="random")
    with pytest.raises(ValueError, match=r"there is no network '1'; pass a name such as .*'shapes-1'"):
        presets.load_network("shapes", network="1")
