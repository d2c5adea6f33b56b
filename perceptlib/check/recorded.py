"""Quantities of what is recorded: files, and the studies' rows computed again on a few pictures."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from perceptlib.analysis.tables import Row
from perceptlib.check.geometry import Quantities, Setting, short_sha256
from perceptlib.data import imagenet_assets
from perceptlib.records import data_dir, manifest
from perceptlib.records.package import ships
from perceptlib.study.config import read_config
from perceptlib.study.presets import Source, load_classifier
from perceptlib.study.rows import study_table
from perceptlib.study.tasks import run_task, tasks_of

STUDIES = ("shapes", "digits", "imagenet")
NUM_PICTURES = 4  # of a recorded study, computed again
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
        heading, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        yield from ((f", {column}", repr([row[place] for row in rows])) for place, column in enumerate(heading))
    elif path.suffix == ".json":
        entries = json.loads(path.read_bytes())
        yield from ((f", {entry}", json.dumps(entries[entry])) for entry in entries)
    else:
        yield "", path.read_bytes()


def is_computable(preset: str) -> bool:
    """Whether network and pictures of a study are at hand."""
    return preset != "imagenet" or imagenet_assets() is not None


def recorded_rows_quantities(preset: str) -> Quantities:
    """Those of the recorded rows that `recomputed_quantities` computes again, and every picture's label."""
    folder = data_dir() / "recorded" / preset
    rows = study_table(folder).to_pylist()
    chosen = [row for row in rows if row["position"] < NUM_PICTURES]
    return {f"{preset}: labels": _labels(rows)} | _summarized(preset, chosen)


def recomputed_quantities(preset: str, setting: Setting) -> Quantities:
    """The same from pictures and network: every attack, search, map and region on the first pictures."""
    config = read_config(data_dir() / "recorded" / preset / "config.json")
    config = replace(config, batch_size=min(setting.batch_size, NUM_PICTURES))
    classifier = load_classifier(config)
    source = Source(config, size=classifier.input_size)
    rows: list[Row] = []
    for task in tasks_of(config, NUM_PICTURES):
        rows += run_task(config, task, device="cpu").to_pylist()
    named: list[Row] = []
    for start in range(0, len(source), 64):
        _, pictures, _ = source.batch(start, min(start + 64, len(source)))
        named += [
            {"position": start + place, "label": label, "image": name}
            for place, (label, name) in enumerate(zip(pictures.labels.tolist(), pictures.ids, strict=True))
        ]
    return {f"{preset}: labels": _labels(named)} | _summarized(preset, rows)


def _labels(rows: Iterable[Row]) -> str:
    """Every picture's label in one text: the first that differs shows by its place."""
    labels = {row["position"]: row["label"] for row in rows}
    return " ".join(str(labels[position]) for position in sorted(labels))


def _summarized(preset: str, rows: Iterable[Row]) -> Quantities:
    """Means over the pictures, for each kind of row."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        words = (row["part"], row["method"], row.get("region"), row.get("cam"), row.get("stage"), row.get("budget"))
        kinds.setdefault(" ".join(str(word) for word in words if word is not None), []).append(row)
    found: Quantities = {}
    for kind in sorted(kinds):
        entries = kinds[kind]
        found[f"{preset}: {kind}, rows"] = len(entries)
        for name in (*_MEANS, *_LOGARITHMS):
            values = np.array([_number(row.get(name)) for row in entries])
            values = values[~np.isnan(values)]
            if not len(values):
                continue
            if name in _LOGARITHMS:
                found[f"{preset}: {kind}, log {name}"] = float(np.log10(np.maximum(values, 1e-12)).mean())
            else:
                found[f"{preset}: {kind}, {name}"] = float(values.mean())
    return found


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
