"""Lay out the tree that jupyter-book builds: a mirror of the repository with executed notebooks."""

from __future__ import annotations

import ast
import base64
import json
import re
import shlex
import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import nbformat

from perceptlib.analysis.recorded import recorded_effort
from perceptlib.pages.networks import accuracies, network_table, numbers
from perceptlib.records import commit, plain, write_json

from experiments import RUNS, Page, code_of, remake, results

SOURCE = Path("build/src")
# A target before a heading or paragraph, `(label)=`, or the label of a figure, table or equation.
_LABEL = re.compile(r"^\(([\w:-]+)\)=$|^\s*:(?:label|name): *([\w:-]+)$|(?<=\$\$ \()([\w:-]+)(?=\)$)", re.MULTILINE)
_EXERCISE = ":::{admonition} Try it"  # and, in the same cell, what to expect
# A figure of a notebook that a page of text shows, too.
_SHOWN = re.compile(r"figures/([\w-]+)/([\w-]+)\.(jpg|svg)")
_ROWS = 8  # of a table that is shown


def stage(wanted: list[Page], is_recorded: dict[str, bool]) -> None:
    """Write build/src anew; `is_recorded` says by a page's name whether it shows a record."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copyfile(name, SOURCE / name)
    shutil.copytree("book", SOURCE / "book", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    _stage_mathjax(SOURCE / "book" / "_static" / "mathjax")
    frames = Path("book/_static/explorer/frames.json")
    if frames.is_file():  # the explorer page quotes its numbers as those of a run
        (RUNS / "explorer").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(frames, RUNS / "explorer" / "numbers.json")
    found = accuracies()
    (RUNS / "networks").mkdir(parents=True, exist_ok=True)
    write_json(RUNS / "networks" / "numbers.json", {"numbers": plain(numbers(found))})  # quoted likewise
    (RUNS / "studies").mkdir(parents=True, exist_ok=True)
    write_json(RUNS / "studies" / "numbers.json", {"numbers": recorded_effort()})
    table = f'<div class="pst-scrollable-table-container">{network_table(found)._repr_html_()}</div>'
    (SOURCE / "book" / "networks.html").write_text(table, encoding="utf-8")
    for page in wanted:
        _stage_notebook(page, is_recorded[page.name])
    _stage_figures()
    (SOURCE / "book" / "this_copy.txt").write_text(state(commit()), encoding="utf-8")


def _stage_notebook(page: Page, is_recorded: bool) -> None:
    """Write one executed notebook with its notes, and the numbers beside it."""
    notebook = nbformat.read(page.executed, as_version=4)
    if not code_changed(page):
        notebook.cells = take_prose(notebook.cells, nbformat.read(page.source, as_version=4).cells)
    # papermill's times would make every run's page differ.
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []) and not page.parameters:
            cell.metadata.tags.append("remove-cell")  # it only says where outputs went
    _fold(notebook.cells)
    files = results(page)
    (SOURCE / "runs" / page.name).mkdir(parents=True)
    for path in files:
        shutil.copyfile(path, SOURCE / "runs" / page.name / path.name)
    if page.name != page.notebook:
        # An exercise is about the notebook's own page, where it stands.
        notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith(_EXERCISE)]
        _make_own(notebook.cells, page)
    shown = _offer_rows(notebook.cells, page, {path.stem for path in files})
    if page.title:
        first = notebook.cells[0]
        first.source = re.sub(r"^# .*", lambda _: f"# {page.title}", first.source, count=1, flags=re.MULTILINE)
    if page.name != page.notebook:
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(_banner(page, is_recorded), id="banner"))
    links = ", ".join(_download(page, path.name, path.name) for path in files if path.stem not in shown)
    names = ", ".join(f"`{name}`" for name in library_names(page.source))
    text = f"---\nFiles of this run: {links}; the executed notebook is at the top, at Download.\n\n"
    text = (text if files else "") + f"```{{dropdown}} What this page uses of the library\n{names}.\n```"
    notebook.cells.append(nbformat.v4.new_markdown_cell(text, id="files-and-library"))
    target = SOURCE / f"{page.document}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def _fold(cells: list[Any]) -> None:
    """Fold away what a reader opens at need: parameters, code, cells that only write files, and tables.

    Of a section's tables the first is shown, if it has at most eight rows.
    """
    has_table = False
    for cell in cells:
        if cell.cell_type != "code":
            has_table = has_table and not re.search(r"^#+ ", cell.source, re.MULTILINE)
            continue
        tags = cell.metadata.get("tags", [])
        tables = [output.get("data", {}).get("text/html", "") for output in cell.outputs]
        num_rows = max((table.count("<tr") - table.count("<thead") for table in tables if "<table" in table), default=0)
        is_folded = num_rows > 0 and (has_table or num_rows > _ROWS)
        has_table = has_table or (num_rows > 0 and not is_folded)
        writes = re.search(r"^(\w+ = )?(\w+\.)?write_(rows|csv|numbers)\(", cell.source, re.MULTILINE)
        shows = any("data" in output for output in cell.outputs)
        if {"parameters", "injected-parameters"} & {*tags}:
            prompt = "Parameters"
        else:
            caption = re.search("<caption>(.*?)</caption>", "".join(tables))
            prompt = f"Table: {caption[1]}" if is_folded and caption else "Table" if is_folded else "Code"
        if not {"remove-cell", "hide-cell"} & {*tags}:
            cell.metadata.tags = [*tags, "hide-cell" if is_folded or (writes and not shows) else "hide-input"]
        for key in ("code_prompt_show", "code_prompt_hide"):  # a notebook may have words of its own
            cell.metadata.setdefault("mystnb", {}).setdefault(key, prompt)


def _stage_figures() -> None:
    """Let pages of text show figures of notebooks: write those named `figures/PAGE/FIGURE.jpg` or .svg."""
    for text in Path("book").glob("*.md"):
        for run, name, kind in _SHOWN.findall(text.read_text(encoding="utf-8")):
            cells = [cell for path in RUNS.glob(f"{run}/*.ipynb") for cell in nbformat.read(path, as_version=4).cells]
            named = [cell for cell in cells if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name]
            for output in (output for cell in named for output in cell.outputs):
                if picture := output.get("data", {}).get("image/jpeg" if kind == "jpg" else "image/svg+xml"):
                    target = SOURCE / "book" / "figures" / run / f"{name}.{kind}"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(base64.b64decode(picture) if kind == "jpg" else picture.encode())


def _download(page: Page, words: str, name: str) -> str:
    return f"{{download}}`{words} </runs/{page.name}/{name}>`"


def _offer_rows(cells: list[Any], page: Page, stems: set[str]) -> set[str]:
    """Offer the numbers of each figure, where its run left them, at the end of its caption; return their names."""
    names = set()
    for cell in cells:
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        name = figure.get("name", "").removesuffix(f"-{page.name}")  # the run knows no other page of its notebook
        if name in stems:
            figure["caption"] += f" {_download(page, 'Data (CSV)', f'{name}.csv')}"
            names.add(name)
    return names


def library_names(notebook: Path) -> list[str]:
    """Return what a notebook uses of the library, by full names: book/_ext/library_names.py makes links of them."""
    found: set[str] = set()
    for cell in nbformat.read(notebook, as_version=4).cells:
        code = re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.MULTILINE)  # lines of IPython are no Python
        for node in ast.walk(ast.parse(code)) if cell.cell_type == "code" else ():
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("perceptlib"):
                found |= {f"{node.module}.{name.name}" for name in node.names}
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "perceptlib":
                found.add(ast.unparse(node))
    return sorted(found)


def _make_own(cells: list[Any], page: Page) -> None:
    """Let a page of the same notebook refer to itself: labels get the page's name, quoted numbers its run's."""
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in cells]
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    labels = {figure["name"] for figure in filter(None, figures)}
    labels |= {next(filter(None, match.groups())) for match in _LABEL.finditer(prose)}
    # Where a label is defined or referred to; elsewhere the same letters are a word, such as "agreement".
    place = r"(^\(|^\s*:(?:label|name): *|\$\$ \(|\]\(#|\{[\w:]+\}`(?:[^`<]*<)?)"
    own = [(rf"{place}{re.escape(label)}(?![\w-])", rf"\g<1>{label}-{page.name}") for label in labels]
    own.append((rf"(?<={{num}}`){re.escape(page.notebook)}(?=\.)", page.name))

    def renamed(text: str) -> str:
        for old, new in own:
            text = re.sub(old, new, text, flags=re.MULTILINE)
        return text

    for cell in cells:
        cell.source = renamed(cell.source) if cell.cell_type == "markdown" else cell.source
    for figure in filter(None, figures):
        figure["name"] += f"-{page.name}"
        figure["caption"] = renamed(figure["caption"])


def _banner(page: Page, is_recorded: bool) -> str:
    """Return the note that says when and with what weights a page was run, and how to run it again."""
    provenance = json.loads((page.run / "numbers.json").read_text())["provenance"]
    weights = provenance.get("weights") or {}
    options = " ".join(f"-p {name} {shlex.quote(str(value))}" for name, value in page.parameters.items())
    lines = [
        ":::{admonition} " + ("A recorded run" if is_recorded else "Run while this book was built"),
        ":class: " + ("important" if is_recorded else "note"),
        f"Run on {provenance['date'][:10]} with {weights.get('name', 'a network')}, weights {weights.get('source')} "
        f"(sha256 `{str(weights.get('sha256', 'unknown'))[:16]}…`), torch {provenance['versions'].get('torch')}.",
    ]
    if is_recorded:
        why = "No MobileNetV2 weights were at hand when" if page.needs == "imagenet" else "It takes too long, so when"
        lines.append(f"{why} this book was built, the record was taken.")
        lines += ["The notebook's code has changed since."] if code_changed(page) else []
    folder = ", with `PERCEPTLIB_ASSETS` naming a folder with weights, `images.csv` and its pictures"
    lines += [
        f"To run it again{folder if page.needs == 'photographs' else ''}:",
        f"```\nperceptlib run notebooks/{page.notebook}.ipynb {options} --out {page.name}\n```",
    ]
    lines += [f"or `{remake(page)}`, which renews every such page."] if page.needs else []
    return "\n".join([*lines, ":::"])


def code_changed(page: Page) -> bool:
    """Return whether the notebook's code differs from that of the run shown."""
    return code_of(page.source, page.parameters) != code_of(page.executed, page.parameters)


def take_prose(executed: list[Any], source: list[Any]) -> list[Any]:
    """Return a run's cells with the prose, captions and alt texts of its notebook, whose code must be the run's.

    The parameters that the run was given stay behind the cell that they replace.
    """
    ran = [cell for cell in executed if cell.cell_type == "code"]

    def next_is(tag: str) -> bool:
        return bool(ran) and tag in ran[0].metadata.get("tags", [])

    cells = []
    for cell in source:
        if cell.cell_type == "code":
            if next_is("injected-parameters"):
                cells.append(ran.pop(0))
            if "install" in cell.metadata.get("tags", []) and not next_is("install"):
                continue  # an older record has none, and there is nothing to show
            shown, cell = cell, ran.pop(0)
            cell.metadata, cell.source = shown.metadata, shown.source
        cells.append(cell)
    return cells + ran


def _stage_mathjax(target: Path) -> None:
    """Copy MathJax's one script and its fonts: 2 of the package's 24 MB."""
    package = Path(str(distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax")))
    fonts = "output/chtml/fonts/woff-v2"
    shutil.copytree(package / fonts, target / fonts)
    shutil.copyfile(package / "tex-chtml-full.js", target / "tex-chtml-full.js")


def state(commit: str | None) -> str:
    """Return which state of the project the pages show."""
    told = f"commit `{commit.removesuffix('-dirty')[:12]}`" if commit else "files without a history"
    return f"This copy of the book was built from {told}{' with changes' if str(commit).endswith('-dirty') else ''}.\n"
