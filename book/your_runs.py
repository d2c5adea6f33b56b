"""Runs and sweeps of a reader: those in the folder runs/, each beside the page of the book that is nearest to it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from experiments import Page, code_of

RUNS = Path("runs")
# In the staged tree: what book/_ext/your_runs_page.py shows, and the pages that it links.
LISTING = Path("your_runs.json")
PAGES = Path("book/_static/your_runs")


def stage_own_runs(source: Path, wanted: list[Page]) -> None:
    """Write what the page "Your runs" shows into the staged tree.

    Parameters
    ----------
    source
        The staged tree.
    wanted
        The book's pages that are notebooks, as they have been run.
    """
    entries = []
    folders = sorted(path for path in RUNS.glob("*") if path.is_dir() and not path.name.startswith("."))
    for number, folder in enumerate(folders, start=1):
        target = PAGES / f"{number}-{_slug(folder.name)}"
        try:
            is_sweep = (folder / "sweep.json").exists()
            entry = _sweep(folder, source, target) if is_sweep else _run(folder, source, target, wanted)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # Whatever a reader's files hold, the book is built; the page tells.
            entry = {"problem": f"It cannot be read ({type(error).__name__}: {error}); delete it or run it again."}
        entries.append({"name": folder.name, **entry})
    (source / LISTING).write_text(json.dumps(entries, indent=1))


def _run(folder: Path, source: Path, target: Path, wanted: list[Page]) -> dict[str, Any]:
    """Describe one run, and copy what is linked."""
    notebooks = sorted(path for path in folder.glob("*.ipynb") if not path.name.endswith(".failed.ipynb"))
    failed = sorted(path.name for path in folder.glob("*.failed.ipynb"))
    if len(notebooks) != 1:
        if failed:
            return {"problem": f"The run stopped at an error; the notebook as far as it came is {failed[0]}."}
        what = f"{len(notebooks)} executed notebooks" if notebooks else "no executed notebook"
        return {"problem": f"The folder holds {what}; give each run a folder of its own, and let it end."}
    [notebook] = notebooks
    settings, content = _settings(notebook), _numbers(folder)
    candidates = [page for page in wanted if page.notebook == notebook.stem and page.executed.exists()]
    entry: dict[str, Any] = {"kind": "run", "notebook": notebook.stem, "made": _made(content), "notes": []}
    if failed:
        entry["notes"].append(f"A later run in this folder stopped at an error: see {failed[0]}.")
    if not content:
        entry["notes"].append("There is no numbers.json: the notebook wrote no numbers.")
    beside: dict[str, Any] = {}
    numbers = _flat(content)
    if candidates:
        page = min(candidates, key=lambda page: len(_different(_settings(page.executed), settings)))  # first of equals
        beside = _flat(_numbers(page.run))
        entry["beside"] = {"document": page.document, "name": page.title or page.notebook}
        entry["parameters"] = _different(_settings(page.executed), settings)
        if code_of(page.source) != code_of(notebook):
            entry["notes"].append("The notebook's code has changed since this run.")
    else:
        entry["parameters"] = [[name, "", value] for name, value in settings.items()]
    entry["numbers"] = _different(beside, numbers)
    entry["num_same"] = len(numbers.keys() & beside.keys()) - sum(
        name in numbers and name in beside for name, _, _ in entry["numbers"]
    )
    html = folder / f"{notebook.stem}.html"
    linked = [html] if html.exists() else []
    entry["links"] = _copy([*linked, *sorted(folder.glob("*.csv")), folder / "numbers.json"], folder, source, target)
    return entry


def _sweep(folder: Path, source: Path, target: Path) -> dict[str, Any]:
    """Describe one sweep, and copy what is linked."""
    content = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    if "rows" not in content:
        again = f"start it again with --out runs/{folder.name}, and it goes on where it was"
        return {"problem": f"A sweep of {content['notebook']} that has not ended; {again}."}
    numbers = [figure["number"] for figure in content["figures"]]
    has_failed = any(row["error"] for row in content["rows"])
    table = [
        [_shown(row["parameters"][name]) for name in content["grid"]]
        + ["–" if row["error"] else _shown(row["numbers"][name]) for name in numbers]
        + ([row["error"]] if has_failed else [])
        for row in content["rows"]
    ]
    pages = [folder / "sweep.html", folder / "sweep.csv", *sorted(folder.glob("cells/*/*.html"))]
    links = _copy(pages, folder, source, target)
    figures = []
    for figure in content["figures"]:
        _copy([folder / figure["file"]], folder, source, target)
        figures.append({"address": f"/{target / figure['file']}", "alt": figure["alt"]})
    return {
        "kind": "sweep",
        "notebook": content["notebook"],
        "made": _made(content),
        "notes": content.get("notes", []),  # those of an older version have none
        "head": [*content["grid"], *numbers, *(["error"] if has_failed else [])],
        "rows": table,
        "figures": figures,
        "links": [link for link in links if "/cells/" not in link["address"]],
    }


def _settings(notebook: Path) -> dict[str, str]:
    """All parameters of an executed notebook as they were, but for the folder."""
    from perceptlib.runs.parameters import parameters_of, read_notebook

    defaults = {name: parameter.default for name, parameter in parameters_of(notebook).items()}
    given = read_notebook(notebook).metadata.get("papermill", {}).get("parameters", {})
    return {name: repr(value) for name, value in {**defaults, **given}.items() if name != "out"}


def _numbers(folder: Path) -> dict[str, Any]:
    """What a run wrote into numbers.json; empty where it wrote none."""
    path = folder / "numbers.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _flat(content: dict[str, Any]) -> dict[str, str]:
    from perceptlib.runs.sweep import flat

    return {name: _shown(value) for name, value in flat(content.get("numbers", {})).items()}


def _different(theirs: dict[str, str], yours: dict[str, str]) -> list[list[str]]:
    """Name, value in the book, value of the run, where they differ as they are shown."""
    names = dict.fromkeys([*yours, *theirs])
    pairs = [[name, theirs.get(name, "–"), yours.get(name, "–")] for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _made(content: dict[str, Any]) -> str:
    """When, and with what."""
    provenance = content.get("provenance") or {}
    if not provenance:
        return ""
    told = f"Made on {provenance['date'][:16].replace('T', ' ')} UTC with torch {provenance['versions'].get('torch')}"
    weights = provenance.get("weights")
    if weights:
        told += f" and the weights {weights.get('source')} (sha256 {str(weights.get('sha256'))[:16]}…)"
    return f"{told}."


def _shown(value: Any) -> str:
    from perceptlib.runs.sweep import number_text

    return number_text(value) if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _copy(paths: list[Path], folder: Path, source: Path, target: Path) -> list[dict[str, str]]:
    """Copy files that exist into the staged tree; return their names and addresses in the book."""
    links = []
    for path in paths:
        if path.is_file():
            inside = Path(*map(_slug, path.relative_to(folder).parts))
            (source / target / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source / target / inside)
            links.append({"name": path.name, "address": str(target.relative_to("book") / inside)})
    return links


def _slug(name: str) -> str:
    """A name that is safe in any address."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", name)[:80]
