"""Tables: rows shown in a notebook, and rows kept as CSV beside it."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perceptlib.records import read_verified, replacing

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table that a notebook shows as such, and that prints as aligned text.

    Attributes
    ----------
    columns
        Headings.
    rows
        Texts, as many in each as there are columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]
        return "\n".join(
            "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in self.columns)
        body = "".join(
            "<tr>"
            + f'<th scope="row">{html.escape(first)}</th>'
            + "".join(f"<td>{html.escape(text)}</td>" for text in rest)
            + "</tr>"
            for first, *rest in self.rows
        )
        # the class that notebooks and the book have a style for, light and dark
        return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def write_rows(rows: Iterable[Row], path: str | Path) -> Path:
    """Write rows as a CSV file, whole or not at all.

    Parameters
    ----------
    rows
        Dictionaries of plain scalars; the columns are all their keys, in order of appearance. Numbers keep six
        significant digits, NaN and missing values stay empty.
    path
        The file; its folder is made if missing.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        No rows.
    """
    kept, path = list(rows), Path(path)
    if not kept:
        raise ValueError(f"there are no rows to write to {path.name}; check that a picture was attacked")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as lines:
        lines.write(csv_text(kept))
    return path


def csv_text(rows: Sequence[Row]) -> str:
    """Rows as the text of a CSV file, as `perceptlib.analysis.tables.write_rows` writes it."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return lines.getvalue()


def read_rows(path: str | Path) -> list[Row]:
    """Rows of a CSV file that `perceptlib.analysis.tables.write_rows` wrote, numbers and booleans restored.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not such a CSV file, or one that ships and is not as `perceptlib.records.manifest` lists it.
    """
    words = {"True": True, "False": False, "": None}

    def value(text: str) -> Any:
        if text in words:
            return words[text]
        try:
            return int(text) if text.lstrip("-").isdigit() else float(text)
        except ValueError:
            return text

    content = read_verified(path)
    try:
        read = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
        rows = list(read)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file ({error}); make it again") from error
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            columns = len(read.fieldnames or ())
            raise ValueError(f"{path}, row {number} has not the {columns} columns of the header; make the file again")
    return [{key: value(text) for key, text in row.items()} for row in rows]


def column(rows: Sequence[Row], name: str, **where: Any) -> list[Any]:
    """Values of one column, of the rows whose other columns have the given values.

    Raises
    ------
    ValueError
        No such row.
    """
    values = [row[name] for row in rows if all(row[key] == value for key, value in where.items())]
    if not values:
        asked = ", ".join(f"{key} = {value!r}" for key, value in where.items())
        raise ValueError(f"no row has {asked}; check the spelling")
    return values


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    return "" if value is None else value
