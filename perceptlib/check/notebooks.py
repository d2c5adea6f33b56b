"""Quantities of the notebooks: every number that one writes, from a run of its own as `perceptlib run` does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from perceptlib.check.geometry import Quantities, Setting
from perceptlib.runs.notebook import find_notebook
from perceptlib.runs.parameters import parameters_of

# 12_check is left out: it runs a check itself. No number of these is a time of the run: those that are times, on
# 04_convex and 10_costs, are read from recorded benchmarks, and come out again as long as these are as they were.
NOTEBOOKS = (
    "01_ssim",
    "02_attack",
    "03_agreement",
    "04_convex",
    "05_smallest",
    "06_study",
    "07_controls",
    "08_causal",
    "09_sensitivity",
    "10_costs",
    "11_claims",
)


def notebook_quantities(name: str, setting: Setting) -> Quantities:
    """Numbers that a notebook writes with its defaults, run in a folder that is removed.

    Parameters
    ----------
    name
        Of the notebook, as `perceptlib.runs.notebook.find_notebook` takes it.
    setting
        Its seed does not count. Another batch size than a check's own replaces the notebook's, where it has one.

    Returns
    -------
    dict
        ``group.name`` -> value; "true" or "false" for a bool, which has no tolerance.

    Raises
    ------
    RuntimeError
        A cell raised, or the notebook wrote no numbers.
    """
    notebook = find_notebook(name)
    words: list[str] = []
    if setting.batch_size != Setting().batch_size and "batch_size" in parameters_of(notebook):
        words = ["-p", "batch_size", str(setting.batch_size)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # a process, whose kernel has as many threads as the check
            [sys.executable, "-m", "perceptlib", "run", str(notebook), "--out", folder, *words],
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        again = f"`perceptlib run {name}` shows where"
        if done.returncode:
            told = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1].removeprefix("perceptlib: ")
            half_run = f"; the half-run copy is {Path(folder, notebook.stem)}.failed.ipynb"  # goes with the folder
            raise RuntimeError(f"{told.removesuffix(half_run)}; {again}")
        numbers = Path(folder, "numbers.json")
        if not numbers.is_file():
            raise RuntimeError(f"{notebook.name}: it wrote no numbers.json; {again}")
        return dict(_flat(json.loads(numbers.read_text(encoding="utf-8"))["numbers"]))


def _flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value).lower() if isinstance(value, bool) else value
