"""Compute what is recorded again, and say which quantity moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from perceptlib.check import attacks as check_attacks
from perceptlib.check import geometry as check_geometry
from perceptlib.check.environment import differing, environment
from perceptlib.check.geometry import Quantities, Setting
from perceptlib.check.notebooks import NOTEBOOKS, notebook_quantities
from perceptlib.check.record import (
    BAD,
    BITWISE,
    FAILED,
    NUMERIC,
    STATISTICAL,
    Line,
    Record,
    Recorded,
    compare,
    counts,
    defined,
    read_record,
)
from perceptlib.check.recorded import (
    STUDIES,
    content_quantities,
    file_quantities,
    is_computable,
    listed_files,
    recomputed_quantities,
    recorded_rows_quantities,
)
from perceptlib.records import data_dir
from perceptlib.records.package import is_clone, ships
from perceptlib.records.provenance import provenance

DOUBLE, SINGLE, SOLVER = 1e-9, 1e-5, 1e-6  # relative: float64, float32 networks, what Clarabel is asked for


@dataclass(frozen=True)
class Layer:
    """Quantities that are computed together.

    Attributes
    ----------
    compute
        From a setting to quantities.
    relative
        Rounding of its arithmetic.
    recorded
        What it is compared with, where that is no value in a check's own record but the study's rows, or the manifest
        of files.
    """

    compute: Callable[[Setting], Quantities]
    relative: float
    recorded: Callable[[], Quantities] | None = None


# In the order in which they build on each other: the first that moved is where to look.
QUICK: Mapping[str, Layer] = {
    "files": Layer(file_quantities, DOUBLE, listed_files),
    "contents": Layer(content_quantities, DOUBLE),
    "data": Layer(check_geometry.data_quantities, SINGLE),
    "ssim": Layer(check_geometry.ssim_quantities, DOUBLE),
    "balls": Layer(check_geometry.ball_quantities, DOUBLE),
    "convex": Layer(check_geometry.convex_quantities, SOLVER),
    "networks": Layer(check_attacks.network_quantities, SINGLE),
    "attacks": Layer(check_attacks.attack_quantities, SINGLE),
    "agreement": Layer(check_attacks.agreement_quantities, SINGLE),
    "controls": Layer(check_attacks.control_quantities, SINGLE),
    "statistics": Layer(check_attacks.statistics_quantities, DOUBLE),
    "claims": Layer(check_attacks.verdict_quantities, DOUBLE),
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


@dataclass(frozen=True)
class Outcome:
    """A check's answer.

    Attributes
    ----------
    lines
        Every quantity.
    mode
        "bitwise", "numeric" or "statistical".
    why
        What differs from the environment of the record; empty for "bitwise".
    skipped
        What could not be looked at, and why.
    """

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

    Parameters
    ----------
    level
        "quick": SSIM, balls, programs, networks, attacks, maps, statistics and verdicts on the embedded presets, half
        a minute on one core. "full": also the recorded studies' rows of a few pictures, with ImageNet where its files
        are, and every number that the notebooks write with their defaults.
    seed
        0 as recorded; another one: compared with the spread over the recorded seeds, in the quick layers alone.
    only
        Names of layers; none for all of the level.
    tell
        Called with each layer's name before it is computed.

    Returns
    -------
    Outcome
        A layer that raises is one failed line with the error, and the others are computed all the same.

    Raises
    ------
    ValueError
        An unknown level or layer, a seed below 0, a damaged record.
    FileNotFoundError
        Nothing is recorded.
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
