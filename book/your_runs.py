"""Runs and sweeps of a reader, in the folder runs/: a section of book/run.md has each beside the nearest page."""

from __future__ import annotations

import json
import re
import shutil
from html import escape
from pathlib import Path
from typing import Any

from experiments import Page, code_of

RUNS = Path("runs")
FILES = Path("book/_static/your_runs")  # in the staged tree: those that the section links


def stage_own_runs(source: Path, wanted: list[Page]) -> None:
    """Write what the section shows into the staged tree: of any text in a reader's files, escaped."""
    sections = []
    folders = sorted(path for path in RUNS.glob("*") if path.is_dir() and not path.name.startswith("."))
    for number, folder in enumerate(folders, start=1):
        try:
            content, files = _sweep(folder) if (folder / "sweep.json").exists() else _run(folder, wanted)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # Whatever a reader's files hold, the book is built; the page tells.
            problem = f"It cannot be read ({type(error).__name__}: {error}); delete it or run it again."
            content, files = [_said(problem)], []
        links = []
        for path in filter(Path.is_file, files):
            inside = FILES / f"{number}-{_slug(folder.name)}" / Path(*map(_slug, path.relative_to(folder).parts))
            (source / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source / inside)
            if path.parent == folder:  # the others are linked by these
                links.append(f'<a href="../{inside.relative_to("book")}">{_clean(path.name)}</a>')
        content += [f"<p>Files: {', '.join(links)}</p>"] if links else []
        title = f'<section class="your-run" id="your-run-{number}"><h3>{_clean(folder.name)}</h3>'
        sections.append("\n".join([title, *content, "</section>"]))
    text = "\n".join(sections or [_said("This copy of the book has none.")])
    (source / "book" / "your_runs.html").write_text(text, encoding="utf-8")


def _run(folder: Path, wanted: list[Page]) -> tuple[list[str], list[Path]]:
    """Describe one run; name the files that are offered."""
    notebooks = sorted(path for path in folder.glob("*.ipynb") if not path.name.endswith(".failed.ipynb"))
    failed = sorted(path.name for path in folder.glob("*.failed.ipynb"))
    if failed and not notebooks:
        return [_said(f"The run stopped at an error; the notebook as far as it came is {failed[0]}.")], []
    if len(notebooks) != 1:
        what = f"{len(notebooks)} executed notebooks" if notebooks else "no executed notebook"
        return [_said(f"The folder holds {what}; give each run a folder of its own, and let it end.")], []
    [notebook] = notebooks
    settings, content = _settings(notebook), _numbers(folder)
    numbers, beside, their_settings, theirs = _flat(content), "", dict[str, str](), dict[str, str]()
    notes = [f"A later run in this folder stopped at an error: see {failed[0]}."] if failed else []
    notes += [] if content else ["There is no numbers.json: the notebook wrote no numbers."]
    if candidates := [page for page in wanted if page.notebook == notebook.stem and page.executed.exists()]:
        page = min(candidates, key=lambda page: len(_different(_settings(page.executed), settings)))  # first of equals
        their_settings, theirs = _settings(page.executed), _flat(_numbers(page.run))
        beside = f', beside the page <a href="../{page.document}.html">{_clean(page.title or page.notebook)}</a>'
        if code_of(page.source) != code_of(notebook):
            notes.append("The notebook's code has changed since this run.")
        num_same = sum(numbers[name] == value for name, value in theirs.items() if name in numbers)
        notes.append(f"Numbers that are the same to four digits: {num_same}.")
    told = [_made("Run", notebook.stem, beside, content), *map(_said, notes)]
    told += [_table("parameter", their_settings, settings), _table("number", theirs, numbers)]
    return told, [folder / f"{notebook.stem}.html", *sorted(folder.glob("*.csv")), folder / "numbers.json"]


def _sweep(folder: Path) -> tuple[list[str], list[Path]]:
    """Describe one sweep, whose own page has its table and figures; name the files that are offered."""
    content = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    if "rows" not in content:
        again = f"start it again with --out runs/{folder.name}, and it goes on where it was"
        return [_said(f"A sweep of {content['notebook']} that has not ended; {again}.")], []
    notes = [f"{len(content['rows'])} runs, by {', '.join(content['grid'])}.", *content.get("notes", [])]
    figures = [folder / figure["file"] for figure in content["figures"]]
    pages = [folder / "sweep.html", folder / "sweep.csv", *figures, *sorted(folder.glob("cells/*/*.html"))]
    return [_made("Sweep", content["notebook"], "", content), *map(_said, notes)], pages


def _settings(notebook: Path) -> dict[str, str]:
    """All parameters of an executed notebook as they were, but for the folder."""
    from perceptlib.runs.parameters import parameters_of, read_notebook

    defaults = {name: parameter.default for name, parameter in parameters_of(notebook).items()}
    given = read_notebook(notebook).metadata.get("papermill", {}).get("parameters", {})
    return {name: repr(value) for name, value in {**defaults, **given}.items() if name != "out"}


def _numbers(folder: Path) -> dict[str, Any]:
    path = folder / "numbers.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _flat(content: dict[str, Any]) -> dict[str, str]:
    from perceptlib.runs.sweep import flat, number_text

    return {name: number_text(value) for name, value in flat(content.get("numbers", {})).items()}


def _different(theirs: dict[str, str], yours: dict[str, str]) -> list[list[str]]:
    """Name, value in the book, value of the run, where they differ as they are shown."""
    names = dict.fromkeys([*yours, *theirs])
    pairs = [[name, theirs.get(name, "–"), yours.get(name, "–")] for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _made(what: str, notebook: str, beside: str, content: dict[str, Any]) -> str:
    """Which notebook, when, and with what."""
    told = f"{what} of the notebook <code>{_clean(notebook)}</code>{beside}."
    if provenance := content.get("provenance"):
        date, weights = provenance["date"][:16].replace("T", " "), provenance.get("weights")
        told += _clean(f" Made on {date} UTC with torch {provenance['versions'].get('torch')}.")
        told += _clean(f" Weights: {weights['source']} (sha256 {str(weights['sha256'])[:16]}…).") if weights else ""
    return f"<p>{told}</p>"


def _table(word: str, theirs: dict[str, str], yours: dict[str, str]) -> str:
    if not (rows := _different(theirs, yours)):
        return _said(f"No {word} differs.")
    head = "".join(f'<th scope="col">{title}</th>' for title in (word, "in the book", "yours"))
    lines = "".join("<tr>" + "".join(f"<td>{_clean(text)}</td>" for text in row) + "</tr>" for row in rows)
    table = f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'
    fold = f"<details open><summary>{word.capitalize()}s that differ: {len(rows)}</summary>{table}</details>"
    return fold.replace(" open", "") if len(rows) > 15 else fold


def _said(text: str) -> str:
    return f"<p>{_clean(text)}</p>"


def _clean(text: str) -> str:
    """Escape a text, without what no page can hold: NUL, and halves of letters from odd file names."""
    return escape(str(text).replace("\0", "").encode("utf-8", "replace").decode())


def _slug(name: str) -> str:
    """A name that is safe in any address."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", name)[:80]
