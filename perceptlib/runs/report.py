"""What a sweep leaves besides its cells: a table, a figure for each chosen number, and a page of it all."""

from __future__ import annotations

import base64
import difflib
import html
import json
import os
import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import quote

from perceptlib.analysis.tables import write_rows
from perceptlib.records import replacing, write_json
from perceptlib.runs.charts import chart_words, save_chart, shown, sweep_chart
from perceptlib.runs.sweep import Grid, Scalar, SweepRow, number_text, table_rows

NUM_CHOSEN = 3  # numbers that are drawn where none is named

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .2rem .7rem; text-align: left; border-bottom: 1px solid #8886; }}
img {{ max-width: 100%; height: auto; background: #fff; border-radius: .3rem; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{told}</p>
{figures}
<h2>Runs</h2>
<div class="wide" tabindex="0" role="region" aria-label="Runs">{table}</div>
<p>All numbers: <a href="sweep.csv">sweep.csv</a>.</p>
</main>
</body>
</html>
"""


def choose_numbers(rows: Sequence[SweepRow], wanted: Sequence[str] = ()) -> list[str]:
    """Names of the numbers that are drawn.

    Parameters
    ----------
    rows
        Of the sweep.
    wanted
        Names that a person asked for; empty for three numbers that differ between runs (three of all where none does):
        those before others that more of the parameters move, then what is no end of an interval, then the SSIM
        ball's.

    Raises
    ------
    ValueError
        No run has a number of that name; the message lists what there is.
    """
    found: dict[str, list[Scalar]] = {}
    for row in rows:
        for name, value in row.numbers.items():
            if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
                found.setdefault(name, []).append(value)
    found = {name: values for name, values in found.items() if any(value is not None for value in values)}
    for name in wanted:
        # Where every run failed no name is known, and none is wrong.
        if found and name not in found:
            close = difflib.get_close_matches(name, found, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"no run has the number {name}{hint}; there are: {', '.join(found)}")
    if wanted:
        return [name for name in wanted if name in found]
    differing = [name for name, values in found.items() if len(set(values)) > 1]
    return sorted(differing or found, key=lambda name: _rank(rows, name))[:NUM_CHOSEN]


def _rank(rows: Sequence[SweepRow], name: str) -> tuple[int, bool, bool]:
    """The least is drawn first."""
    words = name.split(".")
    return -_num_moving(rows, name), words[-1] in ("low", "high"), "ssim" not in words


def _num_moving(rows: Sequence[SweepRow], name: str) -> int:
    """How many parameters change a number while the others stay."""
    done = [row for row in rows if name in row.numbers]
    moving: set[str] = set()
    for one, other in combinations(done, 2):
        apart = [key for key, value in one.parameters.items() if other.parameters[key] != value]
        if len(apart) == 1 and one.numbers[name] != other.numbers[name]:
            moving.add(apart[0])
    return len(moving)


def write_report(
    notebook: str | os.PathLike[str],
    rows: Sequence[SweepRow],
    grid: Grid,
    out: str | os.PathLike[str],
    *,
    numbers: Sequence[str] = (),
) -> list[Path]:
    """Write table, figures and page of a sweep.

    Parameters
    ----------
    notebook
        The notebook that was run.
    rows, grid
        As `perceptlib.runs.sweep.run_sweep` returned and took them.
    out
        Folder of the sweep.
    numbers
        Numbers to draw, groups joined by dots; empty for the first few.

    Returns
    -------
    list of pathlib.Path
        ``sweep.csv``, ``sweep.html``, and an SVG and a PNG file for each number.

    Raises
    ------
    ValueError
        No run has a number of that name; the table is written nevertheless.
    """
    out, name = Path(out), Path(notebook).stem
    table = write_rows(table_rows(rows), out / "sweep.csv")
    chosen = choose_numbers(rows, numbers)
    figures = []
    for place, number in enumerate(chosen, start=1):
        stem = f"{place}-{re.sub(r'[^A-Za-z0-9._-]', '_', number)}"
        save_chart(sweep_chart(rows, grid, number), out / stem)
        figures.append({"number": number, "file": f"{stem}.svg", "alt": chart_words(rows, grid, number)})
    provenance = next((_provenance(row) for row in rows if not row.error), {})
    listed = [
        {
            "parameters": row.parameters,
            "error": row.error,
            "numbers": {number: row.numbers.get(number) for number in chosen},
        }
        for row in rows
    ]
    ended = [row.numbers for row in rows if not row.error]
    is_same = len(ended) > 1 and all(found == ended[0] for found in ended)
    notes = ["No number differs between these runs."] if is_same else []
    page = out / "sweep.html"
    with replacing(page) as temporary:
        temporary.write_text(_page(name, rows, out, figures, provenance, notes), encoding="utf-8")
    content = {"notebook": name, "grid": grid, "rows": listed, "figures": figures, "provenance": provenance}
    write_json(out / "sweep.json", content | {"notes": notes})
    drawn = [out / figure["file"] for figure in figures]
    return [table, page, *drawn, *(path.with_name(path.name.removesuffix("svg") + "png") for path in drawn)]


def _page(
    name: str,
    rows: Sequence[SweepRow],
    out: Path,
    figures: Sequence[dict[str, str]],
    provenance: dict[str, Any],
    notes: Sequence[str],
) -> str:
    """The page, complete in itself: every text of a user is escaped."""
    failed = sum(bool(row.error) for row in rows)
    told = f"{len(rows)} runs of the notebook {name}" + (f", {failed} of them failed" if failed else "")
    if provenance:
        weights = provenance.get("weights") or {}
        told += f"; the first made {str(provenance.get('date'))[:16].replace('T', ' ')} UTC"
        told += f" with the weights {weights.get('source')}" if weights else ""
        told += f", torch {provenance.get('versions', {}).get('torch')}"
    drawn = []
    for figure in figures:
        data = base64.b64encode((out / figure["file"]).read_bytes()).decode()
        source, alt = f"data:image/svg+xml;base64,{data}", html.escape(figure["alt"])
        drawn.append(f'<h2>{html.escape(figure["number"])}</h2>\n<p><img src="{source}" alt="{alt}"></p>')
    title = f"Sweep of {name}"
    table = _table(name, rows, out, [figure["number"] for figure in figures])
    told = " ".join([f"{told}.", *notes])
    return _PAGE.format(title=html.escape(title), told=html.escape(told), figures="\n".join(drawn), table=table)


def _table(name: str, rows: Sequence[SweepRow], out: Path, numbers: Sequence[str]) -> str:
    """Parameters, chosen numbers and a link of every run."""
    head = "".join(f'<th scope="col">{html.escape(word)}</th>' for word in (*rows[0].parameters, *numbers, "run"))
    lines = [f"<thead><tr>{head}</tr></thead><tbody>"]
    for row in rows:
        cells = [f"<td>{html.escape(shown(value))}</td>" for value in row.parameters.values()]
        if row.error:
            cells.append(f'<td colspan="{len(numbers) + 1}">failed: {html.escape(row.error)}</td>')
        else:
            address = quote((row.folder / f"{name}.html").relative_to(out).as_posix())
            cells += [f"<td>{html.escape(number_text(row.numbers.get(number)))}</td>" for number in numbers]
            cells.append(f'<td><a href="{address}">page</a></td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</tbody></table>"


def _provenance(row: SweepRow) -> dict[str, Any]:
    content = json.loads((row.folder / "numbers.json").read_text(encoding="utf-8"))
    return dict(content.get("provenance") or {})
