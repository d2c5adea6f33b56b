from __future__ import annotations

from pathlib import Path

import pytest
import torch

from perceptlib import presets
from perceptlib.data import photographs, save_picture


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


def test_unknown_preset_and_no_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no preset 'mnist'; pass 'shapes', 'photos' or 'imagenet'"):
        presets.load_pictures("mnist", num_images=1)
    with pytest.raises(ValueError, match="num_images is 0; 1 or more is allowed"):
        presets.load_pictures("shapes", num_images=0)


def test_study_keeps_pictures_that_the_network_names_rightly() -> None:
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
    with pytest.raises(ValueError, match="names none of the 4 pictures of preset 'shapes' rightly; pass more"):
        presets.load_study("shapes", num_images=4)


def test_weights_are_looked_for_in_one_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert presets._imagenet_weights() == "torchvision"
    monkeypatch.setenv("PERCEPTLIB_ASSETS", str(tmp_path))
    assert presets._imagenet_weights() == "torchvision"
    file = tmp_path / "mobilenet_v2_imagenet_tf.safetensors"
    file.touch()
    assert presets._imagenet_weights() == str(file)
    monkeypatch.setenv("PERCEPTLIB_WEIGHTS", "own.pth")
    assert presets._imagenet_weights() == "own.pth"


def test_imagenet_study_shows_photographs_of_its_own_and_none_of_the_list(assets: Path) -> None:
    study = presets.load_study("imagenet", num_images=4)
    assert set(study.examples.ids) <= set(photographs().names) and len(study.examples) >= 3
    assert study.num_loaded == 4 and study.classifier.sha256
