"""Run a notebook with checked parameters, and write the numbers that the book quotes.

The executed notebook takes its final name when every cell has run, and keeps it whatever becomes of its HTML page.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceptlib.records import claimed, plain, read_json, replacing, write_json, writing_to
from perceptlib.records.device import VARIABLE as DEVICE
from perceptlib.records.device import checked_device, chosen_device
from perceptlib.records.package import ROOT, is_clone
from perceptlib.records.provenance import command, provenance
from perceptlib.runs.parameters import ParameterError, check_parameters, parameters_of, read_notebook

if TYPE_CHECKING:
    from perceptlib.networks import Classifier
    from perceptlib.study.presets import Pictures

START_SECONDS = 60  # for a kernel to answer
# nbconvert's page loads require.js, MathJax and Mermaid from other hosts, each in a block of its own.
_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
{%- if resources.mathjax_script -%}
<script>
MathJax = {
  tex: {inlineMath: [['$', '$'], ['\\\\(', '\\\\)']], tags: 'ams'},
  options: {enableMenu: false},
  startup: {elements: ['.jp-MarkdownOutput']}
};
</script>
<script>{{ resources.mathjax_script }}</script>
{%- endif -%}
{%- endblock -%}
"""
_LABEL = re.compile(r"^\([\w:-]+\)=\n", re.MULTILINE)
_BOX = re.compile(r"^(:::|```)\{(?:admonition|dropdown)\} (.+)\n(?::\w+: .+\n)*([\s\S]*?)^\1$", re.MULTILINE)
_NUMBER = re.compile(r"\{num\}`(?P<run>[\w-]+)\.(?P<key>[\w.-]+?)(?::(?P<format>[^`]+))?`")
_CITED = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
_FIGURE = re.compile(r"\{numref\}`[^`]+`")
_LINK = re.compile(r"\[([^\]]*)\]\(#[\w:-]+\)")  # to a label of the book
_MATHS = re.compile(r"\$|\\\(|\\\[|\\begin\{")


class NotebookError(RuntimeError):
    """A notebook that stopped before its end; the message says where, and what is kept."""


class PageError(NotebookError):
    """A notebook that ran to its end, but whose page could not be made: all else is kept."""


@dataclass(frozen=True)
class Run:
    """What an executed notebook left: its copy, the page (None with ``html=False``), the numbers (None without any)."""

    notebook: Path
    page: Path | None
    numbers: Path | None


def execute(
    notebook: str | os.PathLike[str],
    parameters: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    html: bool = True,
    device: str | None = None,
    progress: bool = False,
) -> Run:
    """Run a notebook with papermill, in the working directory and with the interpreter of the caller.

    `out` receives ``NAME.ipynb``, ``NAME.html`` unless `html` is off, ``FIGURE.csv`` with the numbers of each named
    figure, and what the notebook writes into its parameter ``out``. `device` reaches the kernel in PERCEPTLIB_DEVICE.
    NotebookError: no kernel started, a cell raised or the kernel died; ``NAME.failed.ipynb`` is the half-run copy, and
    files of an earlier run are left as they were. PageError: all but the page is there.
    """
    source, out = Path(notebook), Path(out)
    for path in (source, out):
        check_name(path)
    if "out" in parameters:
        raise ParameterError("parameter `out` is the output folder; set it with --out DIR")
    values = check_parameters(source, parameters)
    if "out" in parameters_of(source):
        values["out"] = str(out)
    device = chosen_device() if device is None else checked_device(device)
    executed, page = out / f"{source.stem}.ipynb", out / f"{source.stem}.html"
    failed = out / f"{source.stem}.failed.ipynb"
    if executed.exists() and executed.samefile(source):
        raise ValueError(f"the executed copy would overwrite the notebook {source} itself; pass another --out DIR")
    with writing_to(out), claimed(out):
        numbers = out / "numbers.json"
        numbers_before = _stamp(numbers)
        with replacing(executed) as running:
            try:
                _run_cells(source, values, running, device=device, progress=progress)
            except NotebookError as error:
                if error.__cause__ is None:  # no cell has run
                    raise
                _tidy(running, source)
                os.replace(running, failed)
                raise NotebookError(f"{error}; the half-run copy is {failed}") from error.__cause__
            figure_rows = _tidy(running, source)
        failed.unlink(missing_ok=True)
        for name, rows in figure_rows.items():
            with replacing(out / f"{name}.csv") as temporary:
                temporary.write_text(rows, encoding="utf-8")
        is_new = _stamp(numbers) not in (None, numbers_before)
        if html:
            write_page(executed, page, numbers if is_new else None)
    return Run(executed, page if html else None, numbers if is_new else None)


def write_page(executed: Path, page: Path, numbers: Path | None = None) -> None:
    """Write an HTML page of an executed notebook, in one file that asks no other host for anything.

    The text quotes what ``numbers.json`` has. Formulas are set by MathJax, copied into the page (2 MB) where
    ``sphinx-mathjax-offline`` is installed (extra ``book``); else they stay as TeX. PageError: no page could be made;
    none of an earlier run stays beside this notebook.
    """
    from nbconvert import HTMLExporter

    try:
        content = read_notebook(executed)
        content.metadata["title"] = executed.stem
        told = {} if numbers is None else read_json(numbers)["numbers"]
        texts = [cell for cell in content.cells if cell.cell_type == "markdown"]
        for cell in texts:
            cell.source = plain_text(cell.source, executed.stem, told)
        has_maths = any(_MATHS.search(cell.source) for cell in texts)
        resources = {"mathjax_script": _mathjax_script() if has_maths else ""}
        body, _ = HTMLExporter(raw_template=_TEMPLATE).from_notebook_node(content, resources=resources)
        with replacing(page) as temporary:
            temporary.write_text(body, encoding="utf-8")
    except OSError:
        raise
    except Exception as error:  # of nbconvert, at what cells may hold: the cells have run
        page.unlink(missing_ok=True)
        raise PageError(
            f"{page} could not be made ({type(error).__name__}: {error}); {executed} and all else in {page.parent} "
            "are kept"
        ) from error


def plain_text(source: str, run: str, numbers: Mapping[str, Any]) -> str:
    """Text of a notebook with the `numbers` that it quotes of `run`, and without what the book alone can resolve."""

    def quoted(match: re.Match[str]) -> str:
        value: Any = numbers if match["run"] == run else None
        for key in match["key"].split("."):
            if not isinstance(value, Mapping) or key not in value:
                return "(in the book)"
            value = value[key]
        return "undefined" if value is None else format(value, match["format"] or "")

    source = _BOX.sub(r"**\2.**\n\n\3", _LABEL.sub("", source))
    source = _NUMBER.sub(quoted, source)
    source = _CITED.sub(r"(\1)", source)
    source = _FIGURE.sub("the figure", source)
    return _LINK.sub(lambda match: match[1] or "the book", source)


def _mathjax_script() -> str:
    """MathJax in one script with SVG output, the only one that needs no font files; empty if not installed."""
    # The package's name is no Python identifier, so it can be found but not imported by a statement.
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        return ""
    return (Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js").read_text(encoding="utf-8")


def find_notebook(name: str) -> Path:
    """Find a notebook by its path, or one of the study's by its name alone, such as ``02_attack``."""
    folder = ROOT / "notebooks"
    for path in (Path(name), folder / f"{name}.ipynb"):
        if path.is_file():
            return path
    others = "clone the repository for those of the study"
    if is_clone():
        others = f"one of the study's: {', '.join(sorted(path.stem for path in folder.glob('*.ipynb'))) or 'none'}"
    raise FileNotFoundError(f"no notebook {name}; pass the path of an .ipynb file, or {others}")


def write_numbers(
    out: str | os.PathLike[str],
    numbers: Mapping[str, Any],
    *,
    preset: str,
    seed: int,
    classifier: Classifier | None = None,
    pictures: Pictures | None = None,
) -> Path:
    """Write numbers as `perceptlib.records.plain` takes them, and where they come from, to ``OUT/numbers.json``."""
    seen = None if pictures is None else pictures.listing()
    origin = provenance(seed=seed, preset=preset, classifier=classifier, pictures=seen)
    content = {"numbers": plain(numbers), "provenance": origin}
    path = Path(out) / "numbers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return path


def _stamp(path: Path) -> tuple[int, int] | None:
    """Tell one writing of a file from the next; None where there is none."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def _run_cells(source: Path, values: Mapping[str, Any], running: Path, *, device: str, progress: bool) -> None:
    """Run all cells; `running` holds the notebook as far as it has come."""
    import papermill
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.asynchronous import AsyncKernelClient
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets import Type

    class OwnClient(AsyncKernelClient):
        """Measures the time of the start by a clock that does not jump."""

        async def wait_for_ready(self, timeout: float | None = None) -> None:
            try:
                await asyncio.wait_for(super().wait_for_ready(), timeout)
            except TimeoutError:
                told = f"{source.name}: no kernel answered within {timeout} s; run it again where less runs"
                raise NotebookError(told) from None

    class OwnKernel(AsyncKernelManager):
        """Starts this interpreter, whatever kernel specifications are installed."""

        client_factory = Type(OwnClient)

        @property
        def kernel_spec(self) -> KernelSpec:
            # At its usual level the kernel writes its own affairs between ours on stderr.
            told = {"PERCEPTLIB_COMMAND": command(), DEVICE: device}  # for the provenance, and for loading networks
            return KernelSpec(**get_kernel_dict(["--log-level=50"]) | {"env": told})

    # papermill puts parameters into braces of a path; double braces stand for themselves.
    output = str(running).replace("{", "{{").replace("}", "}}")
    log = logging.getLogger("papermill")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of each `=` in a comment of the parameters cell
    try:
        papermill.execute_notebook(
            read_notebook(source),
            output,
            dict(values),
            kernel_name="python3",
            language="python",
            progress_bar=progress,
            start_timeout=START_SECONDS,
            kernel_manager_class=OwnKernel,
        )
    except PapermillExecutionError as error:
        first_line = error.source.strip().partition("\n")[0]
        told = f"cell In [{error.exec_count}], `{first_line}`, raised {error.ename}: {error.evalue}"
        raise NotebookError(f"{source.name}: {told}") from error
    except DeadKernelError as error:
        raise NotebookError(f"{source.name}: the kernel died (killed, or out of memory?)") from error
    finally:
        log.setLevel(level)


def _tidy(running: Path, source: Path) -> dict[str, str]:
    """Take out this machine's paths and the numbers that figures carry; returns those of named figures as CSV."""
    import nbformat

    notebook, figure_rows = read_notebook(running), {}
    notebook.metadata.papermill.update(input_path=source.name, output_path=source.name)
    for cell in notebook.cells:
        name = _figure_name(cell.metadata)
        for output in cell.get("outputs", ()):
            rows = output.get("data", {}).pop("text/csv", None)
            if rows and re.fullmatch(r"[\w-]+", name):
                figure_rows[name] = rows
    nbformat.write(notebook, running)
    return figure_rows


def _figure_name(metadata: Any) -> str:
    """Whatever else a user's notebook may hold under these names."""
    for key in ("mystnb", "figure", "name"):
        metadata = metadata.get(key) if isinstance(metadata, Mapping) else None
    return metadata if isinstance(metadata, str) else ""


def check_name(path: Path) -> None:
    """Refuse a name that is no UTF-8: notebooks and pages name their files."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name {path} is no UTF-8; rename it") from None
