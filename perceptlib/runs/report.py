"""What a sweep leaves besides its cells: a table, a figure for each chosen number, and a page of it all."""

from __future__ import annotations

import base64
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
import pandas as pd
import seaborn
from jinja2 import Environment

from perceptlib.drawing.figures import STYLE, WIDTH, Drawing, legend, looks, styled
from perceptlib.records import read_json, replacing, write_json
from perceptlib.records.frames import write_csv
from perceptlib.runs.sweep import Grid, cells_of, number_text

NUM_CHOSEN = 3  # numbers that are drawn where none is named
_LOG_RATIO = 10  # of the largest to the smallest value, from which on an axis is logarithmic
_OWN = ("status", "error", "seconds", "folder")  # columns that are neither parameters nor numbers

_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: left; border-bottom: 1px solid #8886; }
img { max-width: 100%; height: auto; background: #fff; border-radius: .3rem; }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p>{{ told }}</p>
{% for figure in figures %}
<h2>{{ figure.number }}</h2>
<p><img src="data:image/svg+xml;base64,{{ figure.data }}" alt="{{ figure.alt }}"></p>
{% endfor %}
<h2>Runs</h2>
<div class="wide" tabindex="0" role="region" aria-label="Runs"><table>
<thead><tr>{% for word in head %}<th scope="col">{{ word }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for cell in row.cells %}<td>{{ cell }}</td>{% endfor %}
{% if row.error %}<td colspan="{{ num_left }}">failed: {{ row.error }}</td>
{% else %}<td><a href="{{ row.address }}">{{ row.kind }}</a></td>{% endif %}</tr>
{% endfor %}
</tbody></table></div>
<p>All numbers: <a href="sweep.csv">sweep.csv</a>.</p>
</main>
</body>
</html>
""")


def write_report(
    notebook: str | os.PathLike[str],
    rows: pd.DataFrame,
    grid: Grid,
    out: str | os.PathLike[str],
    *,
    numbers: Sequence[str] = (),
) -> list[Path]:
    """Write ``sweep.csv``, figures and ``sweep.html`` of what `run_sweep` returned, and its rows into ``sweep.json``.

    `numbers` are names of those to draw, groups joined by dots; empty for the first few. ValueError: no run has one of
    them; the table is written nevertheless. RuntimeError: a figure could not be drawn; all else is written.
    """
    out, name = Path(out), Path(notebook).stem
    table = write_csv(rows.drop(columns="folder"), out / "sweep.csv")
    chosen = choose_numbers(rows, grid, numbers)
    figures, drawn, failures = [], [], []
    for place, number in enumerate(chosen, start=1):
        stem = out / f"{place}-{re.sub(r'[^A-Za-z0-9._-]', '_', number)}"
        files = [stem.with_name(stem.name + suffix) for suffix in (".svg", ".png")]  # a number's name may hold a dot
        try:
            _save(sweep_chart(rows, grid, number), files)
        except OSError:
            raise
        except Exception as error:  # the runs are done, whatever is wrong with a drawing
            failures.append(f"{files[0].name} could not be drawn ({type(error).__name__}: {error})")
            continue
        figures.append({"number": number, "file": files[0].name, "alt": chart_words(rows, grid, number)})
        drawn += files
    found = _numbers_of_done(rows, grid)
    notes = ["No number differs between these runs."] if len(found) > 1 and not _differing(found) else []
    listed = [
        {"parameters": parameters, "error": row["error"], "numbers": {name: _scalar(row[name]) for name in chosen}}
        for parameters, row in zip(cells_of(grid), rows.to_dict("records"), strict=True)
    ]
    content: dict[str, Any] = {"notebook": name, "grid": grid, "rows": listed, "figures": figures, "provenance": {}}
    if len(found):
        first = read_json(out / rows["folder"][found.index[0]] / "numbers.json")
        content["provenance"] = dict(first.get("provenance") or {})
    content["notes"] = notes
    page = out / "sweep.html"
    with replacing(page) as temporary:
        temporary.write_text(_page(rows, out, content), encoding="utf-8")
    write_json(out / "sweep.json", content)
    if failures:
        raise RuntimeError(f"{'; '.join(failures)}; all else in {out} is written")
    return [table, page, *drawn[::2], *drawn[1::2]]


def choose_numbers(rows: pd.DataFrame, grid: Grid, wanted: Sequence[str] = ()) -> list[str]:
    """Names of the numbers that are drawn: those that are asked for, or three that differ between runs, or three.

    Those before others that more of the parameters move, then what is no end of an interval, then the SSIM ball's.
    """
    found = _numbers_of_done(rows, grid).select_dtypes("number").dropna(axis="columns", how="all")
    for name in wanted:
        # Where every run failed no name is known, and none is wrong.
        if len(found.columns) and name not in found:
            close = difflib.get_close_matches(name, found, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"no run has the number {name}{hint}; there are: {', '.join(found)}")
    if wanted:
        return [name for name in wanted if name in found]

    def rank(name: str) -> tuple[int, bool, bool]:
        num_moving = 0
        for parameter in grid:
            others = [rows.loc[found.index, other] for other in grid if other != parameter]
            groups = found.groupby(others or (lambda _: 0), sort=False)[name]
            num_moving += bool((groups.nunique(dropna=False) > 1).any())
        words = name.split(".")
        return -num_moving, words[-1] in ("low", "high"), "ssim" not in words

    return sorted(_differing(found) or list(found), key=rank)[:NUM_CHOSEN]


def axis_of(grid: Grid) -> str:
    """The parameter on the horizontal axis: the first of several numbers, else of several values, else the first."""
    several = [name for name, values in grid.items() if len(values) > 1]
    return next((name for name in several if _are_numbers(grid[name])), (several or list(grid))[0])


@styled
def sweep_chart(rows: pd.DataFrame, grid: Grid, number: str) -> Drawing:
    """One number over a parameter, a line for every setting of the others that vary; no point where it is undefined."""
    along, is_numeric = axis_of(grid), _are_numbers(grid[axis_of(grid)])
    names = _settings(rows, grid, along)
    settings = names.drop_duplicates()
    style = looks(list(settings.index))
    dashes = style.pop("dashes")
    places = rows[along] if is_numeric else rows[along].map(lambda value: _plain_text(shown(value)))
    figure = Drawing(figsize=(WIDTH, 3.9 + 0.25 * ((len(settings) + 1) // 2)), layout="constrained")
    axes = figure.subplots()
    options: dict[str, Any] = {
        **{"x": places.to_numpy(), "y": pd.to_numeric(rows[number]).to_numpy(), "legend": False, "ax": axes},
        **{"hue": names.index, "style": names.index, **style},
    }
    if is_numeric:
        seaborn.lineplot(dashes=dashes, estimator=None, **options)
        if min(grid[along]) > 0 and max(grid[along]) >= _LOG_RATIO * min(grid[along]):
            axes.set_xscale("log")
    else:
        seaborn.scatterplot(**options, s=60)
    axes.set_xlabel(along, parse_math=False)
    axes.set_ylabel(number, parse_math=False)
    if len(settings) > 1:
        legend(figure, settings.map(_plain_text).to_dict(), columns=2)
    return figure


def chart_words(rows: pd.DataFrame, grid: Grid, number: str) -> str:
    """What `sweep_chart` shows, in words: its alt text."""
    along = axis_of(grid)
    others = _others(grid, along)
    values = pd.to_numeric(rows[number])
    words = f"{number} for {along} = {', '.join(map(shown, grid[along]))}"
    words += f", one line for every setting of {' and '.join(others)}." if others else "."
    if values.notna().any():
        low, high = (
            setting_text(rows.loc[place, list(grid)].to_dict()) for place in (values.idxmin(), values.idxmax())
        )
        words += f" Least {values.min():.4g} at {low}, greatest {values.max():.4g} at {high}."
    missing = int(values.isna().sum())
    return words + (f" Undefined in {missing} of {len(rows)} runs." if missing else "")


def setting_text(parameters: Mapping[str, Any]) -> str:
    """Parameters as ``name = value``, apart by commas."""
    return ", ".join(f"{name} = {shown(value)}" for name, value in parameters.items())


def shown(value: Any) -> str:
    """A parameter's value, short."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _save(figure: Drawing, files: Sequence[Path]) -> None:
    with matplotlib.rc_context(STYLE):
        for file in files:
            with replacing(file) as temporary:
                figure.savefig(temporary, dpi=190, metadata={"Date": None} if file.suffix == ".svg" else None)


def _page(rows: pd.DataFrame, out: Path, content: Mapping[str, Any]) -> str:
    """The page of what ``sweep.json`` holds, complete in itself; every text of a user is escaped."""
    name, provenance = content["notebook"], content["provenance"]
    failed = int((rows["status"] == "failed").sum())
    told = f"{len(rows)} runs of the notebook {name}" + (f", {failed} of them failed" if failed else "")
    if provenance:
        weights = provenance.get("weights") or {}
        told += f"; the first made {str(provenance.get('date'))[:16].replace('T', ' ')} UTC"
        told += f" with the weights {weights.get('source')}" if weights else ""
        told += f", torch {provenance.get('versions', {}).get('torch')}"
    numbers = [figure["number"] for figure in content["figures"]]
    lines = []
    for row in rows.to_dict("records"):
        page = Path(row["folder"]) / f"{name}.html"
        kind = "page" if (out / page).is_file() else "notebook"  # whose page could not be made
        cells = [shown(row[parameter]) for parameter in content["grid"]]
        cells += [] if row["error"] else [number_text(_scalar(row[number])) for number in numbers]
        address = quote((page if kind == "page" else page.with_suffix(".ipynb")).as_posix())
        lines.append({"cells": cells, "error": row["error"], "address": address, "kind": kind})
    return _PAGE.render(
        title=f"Sweep of {name}",
        told=" ".join([f"{told}.", *content["notes"]]),
        figures=[
            figure | {"data": base64.b64encode((out / figure["file"]).read_bytes()).decode()}
            for figure in content["figures"]
        ],
        head=[*content["grid"], *numbers, "run"],
        rows=lines,
        num_left=len(numbers) + 1,
    )


def _others(grid: Grid, along: str) -> list[str]:
    return [name for name, values in grid.items() if name != along and len(values) > 1]


def _settings(rows: pd.DataFrame, grid: Grid, along: str) -> pd.Series:
    """Each row's setting of the parameters besides the axis: its text, under a key that is a method's where it is."""
    others = _others(grid, along)
    texts = [setting_text(setting) for setting in rows[others].to_dict("records") or [{}] * len(rows)]
    keys = rows[others[0]].astype(str) if len(others) == 1 else texts
    return pd.Series(texts, index=list(keys), dtype=object)


def _numbers_of_done(rows: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    return rows[rows["status"] == "done"].drop(columns=[*grid, *_OWN])


def _differing(found: pd.DataFrame) -> list[str]:
    """Columns with more than one value; a notebook may write lists."""
    return [name for name in found if found[name].map(repr).nunique() > 1]


def _scalar(value: Any) -> Any:
    """A cell of a frame as JSON has it."""
    return None if pd.isna(value) else getattr(value, "item", lambda: value)()


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _plain_text(text: str) -> str:
    """A text of a user for matplotlib: a dollar sign in it is no formula."""
    return text.replace("$", r"\$")
