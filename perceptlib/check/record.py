"""Recorded quantities, how far a new value may be from one, the comparison, and where bits have to be the same."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from perceptlib.records import replacing
from perceptlib.records.provenance import provenance

Value = float | str | None  # None where undefined or missing
Quantities = dict[str, float | str]

HOLDS, MOVED, FAILED, NEW, GONE, LEFT_OUT = "holds", "moved", "failed", "not recorded", "gone", "not compared"
BAD = (MOVED, FAILED, NEW, GONE)
BITWISE, NUMERIC, STATISTICAL = "bitwise", "numeric", "statistical"
SAFETY = 10  # times the largest deviation between ways to compute that ought not to matter
ROUNDING = 1e-11  # absolute: differences that are zero but for rounding
FALSE_ALARM = 1e-3  # probability that another seed is told to have moved anything at all
MIN_SEEDS = 3  # for a spread to be known
SEEDS = tuple(range(1, 9))  # that are recorded beside seed 0
# Of /proc/cpuinfo, on Intel's and AMD's processors and on Arm's; libraries fit their blocks to the cache.
_PROCESSOR_NUMBERS = ("cpu family", "model", "stepping", "cache size", "CPU implementer", "CPU part", "CPU variant")


@dataclass(frozen=True)
class Setting:
    """What may differ between two runs: the seed of pictures, noise, directions, and the pictures attacked at once."""

    seed: int = 0
    batch_size: int = 8


@dataclass(frozen=True)
class Recorded:
    """A quantity as it was recorded."""

    value: Value
    spread: float = 0.0  # largest deviation among the variants: thread counts, instruction sets, batch sizes
    seeds: tuple[Value, ...] = ()  # values for other seeds; empty where none were run, or none changes it


@dataclass(frozen=True)
class Line:
    """One quantity compared."""

    layer: str
    name: str
    recorded: Value
    now: Value
    tolerance: float  # the largest difference that holds; NaN for texts
    verdict: str

    @property
    def share(self) -> float:
        """Difference as a share of the tolerance; NaN for texts."""
        if not isinstance(self.recorded, int | float) or not isinstance(self.now, int | float):
            return math.nan
        difference = abs(self.now - self.recorded)
        return difference / self.tolerance if self.tolerance else math.inf if difference else 0.0


@dataclass(frozen=True)
class Record:
    """What `perceptlib check --update` wrote: layer -> name -> quantity, and what bits and numbers depend on."""

    layers: Mapping[str, Mapping[str, Recorded]]
    environment: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def compare(
    recorded: Mapping[str, Recorded],
    now: Mapping[str, Value],
    *,
    layer: str,
    mode: str,
    relative: float,
    num_compared: int,
) -> list[Line]:
    """Compare the quantities of one layer, by name.

    `mode` "bitwise": equal. "numeric": within `SAFETY` times the recorded spread, and the rounding of the layer's
    arithmetic (`relative` to the value); a count within one picture more. "statistical", for another seed: inside the
    prediction interval of Student's t for one more draw, from the recorded seeds, at a level that makes `FALSE_ALARM`
    the probability of any false alarm among `num_compared` quantities.
    """
    lines = []
    for name in {**recorded, **now}:
        if name not in now:
            lines.append(Line(layer, name, recorded[name].value, None, math.nan, GONE))
        elif name not in recorded:
            lines.append(Line(layer, name, None, now[name], math.nan, NEW))
        else:
            lines.append(_compared(layer, name, recorded[name], defined(now[name]), mode, relative, num_compared))
    return lines


def _compared(
    layer: str, name: str, recorded: Recorded, now: Value, mode: str, relative: float, num_compared: int
) -> Line:
    value = recorded.value
    if mode == STATISTICAL and any(seed != value for seed in recorded.seeds):
        low, high = _prediction(recorded, FALSE_ALARM / max(num_compared, 1))
        if math.isnan(low) or isinstance(now, str) or now is None:
            return Line(layer, name, value, now, math.nan, LEFT_OUT)
        middle = (low + high) / 2
        return Line(layer, name, middle, now, high - middle, HOLDS if low <= now <= high else MOVED)
    if isinstance(value, str) or isinstance(now, str) or value is None or now is None:
        return Line(layer, name, value, now, math.nan, HOLDS if value == now else MOVED)
    tolerance = 0.0
    if mode != BITWISE:
        tolerance = max(SAFETY * recorded.spread, relative * abs(value), ROUNDING)
        if isinstance(value, int) and isinstance(now, int) and layer != "data":
            tolerance = max(tolerance, 1.0)  # a picture on the boundary may fall to either side
    return Line(layer, name, value, now, tolerance, HOLDS if abs(now - value) <= tolerance else MOVED)


def _prediction(recorded: Recorded, level: float) -> tuple[float, float]:
    """Where one more draw falls with probability 1 - level, if they are normal."""
    draws = [value for value in (recorded.value, *recorded.seeds) if isinstance(value, int | float)]
    if len(draws) < max(MIN_SEEDS, 1 + len(recorded.seeds)):
        return math.nan, math.nan
    scale = statistics.stdev(draws) * math.sqrt(1 + 1 / len(draws))
    low, high = stats.t.interval(1 - level, len(draws) - 1, loc=statistics.fmean(draws), scale=scale)
    return float(low), float(high)


def make_record(
    value: Mapping[str, Quantities],
    variants: Sequence[Mapping[str, Quantities]],
    seeds: Sequence[Mapping[str, Quantities]],
    *,
    origin: Mapping[str, Any],
) -> Record:
    """A record from the quantities of one run, of its variants and of other seeds; layer -> name -> value in each."""

    def recorded(layer: str, name: str, entry: Value) -> Recorded:
        others, draws = (
            [defined(run[layer][name]) for run in runs if name in run.get(layer, {})] for runs in (variants, seeds)
        )
        numbers = [other for other in others if isinstance(other, int | float)]
        spread = max((abs(other - entry) for other in numbers), default=0.0) if isinstance(entry, int | float) else 0.0
        return Recorded(entry, spread, () if all(draw == entry for draw in draws) else tuple(draws))

    layers = {
        layer: {name: recorded(layer, name, defined(entry)) for name, entry in quantities.items()}
        for layer, quantities in value.items()
    }
    return Record(layers, environment(), origin)


def defined(value: Value) -> Value:
    """None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_record(record: Record, path: Path) -> None:
    """Write a record as JSON, a line for each quantity, whole or not at all."""
    blocks = []
    for layer, entries in record.layers.items():
        lines = []
        for name, entry in entries.items():  # as short as it can be: most are whole tables' and have no seeds
            cells = [entry.value, entry.spread, *entry.seeds] if entry.spread or entry.seeds else [entry.value]
            lines.append(f"   {json.dumps(name)}: {json.dumps(cells, allow_nan=False)}")
        blocks.append(f"  {json.dumps(layer)}: {{\n" + ",\n".join(lines) + "\n  }")
    heads = {"provenance": record.provenance, "environment": record.environment}
    head = "".join(f" {json.dumps(name)}: {json.dumps(content)},\n" for name, content in heads.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text("{\n" + head + ' "layers": {\n' + ",\n".join(blocks) + "\n }\n}\n", encoding="utf-8")


def read_record(path: Path) -> Record:
    """Read a record; FileNotFoundError where there is none, ValueError for a damaged one."""
    if not path.is_file():
        raise FileNotFoundError(f"nothing is recorded at {path}; record with `perceptlib check --update`")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        layers = {
            layer: {
                name: Recorded(entry[0], entry[1] if entry[1:] else 0.0, tuple(entry[2:]))
                for name, entry in entries.items()
            }
            for layer, entries in content["layers"].items()
        }
        return Record(layers, content["environment"], content["provenance"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(
            f"{path} is no record of a check ({type(error).__name__}: {error}); restore it, or record anew with "
            "`perceptlib check --update`"
        ) from error


def environment() -> dict[str, Any]:
    """Processor, its instruction set, threads and versions: where all are equal, so are the bits."""
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": provenance(seed=0)["versions"],
    }


def differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Entries of two environments that differ, as texts."""
    texts = []
    for name in sorted({*there, *here}):
        old, new = there.get(name), here.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            texts += differing(old, new)
        elif old != new:
            texts.append(f"{name} {old} recorded, {new} here")
    return texts


def _processor() -> str:
    """Model of the processor; with its family and stepping, as some systems call every model by one name."""
    told: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            told.setdefault(key.strip(), value.strip())
    numbers = [f"{key} {told[key]}" for key in _PROCESSOR_NUMBERS if key in told]
    return ", ".join([told.get("model name") or platform.processor() or platform.machine(), *numbers])


def short_sha256(content: bytes | str) -> str:
    """Of contents, as quantities are recorded."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
