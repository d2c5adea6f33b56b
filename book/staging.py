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

from experiments import RENEW, RUNS, Page, code_of, results

SOURCE = Path("build/src")
# A target before a heading or paragraph, `(label)=`, or the label of a figure, table or equation.
_LABEL = re.compile(r"^\(([\w:-]+)\)=$|^\s*:(?:label|name): *([\w:-]+)$|(?<=\$\$ \()([\w:-]+)(?=\)$)", re.MULTILINE)
_EXERCISE = ":::{admonition} Try it"  # and, in the same cell, what to expect
_SHOWN = re.compile(r"figures/([\w-]+)/([\w-]+)\.(jpg|svg)")  # a figure of a notebook, on a page of text
_ROWS = 8  # at most, of a table that is shown: one of a section


def stage(wanted: list[Page], is_recorded: dict[str, bool]) -> None:
    """Write build/src anew; `is_recorded` says by a page's name whether it shows a record."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copyfile(name, SOURCE / name)
    shutil.copytree("book", SOURCE / "book", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    # MathJax's one script and its fonts: 2 of the package's 24 MB.
    package = Path(str(distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax")))
    mathjax, fonts = SOURCE / "book" / "_static" / "mathjax", "output/chtml/fonts/woff-v2"
    shutil.copytree(package / fonts, mathjax / fonts)
    shutil.copyfile(package / "tex-chtml-full.js", mathjax / "tex-chtml-full.js")
    frames, found = Path("book/_static/explorer/frames.json"), accuracies()
    # Numbers that pages quote as those of a run.
    quoted = {"networks": plain(numbers(found)), "studies": recorded_effort()}
    quoted |= {"explorer": json.loads(frames.read_text())["numbers"]} if frames.is_file() else {}
    for name, values in quoted.items():
        (RUNS / name).mkdir(parents=True, exist_ok=True)
        write_json(RUNS / name / "numbers.json", {"numbers": values})
    table = f'<div class="pst-scrollable-table-container">{network_table(found)._repr_html_()}</div>'
    (SOURCE / "book" / "networks.html").write_text(table, encoding="utf-8")
    for page in wanted:
        _stage_notebook(page, is_recorded[page.name])
    _stage_figures()
    state = commit() or ""
    told = f"commit `{state.removesuffix('-dirty')[:12]}`" if state else "files without a history"
    told += " with changes" if state.endswith("-dirty") else ""
    (SOURCE / "book" / "this_copy.txt").write_text(f"This copy of the book was built from {told}.\n", encoding="utf-8")


def _stage_notebook(page: Page, is_recorded: bool) -> None:
    """Write one executed notebook with its notes, and the numbers beside it."""
    notebook, files = nbformat.read(page.executed, as_version=4), results(page)
    is_older = code_of(page.source, page.parameters) != code_of(page.executed, page.parameters)
    if not is_older:
        notebook.cells = take_prose(notebook.cells, nbformat.read(page.source, as_version=4).cells)
    # papermill's times would make every run's page differ.
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []) and not page.parameters:
            cell.metadata.tags.append("remove-cell")  # it only says where outputs went
    _fold(notebook.cells)
    (SOURCE / "runs" / page.name).mkdir(parents=True)
    for path in files:
        shutil.copyfile(path, SOURCE / "runs" / page.name / path.name)
    addresses = {path.name: f"</runs/{page.name}/{path.name}>`" for path in files}
    figures = [cell.metadata.mystnb.figure for cell in notebook.cells if "figure" in cell.metadata.get("mystnb", {})]
    for figure in figures:
        if address := addresses.pop(f"{figure.get('name')}.csv", None):
            figure["caption"] += f" {{download}}`Data (CSV) {address}"
    if page.title:
        first = notebook.cells[0]
        first.source = re.sub(r"^# .*", lambda _: f"# {page.title}", first.source, count=1, flags=re.MULTILINE)
    if page.name != page.notebook:
        # An exercise is about the notebook's own page, where it stands.
        notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith(_EXERCISE)]
        _make_own(notebook.cells, figures, page)
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(_banner(page, is_recorded, is_older), id="banner"))
    links = ", ".join(f"{{download}}`{name} {address}" for name, address in addresses.items())
    text = f"---\nFiles of this run: {links}; the executed notebook is at the top, at Download.\n\n" if files else ""
    names = ", ".join(f"`{name}`" for name in library_names(page.source))
    text += f"```{{dropdown}} What this page uses of the library\n{names}.\n```"
    notebook.cells.append(nbformat.v4.new_markdown_cell(text, id="files-and-library"))
    target = SOURCE / f"{page.document}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def _fold(cells: list[Any]) -> None:
    """Fold away what a reader opens at need: parameters, code, cells that only write files, all but small tables."""
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
        is_silent = writes and not any("data" in output for output in cell.outputs)
        if not {"remove-cell", "hide-cell"} & {*tags}:
            cell.metadata.tags = [*tags, "hide-cell" if is_folded or is_silent else "hide-input"]
        caption = re.search("<caption>(.*?)</caption>", "".join(tables)) if is_folded else None
        prompt = f"Table: {caption[1]}" if caption else "Table" if is_folded else "Code"
        prompt = "Parameters" if {"parameters", "injected-parameters"} & {*tags} else prompt
        for key in ("code_prompt_show", "code_prompt_hide"):  # a notebook may have words of its own
            cell.metadata.setdefault("mystnb", {}).setdefault(key, prompt)


def _stage_figures() -> None:
    """Let pages of text show figures of notebooks: write those named `figures/PAGE/FIGURE.jpg` or .svg."""
    texts = (path.read_text(encoding="utf-8") for path in Path("book").glob("*.md"))
    for run, name, kind in (shown for text in texts for shown in _SHOWN.findall(text)):
        cells = [cell for path in RUNS.glob(f"{run}/*.ipynb") for cell in nbformat.read(path, as_version=4).cells]
        named = [cell for cell in cells if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name]
        for output in (output for cell in named for output in cell.outputs):
            if picture := output.get("data", {}).get("image/jpeg" if kind == "jpg" else "image/svg+xml"):
                target = SOURCE / "book" / "figures" / run / f"{name}.{kind}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(base64.b64decode(picture) if kind == "jpg" else picture.encode())


def library_names(notebook: Path) -> list[str]:
    """Return what a notebook uses of the library, by full names: book/_ext/links.py makes links of them."""
    code = "\n".join(cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code")
    code = re.sub(r"^(\s*)[%!].*", r"\1pass", code, flags=re.MULTILINE)  # lines of IPython are no Python
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    own = [node for node in imports if str(node.module).startswith("perceptlib")]
    return sorted({f"{node.module}.{name.name}" for node in own for name in node.names})


def _make_own(cells: list[Any], figures: list[Any], page: Page) -> None:
    """Let a page of the same notebook refer to itself: labels get the page's name, quoted numbers its run's."""
    texts = [cell for cell in cells if cell.cell_type == "markdown"]
    prose = "\n".join(cell.source for cell in texts)
    labels = [figure["name"] for figure in figures] + [match[match.lastindex or 0] for match in _LABEL.finditer(prose)]
    # Where a label is defined or referred to; elsewhere the same letters are a word, such as "agreement".
    place = r"(?:^\(|^\s*:(?:label|name): *|\$\$ \(|\]\(#|\{[\w:]+\}`(?:[^`<]*<)?)"
    own = rf"{place}(?:{'|'.join(map(re.escape, labels)) or '(?!)'})(?![\w-])"

    def renamed(text: str) -> str:
        text = re.sub(own, rf"\g<0>-{page.name}", text, flags=re.MULTILINE)
        return re.sub(rf"(?<={{num}}`){re.escape(page.notebook)}(?=\.)", page.name, text)

    for cell in texts:
        cell.source = renamed(cell.source)
    for figure in figures:
        figure["name"] += f"-{page.name}"
        figure["caption"] = renamed(figure["caption"])


def _banner(page: Page, is_recorded: bool, is_older: bool) -> str:
    """Return the note that says when and with what weights a page was run, and how to run it again."""
    provenance = json.loads((page.run / "numbers.json").read_text())["provenance"]
    weights = provenance.get("weights") or {}
    options = " ".join(f"-p {name} {shlex.quote(str(value))}" for name, value in page.parameters.items())
    title, kind = ("A recorded run", "important") if is_recorded else ("Run while this book was built", "note")
    why = "No MobileNetV2 weights were at hand when" if page.needs == "imagenet" else "It takes too long, so when"
    folder = ", with `PERCEPTLIB_ASSETS` naming a folder with weights, `images.csv` and its pictures"
    lines = [
        f":::{{admonition}} {title}\n:class: {kind}",
        f"Run on {provenance['date'][:10]} with {weights.get('name', 'a network')}, weights {weights.get('source')} "
        f"(sha256 `{str(weights.get('sha256', 'unknown'))[:16]}…`), torch {provenance['versions'].get('torch')}.",
        f"{why} this book was built, the record was taken." if is_recorded else "",
        "The notebook's code has changed since." if is_recorded and is_older else "",
        f"To run it again{folder if page.needs == 'photographs' else ''}:",
        f"```\nperceptlib run notebooks/{page.notebook}.ipynb {options} --out {page.name}\n```",
        f"or `{RENEW[page.needs]}`, which renews every such page." if page.needs else "",
        ":::",
    ]
    return "\n".join(filter(None, lines))


def take_prose(executed: list[Any], source: list[Any]) -> list[Any]:
    """Return a run's cells with the prose, captions and alt texts of its notebook, whose code must be the run's."""
    ran, cells = [cell for cell in executed if cell.cell_type == "code"], []
    for cell in source:
        cells.append(cell if cell.cell_type != "code" else ran.pop(0))
        cells[-1].metadata, cells[-1].source = cell.metadata, cell.source
        if ran and "injected-parameters" in ran[0].metadata.get("tags", []):
            cells.append(ran.pop(0))  # behind the cell of those that it replaces
    return cells
