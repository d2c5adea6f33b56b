"""Run a study: its tasks one after the other or on a cluster, each finished one kept, a broken run continued."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from perceptlib.provenance import provenance, write_json
from perceptlib.study_config import StudyConfig, config_from
from perceptlib.study_pictures import Source, load_classifier
from perceptlib.study_rows import read_part, read_study, sorted_rows, write_part
from perceptlib.study_tasks import Task, run_task, tasks_of
from perceptlib.tables import Row


class StudyError(RuntimeError):
    """A study that ended with tasks undone; the message says which and how to go on."""


def run_study(
    config: StudyConfig,
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    timeout: float | None = None,
    device: str | None = None,
    progress: bool = False,
) -> list[Row]:
    """Run a study, or continue it where an earlier run was stopped.

    Parameters
    ----------
    config
        What is computed.
    out
        Folder that receives ``config.json``, ``provenance.json``, ``rows/`` with one Parquet part for each finished
        task, and at the end ``study.parquet`` with all rows in a fixed order. Made if missing.
    workers
        Start a local cluster of so many processes (dask.distributed), 1 or more.
    scheduler
        Address of an existing dask scheduler, such as "tcp://host:8786"; its workers need this package.
    timeout
        Seconds without any finished task after which the cluster's workers are restarted, above 0; None waits.
    device
        "cpu", "cuda" or "cuda:1"; default: CUDA where there is one.
    progress
        Show a bar with rate and time left on stderr.

    Returns
    -------
    list of dict
        The rows of ``study.parquet``. They do not depend on how often the study was stopped or on the number of
        workers; networks of float32 may differ in the last digits between machines.

    Raises
    ------
    ValueError
        `out` holds a study of another configuration; workers below 1; both workers and a scheduler.
    StudyError
        Another run is working in `out`, or tasks could not be finished: what is done is kept.
    FileNotFoundError, ConnectionError
        The network, the pictures or the scheduler are not there.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; 1 or more is allowed")
    if workers is not None and scheduler is not None:
        raise ValueError("both workers and a scheduler are given; a scheduler has workers of its own, so leave one out")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is {timeout}; a number of seconds above 0 is allowed")
    out = Path(out)
    (out / "rows").mkdir(parents=True, exist_ok=True)
    with _alone_in(out):
        _keep_config(config, out)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        classifier = load_classifier(config)  # also: tells of missing weights before a cluster is started
        tasks = list(tasks_of(config, len(Source(config, size=classifier.input_size))))
        _keep_provenance(config, out, classifier, device)
        undone = [task for task in tasks if not _is_done(out / "rows" / task.file)]
        with tqdm(
            total=sum(task.stop - task.start for task in tasks),
            initial=sum(task.stop - task.start for task in tasks if task not in set(undone)),
            unit="picture",
            desc=config.preset,
            disable=not progress,
            smoothing=0.05,
        ) as bar:

            def keep(task: Task, rows: list[Row]) -> None:
                write_part(rows, out / "rows" / task.file)
                bar.set_postfix_str(f"{task.part} {task.name}".strip(), refresh=False)
                bar.update(task.stop - task.start)

            if workers is None and scheduler is None:
                for task in undone:
                    keep(task, run_task(config, task, device=device))
            elif undone:
                from perceptlib.study_cluster import run_on_cluster

                failures = run_on_cluster(
                    config, undone, keep, workers=workers, scheduler=scheduler, timeout=timeout, device=device
                )
                if failures:
                    first = "; ".join(f"{task.file}: {reason}" for task, reason in failures[:3])
                    raise StudyError(
                        f"{len(failures)} of {len(tasks)} tasks could not be finished ({first}); "
                        f"start the study again with the same folder {out} to try them once more"
                    )
        return _merge(tasks, out)


def _merge(tasks: Sequence[Task], out: Path) -> list[Row]:
    rows = sorted_rows(row for task in tasks for row in read_part(out / "rows" / task.file))
    write_part(rows, out / "study.parquet")
    return rows


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Two runs in one folder would do the same tasks twice."""
    from filelock import FileLock, Timeout

    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StudyError(f"another study is running in {out}; wait for it, or name another folder") from None
    try:
        yield
    finally:
        lock.release()


def _is_done(path: Path) -> bool:
    """Whether a part is there and whole; a damaged one is put aside, so that nothing recorded is lost in silence."""
    if not path.is_file():
        return False
    try:
        read_part(path)
    except ValueError as error:
        aside = path.with_suffix(".damaged")
        os.replace(path, aside)
        tqdm.write(f"perceptlib: {error}; kept as {aside.name}, its task runs again")
        return False
    return True


def _keep_config(config: StudyConfig, out: Path) -> None:
    path = out / "config.json"
    if not path.is_file():
        write_json(path, config.as_dict())
        return
    try:
        there = config_from(json.loads(path.read_text(encoding="utf-8")), where=str(path))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no configuration of a study ({error}); name an empty folder") from error
    if there.as_dict() != config.as_dict():
        old, new = there.as_dict(), config.as_dict()
        differing = ", ".join(
            f"{name} ({old[name]!r} there, {new[name]!r} asked)" for name in old if old[name] != new[name]
        )
        raise ValueError(f"{out} holds a study of another configuration: {differing}; name another folder")


def _keep_provenance(config: StudyConfig, out: Path, classifier: Any, device: str) -> None:
    """One entry for each time that the study was started: a table may come from several machines."""
    path = out / "provenance.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
    entry = provenance(seed=config.seed, preset=config.preset, classifier=classifier) | {"device": device}
    write_json(path, {"runs": [*runs, entry]})


def summary(rows: Sequence[Row]) -> list[str]:
    """Lines that say how many rows of each part ended with which status."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        status = row["status"].partition(":")[0]
        counts[row["part"], status] = counts.get((row["part"], status), 0) + 1
    return [f"{part:<10} {status:<36} {number}" for (part, status), number in sorted(counts.items())]


__all__ = ["StudyConfig", "StudyError", "read_study", "run_study", "summary"]
