"""A notebook run over a grid of parameters: each cell of the grid in a process of its own, its numbers gathered.

A cell's folder holds, beside what `perceptlib.runs.notebook.execute` leaves, ``cell.json``: how it ended, and a digest
of all that it was computed from. A cell that ended well with the same digest is not run again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd

from perceptlib.records import read_json, write_json, writing_to
from perceptlib.records.package import ROOT
from perceptlib.runs.notebook import PageError, check_name, execute
from perceptlib.runs.parameters import ParameterError, listing, parameters_of, parse_parameters

Scalar = str | float | int | bool | None
Grid = Mapping[str, Sequence[Any]]
Cell = tuple[dict[str, Any], Path, str]  # parameters, folder, digest of all that it is computed from

_CLOSING = {"(": ")", "[": "]", "{": "}"}
# What a number depends on besides notebook, parameters and code.
_ENVIRONMENT = ("PERCEPTLIB_ASSETS", "PERCEPTLIB_WEIGHTS", "PERCEPTLIB_DEVICE")


def parse_grid(notebook: str | os.PathLike[str], texts: Iterable[tuple[str, str]]) -> dict[str, list[Any]]:
    """Turn names and values of a command line, apart by commas, into the values of a grid, in the order given."""
    grid: dict[str, list[Any]] = {}
    declared = parameters_of(notebook)
    for name, text in texts:
        if name == "out":
            raise ParameterError("parameter `out` is the output folder; set it with --out DIR")
        if name in grid:
            raise ParameterError(f"parameter `{name}` is given twice; write its values behind one -p, apart by commas")
        is_text = name in declared and isinstance(declared[name].default, str)
        words = [_unquoted(word) if is_text else word for word in split_values(text)]
        grid[name] = [parse_parameters(notebook, [(name, word)])[name] for word in words]
        for place, value in enumerate(grid[name]):
            if value in grid[name][:place]:
                raise ParameterError(f"parameter `{name}` has the value {value!r} twice; give each value once")
    if not grid:
        raise ParameterError(f"a sweep needs a parameter; write -p NAME VALUE,VALUE\n{listing(notebook)}")
    return grid


def split_values(text: str) -> list[str]:
    """Split a text at its commas outside brackets and quotes: ``[0.1, 0.2],[0.3]`` are two lists."""
    values, start, open_ones, quote = [], 0, "", ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'" and not text[start:place].strip(" ([{,"):
            quote = letter  # an apostrophe within a word is none
        elif letter in _CLOSING:
            open_ones += _CLOSING[letter]
        elif open_ones and letter == open_ones[-1]:
            open_ones = open_ones[:-1]
        elif letter == "," and not open_ones:
            values.append(text[start:place].strip())
            start = place + 1
    values.append(text[start:].strip())
    if open_ones or quote:
        raise ParameterError(f"`{(open_ones or quote)[-1]}` is missing in {text!r}; close brackets and quotes")
    if "" in values:
        raise ParameterError(f"{text!r} has an empty value; write values apart by single commas, '' for an empty text")
    return values


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word


def run_sweep(
    notebook: str | os.PathLike[str],
    grid: Grid,
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Run a notebook for every cell of a grid, `workers` at once (default: as many as cores), each with one thread.

    A row for each cell, the last parameter changing fastest: its parameters (lists as JSON), ``status`` (done or
    failed), ``error``, ``seconds``, ``folder`` below `out`, and its numbers, groups joined by dots
    (``rates.ssim.rate``), one with the name of an earlier column as ``numbers.NAME``.
    """
    source, out = Path(notebook), Path(out)
    for path in (source, out):
        check_name(path)
    plan = out / "sweep.json"
    planned = read_plan(plan)
    if planned not in (None, source.stem):
        raise ValueError(f"{out} holds a sweep of {planned}; pass another --out")
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        write_json(plan, {"notebook": source.stem, "grid": grid})  # without rows: a sweep that has begun
    code = _code_digest(source)
    cells = [
        (parameters, out / "cells" / _folder_name(parameters), _key(code, parameters)) for parameters in cells_of(grid)
    ]
    left = [cell for cell in cells if not _is_finished(cell[1], cell[2])]
    num_done, workers = len(cells) - len(left), workers or os.cpu_count() or 1
    with writing_to(out):
        _run_all(source, left, num_done=num_done, workers=workers, progress=progress)
    return pd.DataFrame([_row(parameters, folder, out) for parameters, folder, _ in cells])


def cells_of(grid: Grid) -> list[dict[str, Any]]:
    """The parameters of every cell, the last changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def read_plan(path: Path) -> str | None:
    """Notebook of the sweep that ``sweep.json`` is of; None where there is none; ValueError where it is damaged."""
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


def _code_digest(notebook: Path) -> str:
    """Of the notebook, the library's code and the weights and pictures that the environment names."""
    total = hashlib.sha256(notebook.read_bytes())
    for path in sorted((ROOT / "perceptlib").rglob("*.py")):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    total.update(json.dumps([os.environ.get(name) for name in _ENVIRONMENT]).encode())
    return total.hexdigest()


def _key(code: str, parameters: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{code}{json.dumps(parameters, sort_keys=True)}".encode()).hexdigest()


def _folder_name(parameters: Mapping[str, Any]) -> str:
    """A name that a person can read and no other cell has."""
    shown = "-".join(f"{name}={value}" for name, value in parameters.items())
    return f"{re.sub(r'[^A-Za-z0-9.=_-]+', '_', shown)[:60]}-{_key('', parameters)[:8]}"


def _is_finished(folder: Path, key: str) -> bool:
    cell = read_cell(folder / "cell.json")
    return cell is not None and (cell["key"], cell["status"]) == (key, "done")


def _run_all(source: Path, cells: Sequence[Cell], *, num_done: int, workers: int, progress: bool) -> None:
    """Run cells, each in a process of its own: one that is killed takes no other with it."""
    from tqdm import tqdm

    context, waiting, running = get_context("spawn"), list(cells), dict[Any, Any]()
    bar = tqdm(total=num_done + len(cells), initial=num_done, unit="run", disable=not progress, file=sys.stderr)
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
        bar.close()


def _run_cell(source: Path, parameters: dict[str, Any], folder: Path, key: str) -> None:
    """Run one cell and note how it ended."""
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the kernel; with more the kernels would wait for each other
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("cell.json", "numbers.json"):
        (folder / name).unlink(missing_ok=True)  # of an earlier run
    started, error = time.perf_counter(), ""
    try:
        execute(source, parameters, folder)
    except PageError:
        pass  # all that a sweep compares is there
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


def _row(parameters: Mapping[str, Any], folder: Path, out: Path) -> dict[str, Any]:
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
    row: dict[str, Any] = {  # lists and None as JSON
        name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for name, value in parameters.items()
    }
    row |= {"status": "failed" if error else "done", "error": error, "seconds": cell["seconds"]}
    row |= {"folder": folder.relative_to(out).as_posix()}
    found = {} if error else flat(numbers)
    return row | {f"numbers.{name}" if name in row else name: value for name, value in found.items()}
