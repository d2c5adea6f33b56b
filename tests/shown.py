"""What tables and figures show, read off them."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes


def cell(table: Any, row: str, heading: str) -> Any:
    """What a table shows in a row, by its first column."""
    heads, *lines = [line.split("\t") for line in table.to_string(delimiter="\t").splitlines()]
    (found,) = (line for line in lines if line[0] == row)
    return found[heads.index(heading)]


def dots(field: Axes) -> list[tuple[float, float, Any, bool]]:
    """Value, place, marker and whether hollow of every dot."""
    lines = [line for line in field.lines if line.get_marker() not in ("None", None, "")]
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_marker(), line.get_markerfacecolor() == "#ffffff")
        for line in lines
    ]
