from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from perceptlib.analysis.tables import Table, column, read_rows, write_rows


def test_table_prints_aligned_and_shows_as_html() -> None:
    table = Table(("ball", "median"), (("l2", "0.5"), ("SSIM <b>", "0.25")))
    assert repr(table) == "ball      median\nl2        0.5\nSSIM <b>  0.25"
    assert "<td>0.5</td>" in table._repr_html_()
    assert '<th scope="row">SSIM &lt;b&gt;</th>' in table._repr_html_()


def test_write_rows_keeps_columns_and_digits(tmp_path: Path) -> None:
    rows = [{"image": "a, b", "value": 1 / 3, "count": 2}, {"image": "c", "value": math.nan, "is_new": True}]
    path = write_rows(rows, tmp_path / "new" / "rows.csv")
    with path.open(newline="") as lines:
        assert list(csv.reader(lines)) == [
            ["image", "value", "count", "is_new"],
            ["a, b", "0.333333", "2", ""],
            ["c", "", "", "True"],
        ]


def test_write_rows_refuses_none_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"no rows to write to rows.csv; check that a picture was attacked"):
        write_rows([], path)
    assert path.read_text() == "old"


def test_column_selects_rows() -> None:
    rows = [{"method": "l2", "value": 1}, {"method": "ssim", "value": 2}, {"method": "l2", "value": 3}]
    assert column(rows, "value", method="l2") == [1, 3]
    with pytest.raises(ValueError, match="no row has method = 'l3'; check the spelling"):
        column(rows, "value", method="l3")


def test_rows_come_back_from_csv(tmp_path: Path) -> None:
    rows = [{"image": "a,b", "count": -3, "value": 1.5e-6, "is_right": True, "none": None}]
    assert read_rows(write_rows(rows, tmp_path / "rows.csv")) == rows
