"""Opponents recorded: a row for each picture and search, kept from run to run."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch

from perceptlib.balls import MultiScaleBall
from perceptlib.records import read_json, write_json
from perceptlib.records.frames import read_csv, write_csv
from perceptlib.ssim import distance
from perceptlib.study import load_study, opponents
from perceptlib.study.opponents import NAMES, VARIANTS, record_opponents, record_rounded, record_variants

METHODS = ("multiscale", "l2", "deepfool")
OPTIONS = {"preset": "shapes", "num_images": 2, "budget": 30, "progress": False}


@pytest.mark.slow
def test_rows_are_kept_and_a_second_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("foolbox")
    rows = record_opponents(tmp_path, methods=METHODS, **OPTIONS)
    study = load_study("shapes", num_images=4).head(2)
    assert rows[["image", "method"]].values.tolist() == [
        [image, name] for image in study.pictures.ids for name in METHODS
    ]
    assert rows["is_adversarial"].all() and (rows["gradients"] <= 30).all() and (rows["forward_passes"] > 0).all()
    assert set(rows["aim"]) == {"multiscale", "l2"} and (rows["ciede2000"] > 0).all()
    nearest = rows.pivot(index="image", columns="method", values="multiscale")
    assert (nearest["multiscale"] < nearest["deepfool"]).all()
    told = read_json(tmp_path / "opponents_30.json")
    [about] = told["runs"]
    assert (about["budget"], told["num_images"], about["left_out"]) == (30, 2, {})
    assert about["weights"]["sha256"] == study.classifier.sha256

    seen = []
    original = opponents._row
    monkeypatch.setattr(opponents, "_row", lambda *given: seen.append(given[2]) or original(*given))
    lines = read_csv(tmp_path / "opponents_30.csv")
    lines.iloc[:-1].to_csv(tmp_path / "opponents_30.csv", index=False)
    again = record_opponents(tmp_path, methods=METHODS, **OPTIONS)
    assert seen == ["deepfool"] and len(again) == 6
    assert again["distance"].tolist() == pytest.approx(rows["distance"].tolist(), rel=1e-5)
    first, second = read_json(tmp_path / "opponents_30.json")["runs"]
    assert first == about and second["date"] >= about["date"]

    write_json(tmp_path / "opponents_30.json", {"runs": [about, second | {"seed": 1}]})
    with pytest.raises(ValueError, match="holds rows of another network or seed; name another folder"):
        record_opponents(tmp_path, methods=METHODS, **OPTIONS)


@pytest.mark.slow
def test_distance_of_a_row_is_that_of_the_picture_found() -> None:
    study = load_study("shapes", num_images=1)
    row = opponents._row(study, study.pictures, "ssim", 100, 0)
    result, _ = opponents.run_own(
        opponents.ball_of("ssim", study.pictures.images, 0.01),
        *(study.classifier, study.pictures.images, study.pictures.labels),
    )
    pair = (study.pictures.images.double(), result.adversarial.double())
    assert row["distance"] == pytest.approx(float(distance(*pair)[0]), rel=1e-9)
    assert (row["gradients"], row["forward_passes"]) == (int(result.gradients[0]), int(result.forward_passes[0]))


def test_what_is_not_installed_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opponents, "missing_module", lambda name: "numba" if name == "brendel_bethge" else "")
    with pytest.warns(UserWarning, match=r"left out, as a module is not installed: brendel_bethge \(numba\)"):
        record_opponents(tmp_path, methods=("l2", "brendel_bethge"), **OPTIONS | {"num_images": 1})
    assert read_json(tmp_path / "opponents_30.json")["runs"][0]["left_out"] == {"brendel_bethge": "numba"}


def test_unknown_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no search 'fgsm'; ssim, multiscale, l2, linf, fmn_l2"):
        record_opponents(tmp_path, methods=("fgsm",))
    assert set(opponents.OWN) < set(NAMES)


@pytest.mark.slow
def test_the_nearest_picture_of_each_kind_is_rounded_once(tmp_path: Path) -> None:
    searched = record_opponents(tmp_path, methods=("ssim", "l2", "linf"), **OPTIONS)
    searched.loc[searched["method"] == "linf", "is_adversarial"] = False  # as if it had found nothing
    write_csv(searched, tmp_path / "opponents_30.csv")
    rows = record_rounded(tmp_path, aims=("l2",), **OPTIONS)
    rows = record_rounded(tmp_path, aims=("l2", "linf", "ssim"), **OPTIONS)
    images = searched["image"].unique().tolist()
    assert rows[["image", "aim"]].values.tolist() == [
        *([image, "l2"] for image in images),
        *([image, "ssim"] for image in images),
    ]
    assert (rows["method"] == rows["aim"]).all() and rows["is_adversarial_8bit"].all()
    assert rows["found_again"].tolist() == pytest.approx(rows["found"].tolist(), rel=1e-3)
    assert (rows["gradients"] <= 33).all() and (rows["ciede2000"] > 0).all()
    told = read_json(tmp_path / "rounded_30.json")
    assert len(told["runs"]) == 2 and told["num_images"] == 2


def test_rounding_needs_recorded_searches_and_a_known_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no search for 'vif'; ssim, l2, linf, multiscale are"):
        record_rounded(tmp_path, aims=("vif",), **OPTIONS)
    with pytest.raises(FileNotFoundError, match=r"opponents_30\.csv"):
        record_rounded(tmp_path, **OPTIONS)


@pytest.mark.slow
def test_variants_of_the_ball_are_searched_each(tmp_path: Path) -> None:
    rows = record_variants(tmp_path, **OPTIONS)
    images = rows["image"].unique().tolist()
    assert rows[["image", "variant"]].values.tolist() == [[image, name] for image in images for name in VARIANTS]
    assert len(images) == 2 and rows["is_adversarial"].all() and (rows["gradients"] <= 30).all()
    assert rows.groupby("image")["multiscale"].agg(lambda sizes: sizes.nunique()).tolist() == [len(VARIANTS)] * 2
    # by the default's own distance the search in the default ball ends nearest in the median
    assert rows.groupby("variant")["multiscale"].median().idxmin() == "default"
    assert read_json(tmp_path / "variants_30.json")["num_images"] == 2


def test_variants_differ_from_the_default_and_from_each_other() -> None:
    images = load_study("shapes", num_images=1).pictures.images
    gradient = torch.linspace(-1, 1, images.numel()).view_as(images)
    steps = [MultiScaleBall(images, 0.01, **options).steepest(gradient) for options in VARIANTS.values()]
    assert torch.equal(steps[0], MultiScaleBall(images, 0.01).steepest(gradient))
    assert all(not torch.allclose(one, other, rtol=1e-3) for one, other in combinations(steps, 2))
