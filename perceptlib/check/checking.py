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
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from perceptlib.analysis.recorded import recorded_studies
from perceptlib.check import quantities, recorded
from perceptlib.check import record as records
from perceptlib.check.record import BITWISE, NUMERIC, STATISTICAL, Line, Quantities, Record, Recorded, Setting
from perceptlib.data import imagenet_assets
from perceptlib.drawing.tables import Table, table
from perceptlib.records import data_dir, manifest
from perceptlib.records.device import one_thread
from perceptlib.records.package import is_clone, ships
from perceptlib.records.provenance import provenance

DOUBLE, SINGLE, SOLVER = 1e-9, 1e-5, 1e-6  # relative: float64, float32 networks, what Clarabel is asked for


@dataclass(frozen=True)
class Layer:
    """Quantities that are computed together."""

    compute: Callable[[Setting], Quantities]
    relative: float  # rounding of their arithmetic
    recorded: Callable[[], Quantities] | None = None  # what they are compared with, in place of a check's own record


# In the order in which they build on each other: the first that moved is where to look.
QUICK: Mapping[str, Layer] = {
    "files": Layer(recorded.file_quantities, DOUBLE, recorded.listed_files),
    "contents": Layer(recorded.content_quantities, DOUBLE),
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
LAYERS: dict[str, Layer] = {**QUICK}
for _study in recorded_studies():
    LAYERS[f"study of {'/'.join(_study)}"] = Layer(
        partial(recorded.recomputed_quantities, *_study),
        SINGLE,
        partial(recorded.recorded_rows_quantities, *_study),
    )
for _name in recorded.NOTEBOOKS:
    LAYERS[f"notebook {_name}"] = Layer(partial(recorded.notebook_quantities, _name), SINGLE)

# Environment and setting of the variants: two threads; the oldest instructions; other ones and smaller batches. An
# instruction set that a processor lacks is not chosen by its libraries, so that these run everywhere.
_OLDEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Nehalem",
}
_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}
VARIANTS: Sequence[tuple[Mapping[str, str], Setting]] = (
    ({"OMP_NUM_THREADS": "2"}, Setting()),
    (_OLDEST, Setting()),
    (_AVX2, Setting(batch_size=3)),
)
_PROCESS = "from perceptlib.check.checking import main; main()"
_WORDS = {
    BITWISE: "bit by bit (same processor, versions and threads as at the recording)",
    NUMERIC: "within numeric tolerances (another processor, version or number of threads)",
    STATISTICAL: "with the spread over seeds",
}


@dataclass(frozen=True)
class Outcome:
    """A check's answer."""

    lines: tuple[Line, ...]  # every quantity
    mode: str  # "bitwise", "numeric" or "statistical"
    why: tuple[str, ...] = ()  # what differs from the environment of the record
    skipped: tuple[str, ...] = ()  # what could not be looked at

    @property
    def bad(self) -> list[Line]:
        """The quantities that moved, failed, appeared or went, first layer first."""
        return [line for line in self.lines if line.verdict in records.BAD]

    @property
    def holds(self) -> bool:
        return not self.bad

    @property
    def counts(self) -> Counter[str]:
        """Verdict -> how many quantities."""
        return Counter(line.verdict for line in self.lines)

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "holds": self.holds,
            "mode": self.mode,
            "why": list(self.why),
            "skipped": list(self.skipped),
            "counts": dict(self.counts),
            "lines": [{key: records.defined(value) for key, value in asdict(line).items()} for line in self.lines],
            "provenance": provenance(seed=0),
        }

    def numbers(self) -> dict[str, Any]:
        """What the page quotes."""
        layers = dict.fromkeys((line.layer for line in self.lines), 0)
        layers |= Counter(line.layer for line in self.lines if line.verdict == records.HOLDS)
        return {
            "mode": self.mode,
            "holds": self.counts[records.HOLDS],
            "moved": len(self.bad),
            "quantities": len(self.lines),
            "safety": records.SAFETY,
            "num_seeds": 1 + len(records.SEEDS),
            "layers": {layer.replace(" ", "_"): number for layer, number in layers.items()},
        }

    def sentences(self) -> list[str]:
        """What was compared how, and where to look."""
        told = [f"{self.counts[records.HOLDS]} of {len(self.lines)} quantities hold, compared {_WORDS[self.mode]}"]
        if left_out := self.counts[records.LEFT_OUT]:
            told.append(f"{left_out} differ from seed to seed by their nature and were not compared")
        if self.mode == BITWISE and any(line.layer.startswith("study of ") for line in self.lines):
            told.append("the studies' rows within numeric tolerances: they were computed in larger batches")
        told += [f"not looked at: {text}" for text in self.skipped]
        if self.mode == NUMERIC:
            told.append("other than at the recording: " + "; ".join(self.why))
        if self.bad:
            first = f"{self.bad[0].layer}: {self.bad[0].name}"
            told.append(f"{len(self.bad)} do not; layers build on each other, so look first at {first}")
        return told

    def summary(self) -> Table:
        """One row for each layer: how many quantities, and the one that is nearest to its tolerance or past it."""
        rows = line_frame(self.lines).assign(
            moved=[line.verdict in records.BAD for line in self.lines], share=[line.share for line in self.lines]
        )
        layers = rows.groupby("layer", sort=False)
        worst = rows.sort_values(["moved", "share"], ascending=False, kind="stable").groupby("layer").head(1)
        shown = _shown(worst.set_index("layer").loc[list(layers.groups)].reset_index())
        shown.insert(1, "quantities", layers.size().to_numpy())
        shown.insert(2, "moved", layers["moved"].sum().to_numpy())
        return table(shown)


def line_frame(lines: Iterable[Line]) -> pd.DataFrame:
    """A row for each quantity."""
    return pd.DataFrame([asdict(line) for line in lines])


def line_table(lines: Iterable[Line]) -> Table:
    """Quantity, recorded, now, tolerance, verdict; one row that says so where there are none."""
    rows = line_frame(lines)
    return table(pd.DataFrame({"layer": ["nothing"]}) if rows.empty else _shown(rows))


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns in words: a layer holds numbers and texts of many kinds."""

    def text(value: records.Value) -> str:
        if isinstance(value, str):
            return value if len(value) <= 20 else value[:17] + "..."  # a checksum, and nobody reads it to its end
        return "–" if pd.isna(value) else f"{value:.12g}"

    def tolerance(row: pd.Series) -> str:
        if math.isnan(row["tolerance"]):
            return "equal" if row["verdict"] in (records.HOLDS, records.MOVED) else "–"
        return f"{row['tolerance']:.2g}" if row["tolerance"] else "same bits"

    return pd.DataFrame(
        {
            "layer": rows["layer"],
            "quantity": rows["name"],
            "recorded": rows["recorded"].map(text),
            "now": rows["now"].map(text),
            "tolerance": rows.apply(tolerance, axis=1),
            "verdict": rows["verdict"],
        }
    )


def record_path(level: str) -> Path:
    """Where the quantities of a level ("quick", "full") are recorded."""
    return data_dir() / "recorded" / "check" / f"{level}.json"


def skipped_layers(layers: Iterable[str]) -> dict[str, str]:
    """Layer -> why it cannot be computed here."""
    skipped = {}
    for name in layers:
        if name.startswith("study of imagenet/") and imagenet_assets() is None:
            skipped[name] = "no folder PERCEPTLIB_ASSETS with ImageNet weights and photographs"
        elif name.startswith("notebook ") and not is_clone():
            skipped[name] = "notebooks are in a clone of the repository alone"
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
    `tell` is called with each one's name before it is computed. A layer that raises is one failed line.
    """
    layers = layers_of(level, seed=seed, only=only)
    with one_thread():
        kept = {name: records.read_record(record_path("quick" if name in QUICK else "full")) for name in layers}
        here = records.environment()
        why = tuple(
            dict.fromkeys(text for record in kept.values() for text in records.differing(record.environment, here))
        )
        mode = STATISTICAL if seed else NUMERIC if why else BITWISE
        skipped = skipped_layers(layers)
        num_compared = sum(len(kept[name].layers.get(name, {})) for name in layers)
        lines: list[Line] = []
        for name in layers:
            if name not in skipped:
                tell(name)
                lines += _lines(name, kept[name], Setting(seed=seed), mode, num_compared)
    told = [f"{name}: {reason}" for name, reason in skipped.items()]
    if not is_clone() and {"files", "contents"} & {*layers}:
        told.append("files, contents: the executed pages of the book are in a clone of the repository alone")
    return Outcome(tuple(lines), mode, why, tuple(told))


def layers_of(level: str, *, seed: int = 0, only: Iterable[str] = ()) -> list[str]:
    """Names of the layers that `check` computes; a ValueError tells of an unknown level or layer, or a seed below 0."""
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
    layer, there = LAYERS[name], record.layers.get(name, {})
    try:
        now = layer.compute(setting)
        there = {key: value for key, value in there.items() if name != "contents" or ships(key)}
        if layer.recorded is not None:
            mode = NUMERIC  # rows were computed in batches of another size: never the same bits
            values = {key: records.defined(value) for key, value in layer.recorded().items()}
            there = {key: replace(there.get(key, Recorded(None)), value=value) for key, value in values.items()}
    except Exception as error:  # what a change broke must be told as what moved is, and hide no other layer
        return [Line(name, f"{type(error).__name__}: {error}", None, None, math.nan, records.FAILED)]
    return records.compare(there, now, layer=name, mode=mode, relative=layer.relative, num_compared=num_compared)


def new_record(level: str, *, only: Iterable[str] = (), tell: Callable[[str], None] = lambda what: None) -> Record:
    """Run everything of a level ("quick", "full") that is recorded in its file: base, variants and seeds.

    Layers that cannot be computed here, and with `only` those that it does not name, keep what is recorded of them.
    """
    names = [name for name in LAYERS if (name in QUICK) == (level == "quick") and name != "files"]  # the manifest's
    chosen, skipped = list(only), skipped_layers(names)
    names = [name for name in names if name not in skipped and (name in chosen or not chosen)]
    tell("values")
    base = _run(names, {}, Setting())
    variants, seeds = [], []
    for number, (extra, setting) in enumerate(VARIANTS, start=1):
        tell(f"variant {number} of {len(VARIANTS)}")
        variants.append(_run(names, extra, setting))
    # a study's rows are another way to compute them: in larger batches, in which searches stop a little elsewhere
    variants.append({name: rows() for name in names if (rows := LAYERS[name].recorded) is not None})
    for seed in records.SEEDS if level == "quick" else ():
        tell(f"seed {seed}")
        seeds.append(_run(names, {}, Setting(seed=seed)))
    with one_thread():  # as in the runs: the record's environment names them
        made = records.make_record(base, variants, seeds, origin=provenance(seed=0))
    if (chosen or skipped) and record_path(level).is_file():
        there = records.read_record(record_path(level)).layers
        layers = {name: entries for name in LAYERS if (entries := made.layers.get(name) or there.get(name))}
        made = replace(made, layers=layers)
    return made


def changes(old: Record | None, new: Record) -> list[Line]:
    """Quantities whose recorded value would change, come or go."""
    lines: list[Line] = []
    for name in LAYERS:
        before = {} if old is None else old.layers.get(name, {})
        now = {key: entry.value for key, entry in new.layers.get(name, {}).items()}
        lines += records.compare(before, now, layer=name, mode=BITWISE, relative=0, num_compared=1)
    return [line for line in lines if line.verdict != records.HOLDS]


def keep(record: Record, level: str) -> Path:
    """Write a record in its place, and its checksum into the manifest."""
    path = record_path(level)
    records.write_record(record, path)
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
        name: {key: records.defined(value) for key, value in LAYERS[name].compute(setting).items()}
        for name in sys.stdin.read().splitlines()
    }
    Path(out).write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
