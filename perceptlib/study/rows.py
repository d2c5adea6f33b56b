"""The folder of a study: rows in Parquet, a part for each finished task; its configuration; where the rows come from.

Between tasks and files rows are tables of `SCHEMA`, where a NaN (an undefined score) differs from a null (a column that
does not apply); `read_study` hands them out as a pandas frame.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from perceptlib.records import read_json, read_verified, replacing, write_json
from perceptlib.study.config import JUDGES, StudyConfig, config_from

Row = dict[str, Any]
_COLUMNS = {
    pa.string(): ("part", "image", "method", "cam", "region", "status", "judges"),
    pa.int64(): ("position", "stage", "label", "steps", "gradients"),
    pa.bool_(): ("is_adversarial", "is_adversarial_8bit"),
    pa.float64(): (
        *("budget", "margin_before", "margin_after", "distance", "distance_8bit", "mean_ssim"),
        *("linf", "l2", "violation"),
        *("energy_in_top_q", "pearson", "spearman", "iou_top_q", "auc", "pointing_hit", "sim", "kl", "nss"),
        *("shift_p_value", "partial_spearman", "shuffled_auc", "energy_in_mask", "mask_share"),
        *("insertion_blur", "deletion_blur", "insertion_mean", "deletion_mean"),
        *JUDGES,
    ),
}
SCHEMA = pa.schema([pa.field(name, kind) for kind, names in _COLUMNS.items() for name in names])
# What tells two rows of a study apart, in the order in which they are kept.
KEYS = ("part", "position", "image", "cam", "region", "stage", "method", "budget")


class StudyError(RuntimeError):
    """A study that ended with tasks undone; the message says which and how to go on."""


def table_of(rows: Iterable[Row]) -> pa.Table:
    """Dictionaries as a table of `SCHEMA`; what is missing is null, an unknown key a ValueError."""
    kept = list(rows)
    _check_columns({key for row in kept for key in row})
    return pa.Table.from_pylist(kept, schema=SCHEMA)


def in_order(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows in the order of `KEYS`, which does not depend on the order in which tasks ended."""
    table = pa.concat_tables([SCHEMA.empty_table(), *tables])
    keys = table.select(KEYS).to_pandas()
    return table.take(keys.sort_values(list(KEYS), na_position="first").index.to_numpy())


def write_part(rows: pa.Table | pd.DataFrame, path: str | Path) -> Path:
    """Write a table or frame of `SCHEMA`'s columns with checksums, whole or not at all, and flushed to the disk.

    A frame may lack columns; a ValueError tells of those that are none. The path is handed back.
    """
    path = Path(path)
    if isinstance(rows, pd.DataFrame):
        _check_columns(rows.columns)
        rows = pa.Table.from_pandas(rows.reindex(columns=SCHEMA.names), schema=SCHEMA, preserve_index=False)
    table = rows.replace_schema_metadata(None).combine_chunks()
    with replacing(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd", write_page_checksum=True)
        with temporary.open("rb+") as file:  # replaced names may reach the disk before the content does
            os.fsync(file.fileno())
    return path


def read_part(path: str | Path) -> pa.Table:
    """Table of one Parquet file, its checksums verified.

    Raises FileNotFoundError, and ValueError where it is damaged, of other columns than `SCHEMA`, or ships and is not as
    the manifest lists it.
    """
    path = Path(path)
    content = read_verified(path)
    try:
        table = parquet.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
        table.validate(full=True)  # else text that is no UTF-8 shows when it is looked at
    except Exception as error:  # a damaged file can end in any exception
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path} is damaged or cut short ({reason}); delete it and start the study again") from error
    known = {one.name: one.type for one in SCHEMA}
    if {*KEYS} <= {*table.column_names} and all(known.get(one.name) == one.type for one in table.schema):
        # of a version before some of the columns
        for name in {*known} - {*table.column_names}:
            table = table.append_column(name, pa.nulls(len(table), known[name]))
        table = table.select(SCHEMA.names).cast(SCHEMA)
    if not table.schema.equals(SCHEMA):
        raise ValueError(
            f"{path} has other columns than this version writes; read it with the version that wrote it, "
            "or start the study in an empty folder"
        )
    return table


def holds_rows(folder: Path) -> bool:
    """Whether a folder holds a study, finished or not."""
    return (folder / "study.parquet").is_file() or (folder / "rows").is_dir()


def study_table(folder: str | Path) -> pa.Table:
    """As `read_study`, as a table in which NaN and null differ."""
    folder = Path(folder)
    whole = folder if folder.is_file() else folder / "study.parquet"
    files = [whole] if whole.is_file() else sorted((folder / "rows").glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no rows of a study; run `perceptlib study --out {folder.name}`")
    return in_order([read_part(file) for file in files])


def read_study(folder: str | Path, *, parts: Sequence[str] | None = None) -> pd.DataFrame:
    """Rows in a study's folder or a Parquet file: of the finished table, or of the parts that are there so far.

    A row for every picture, method and budget, in the columns of `SCHEMA` and the types of `pandas.read_parquet`;
    `parts` are the kinds of rows to keep. What is missing (NaN; None in the columns of booleans) does not apply to the
    row, was not computed, as ``status`` says, or is an undefined score. A FileNotFoundError tells of no rows, a
    ValueError of a damaged file.
    """
    frame: pd.DataFrame = study_table(folder).to_pandas()
    return frame if parts is None else frame[frame["part"].isin(parts)].reset_index(drop=True)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Say what a full disk or a read-only folder means for the study."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StudyError(
            f"{out} cannot be written ({reason.splitlines()[0]}); finished tasks are kept; free space on the disk, or "
            f"make the folder writable, and {again(out)}"
        ) from error


def again(out: Path) -> str:
    """How to go on, as the end of a message."""
    return f"start the study again with the same folder {out} to go on"


def remove_leftovers(out: Path) -> None:
    """Folders of files half written, which a killed run leaves (`perceptlib.records.replacing`)."""
    for folder in (*out.glob(".*"), *(out / "rows").glob(".*")):
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def is_done(path: Path) -> bool:
    """Whether a part is there and whole; a damaged one is put aside, so that nothing recorded is lost in silence."""
    if not path.is_file():
        return False
    try:
        read_part(path)
    except ValueError as error:
        warnings.warn(f"{error}; kept as {_put_aside(path)}, its task runs again", stacklevel=3)
        return False
    return True


def kept_config(out: Path) -> StudyConfig | None:
    """Configuration of the study that the folder holds, if any; a ValueError tells of a damaged file."""
    path = out / "config.json"
    try:
        return config_from(read_json(path)) if path.is_file() else None
    except ValueError as error:
        raise ValueError(
            f"{path} is no configuration of a study ({error}); name an empty folder, or delete the file if the rows "
            "beside it are of this configuration"
        ) from error


def recorded_starts(out: Path) -> list[Any]:
    """Entries of ``provenance.json``, one for each start; a damaged file is put aside, and they begin anew."""
    path = out / "provenance.json"
    if not path.is_file():
        return []
    try:
        return list(read_json(path)["runs"])
    except (ValueError, KeyError, TypeError):
        warnings.warn(f"{path} is damaged; kept as {_put_aside(path)}, and begun anew", stacklevel=4)
        return []


def record_start(out: Path, entry: Mapping[str, Any]) -> None:
    """One entry for each time that the study was started: a table may come from several machines."""
    write_json(out / "provenance.json", {"runs": [*recorded_starts(out), entry]})


def record_end(out: Path, **known: Any) -> None:
    """What is known of the last start at its end."""
    with writing(out):
        *others, last = recorded_starts(out)
        write_json(out / "provenance.json", {"runs": [*others, last | known]})


def _check_columns(names: Iterable[str]) -> None:
    if unknown := set(names) - set(SCHEMA.names):
        raise ValueError(f"rows hold {', '.join(sorted(unknown))}; the columns are {', '.join(SCHEMA.names)}")


def _put_aside(path: Path) -> str:
    """Rename a damaged file; its new name."""
    aside = path.with_suffix(".damaged")
    os.replace(path, aside)
    return aside.name
