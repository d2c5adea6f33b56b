"""The folder of a study: one run at a time in it, its configuration, which parts are whole, where they come from."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perceptlib.records import read_json, write_json
from perceptlib.records.provenance import provenance
from perceptlib.study.config import StudyConfig, config_from
from perceptlib.study.pictures import Source
from perceptlib.study.rows import read_part


class StudyError(RuntimeError):
    """A study that ended with tasks undone; the message says which and how to go on."""


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Say what a full disk or a read-only folder means for the study."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StudyError(
            f"{out} cannot be written ({reason.splitlines()[0]}); finished tasks are kept; free space on the disk, or "
            f"make the folder writable, and {again(out)}"
        ) from error


def again(out: Path) -> str:
    """How to go on, as the end of a message."""
    return f"start the study again with the same folder {out} to go on"


def remove_leftovers(out: Path) -> None:
    """Folders of files half written, which a killed run leaves (`perceptlib.records.provenance.replacing`)."""
    for folder in (*out.glob(".*"), *(out / "rows").glob(".*")):
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def is_done(path: Path) -> bool:
    """Whether a part is there and whole; a damaged one is put aside, so that nothing recorded is lost in silence."""
    if not path.is_file():
        return False
    try:
        read_part(path)
    except ValueError as error:
        warnings.warn(f"{error}; kept as {_put_aside(path)}, its task runs again", stacklevel=3)
        return False
    return True


def check_config(config: StudyConfig, out: Path) -> None:
    """Compare with the configuration of the study that the folder holds.

    Raises
    ------
    ValueError
        They differ, or the file there is damaged.
    """
    path = out / "config.json"
    if not path.is_file():
        return
    try:
        there = config_from(read_json(path))
    except ValueError as error:
        raise ValueError(
            f"{path} is no configuration of a study ({error}); name an empty folder, or delete the file if the rows "
            "beside it are of this configuration"
        ) from error
    if there.as_dict() != config.as_dict():
        old, new = there.as_dict(), config.as_dict()
        differing = ", ".join(
            f"{name} ({old[name]!r} there, {new[name]!r} asked)" for name in old if old[name] != new[name]
        )
        raise ValueError(f"{out} holds a study of another configuration: {differing}; name another folder")


def keep_provenance(config: StudyConfig, out: Path, classifier: Any, device: str) -> None:
    """One entry for each time that the study was started: a table may come from several machines."""
    path = out / "provenance.json"
    runs = recorded_starts(path)
    listing = Source(config, size=classifier.input_size).listing()
    entry = provenance(seed=config.seed, preset=config.preset, classifier=classifier, pictures=listing, device=device)
    write_json(path, {"runs": [*runs, entry]})


def recorded_starts(path: Path) -> list[Any]:
    """Entries of ``provenance.json``; a damaged file is put aside, and they begin anew."""
    if not path.is_file():
        return []
    try:
        return list(read_json(path)["runs"])
    except (ValueError, KeyError, TypeError):
        warnings.warn(f"{path} is damaged; kept as {_put_aside(path)}, and begun anew", stacklevel=4)
        return []


def recorded_batch_size(out: Path) -> int | None:
    """Pictures in a part of the study that the folder holds; None for none, or a damaged file, which is told later."""
    try:
        return config_from(read_json(out / "config.json")).batch_size
    except (OSError, ValueError):
        return None


def keep_time(out: Path, started: float, *, num_tasks: int, workers: int | None) -> None:
    """In the entry of this start: seconds for how many tasks, start of the workers included."""
    with writing(out):
        runs = read_json(out / "provenance.json")["runs"]
        runs[-1] |= {"seconds": round(time.monotonic() - started, 1), "tasks": num_tasks, "workers": workers}
        write_json(out / "provenance.json", {"runs": runs})


def _put_aside(path: Path) -> str:
    """Rename a damaged file; its new name."""
    aside = path.with_suffix(".damaged")
    os.replace(path, aside)
    return aside.name
