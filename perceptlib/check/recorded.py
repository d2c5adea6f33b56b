"""Quantities of what is recorded: files, studies' rows, and the notebooks' numbers, from runs of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pyarrow import compute, parquet

from perceptlib.analysis.recorded import study_folder
from perceptlib.check.record import Quantities, Setting, short_sha256
from perceptlib.records import data_dir, manifest, read_json
from perceptlib.records.package import ships
from perceptlib.runs.notebook import find_notebook
from perceptlib.runs.parameters import parameters_of
from perceptlib.runs.sweep import flat
from perceptlib.study.config import read_config
from perceptlib.study.presets import Source, load_classifier
from perceptlib.study.rows import study_table
from perceptlib.study.tasks import run_task, tasks_of

FIRST, NUM_PICTURES = ("mobilenet_v2", "shapes-0", "digits-0"), 4  # of these networks' studies, computed again
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
    "13_networks",
    "14_judges",
)
# Mean over the pictures, of the logarithm where the quantity spans powers of ten.
_LOGARITHMS = ("distance", "l2", "linf")
_MEANS = ("is_adversarial", "energy_in_top_q", "spearman", "partial_spearman", "energy_in_mask")


def file_quantities(setting: Setting) -> Quantities:
    """sha256 of every file that ships under ``data/``; the setting does not count."""
    return {
        path.relative_to(data_dir()).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in manifest.shipped_files()
    }


def listed_files() -> Quantities:
    """The same as ``data/manifest.json`` has it."""
    return {name: entry["sha256"] for name, entry in manifest.entries().items() if ships(name)}


def content_quantities(setting: Setting) -> Quantities:
    """What the shipped files hold, column by column; the setting does not count.

    The manifest may be renewed after a change by hand: these are recorded apart from it. A check's own record, which
    cannot hold its own checksum, is left out.
    """
    found: Quantities = {}
    for path in manifest.shipped_files():
        name = path.relative_to(data_dir()).as_posix()
        if not name.startswith("recorded/check/"):
            found |= {f"{name}{part}": short_sha256(content) for part, content in _parts_of(path)}
    return found


def _parts_of(path: Path) -> Iterator[tuple[str, bytes | str]]:
    """Columns of a table, entries of a JSON file, or the whole."""
    if path.suffix == ".parquet":
        table = parquet.read_table(path)
        yield from ((f", {column}", repr(table[column].to_pylist())) for column in table.column_names)
    elif path.suffix == ".csv":
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        yield from ((f", {column}", repr(frame[column].tolist())) for column in frame)
    elif path.suffix == ".json":
        entries = json.loads(path.read_bytes())
        yield from ((f", {entry}", json.dumps(entries[entry])) for entry in entries)
    else:
        yield "", path.read_bytes()


def num_pictures(network: str) -> int:
    """How many pictures of a recorded study are computed again: of further networks of a data set one."""
    return NUM_PICTURES if network in FIRST else 1


def recorded_rows_quantities(preset: str, network: str) -> Quantities:
    """Those of the recorded rows that `recomputed_quantities` computes again, and every picture's label."""
    rows = study_table(study_folder(preset, network))
    labels = rows.select(["position", "label"]).to_pandas().groupby("position")["label"].last()
    first = rows.filter(compute.less(rows["position"], num_pictures(network)))
    return {f"{preset}: labels": " ".join(map(str, labels))} | _summarized(preset, first)


def recomputed_quantities(preset: str, network: str, setting: Setting) -> Quantities:
    """The same from pictures and network: every attack, search, map and region on the first pictures."""
    config = read_config(study_folder(preset, network) / "config.json")
    number = num_pictures(network)
    config = replace(config, batch_size=min(setting.batch_size, number))
    source = Source(config, size=load_classifier(config).input_size)
    tables = [run_task(config, task, device="cpu") for task in tasks_of(config, number)]
    starts = range(0, len(source), 64)
    labels = torch.cat([source.batch(start, min(start + 64, len(source)))[1].labels for start in starts])
    return {f"{preset}: labels": " ".join(map(str, labels.tolist()))} | _summarized(preset, pa.concat_tables(tables))


def _summarized(preset: str, table: pa.Table) -> Quantities:
    """Means over the pictures, for each kind of row."""
    rows = table.to_pandas(integer_object_nulls=True)  # whole numbers stay whole: they name kinds
    kinds = [
        " ".join(str(word) for word in words if not pd.isna(word))
        for words in rows[["part", "method", "region", "cam", "stage", "budget"]].itertuples(index=False)
    ]
    found: Quantities = {}
    for kind, entries in rows.groupby(kinds):
        found[f"{preset}: {kind}, rows"] = len(entries)
        for name in (*_MEANS, *_LOGARITHMS):
            values = entries[name].astype(float).dropna().to_numpy()
            if name in _LOGARITHMS:
                name, values = f"log {name}", np.log10(np.maximum(values, 1e-12))
            if len(values):
                found[f"{preset}: {kind}, {name}"] = float(values.mean())
    return found


def notebook_quantities(name: str, setting: Setting) -> Quantities:
    """Numbers that a notebook writes with its defaults, run in a folder that is removed; groups joined by dots.

    The setting's seed does not count; another batch size than a check's own replaces the notebook's, where it has one.
    A bool is "true" or "false", which has no tolerance. RuntimeError: a cell raised, or no numbers were written.
    """
    notebook = find_notebook(name)
    is_other = setting.batch_size != Setting().batch_size and "batch_size" in parameters_of(notebook)
    words = ["-p", "batch_size", str(setting.batch_size)] if is_other else []
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
        found: dict[str, Any] = flat(read_json(numbers)["numbers"])
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in found.items()}
