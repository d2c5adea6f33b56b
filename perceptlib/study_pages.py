"""What the study's notebooks share: a small study run on the spot, recorded ones read, numbers that JSON can hold."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perceptlib import data_dir
from perceptlib.study import run_study
from perceptlib.study_config import PRESETS, StudyConfig
from perceptlib.study_rows import read_study
from perceptlib.tables import Row

HERE = "here"  # name of the study that a page runs itself
SHIPPED = ("imagenet", "digits", "shapes")


def run_here(config: StudyConfig, out: str | os.PathLike[str]) -> list[Row]:
    """Run a study in a folder of its own below a page's output folder, or continue it there.

    Parameters
    ----------
    config
        What is computed.
    out
        Output folder of the page; the study lies in ``out/study/PRESET-DIGEST``, where the digest is the
        configuration's: other parameters or another page in the same `out` start another study.

    Returns
    -------
    list of dict
        Its rows; errors as `perceptlib.study.run_study`.
    """
    digest = hashlib.sha256(json.dumps(config.as_dict(), sort_keys=True).encode()).hexdigest()[:12]
    return run_study(config, Path(out) / "study" / f"{config.preset}-{digest}")


def recorded_study(name: str) -> list[Row]:
    """Rows of a recorded study; none for a preset that is not recorded.

    Parameters
    ----------
    name
        Folder under ``data/recorded``, such as "imagenet", or the path of a study's folder or table.

    Raises
    ------
    FileNotFoundError
        No rows there, and the name is no preset.
    """
    shipped = data_dir() / "recorded" / name
    if (shipped / "study.parquet").is_file() or (shipped / "rows").is_dir():
        return read_study(shipped)
    return [] if name in PRESETS else read_study(name)


def studies(here: list[Row], recorded: str) -> dict[str, list[Row]]:
    """The study of a page, the recorded one that it names, and what else is recorded, in this order.

    Parameters
    ----------
    here
        Rows of the page's own study.
    recorded
        As for `recorded_study`.

    Returns
    -------
    dict
        Name -> rows; "here" for the page's own, a folder's name for the others. Those without a row are left out.

    Raises
    ------
    FileNotFoundError
        As `recorded_study`.
    """
    named = {recorded: recorded_study(recorded)}
    others = {name: recorded_study(name) for name in SHIPPED if name != recorded}
    found = {HERE: here} | {_key(name): rows for name, rows in (named | others).items()}
    return {name: rows for name, rows in found.items() if rows}


def finite(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers with NaN for infinite ones, which JSON does not have: a median where most are not fooled."""
    return {
        name: finite(value)
        if isinstance(value, Mapping)
        else math.nan
        if isinstance(value, float) and math.isinf(value)
        else value
        for name, value in numbers.items()
    }


def _key(name: str) -> str:
    """A path's last part, in the characters that names of numbers may have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name).stem)
