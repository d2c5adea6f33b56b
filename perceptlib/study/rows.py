"""Rows of a study on the disk: one Parquet part for each finished task, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from perceptlib.analysis.tables import Row
from perceptlib.records import read_verified, replacing

_TEXTS = ("part", "image", "method", "cam", "region", "status")
_WHOLE = ("position", "stage", "label", "steps", "gradients")
_BOOLS = ("is_adversarial", "is_adversarial_8bit")
_NUMBERS = (
    *("budget", "margin_before", "margin_after", "distance", "distance_8bit", "mean_ssim", "linf", "l2", "violation"),
    *("energy_in_top_q", "pearson", "spearman", "iou_top_q", "auc", "pointing_hit", "sim", "kl", "nss"),
    *("shift_p_value", "partial_spearman", "shuffled_auc", "energy_in_mask", "mask_share"),
)
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in _TEXTS),
        *(pa.field(name, pa.int64()) for name in _WHOLE),
        *(pa.field(name, pa.bool_()) for name in _BOOLS),
        *(pa.field(name, pa.float64()) for name in _NUMBERS),
    ]
)
# What tells two rows of a study apart, in the order in which they are kept.
KEYS = ("part", "position", "image", "cam", "region", "stage", "method", "budget")


def write_part(rows: Iterable[Row], path: str | Path) -> Path:
    """Write rows as one Parquet file with checksums, whole or not at all, and flushed to the disk.

    Parameters
    ----------
    rows
        Dictionaries whose keys are columns of `SCHEMA`; missing ones are null. NaN stays NaN: undefined, not missing.
    path
        The file; its folder exists.

    Raises
    ------
    ValueError
        A key that is no column.
    """
    kept, path = list(rows), Path(path)
    if unknown := {key for row in kept for key in row} - set(SCHEMA.names):
        raise ValueError(f"rows hold {', '.join(sorted(unknown))}; the columns are {', '.join(SCHEMA.names)}")
    table = pa.Table.from_pylist(kept, schema=SCHEMA)
    with replacing(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd", write_page_checksum=True)
        with temporary.open("rb+") as file:  # replaced names may reach the disk before the content does
            os.fsync(file.fileno())
    return path


def read_part(path: str | Path) -> list[Row]:
    """Rows of one Parquet file, its checksums verified.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Damaged, cut short, or of other columns than `SCHEMA`; a file that ships and is not as `perceptlib.records.manifest`
        lists it.
    """
    path = Path(path)
    content = read_verified(path)
    try:
        table = parquet.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
        rows: list[Row] = table.to_pylist()
    except Exception as error:  # a damaged file can end in any exception
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path} is damaged or cut short ({reason}); delete it and start the study again") from error
    if not table.schema.equals(SCHEMA):
        raise ValueError(
            f"{path} has other columns than this version writes; read it with the version that wrote it, "
            "or start the study in an empty folder"
        )
    return rows


def sorted_rows(rows: Iterable[Row]) -> list[Row]:
    """In the order of `KEYS`, which does not depend on the order in which tasks ended."""

    def place(row: Row) -> tuple[Any, ...]:
        return tuple((row.get(key) is not None, row.get(key)) if row.get(key) is not None else (False,) for key in KEYS)

    return sorted(rows, key=place)


def read_study(folder: str | Path, *, parts: Sequence[str] | None = None) -> list[Row]:
    """Rows of a study: of the finished table, or of the parts that are there so far.

    Parameters
    ----------
    folder
        What `perceptlib.study.runner.run_study` wrote, or a Parquet file.
    parts
        Kinds of rows to keep; None for all.

    Raises
    ------
    FileNotFoundError
        No rows there.
    ValueError
        A damaged file.
    """
    folder = Path(folder)
    whole = folder if folder.is_file() else folder / "study.parquet"
    files = [whole] if whole.is_file() else sorted((folder / "rows").glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no rows of a study; run `perceptlib study --out {folder.name}`")
    rows = [row for file in files for row in read_part(file)]
    return sorted_rows(row for row in rows if parts is None or row["part"] in parts)
