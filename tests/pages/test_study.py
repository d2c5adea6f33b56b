"""A page's study beside the recorded ones: each found under its name, what is missing left out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from made_rows import agreement_rows, fooling_rows, search_rows

from perceptlib.analysis.claims import NOT_TESTABLE, claim_c, claim_d
from perceptlib.analysis.tables import write_rows
from perceptlib.pages import study as study_pages
from perceptlib.pages.study import (
    beside,
    control_verdicts,
    distance_numbers,
    distance_verdicts,
    finite,
    here_and_beside,
    recorded_study,
    run_here,
    studies,
    texture_effects,
)
from perceptlib.study.config import STUDIES
from perceptlib.study.rows import table_of, write_part

ROW = {"part": "fooling", "position": 0, "image": "a", "method": "l2", "budget": 0.01, "status": "ok"}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder in which digits are recorded, and imagenet only as far as one part."""
    for name in ("imagenet/rows/one", "digits/study"):
        path = tmp_path / "recorded" / f"{name}.parquet"
        path.parent.mkdir(parents=True)
        write_part(table_of([ROW | {"image": name}]), path)
    monkeypatch.setattr(study_pages, "data_dir", lambda: tmp_path)
    return tmp_path


def test_recorded_study_is_found_by_name_and_by_path(shipped: Path) -> None:
    assert [row["image"] for row in recorded_study("digits")] == ["digits/study"]
    assert [row["image"] for row in recorded_study("imagenet")] == ["imagenet/rows/one"]
    assert recorded_study(str(shipped / "recorded" / "digits")) == recorded_study("digits")
    assert recorded_study(str(shipped / "recorded" / "digits" / "study.parquet")) == recorded_study("digits")


def test_a_preset_that_is_not_recorded_has_no_rows_and_another_name_is_told(shipped: Path) -> None:
    assert recorded_study("shapes") == []
    with pytest.raises(FileNotFoundError, match="imagnet holds no rows of a study"):
        recorded_study("imagnet")


def test_studies_are_named_and_ordered_and_empty_ones_left_out(shipped: Path) -> None:
    assert list(studies([ROW], "imagenet")) == ["here", "imagenet", "digits"]
    assert list(studies([ROW], "digits")) == ["here", "digits", "imagenet"]
    assert list(studies([], "shapes")) == ["imagenet", "digits"]
    write_part(table_of([ROW]), shipped / "my own.parquet")
    assert list(studies([ROW], str(shipped / "my own.parquet"))) == ["here", "my_own", "imagenet", "digits"]


def test_a_copy_of_a_shipped_study_stands_for_it_and_here_stays_the_page_s_own(shipped: Path) -> None:
    for name in ("imagenet", "here"):
        (shipped / name).mkdir()
        write_part(table_of([ROW | {"image": "copy"}]), shipped / name / "study.parquet")
    found = studies([ROW], str(shipped / "imagenet"))
    assert list(found) == ["here", "imagenet", "digits"] and found["imagenet"][0]["image"] == "copy"
    path = str(shipped / "here")
    found = studies([ROW], path)
    assert list(found) == ["here", "recorded", "imagenet", "digits"] and found["here"][0]["image"] == "a"
    assert beside(found, path, [])[0]["image"] == "copy" and list(here_and_beside(found, path)) == ["here", "recorded"]
    assert beside(found, "shapes", [1]) == [1]


def test_run_here_keeps_each_configuration_apart_and_finds_it_again(tmp_path: Path) -> None:
    config = replace(
        STUDIES["shapes"], num_images=2, attacks=("linf",), budgets=(0.01,), steps=1, searches=(), maps=(), cascade=()
    )
    config = replace(config, regions=(), limits={})
    rows = run_here(config, tmp_path)
    assert len(rows) == 2 and run_here(config, tmp_path) == rows
    assert len(run_here(replace(config, budgets=(0.01, 0.02)), tmp_path)) == 4
    assert len(list((tmp_path / "study").iterdir())) == 2


def test_numbers_and_verdicts_of_claim_c_are_those_of_the_rows() -> None:
    rows = fooling_rows({"l2": [[False] * 6], "linf": [[False] * 6], "ssim": [[True] * 6]}, budgets=(0.01,))
    rows += search_rows({"ssim": [0.01] * 6, "pgd_l2": [0.02] * 6, "pgd_linf": [0.04] * 6, "deepfool": [0.03] * 6})
    numbers = distance_numbers(rows)
    assert numbers["differences"]["l2"]["1e-02"]["value"] == 1 and numbers["counts"]["num_compared"] == 6
    assert numbers["searches"]["pgd_l2"]["ratio"]["value"] == 0.5
    assert math.isnan(numbers["searches_8bit"]["pgd_l2"]["ratio"]["value"])  # no search on the 8-bit grid
    verdicts = distance_verdicts({"here": rows})
    assert list(verdicts) == ["here", "together"]
    # compared as texts, for a p-value of NaN is not itself
    assert repr(verdicts["here"]) == repr((claim_c(rows), claim_c(rows, is_rounded=True)))
    verdicts = distance_verdicts({"here": rows, "digits": []})
    assert list(verdicts) == ["here", "digits", "recorded_together"]
    assert verdicts["recorded_together"][0].verdict == NOT_TESTABLE


def test_texture_effects_are_computed_unless_recorded(shipped: Path) -> None:
    assert texture_effects(0) is None
    effects = texture_effects(4, seed=1)
    assert effects is not None and effects["num_scenes"] + effects["num_left_out"] == 4
    rows = agreement_rows(6, {"ssim": 0.5})
    expected = {"here": claim_d(rows, effects["conditions"], effects)}
    assert repr(control_verdicts({"here": rows}, effects)) == repr(expected)
    assert repr(control_verdicts({"here": rows}, None)) == repr({"here": claim_d(rows, None, None)})
    made = [
        {"scene": 0, "object_texture": on, "background_texture": behind, "method": "ssim", "over_chance": 2.0}
        | {"is_named_rightly": True}
        for on in ("smooth", "textured")
        for behind in ("smooth", "textured")
    ]
    write_rows(made, shipped / "recorded" / "shapes" / "factorial.csv")
    recorded = texture_effects(4, seed=1)
    assert recorded is not None and recorded["conditions"]["smooth/smooth"]["value"] == 2


def test_finite_keeps_all_but_infinite_numbers() -> None:
    given = {"a": math.inf, "b": {"c": -math.inf, "d": 1.5, "e": "words"}, "f": None, "g": True}
    result = finite(given)
    assert math.isnan(result["a"]) and math.isnan(result["b"]["c"])
    assert result["b"]["d"] == 1.5 and result["b"]["e"] == "words" and result["f"] is None and result["g"] is True
