"""Run a notebook with checked parameters, and write the numbers that the book quotes.

papermill leaves a half-run notebook under the final name. Here the executed notebook, with an HTML page of it, takes
its final name only when every cell has run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceptlib.records import plain, replacing, write_json, writing_to
from perceptlib.records.package import ROOT, is_clone
from perceptlib.records.provenance import command, provenance
from perceptlib.runs.html import write_page
from perceptlib.runs.parameters import ParameterError, check_parameters, parameters_of, read_notebook

if TYPE_CHECKING:
    from perceptlib.networks import Classifier
    from perceptlib.study.presets import Pictures

START_SECONDS = 60  # for a kernel to answer


class NotebookError(RuntimeError):
    """A notebook that stopped before its end; the message names the cell, the error and the half-run copy."""


@dataclass(frozen=True)
class Run:
    """What an executed notebook left.

    Attributes
    ----------
    notebook
        The executed copy, ``OUT/NAME.ipynb``.
    page
        Its HTML page, ``OUT/NAME.html``; None with ``html=False``.
    numbers
        ``OUT/numbers.json``; None where this run wrote none.
    """

    notebook: Path
    page: Path | None
    numbers: Path | None


def execute(
    notebook: str | os.PathLike[str],
    parameters: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    html: bool = True,
    progress: bool = False,
) -> Run:
    """Run a notebook with papermill, in the working directory and with the interpreter of the caller.

    Parameters
    ----------
    notebook
        Path of an ``.ipynb`` file.
    parameters
        Values that replace defaults of its parameters cell, checked before anything runs. ``out`` is not among them.
    out
        Folder that receives ``NAME.ipynb``, ``NAME.html``, ``FIGURE.csv`` with the numbers of each named figure, and
        what the notebook itself writes into its parameter ``out`` (``numbers.json``, CSV files). Made if missing.
    html
        Also write the HTML page. It loads nothing from another host.
    progress
        Show a progress bar over the cells on stderr.

    Returns
    -------
    Run
        Paths of what was left.

    Raises
    ------
    FileNotFoundError
        No such notebook.
    ParameterError
        Unknown parameter or wrong type: all parameters are listed.
    ValueError
        The executed copy would overwrite the notebook itself.
    NotebookError
        No kernel started, a cell raised, or the kernel died. The half-run copy of the latter two is kept as
        ``OUT/NAME.failed.ipynb``; the notebook and the page of an earlier run are left as they were.
    OSError
        As `perceptlib.records.provenance.writing_to`.

    Notes
    -----
    The kernel inherits the environment, so that ``OMP_NUM_THREADS`` holds in it. Kernel specifications installed for
    the user are not looked at: whatever they call ``python3``, this interpreter runs the notebook.
    """
    source, out = Path(notebook), Path(out)
    if "out" in parameters:
        raise ParameterError("parameter `out` is the output folder; set it with --out DIR")
    values = check_parameters(source, parameters)
    if "out" in parameters_of(source):
        values["out"] = str(out)
    executed, page = out / f"{source.stem}.ipynb", out / f"{source.stem}.html"
    failed = out / f"{source.stem}.failed.ipynb"
    if executed.exists() and executed.samefile(source):
        raise ValueError(f"the executed copy would overwrite the notebook {source} itself; pass another --out DIR")

    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    numbers = out / "numbers.json"
    numbers_before = _stamp(numbers)
    with writing_to(out), replacing(executed) as running:
        with _keeping_failed(running, failed, source):
            _run_cells(source, values, running, progress=progress)
        _drop_paths(running, source)
        _write_figure_rows(running, out)
        if html:
            is_new = _stamp(numbers) not in (None, numbers_before)
            told = json.loads(numbers.read_text(encoding="utf-8"))["numbers"] if is_new else None
            write_page(running, page, title=source.stem, numbers=told)
    failed.unlink(missing_ok=True)
    return Run(executed, page if html else None, numbers if _stamp(numbers) not in (None, numbers_before) else None)


def find_notebook(name: str) -> Path:
    """Find a notebook by its path, or one of the study's by its name alone.

    Parameters
    ----------
    name
        A path, or a name such as ``02_attack``.

    Returns
    -------
    pathlib.Path
        An existing file.

    Raises
    ------
    FileNotFoundError
        Neither; the message lists the study's notebooks.
    """
    folder = ROOT / "notebooks"
    for path in (Path(name), folder / f"{name}.ipynb"):
        if path.is_file():
            return path
    if not is_clone():
        raise FileNotFoundError(
            f"no notebook {name}; pass the path of an .ipynb file, or clone the repository for those of the study"
        )
    names = ", ".join(sorted(path.stem for path in folder.glob("*.ipynb"))) or "none"
    raise FileNotFoundError(f"no notebook {name}; pass the path of an .ipynb file, or one of the study's: {names}")


def write_numbers(
    out: str | os.PathLike[str],
    numbers: Mapping[str, Any],
    *,
    preset: str,
    seed: int,
    classifier: Classifier | None = None,
    pictures: Pictures | None = None,
) -> Path:
    """Write the numbers that prose quotes, and where they come from, to ``OUT/numbers.json``.

    Parameters
    ----------
    out
        The notebook's output folder. Made if missing.
    numbers
        Bools, ints, floats, strings, torch and numpy scalars, or mappings of these. NaN is written as null.
    preset, seed
        Parameters of the notebook.
    classifier
        The network that the numbers are about.
    pictures
        Those that the numbers are about, for their number and digest.

    Returns
    -------
    pathlib.Path
        The file: ``{"numbers": {...}, "provenance": {...}}``.

    Raises
    ------
    TypeError
        A value of another kind.
    ValueError
        An infinite number, or a name with a character other than letters, digits, ``_`` and ``-``.
    """
    from perceptlib.study.pictures import listing  # imports the networks

    seen = None if pictures is None else listing(pictures)
    content = {
        "numbers": plain(numbers),
        "provenance": provenance(seed=seed, preset=preset, classifier=classifier, pictures=seen),
    }
    path = Path(out) / "numbers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return path


def _stamp(path: Path) -> tuple[int, int] | None:
    """Tell one writing of a file from the next; None where there is none."""
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


def _run_cells(source: Path, values: Mapping[str, Any], running: Path, *, progress: bool) -> None:
    """Run all cells; `running` holds the notebook as far as it has come."""
    import papermill
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.asynchronous import AsyncKernelClient
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
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
            told = {"PERCEPTLIB_COMMAND": command()}  # for the provenance of what the notebook writes
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
    finally:
        log.setLevel(level)


@contextmanager
def _keeping_failed(running: Path, failed: Path, source: Path) -> Iterator[None]:
    """Keep the half-run notebook when a cell raises or the kernel dies, and say where."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        yield
    except (PapermillExecutionError, DeadKernelError) as error:
        _drop_paths(running, source)
        os.replace(running, failed)
        if isinstance(error, DeadKernelError):
            what = "the kernel died (killed, or out of memory?)"
        else:
            first_line = error.source.strip().partition("\n")[0]
            what = f"cell In [{error.exec_count}], `{first_line}`, raised {error.ename}: {error.evalue}"
        raise NotebookError(f"{source.name}: {what}; the half-run copy is {failed}") from error


def _drop_paths(running: Path, source: Path) -> None:
    """Take this machine's paths out of the metadata that papermill leaves."""
    import nbformat

    notebook = read_notebook(running)
    notebook.metadata.papermill.update(input_path=source.name, output_path=source.name)
    nbformat.write(notebook, running)


def _write_figure_rows(running: Path, out: Path) -> None:
    """Move the numbers that figures carry into files of the figures' names."""
    import nbformat

    notebook = read_notebook(running)
    for cell in notebook.cells:
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name", "")
        for output in cell.get("outputs", ()):
            rows = output.get("data", {}).pop("text/csv", None)
            if rows and re.fullmatch(r"[\w-]+", name):
                with replacing(out / f"{name}.csv") as temporary:
                    temporary.write_text(rows, encoding="utf-8")
    nbformat.write(notebook, running)
