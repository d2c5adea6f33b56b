"""What ships under ``data/recorded``, as frames: studies, scenes, settings; and where they come from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from perceptlib.records import data_dir, read_verified
from perceptlib.records.frames import read_csv
from perceptlib.study.config import PRESETS
from perceptlib.study.rows import SCHEMA, read_study

HERE = "here"  # name of the study that a page runs itself
SHIPPED = ("imagenet", "digits", "shapes")


def recorded_study(name: str) -> pd.DataFrame:
    """Rows of a study, by its folder under ``data/recorded`` or a path; none for a preset that is not recorded."""
    shipped = data_dir() / "recorded" / name
    if (shipped / "study.parquet").is_file() or (shipped / "rows").is_dir():
        return read_study(shipped)
    return pd.DataFrame(columns=SCHEMA.names) if name in PRESETS else read_study(name)


def studies(here: pd.DataFrame, recorded: str) -> dict[str, pd.DataFrame]:
    """Name -> rows: the study of a page ("here"), the recorded one that it names, and what else ships, if not empty."""
    found = {HERE: here, name_of(recorded): recorded_study(recorded)}
    for name in SHIPPED:
        if name not in found:  # a copy of a shipped study stands for it
            found[name] = recorded_study(name)
    return {name: rows for name, rows in found.items() if len(rows)}


def name_of(recorded: str) -> str:
    """A path's last part, in the characters that names of numbers may have; not the name of the page's own study."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(recorded).resolve().stem)
    return "recorded" if name in ("", HERE) else name


def recorded_provenance(name: str) -> dict[str, Any]:
    """Versions, machine, seed and weights of a recorded study: its last start."""
    path = data_dir() / "recorded" / name / "provenance.json"
    last: dict[str, Any] = json.loads(read_verified(path))["runs"][-1]
    return last


def recorded_factorial(network: int = 0, folder: str | Path | None = None) -> pd.DataFrame | None:
    """Rows of scenes of one network; None where they are not recorded."""
    path = factorial_file(network, data_dir() / "recorded" / "shapes" if folder is None else Path(folder))
    return read_csv(path) if path.is_file() else None


def factorial_file(network: int, folder: Path) -> Path:
    """Where the rows of one network are kept."""
    return folder / ("factorial.csv" if network == 0 else f"factorial_network_{network}.csv")


def recorded_settings(name: str) -> pd.DataFrame:
    """Rows of settings, by a name under ``data/recorded/sensitivity`` or a path; none for a preset without."""
    shipped = data_dir() / "recorded" / "sensitivity" / f"{name}.csv"
    if name in PRESETS and not shipped.is_file():
        return pd.DataFrame()
    return read_csv(shipped if shipped.is_file() else name)
