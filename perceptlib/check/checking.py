"""Compute what is recorded again, and say which quantity moved; or record it anew.

A record has values, and how far they move where nothing ought to matter: threads, instruction sets, batch sizes, seeds.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from perceptlib.check import quantities
from perceptlib.check.record import (
    BAD,
    BITWISE,
    FAILED,
    NUMERIC,
    SEEDS,
    STATISTICAL,
    Line,
    Quantities,
    Record,
    Recorded,
    Setting,
    compare,
    counts,
    defined,
    differing,
    environment,
    make_record,
    read_record,
    write_record,
)
from perceptlib.check.recorded import (
    NOTEBOOKS,
    STUDIES,
    content_quantities,
    file_quantities,
    is_computable,
    listed_files,
    notebook_quantities,
    recomputed_quantities,
    recorded_rows_quantities,
)
from perceptlib.records import data_dir, manifest
from perceptlib.records.package import is_clone, ships
from perceptlib.records.provenance import provenance

DOUBLE, SINGLE, SOLVER = 1e-9, 1e-5, 1e-6  # relative: float64, float32 networks, what Clarabel is asked for


@dataclass(frozen=True)
class Layer:
    """Quantities that are computed together, with the relative rounding of their arithmetic.

    `recorded` gives what they are compared with, where that is no value in a check's own record but the study's rows,
    or the manifest of files.
    """

    compute: Callable[[Setting], Quantities]
    relative: float
    recorded: Callable[[], Quantities] | None = None


# In the order in which they build on each other: the first that moved is where to look.
QUICK: Mapping[str, Layer] = {
    "files": Layer(file_quantities, DOUBLE, listed_files),
    "contents": Layer(content_quantities, DOUBLE),
    "data": Layer(quantities.data_quantities, SINGLE),
    "ssim": Layer(quantities.ssim_quantities, DOUBLE),
    "balls": Layer(quantities.ball_quantities, DOUBLE),
    "convex": Layer(quantities.convex_quantities, SOLVER),
    "networks": Layer(quantities.network_quantities, SINGLE),
    "attacks": Layer(quantities.attack_quantities, SINGLE),
    "agreement": Layer(quantities.agreement_quantities, SINGLE),
    "controls": Layer(quantities.control_quantities, SINGLE),
    "statistics": Layer(quantities.statistics_quantities, DOUBLE),
    "claims": Layer(quantities.verdict_quantities, DOUBLE),
}
FULL: Mapping[str, Layer] = {
    **{
        f"study of {preset}": Layer(
            partial(recomputed_quantities, preset), SINGLE, partial(recorded_rows_quantities, preset)
        )
        for preset in STUDIES
    },
    **{f"notebook {name}": Layer(partial(notebook_quantities, name), SINGLE) for name in NOTEBOOKS},
}
LAYERS: Mapping[str, Layer] = {**QUICK, **FULL}


# Environment and setting of the variants: two threads; the oldest instructions; other ones and smaller batches. An
# instruction set that a processor lacks is not chosen by its libraries, so that these run everywhere.
VARIANTS: Sequence[tuple[Mapping[str, str], Setting]] = (
    ({"OMP_NUM_THREADS": "2"}, Setting()),
    (
        {
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "Nehalem",
        },
        Setting(),
    ),
    ({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}, Setting(batch_size=3)),
)
_PROCESS = "from perceptlib.check.checking import main; main()"


@dataclass(frozen=True)
class Outcome:
    """A check's answer: every quantity; "bitwise", "numeric" or "statistical"; what differs from the environment of the
    record (nothing for "bitwise"); what could not be looked at."""

    lines: tuple[Line, ...]
    mode: str
    why: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def bad(self) -> list[Line]:
        """The quantities that do not hold, first layer first."""
        return [line for line in self.lines if line.verdict in BAD]

    @property
    def holds(self) -> bool:
        """Whether nothing moved, failed, appeared or went."""
        return not self.bad

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        lines = [{key: defined(value) for key, value in asdict(line).items()} for line in self.lines]
        return {
            "holds": self.holds,
            "mode": self.mode,
            "why": list(self.why),
            "skipped": list(self.skipped),
            "counts": counts(self.lines),
            "lines": lines,
            "provenance": provenance(seed=0),
        }


def record_path(level: str) -> Path:
    """Where the quantities of a level ("quick", "full") are recorded."""
    return data_dir() / "recorded" / "check" / f"{level}.json"


def skipped_layers(layers: Iterable[str]) -> dict[str, str]:
    """Layer -> why it cannot be computed here."""
    reason = "no folder PERCEPTLIB_ASSETS with ImageNet weights and photographs"
    skipped = {
        f"study of {preset}": reason
        for preset in STUDIES
        if f"study of {preset}" in layers and not is_computable(preset)
    }
    if not is_clone():
        reason = "notebooks are in a clone of the repository alone"
        skipped |= {name: reason for name in layers if name.startswith("notebook ")}
    return skipped


def check(
    level: str = "quick",
    *,
    seed: int = 0,
    only: Iterable[str] = (),
    tell: Callable[[str], None] = lambda layer: None,
) -> Outcome:
    """Compute what is recorded again and compare.

    "quick": the embedded presets, half a minute on one core. "full": also the recorded studies' rows of a few pictures,
    with ImageNet where its files are, and every number that the notebooks write. `seed` 0 as recorded; another one is
    compared with the spread over the recorded seeds, in the quick layers alone. `only` names layers, none for all, and
    `tell` is called with each one's name before it is computed.

    A layer that raises is one failed line with the error, and the others are computed all the same. ValueError: an
    unknown level or layer, a seed below 0, a damaged record; FileNotFoundError: nothing is recorded.
    """
    layers = layers_of(level, seed=seed, only=only)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        records = {name: read_record(record_path("quick" if name in QUICK else "full")) for name in layers}
        here = environment()
        why = tuple(dict.fromkeys(text for record in records.values() for text in differing(record.environment, here)))
        mode = STATISTICAL if seed else NUMERIC if why else BITWISE
        skipped = skipped_layers(layers)
        num_compared = sum(len(records[name].layers.get(name, {})) for name in layers)
        lines: list[Line] = []
        for name in layers:
            if name in skipped:
                continue
            tell(name)
            lines += _lines(name, records[name], Setting(seed=seed), mode, num_compared)
    finally:
        torch.set_num_threads(threads)
    told = [f"{name}: {reason}" for name, reason in skipped.items()]
    if not is_clone() and {"files", "contents"} & {*layers}:
        told.append("files, contents: the executed pages of the book are in a clone of the repository alone")
    return Outcome(tuple(lines), mode, why, tuple(told))


def layers_of(level: str, *, seed: int = 0, only: Iterable[str] = ()) -> list[str]:
    """Names of the layers that are computed; arguments and errors as `check`."""
    if level not in ("quick", "full"):
        raise ValueError(f"level is {level!r}; quick and full are allowed")
    if seed < 0:
        raise ValueError(f"seed is {seed}; 0 or more is allowed")
    all_layers = list(QUICK if level == "quick" or seed else LAYERS)
    chosen = list(only)
    if unknown := [name for name in chosen if name not in all_layers]:
        raise ValueError(f"there is no layer {unknown[0]!r}; {', '.join(all_layers)} are")
    return [name for name in all_layers if name in chosen or not chosen]


def _lines(name: str, record: Record, setting: Setting, mode: str, num_compared: int) -> list[Line]:
    layer, recorded = LAYERS[name], record.layers.get(name, {})
    try:
        now = layer.compute(setting)
        recorded = {key: value for key, value in recorded.items() if name != "contents" or ships(key)}
        if layer.recorded is not None:
            mode = NUMERIC  # rows were computed in batches of another size: never the same bits
            values = layer.recorded()
            recorded = {key: replace(recorded.get(key, Recorded(None)), value=defined(values[key])) for key in values}
    except Exception as error:  # what a change broke must be told as what moved is, and hide no other layer
        return [Line(name, f"{type(error).__name__}: {error}", None, None, math.nan, FAILED)]
    return compare(recorded, now, layer=name, mode=mode, relative=layer.relative, num_compared=num_compared)


def new_record(level: str, *, only: Iterable[str] = (), tell: Callable[[str], None] = lambda what: None) -> Record:
    """Run everything of a level ("quick", "full") that is recorded in its file: base, variants and seeds.

    Layers that cannot be computed here, and with `only` those that it does not name, keep what is recorded of them.
    RuntimeError: a run failed; the message has its last lines.
    """
    names = [name for name in LAYERS if (name in QUICK) == (level == "quick") and name != "files"]  # the manifest's
    chosen, skipped = list(only), skipped_layers(names)
    names = [name for name in names if name not in skipped and (name in chosen or not chosen)]
    tell("values")
    base = _run(names, {}, Setting())
    variants = []
    for number, (extra, setting) in enumerate(VARIANTS, start=1):
        tell(f"variant {number} of {len(VARIANTS)}")
        variants.append(_run(names, extra, setting))
    seeds = []
    for seed in SEEDS if level == "quick" else ():
        tell(f"seed {seed}")
        seeds.append(_run(names, {}, Setting(seed=seed)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the runs: the record's environment names them
    try:
        record = make_record(base, variants, seeds, origin=provenance(seed=0))
    finally:
        torch.set_num_threads(threads)
    if (chosen or skipped) and record_path(level).is_file():
        there = read_record(record_path(level)).layers
        layers = {name: entries for name in LAYERS if (entries := record.layers.get(name) or there.get(name))}
        record = Record(layers, record.environment, record.provenance)
    return record


def changes(old: Record | None, new: Record) -> list[Line]:
    """Quantities whose recorded value would change, come or go."""
    lines: list[Line] = []
    for name in LAYERS:
        before = {} if old is None else old.layers.get(name, {})
        now = {key: entry.value for key, entry in new.layers.get(name, {}).items()}
        compared = compare(before, now, layer=name, mode="bitwise", relative=0, num_compared=1)
        lines += [line for line in compared if line.verdict != "holds"]
    return lines


def keep(record: Record, level: str) -> Path:
    """Write a record in its place, and its checksum into the manifest."""
    path = record_path(level)
    write_record(record, path)
    manifest.renew([path], licence="MIT", source=f"perceptlib check {'--quick ' if level == 'quick' else ''}--update")
    return path


def _run(names: Iterable[str], extra: Mapping[str, str], setting: Setting) -> dict[str, Quantities]:
    """In a process of its own, since its libraries choose their instructions when they are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "quantities.json")
        done = subprocess.run(
            [sys.executable, "-c", _PROCESS, str(out), str(setting.seed), str(setting.batch_size)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **extra},
            input="\n".join(names),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError("a run of the check failed: " + " ".join(done.stderr.splitlines()[-3:]))
        found: dict[str, Quantities] = json.loads(out.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """The process of `_run`: names of layers on the input, quantities as JSON in a file."""
    out, seed, batch_size = sys.argv[1:]
    setting = Setting(int(seed), int(batch_size))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    found = {
        name: {key: defined(value) for key, value in LAYERS[name].compute(setting).items()}
        for name in sys.stdin.read().splitlines()
    }
    Path(out).write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
