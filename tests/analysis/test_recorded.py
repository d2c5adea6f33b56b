"""Recorded studies beside a page's own: each found under its name, what is missing left out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from study_samples import frame_of

from perceptlib.analysis import recorded
from perceptlib.analysis.recorded import (
    OPPONENT_NETWORKS,
    all_opponents,
    all_rounded,
    all_variants,
    name_of,
    recorded_effort,
    recorded_factorial,
    recorded_opponents,
    recorded_provenance,
    recorded_sessions,
    recorded_settings,
    recorded_studies,
    recorded_study,
    studies,
    study_folder,
)
from perceptlib.records import write_json
from perceptlib.records.frames import write_csv
from perceptlib.study.rows import write_part

ROW = {"part": "fooling", "position": 0, "image": "a", "method": "l2", "budget": 0.01, "status": "ok"}


def study(image: str) -> pd.DataFrame:
    return frame_of([ROW | {"image": image}])


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder in which digits are recorded with two networks, and imagenet only as far as one part."""
    names = ("imagenet/mobilenet_v2/rows/one", "digits/digits-0/study", "digits/a-network/study")
    for name in names:
        path = tmp_path / "recorded" / "studies" / f"{name}.parquet"
        path.parent.mkdir(parents=True)
        write_part(study(name), path)
    monkeypatch.setattr(recorded, "data_dir", lambda: tmp_path)
    return tmp_path


def test_recorded_study_is_found_by_name_and_by_path(shipped: Path) -> None:
    assert recorded_study("digits")["image"].tolist() == ["digits/digits-0/study"]
    assert recorded_study("digits", "a-network")["image"].tolist() == ["digits/a-network/study"]
    assert recorded_study("digits/a-network")["image"].tolist() == ["digits/a-network/study"]
    assert recorded_study("imagenet")["image"].tolist() == ["imagenet/mobilenet_v2/rows/one"]
    folder = study_folder("digits")
    for path in (folder, folder / "study.parquet"):
        pd.testing.assert_frame_equal(recorded_study(str(path)), recorded_study("digits"))
    assert recorded_study("shapes").empty and "status" in recorded_study("shapes")
    assert recorded_study("digits", "mobilenet_v2").empty
    with pytest.raises(FileNotFoundError, match="imagnet holds no rows of a study"):
        recorded_study("imagnet")


def test_recorded_studies_are_listed_photographs_and_the_presets_own_networks_first(shipped: Path) -> None:
    of_digits = [("digits", "digits-0"), ("digits", "a-network")]
    assert recorded_studies() == [("imagenet", "mobilenet_v2"), *of_digits]
    assert recorded_studies("digits") == of_digits and recorded_studies("shapes") == []
    (shipped / "recorded" / "studies" / "shapes" / "shapes-0").mkdir(parents=True)  # without rows
    assert recorded_studies("shapes") == []
    with pytest.raises(ValueError, match=r"there is no preset 'digit'; pass one of 'shapes', 'digits', 'photos', 'ima"):
        recorded_studies("digit")


def test_studies_are_named_and_ordered_and_empty_ones_left_out(shipped: Path) -> None:
    here = study("a")
    assert list(studies(here, "imagenet")) == ["here", "imagenet", "digits"]
    assert list(studies(here, "digits")) == ["here", "digits", "imagenet"]
    assert list(studies(here[:0], "shapes")) == ["imagenet", "digits"]
    write_part(here, shipped / "my own.parquet")
    assert list(studies(here, str(shipped / "my own.parquet"))) == ["here", "my_own", "imagenet", "digits"]


def test_a_copy_of_a_shipped_study_stands_for_it_and_here_stays_the_page_s_own(shipped: Path) -> None:
    for name in ("imagenet", "here"):
        (shipped / name).mkdir()
        write_part(study("copy"), shipped / name / "study.parquet")
    found = studies(study("a"), str(shipped / "imagenet"))
    assert list(found) == ["here", "imagenet", "digits"] and found["imagenet"].at[0, "image"] == "copy"
    assert name_of(str(shipped / "here")) == "recorded"
    found = studies(study("a"), str(shipped / "here"))
    assert list(found) == ["here", "recorded", "imagenet", "digits"] and found["here"].at[0, "image"] == "a"


def test_scenes_and_settings_are_found_or_none(shipped: Path) -> None:
    assert recorded_factorial() is None and recorded_settings("digits").empty
    rows = pd.DataFrame({"scene": [0], "share": [0.5]})
    write_csv(rows, shipped / "recorded" / "shapes" / "factorial.csv")
    pd.testing.assert_frame_equal(recorded_factorial(), rows)
    write_csv(rows, shipped / "mine" / "factorial_network_2.csv")
    pd.testing.assert_frame_equal(recorded_factorial(2, shipped / "mine"), rows)
    pd.testing.assert_frame_equal(recorded_settings(str(shipped / "mine" / "factorial_network_2.csv")), rows)
    with pytest.raises(FileNotFoundError):
        recorded_settings(str(shipped / "none.csv"))


def test_effort_counts_the_sessions_that_noted_their_time(shipped: Path) -> None:
    timed, older = {"machine": "a", "seconds": 1800.0}, {"machine": "b"}
    runs_of = {"digits/digits-0": [older, timed, timed], "digits/a-network": [older], "imagenet/mobilenet_v2": [older]}
    for study, runs in runs_of.items():
        write_json(shipped / "recorded" / "studies" / study / "provenance.json", {"runs": runs})
    assert recorded_sessions("digits", "digits-0") == [older, timed, timed]
    assert recorded_provenance("digits", "digits-0") == timed
    assert recorded_effort() == {
        "num_studies": 3,
        "networks": {"imagenet": 1, "digits": 2},
        "num_sessions": 5,
        "num_timed": 2,
        "hours": 1.0,
        "machines": "a; b",
    }


def test_no_recorded_study_used_a_gpu() -> None:  # book/report.md says so
    sessions = [session for study in recorded_studies() for session in recorded_sessions(*study)]
    assert sessions and {session.get("device", "cpu") for session in sessions} == {"cpu"}


def test_opponents_are_read_without_unfinished_pictures_and_may_be_missing(shipped: Path) -> None:
    assert list(all_opponents()) == list(OPPONENT_NETWORKS)
    assert all(rows.empty and "budget" in rows for rows in all_opponents().values())
    folder = shipped / "recorded" / "opponents"
    done = {100: ["a/l2", "a/ddn", "b/l2", "b/ddn", "c/l2"], 1000: ["a/l2", "c/l2"]}
    for budget, names in done.items():
        pairs = [name.split("/") for name in names]
        rows = pd.DataFrame([{"image": image, "method": method, "budget": budget} for image, method in pairs])
        write_csv(rows, folder / "mobilenet_v2" / f"opponents_{budget}.csv")
        write_csv(rows, folder / "another" / f"opponents_{budget}.csv")
    found = recorded_opponents("mobilenet_v2")
    kept = (found["image"] + "/" + found["method"]).groupby(found["budget"]).agg(list).to_dict()
    assert kept == {100: ["a/l2", "a/ddn", "b/l2", "b/ddn"], 1000: ["a/l2", "c/l2"]}
    assert list(all_opponents()) == [*OPPONENT_NETWORKS, "another"] and all_opponents()["efficientnet-lite0"].empty


def test_rounded_pictures_of_searches_are_rows_as_of_a_study(shipped: Path) -> None:
    assert all_rounded() == {}
    pairs = [("a", "l2"), ("a", "ssim"), ("b", "l2")]
    rows = pd.DataFrame([{"image": image, "aim": aim, "method": "ddn", "budget": 100} for image, aim in pairs])
    for network in ("a-network", "mobilenet_v2"):
        write_csv(rows, shipped / "recorded" / "opponents" / network / "rounded_100.csv")
    found = all_rounded()
    assert list(found) == ["mobilenet_v2", "a-network"]  # b lacks one of the kinds
    assert found["a-network"][["image", "method", "search", "part"]].values.tolist() == [
        ["a", "l2_8bit", "ddn", "judges"],
        ["a", "ssim_8bit", "ddn", "judges"],
    ]
    assert found["a-network"]["budget"].isna().all()


def test_variants_of_the_ball_are_by_network_and_may_be_missing(shipped: Path) -> None:
    assert all_variants() == {}
    for network in ("a-network", "mobilenet_v2"):
        rows = pd.DataFrame([{"image": "a", "variant": network}])
        write_csv(rows, shipped / "recorded" / "opponents" / network / "variants_50.csv")
    assert {network: [*rows["variant"]] for network, rows in all_variants().items()} == {
        "mobilenet_v2": ["mobilenet_v2"],
        "a-network": ["a-network"],
    }
