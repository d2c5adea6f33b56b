"""Record the quantities of a check anew: their values, and how far they move where nothing ought to matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from perceptlib.check.checking import LAYERS, QUICK, record_path, skipped_layers
from perceptlib.check.geometry import Quantities, Setting
from perceptlib.check.record import SEEDS, Line, Record, compare, defined, make_record, read_record, write_record
from perceptlib.records import manifest
from perceptlib.records.provenance import provenance

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

Layers = dict[str, Quantities]


def new_record(level: str, *, only: Iterable[str] = (), tell: Callable[[str], None] = lambda what: None) -> Record:
    """Run everything of a level ("quick", "full") that is recorded in its file: base, variants and seeds.

    Layers that cannot be computed here, and with `only` those that it does not name, keep what is recorded of them.

    Raises
    ------
    RuntimeError
        A run failed; the message has its last lines.
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


def _run(names: Iterable[str], extra: Mapping[str, str], setting: Setting) -> Layers:
    """In a process of its own, since its libraries choose their instructions when they are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "quantities.json")
        done = subprocess.run(
            [sys.executable, "-m", "perceptlib.check.update", str(out), str(setting.seed), str(setting.batch_size)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **extra},
            input="\n".join(names),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError("a run of the check failed: " + " ".join(done.stderr.splitlines()[-3:]))
        found: Layers = json.loads(out.read_text(encoding="utf-8"))
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


if __name__ == "__main__":
    main()
