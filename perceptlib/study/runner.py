"""Run a study: its tasks one after the other or on a cluster, each finished one kept, a broken run continued."""

from __future__ import annotations

import importlib.util
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch
from tqdm import tqdm

from perceptlib.networks import Classifier
from perceptlib.networks.classifier import digest
from perceptlib.records import claimed, write_json
from perceptlib.records.device import checked_device
from perceptlib.records.provenance import provenance
from perceptlib.study.config import StudyConfig
from perceptlib.study.presets import Pictures, Source, load_classifier
from perceptlib.study.randomisation import stages
from perceptlib.study.rows import (
    StudyError,
    again,
    in_order,
    is_done,
    kept_config,
    read_part,
    record_end,
    record_start,
    remove_leftovers,
    write_part,
    writing,
)
from perceptlib.study.tasks import Task, default_device, fitting_batch_size, make_context, run_task, tasks_of


def run_study(
    config: StudyConfig,
    out: str | os.PathLike[str],
    *,
    classifier: Classifier | None = None,
    pictures: Pictures | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    timeout: float | None = None,
    device: str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Run a study, or continue it where an earlier run was stopped; every row of it, as `read_study` gives them.

    Rows do not depend on how often the study was stopped or on the number of workers (each has one thread); networks of
    float32 may differ in the last digits between machines, numbers of threads and batch sizes. What cannot be used is
    refused before any work, as is an `out` that is a file, holds another study or is in use.

    Parameters
    ----------
    config
        What is computed.
    out
        Folder that receives ``config.json``, ``provenance.json`` with an entry for each start, ``rows/`` with one
        Parquet part for each finished task, and at the end ``study.parquet`` with all rows in a fixed order.
    classifier
        In place of the preset's network: any that `perceptlib.wrap` or `perceptlib.load` made. It runs where it is.
    pictures
        In place of the preset's, all of them: ``Pictures(images, labels)``. The configuration that is kept names
        network and pictures of one's own by their sha256, so that a study is continued with the same alone.
    workers
        Start a local cluster of so many processes (dask.distributed), 1 or more.
    scheduler
        Address of an existing dask scheduler, such as "tcp://host:8786"; its workers need this package.
    timeout
        Seconds without any finished task after which the cluster's workers are restarted, above 0; None waits.
    device
        "cpu", "cuda" or "cuda:1"; default: CUDA where there is one, on a scheduler where its workers have one.
    progress
        Show a bar with rate and time left on stderr.

    Raises
    ------
    StudyError
        Tasks could not be finished, or the disk is full or read-only: what is done is kept.
    FileNotFoundError, ConnectionError
        The network, the pictures or the scheduler are not there.
    KeyboardInterrupt
        Stopped by hand; its message says how many tasks are kept.
    """
    is_alone = workers is None and scheduler is None
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; 1 or more is allowed")
    if workers is not None and scheduler is not None:
        raise ValueError("both workers and a scheduler are given; a scheduler has workers of its own, so leave one out")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is {timeout}; a number of seconds above 0 is allowed")
    if not is_alone and (classifier is not None or pictures is not None):
        raise ValueError("a classifier or pictures of one's own stay in this process; leave out workers and scheduler")
    config = _with_own(config, classifier, pictures)
    device = _checked_device(device, classifier, is_remote=scheduler is not None)
    _check_searches(config, is_remote=scheduler is not None)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file; name a folder")
    with ExitStack() as held:
        with writing(out):
            (out / "rows").mkdir(parents=True, exist_ok=True)
            held.enter_context(claimed(out))
        remove_leftovers(out)
        network = classifier or load_classifier(config)  # also: tells of missing weights before a cluster is started
        if classifier is None:  # by name, whichever it would be on another machine
            config = replace(config, network=network.name)
        kept = kept_config(out)
        if config.batch_size == 0:  # of a study that is continued, as its parts hold so many; else what fits in memory
            side = network.input_size if pictures is None else max(pictures.images.shape[2:])
            there = device or "cpu"
            size = kept.batch_size if kept else fitting_batch_size(network, side, device=there, workers=workers or 1)
            config = replace(config, batch_size=size)
        _check_same(config, kept, out)
        _check_maps(config, network)
        source = Source(config, size=network.input_size, given=pictures)
        source.check(network.num_classes)
        tasks = list(tasks_of(config, len(source)))
        entry = provenance(
            seed=config.seed,
            preset=config.preset if pictures is None else None,
            classifier=network,
            pictures=source.listing(),
            device=device or "of the scheduler's workers",
        )
        with writing(out):
            write_json(out / "config.json", config.as_dict())
            record_start(out, entry)
            done = {task for task in tasks if is_done(out / "rows" / task.file)}
        undone = [task for task in tasks if task not in done]
        failures: list[tuple[Task, str]] = []
        started = time.monotonic()
        with tqdm(
            total=sum(task.stop - task.start for task in tasks),
            initial=sum(task.stop - task.start for task in done),
            unit="picture",
            desc=config.preset,
            disable=not progress,
            smoothing=0.05,
        ) as bar:

            def keep(task: Task, rows: pa.Table) -> None:
                with writing(out):
                    write_part(rows, out / "rows" / task.file)
                bar.set_postfix_str(f"{task.part} {task.name}".strip(), refresh=False)
                bar.update(task.stop - task.start)

            try:
                if undone and is_alone:
                    there = device or default_device()
                    context = make_context(config, source, network.to(there), there)
                    for task in undone:
                        keep(task, run_task(config, task, device=there, context=context))
                elif undone:
                    from perceptlib.study.cluster import run_on_cluster

                    failures = run_on_cluster(
                        config, undone, keep, workers=workers, scheduler=scheduler, timeout=timeout, device=device
                    )
            except KeyboardInterrupt:
                # asked of the folder: the interrupt may come between a part and its mark
                num_kept = sum((out / "rows" / task.file).is_file() for task in tasks)
                raise KeyboardInterrupt(
                    f"interrupted; {num_kept} of {len(tasks)} tasks are kept; {again(out)}"
                ) from None
        seconds = round(time.monotonic() - started, 1)
        record_end(out, seconds=seconds, tasks=len(undone) - len(failures), workers=workers)
        if failures:
            first = "; ".join(f"{task.file}: {reason}" for task, reason in failures[:3])
            raise StudyError(
                f"{len(failures)} of {len(tasks)} tasks could not be finished ({first}); the others are kept; "
                f"{again(out)}"
            )
        table = in_order([read_part(out / "rows" / task.file) for task in tasks])
        with writing(out):
            write_part(table, out / "study.parquet")
        return table.to_pandas()


def _check_same(config: StudyConfig, kept: StudyConfig | None, out: Path) -> None:
    """Refuse a folder that holds a study of another configuration."""
    if kept is not None and kept != config:
        old, new = kept.as_dict(), config.as_dict()
        differing = [f"{name} ({old[name]!r} there, {new[name]!r} asked)" for name in old if old[name] != new[name]]
        raise ValueError(f"{out} holds a study of another configuration: {', '.join(differing)}; name another folder")


def _with_own(config: StudyConfig, classifier: Classifier | None, pictures: Pictures | None) -> StudyConfig:
    """The configuration with network and pictures of one's own named in it."""
    if classifier is not None:
        if not isinstance(classifier, Classifier):
            given = type(classifier).__name__
            raise TypeError(f"the classifier is a {given}; make one of it: perceptlib.wrap(network, mean=..., std=...)")
        config = replace(config, weights=f"own network, sha256 {digest(classifier)}")
    if pictures is not None:
        if not isinstance(pictures, Pictures):
            given = type(pictures).__name__
            raise TypeError(f"the pictures are a {given}; write perceptlib.study.Pictures(images, labels)")
        own = f"own pictures, sha256 {pictures.listing()['sha256']}"
        config = replace(config, csv=own, num_images=max(len(pictures), 1))
    return config


def _checked_device(device: str | None, classifier: Classifier | None, *, is_remote: bool) -> str | None:
    """The device of this machine; on a scheduler None leaves it to the workers, whose machines this one cannot see."""
    if classifier is not None:
        there = str(classifier.mean.device)
        if device is not None and torch.device(device) != torch.device(there):
            raise ValueError(f"device is {device!r}, but the classifier is on {there}; write classifier.to({device!r})")
        return there
    if device is None:
        return None if is_remote else default_device()
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or not (number or "0").isdecimal():
        raise ValueError(f"device is {device!r}; cpu, cuda and cuda:NUMBER are allowed")
    return device if is_remote else checked_device(device)


def _check_searches(config: StudyConfig, *, is_remote: bool) -> None:
    """Tell of the missing optional library now: its searches come last, after hours perhaps."""
    needing = [name for name in config.searches if name in ("deepfool", "carlini_wagner")]
    if needing and not is_remote and importlib.util.find_spec("foolbox") is None:
        raise ValueError(
            f"searches name {' and '.join(needing)}, which need foolbox; install it with "
            "`pip install 'perceptlib[baselines]'`, or leave them out of searches"
        )


def _check_maps(config: StudyConfig, classifier: Classifier) -> None:
    """Tell of a map that the network cannot give now: every picture's rows would fail for it."""
    if not (config.maps or config.cascade or config.regions):
        return
    if classifier.cam_layer is None:
        raise ValueError(
            f"no layer of {classifier.name} was found for class activation maps; name it with "
            "perceptlib.wrap(..., cam_layer=...), or write maps = [], cascade = [] and regions = []"
        )
    if "cam" in config.cams and classifier.linear_layer is None:
        raise ValueError(
            f"cams name 'cam', the classic map, which {classifier.source} does not have, as its logits are not "
            'linear in the average of its last feature maps; write cams = ["grad-cam", "another"]'
        )
    if config.cascade:
        try:
            stages(classifier)
        except ValueError as error:
            raise ValueError(f"{error}; or write cascade = []") from error


def summary(rows: pd.DataFrame) -> list[str]:
    """Lines that say how many rows of each part ended with which status."""
    status = rows["status"].str.partition(":")[0]
    counts = rows.groupby(["part", status]).size()
    return [f"{part:<10} {status:<36} {number}" for (part, status), number in counts.items()]
