"""Rows in CSV files: what was written comes back, and what is no such file is told."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from perceptlib.records.frames import read_csv, write_csv


def test_rows_come_back(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"image": ["a, b", "NA"], "count": [-3, 2], "value": [1.5e-6, math.nan], "is_right": [True, False]}
    )
    path = write_csv(rows, tmp_path / "new" / "rows.csv")
    pd.testing.assert_frame_equal(read_csv(path), rows)
    write_csv(rows.assign(value=1 / 3), path)
    assert path.read_text().splitlines()[1] == '"a, b",-3,0.333333,True'


def test_no_rows_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"no rows to write to rows.csv; check that a picture was attacked"):
        write_csv(pd.DataFrame(), path)
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"rows.csv is no CSV file \(.*\); make it again"),
        (b'a,b\n1,"2\n', r"rows.csv is no CSV file \(unexpected end of data\); make it again"),
        (b"a,b\n\xff,2\n", "rows.csv is no CSV file"),
        (b"a,b\n1,2\n3\n", "rows.csv, row 2 has not the 2 columns of the header"),
        (b"a,b\n1,2,3\n", "rows.csv, row 1 has not the 2 columns of the header"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_csv(tmp_path / "rows.csv")
