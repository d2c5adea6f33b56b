"""Rows in CSV files, as pandas frames: verified where they ship, and written whole or not at all."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

from perceptlib.records.files import replacing
from perceptlib.records.manifest import read_verified


def read_csv(path: str | Path) -> pd.DataFrame:
    """Rows of a CSV file, numbers as they were written, empty cells missing; ValueError where it is none."""
    content = read_verified(path)
    try:
        text = content.decode("utf-8")
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file ({error}); make it again") from error
    for number, line in enumerate(lines, start=1):
        if len(line) != len(header):
            told = f"{path}, row {number} has not the {len(header)} columns of the header"
            raise ValueError(f"{told}; make the file again")
    return pd.read_csv(io.StringIO(text, newline=""), keep_default_na=False, na_values=[""])


def write_csv(rows: pd.DataFrame, path: str | Path) -> Path:
    """Write rows as a CSV file, numbers with six significant digits, missing ones empty; ValueError without rows."""
    path = Path(path)
    if rows.empty:
        raise ValueError(f"there are no rows to write to {path.name}; check that a picture was attacked")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        rows.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    return path
