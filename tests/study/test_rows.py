"""Rows on the disk: what is written comes back, in one order, and damage is told."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from perceptlib.study.rows import SCHEMA, in_order, read_part, read_study, study_table, table_of, write_part

ROWS = [
    {"part": "fooling", "position": 1, "image": "b", "method": "l2", "budget": 0.01, "is_adversarial": True},
    {"part": "fooling", "position": 0, "image": "a", "method": "l2", "budget": 0.01, "distance": math.nan},
    {"part": "agreement", "position": 0, "image": "a", "method": "texture", "cam": "cam", "pearson": 0.1 + 0.2},
    {"part": "agreement", "position": 0, "image": "a", "method": "l2", "cam": "cam", "budget": 0.01},
    {"part": "regions", "position": 0, "image": "a", "method": "ssim", "region": "top", "budget": None},
    {"part": "regions", "position": 0, "image": "a", "method": "ssim", "region": "top", "budget": 0.1},
]


def test_rows_come_back_whole(tmp_path: Path) -> None:
    rows = read_part(write_part(table_of(ROWS), tmp_path / "rows.parquet")).to_pylist()
    assert all(set(row) == set(SCHEMA.names) for row in rows)
    for written, read in zip(ROWS, rows, strict=True):
        for name, value in read.items():
            given = written.get(name)
            assert value == given or (value != value and given != given), name


def test_order_does_not_depend_on_the_order_of_writing() -> None:
    for seed in range(5):
        shuffled = random.Random(seed).sample(ROWS, len(ROWS))
        rows = in_order([table_of([row]) for row in shuffled]).to_pylist()
        assert [(row["part"], row["position"], row["method"], row["budget"]) for row in rows] == [
            *[("agreement", 0, "l2", 0.01), ("agreement", 0, "texture", None)],
            *[("fooling", 0, "l2", 0.01), ("fooling", 1, "l2", 0.01)],
            *[("regions", 0, "ssim", None), ("regions", 0, "ssim", 0.1)],
        ]


def test_no_rows_are_a_table_as_well(tmp_path: Path) -> None:
    assert len(read_study(write_part(in_order([]), tmp_path / "study.parquet"))) == 0


def test_read_study_takes_parts_or_the_whole(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    write_part(table_of(ROWS[:2]), tmp_path / "rows" / "one.parquet")
    write_part(table_of(ROWS[2:]), tmp_path / "rows" / "two.parquet")
    assert len(read_study(tmp_path)) == 6
    assert list(read_study(tmp_path, parts=["regions"])["budget"].isna()) == [True, False]
    write_part(table_of(ROWS[:1]), tmp_path / "study.parquet")
    assert len(read_study(tmp_path)) == len(read_study(tmp_path / "study.parquet")) == 1
    with pytest.raises(FileNotFoundError, match="holds no rows of a study; run `perceptlib study --out"):
        read_study(tmp_path / "rows" / "none")


def test_unknown_column_is_refused_and_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows hold colour; the columns are part, image"):
        write_part(pd.DataFrame({"colour": [1]}), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="rows hold colour"):
        table_of([{"colour": 1}])
    assert not list(tmp_path.iterdir())


def test_a_changed_byte_anywhere_is_told_or_harmless(tmp_path: Path) -> None:
    path = write_part(table_of(ROWS * 20), tmp_path / "rows.parquet")
    content, expected = path.read_bytes(), repr(read_part(path).to_pylist())
    damaged = 0
    for place in range(0, len(content), max(1, len(content) // 150)):
        changed = bytearray(content)
        changed[place] ^= 0x10
        path.write_bytes(bytes(changed))
        try:
            rows = repr(read_part(path).to_pylist())
        except ValueError as error:
            assert "rows.parquet" in str(error)
            damaged += 1
        else:
            assert rows == expected, f"byte {place} changed the rows in silence"
    assert damaged > 20


def test_a_part_cut_short_or_of_other_columns_is_told(tmp_path: Path) -> None:
    path = write_part(table_of(ROWS), tmp_path / "rows.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"rows\.parquet is damaged or cut short .* start the study again"):
        read_part(path)
    parquet.write_table(pa.table({"other": [1]}), path)
    with pytest.raises(ValueError, match="has other columns than this version writes"):
        read_part(path)


def test_columns_that_an_older_version_did_not_write_are_null(tmp_path: Path) -> None:
    path = write_part(in_order([table_of(ROWS)]), tmp_path / "study.parquet")
    whole = read_part(path)
    parquet.write_table(whole.drop_columns(["gmsd", "judges"]), tmp_path / "old.parquet")
    old = read_part(tmp_path / "old.parquet")
    assert old.schema == SCHEMA and repr(old.to_pylist()) == repr(whole.to_pylist())
    other = whole.drop_columns(["gmsd"]).append_column("gmsd", pa.array([0] * len(whole)))
    for refused in (whole.drop_columns(["part"]), other):  # a key, a column of another type
        parquet.write_table(refused, path)
        with pytest.raises(ValueError, match="has other columns than this version writes"):
            read_part(path)


def test_frame_is_that_of_pandas_and_is_written_back_as_it_was(tmp_path: Path) -> None:
    path = write_part(in_order([table_of(ROWS)]), tmp_path / "study.parquet")
    frame = read_study(tmp_path)
    pd.testing.assert_frame_equal(frame, pd.read_parquet(path))
    again = write_part(frame[["part", *(name for name in frame if name != "part")]], tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(read_study(again), frame)
    assert write_part(study_table(path), tmp_path / "table.parquet").read_bytes() == path.read_bytes()
