"""What ships under ``data/recorded``, as frames: studies, scenes, settings; and where they come from."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from perceptlib.records import data_dir, read_verified
from perceptlib.records.frames import read_csv
from perceptlib.study.config import PRESETS
from perceptlib.study.rows import SCHEMA, holds_rows, read_study

HERE = "here"  # name of the study that a page runs itself
DATA_SETS = {  # preset -> name, in which order recorded studies are listed
    **{"imagenet": "ImageNet photographs", "photos": "scikit-image's photographs"},
    **{"shapes": "shapes", "digits": "digits"},
}
OPPONENT_NETWORKS = ("mobilenet_v2", "efficientnet-lite0")  # which other libraries' searches are recorded on
_FIRST = ("mobilenet_v2", "shapes-0", "digits-0")  # before the other networks, which follow in alphabetical order


def recorded_studies(preset: str = "") -> list[tuple[str, str]]:
    """Preset and network of every study under ``data/recorded/studies``, of one preset or of all: photographs first."""
    if preset and preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; pass one of {', '.join(map(repr, PRESETS))}")
    folders = [path for path in (data_dir() / "recorded" / "studies").glob("*/*") if holds_rows(path)]
    found = [(path.parent.name, path.name) for path in folders if path.parent.name in DATA_SETS]
    listed = sorted(found, key=lambda entry: ([*DATA_SETS].index(entry[0]), entry[1] not in _FIRST, entry[1]))
    return [entry for entry in listed if preset in ("", entry[0])]


def study_folder(preset: str, network: str = "") -> Path:
    """Where the study of a preset and network is recorded, if it is; of its first recorded network where none is named.

    The preset's name may hold the network, as in "imagenet/efficientnet-lite0".
    """
    if not network and preset in PRESETS:
        network = next((network for _, network in recorded_studies(preset)), "")
    return data_dir() / "recorded" / "studies" / preset / network


def recorded_study(preset: str, network: str = "") -> pd.DataFrame:
    """Rows of a recorded study, or of one at a path in place of the preset; none for one that is not recorded."""
    folder = study_folder(preset, network)
    if holds_rows(folder):
        return read_study(folder)
    return pd.DataFrame(columns=SCHEMA.names) if preset in PRESETS else read_study(preset)


def all_studies() -> dict[tuple[str, str], pd.DataFrame]:
    """Preset and network -> rows of every recorded study, in the order of `recorded_studies`."""
    return {study: recorded_study(*study) for study in recorded_studies()}


def studies(here: pd.DataFrame, recorded: str) -> dict[str, pd.DataFrame]:
    """Name -> rows: the study of a page ("here"), the recorded one that it names, and each preset's own, if not empty.

    `recorded` is a preset, a preset and a network, as in "imagenet/efficientnet-lite0", or a path.
    """
    found = {HERE: here, name_of(recorded): recorded_study(recorded)}
    for name in dict.fromkeys(preset for preset, _ in recorded_studies()):
        if name not in found:  # a copy of a shipped study stands for it
            found[name] = recorded_study(name)
    return {name: rows for name, rows in found.items() if len(rows)}


def name_of(recorded: str) -> str:
    """A path's last part, in the characters that names of numbers may have; not the name of the page's own study."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(recorded).resolve().stem)
    return "recorded" if name in ("", HERE) else name


def recorded_sessions(preset: str, network: str = "") -> list[dict[str, Any]]:
    """Provenance of a recorded study, an entry for each time that it was started: versions, machine, seed, weights."""
    path = study_folder(preset, network) / "provenance.json"
    sessions: list[dict[str, Any]] = json.loads(read_verified(path))["runs"]
    return sessions


def recorded_provenance(preset: str, network: str = "") -> dict[str, Any]:
    """The last of these."""
    return recorded_sessions(preset, network)[-1]


def recorded_effort() -> dict[str, Any]:
    """What all recorded studies took, for prose to quote: networks of each preset, sessions and their machines.

    ``hours`` are those of the ``num_timed`` sessions that noted their time; earlier versions did not.
    """
    listed = recorded_studies()
    sessions = [session for study in listed for session in recorded_sessions(*study)]
    seconds = [session["seconds"] for session in sessions if "seconds" in session]
    return {
        "num_studies": len(listed),
        "networks": dict(Counter(preset for preset, _ in listed)),
        "num_sessions": len(sessions),
        "num_timed": len(seconds),
        "hours": sum(seconds) / 3600,
        "machines": "; ".join(sorted({session["machine"] for session in sessions})),
    }


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


def recorded_opponents(network: str) -> pd.DataFrame:
    """Rows of other libraries' searches and ours on one network, all budgets; none where they are not recorded.

    A picture that lacks a search which another picture of its budget has, such as the last one of a run that is still
    going, is left out.
    """
    files = sorted((data_dir() / "recorded" / "opponents" / network).glob("opponents_*.csv"))
    if not files:
        return pd.DataFrame(columns=["image", "method", "aim", "budget"])
    rows = pd.concat([read_csv(path) for path in files], ignore_index=True)
    num_methods, num_there = (
        rows.groupby(keys)["method"].transform("nunique") for keys in ("budget", ["budget", "image"])
    )
    return rows[num_there == num_methods].reset_index(drop=True)


def all_opponents() -> dict[str, pd.DataFrame]:
    """Network -> `recorded_opponents`, those of `OPPONENT_NETWORKS` first, also where they have no rows yet."""
    folders = sorted(path.name for path in (data_dir() / "recorded" / "opponents").glob("*"))
    return {network: recorded_opponents(network) for network in dict.fromkeys((*OPPONENT_NETWORKS, *folders))}


def all_variants() -> dict[str, pd.DataFrame]:
    """Network -> rows of `perceptlib.study.opponents.record_variants`; networks without any are left out."""
    files = {path.parent.name: path for path in (data_dir() / "recorded" / "opponents").glob("*/variants_*.csv")}
    return {network: read_csv(files[network]) for network in sorted(files, key=lambda name: name not in _FIRST)}


def all_rounded() -> dict[str, pd.DataFrame]:
    """Network -> rows of `perceptlib.study.opponents.record_rounded`, of the pictures that have one for every aim.

    As rows of a study: what judges say of the 8-bit pictures of each kind of search, the nearest of any library.
    Networks without any are left out.
    """
    found = {}
    for path in sorted((data_dir() / "recorded" / "opponents").glob("*/rounded_*.csv")):
        rows = read_csv(path)
        num_aims = rows.groupby("image")["aim"].transform("nunique")
        rows = rows[num_aims == rows["aim"].nunique()].rename(columns={"method": "search"})
        rows = rows.assign(part="judges", method=rows["aim"] + "_8bit", budget=math.nan)
        found[path.parent.name] = rows.reset_index(drop=True)
    return {network: found[network] for network in sorted(found, key=lambda name: name not in _FIRST)}
