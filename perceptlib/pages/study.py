"""What the study's notebooks share: a small study run on the spot, recorded ones beside it, numbers of each claim."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from perceptlib.analysis.claims import NOT_TESTABLE, Check, Verdict, claim_c, claim_c_together, claim_d
from perceptlib.analysis.results import Summary, counts, fooling_summary, rate_differences, search_summary
from perceptlib.analysis.tables import Row, read_rows
from perceptlib.records import data_dir
from perceptlib.study.config import PRESETS, STUDIES, StudyConfig
from perceptlib.study.factorial import factorial_effects, factorial_rows
from perceptlib.study.presets import load_network
from perceptlib.study.rows import study_table
from perceptlib.study.runner import run_study

Entry = TypeVar("Entry")
HERE = "here"  # name of the study that a page runs itself
SHIPPED = ("imagenet", "digits", "shapes")
NOT_RECORDED = Verdict(NOT_TESTABLE, "not recorded", (Check("not recorded", math.nan),))


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
        Its rows; errors as `perceptlib.study.runner.run_study`.
    """
    digest = hashlib.sha256(json.dumps(config.as_dict(), sort_keys=True).encode()).hexdigest()[:12]
    folder = Path(out) / "study" / f"{config.preset}-{digest}"
    run_study(config, folder)
    return study_table(folder).to_pylist()


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
        return study_table(shipped).to_pylist()
    return [] if name in PRESETS else study_table(name).to_pylist()


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
    found = {HERE: here, _key(recorded): recorded_study(recorded)}
    for name in SHIPPED:
        if name not in found:  # a copy of a shipped study stands for it
            found[name] = recorded_study(name)
    return {name: rows for name, rows in found.items() if rows}


def beside(found: Mapping[str, Entry], recorded: str, missing: Entry) -> Entry:
    """The entry of the recorded study that a page names, or what stands for a missing one.

    Parameters
    ----------
    found
        By the names of `studies`.
    recorded
        As for `studies`.
    missing
        Returned where that study has no row.
    """
    return found.get(_key(recorded), missing)


def here_and_beside(found: Mapping[str, Entry], recorded: str) -> dict[str, Entry]:
    """The entries of the page's own study and of the recorded one that it names, those that are there."""
    return {name: found[name] for name in (HERE, _key(recorded)) if name in found}


def distance_numbers(rows: Sequence[Row]) -> Summary:
    """All of claim C's numbers of one study but its verdict, for the tables, the figures and `numbers.json`.

    Returns
    -------
    dict
        ``counts``, ``fooling``, ``differences``, ``searches`` and ``searches_8bit``: of `perceptlib.analysis.results`;
        the last for pictures rounded to 8 bits, compared with the SSIM ball's search on the 8-bit grid.
    """
    return {
        "counts": counts(rows),
        "fooling": fooling_summary(rows),
        "differences": rate_differences(rows),
        "searches": search_summary(rows),
        "searches_8bit": search_summary(rows, method="ssim_8bit", is_rounded=True),
    }


def distance_verdicts(found: Mapping[str, Sequence[Row]]) -> dict[str, tuple[Verdict, ...]]:
    """Data set -> verdicts on claim C as found and rounded to 8 bits; last the one verdict on the recorded data sets.

    Parameters
    ----------
    found
        Of `studies`. The page's own small study is part of the last verdict only where nothing is recorded.
    """
    verdicts = {name: (claim_c(rows), claim_c(rows, is_rounded=True)) for name, rows in found.items()}
    recorded = {name: both for name, both in verdicts.items() if name != HERE}
    return {**verdicts, "recorded_together" if recorded else "together": (claim_c_together(recorded or verdicts),)}


def texture_effects(num_scenes: int, *, seed: int = 0, network: int = 0) -> Summary | None:
    """What texture of object and background does to the SSIM ball's share on the object: recorded, or computed here.

    Parameters
    ----------
    num_scenes
        Scenes to compute where ``data/recorded/shapes/factorial.csv`` is missing; 0 for none.
    seed, network
        Of the scenes, and which of the networks for shapes.

    Returns
    -------
    dict or None
        Of `perceptlib.study.factorial.factorial_effects`; None where nothing is recorded and nothing to be computed.
    """
    path = data_dir() / "recorded" / "shapes" / "factorial.csv"
    if path.is_file():
        return factorial_effects(read_rows(path), "ssim")
    if num_scenes == 0:
        return None
    rows = factorial_rows(
        load_network("shapes", network=network),
        num_scenes,
        budget=STUDIES["shapes"].map_budget,
        methods=("ssim",),
        seed=seed,
    )
    return factorial_effects(rows, "ssim")


def control_verdicts(found: Mapping[str, Sequence[Row]], effects: Summary | None) -> dict[str, Verdict]:
    """Data set -> verdict on claim D by the rule for photographs, with the scenes' effects of `texture_effects`."""
    conditions = None if effects is None else effects["conditions"]
    return {name: claim_d(rows, conditions, effects) for name, rows in found.items()}


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
    """A path's last part, in the characters that names of numbers may have; not the name of the page's own study."""
    key = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name).resolve().stem)
    return "recorded" if key in ("", HERE) else key
