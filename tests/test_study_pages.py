"""A page's study beside the recorded ones: each found under its name, what is missing left out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from perceptlib import study_pages
from perceptlib.study_config import STUDIES
from perceptlib.study_pages import finite, recorded_study, run_here, studies
from perceptlib.study_rows import write_part

ROW = {"part": "fooling", "position": 0, "image": "a", "method": "l2", "budget": 0.01, "status": "ok"}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder in which digits are recorded, and imagenet only as far as one part."""
    for name in ("imagenet/rows/one", "digits/study"):
        path = tmp_path / "recorded" / f"{name}.parquet"
        path.parent.mkdir(parents=True)
        write_part([ROW | {"image": name}], path)
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
    write_part([ROW], shipped / "my own.parquet")
    assert list(studies([ROW], str(shipped / "my own.parquet"))) == ["here", "my_own", "imagenet", "digits"]


def test_run_here_keeps_each_configuration_apart_and_finds_it_again(tmp_path: Path) -> None:
    config = replace(
        STUDIES["shapes"], num_images=2, attacks=("linf",), budgets=(0.01,), steps=1, searches=(), maps=(), cascade=()
    )
    config = replace(config, regions=(), limits={})
    rows = run_here(config, tmp_path)
    assert len(rows) == 2 and run_here(config, tmp_path) == rows
    assert len(run_here(replace(config, budgets=(0.01, 0.02)), tmp_path)) == 4
    assert len(list((tmp_path / "study").iterdir())) == 2


def test_finite_keeps_all_but_infinite_numbers() -> None:
    given = {"a": math.inf, "b": {"c": -math.inf, "d": 1.5, "e": "words"}, "f": None, "g": True}
    result = finite(given)
    assert math.isnan(result["a"]) and math.isnan(result["b"]["c"])
    assert result["b"]["d"] == 1.5 and result["b"]["e"] == "words" and result["f"] is None and result["g"] is True
