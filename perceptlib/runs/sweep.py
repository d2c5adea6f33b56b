"""A notebook run over a grid of parameters: each cell of the grid in a process of its own, its numbers gathered.

A cell's folder is named by its parameters and holds, beside what `perceptlib.runs.notebook.execute` leaves, ``cell.json``: how
it ended, and a digest of all that it was computed from. A cell that ended well with the same digest is not run again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any

from perceptlib.records import read_json, write_json, writing_to
from perceptlib.records.package import ROOT

Scalar = str | float | int | bool | None
Grid = Mapping[str, Sequence[Any]]

# What a number depends on besides notebook, parameters and code.
_ENVIRONMENT = ("PERCEPTLIB_ASSETS", "PERCEPTLIB_WEIGHTS")


@dataclass(frozen=True)
class SweepRow:
    """One cell of the grid after its run.

    Attributes
    ----------
    parameters
        Its values of the grid's parameters.
    folder
        What the run left.
    numbers
        Those of its ``numbers.json``, groups joined by dots (``rates.ssim.rate``); empty for a failed cell.
    error
        What went wrong; empty where nothing did.
    seconds
        Wall-clock time of the run.
    """

    parameters: Mapping[str, Any]
    folder: Path
    numbers: Mapping[str, Scalar] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """``done`` or ``failed``."""
        return "failed" if self.error else "done"


def run_sweep(
    notebook: str | os.PathLike[str],
    grid: Grid,
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: bool = False,
) -> list[SweepRow]:
    """Run a notebook for every cell of a grid, several at once, each with one thread.

    Parameters
    ----------
    notebook
        Path of an ``.ipynb`` file.
    grid
        Parameter -> values, as `perceptlib.runs.grid.parse_grid` returns them: they are not checked again.
    out
        Folder of the sweep. Made if missing; cells that are finished there are not run again.
    workers
        Cells run at once; default: as many as there are cores.
    progress
        Show a progress bar over the cells on stderr.

    Returns
    -------
    list of SweepRow
        One per cell, the last parameter changing fastest. A cell that failed, or whose process died, has an error.

    Raises
    ------
    ValueError
        The folder holds a sweep of another notebook, or its ``sweep.json`` is damaged.
    OSError
        As `perceptlib.records.provenance.writing_to`; cells that are finished are not run again.
    """
    source, out = Path(notebook), Path(out)
    plan = out / "sweep.json"
    planned = read_plan(plan)
    if planned not in (None, source.stem):
        raise ValueError(f"{out} holds a sweep of {planned}; pass another --out")
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        write_json(plan, {"notebook": source.stem, "grid": grid})  # without rows: a sweep that has begun
    code = _code_digest(source)
    cells = []
    for values in itertools.product(*grid.values()):
        parameters = dict(zip(grid, values, strict=True))
        key = hashlib.sha256(f"{code}{json.dumps(parameters, sort_keys=True)}".encode()).hexdigest()
        cells.append((parameters, out / "cells" / _folder_name(parameters), key))
    left = [cell for cell in cells if not _is_finished(cell[1], cell[2])]
    num_done, workers = len(cells) - len(left), workers or os.cpu_count() or 1
    with writing_to(out):
        _run_all(source, left, num_done=num_done, workers=workers, progress=progress)
    return [_row(parameters, folder) for parameters, folder, _ in cells]


def read_plan(path: Path) -> str | None:
    """Notebook of the sweep that ``sweep.json`` is of; None where there is none.

    Raises
    ------
    ValueError
        The file is damaged.
    """
    if not path.exists():
        return None
    notebook = read_json(path).get("notebook")
    if not isinstance(notebook, str):
        raise ValueError(f"{path} names no notebook; delete it, or pass another --out")
    return notebook


def read_cell(path: Path) -> dict[str, Any] | None:
    """How a cell ended, from its ``cell.json``; None where that is missing or damaged, so that the cell runs again."""
    try:
        cell = read_json(path)
    except (OSError, ValueError):
        return None
    kinds = {"key": str, "status": str, "error": str, "seconds": int | float}
    return cell if all(isinstance(cell.get(name), kind) for name, kind in kinds.items()) else None


def flat(numbers: Mapping[str, Any], above: str = "") -> dict[str, Scalar]:
    """Numbers of a run without groups: names joined by dots."""
    found: dict[str, Scalar] = {}
    for name, value in numbers.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def number_text(value: Scalar) -> str:
    """A number as tables show it: four digits; an undefined one as such."""
    if value is None:
        return "undefined"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table_rows(rows: Sequence[SweepRow]) -> list[dict[str, Any]]:
    """Rows of ``sweep.csv``: parameters, status, error, seconds, then the numbers.

    A number with the name of an earlier column is called ``numbers.NAME``. Lists are written as JSON.
    """
    written = []
    for row in rows:
        first: dict[str, Any] = {
            name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for name, value in row.parameters.items()
        }
        first |= {"status": row.status, "error": row.error, "seconds": row.seconds}
        written.append(
            first | {f"numbers.{name}" if name in first else name: value for name, value in row.numbers.items()}
        )
    return written


def _code_digest(notebook: Path) -> str:
    """Digest of the notebook, the library's code and the weights and pictures that the environment names."""
    total = hashlib.sha256(notebook.read_bytes())
    for path in sorted((ROOT / "perceptlib").rglob("*.py")):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    total.update(json.dumps([os.environ.get(name) for name in _ENVIRONMENT]).encode())
    return total.hexdigest()


def _folder_name(parameters: Mapping[str, Any]) -> str:
    """A name that a person can read and no other cell has."""
    shown = "-".join(f"{name}={value}" for name, value in parameters.items())
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9.=_-]+', '_', shown)[:60]}-{digest[:8]}"


def _is_finished(folder: Path, key: str) -> bool:
    cell = read_cell(folder / "cell.json")
    return cell is not None and (cell["key"], cell["status"]) == (key, "done")


def _run_all(
    source: Path,
    cells: Sequence[tuple[dict[str, Any], Path, str]],
    *,
    num_done: int,
    workers: int,
    progress: bool,
) -> None:
    """Run cells, each in a process of its own: one that is killed takes no other with it."""
    from tqdm import tqdm

    context, waiting, running = get_context("spawn"), list(cells), dict[Any, Any]()
    bar = tqdm(total=num_done + len(cells), initial=num_done, unit="run", disable=not progress, file=sys.stderr)
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the processes; with more they would wait for each other
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                cell, waiting = waiting[0], waiting[1:]
                process = context.Process(target=_run_cell, args=(source, *cell))
                process.start()
                running[process.sentinel] = (process, cell)
            for sentinel in wait(list(running)):
                process, (_, folder, key) = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    _write_cell(folder, key, f"the process ended with status {process.exitcode} (out of memory?)", 0.0)
                bar.update()
    finally:
        for process, _ in running.values():
            process.terminate()
            process.join()
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads
        bar.close()


def _run_cell(source: Path, parameters: dict[str, Any], folder: Path, key: str) -> None:
    """Run one cell and note how it ended."""
    from perceptlib.runs.notebook import execute

    Thread(target=_end_with_parent, daemon=True).start()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("cell.json", "numbers.json"):
        (folder / name).unlink(missing_ok=True)  # of an earlier run
    started, error = time.perf_counter(), ""
    try:
        execute(source, parameters, folder)
    except (RuntimeError, ValueError, OSError) as raised:
        error = str(raised) or type(raised).__name__
    _write_cell(folder, key, error, time.perf_counter() - started)


def _end_with_parent() -> None:
    """End with a sweep that is killed, and the kernel with this process: both would write where the next one does."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_cell(folder: Path, key: str, error: str, seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    status = "failed" if error else "done"
    write_json(folder / "cell.json", {"key": key, "status": status, "error": error, "seconds": round(seconds, 1)})


def _row(parameters: Mapping[str, Any], folder: Path) -> SweepRow:
    """Read back how a cell ended."""
    cell = read_cell(folder / "cell.json") or {"error": "its cell.json is damaged", "seconds": 0.0}
    error, path = cell["error"], folder / "numbers.json"
    numbers: Any = {}
    if not error:
        try:
            numbers = read_json(path)["numbers"] if path.exists() else None
            error = "" if isinstance(numbers, dict) else "the notebook wrote no numbers"
        except (ValueError, KeyError) as damage:
            error = f"numbers.json is damaged ({damage})"
    return SweepRow(parameters, folder, {} if error else flat(numbers), error, cell["seconds"])
