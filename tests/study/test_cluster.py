"""A study on a cluster: the same rows, and workers that die, hang or are not there."""

from __future__ import annotations

import itertools
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cluster_tasks
import dask
import psutil
import pytest
from cluster_tasks import LightTask
from distributed import LocalCluster
from study_samples import QUICK

from perceptlib.study import cluster as study_cluster
from perceptlib.study.cluster import run_on_cluster
from perceptlib.study.config import StudyConfig
from perceptlib.study.runner import StudyError, run_study

pytestmark = pytest.mark.slow


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_cluster, "_run", cluster_tasks.run)
    monkeypatch.setattr(study_cluster, "POLL", 0.05)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No process of a cluster outlives it, and nothing is warned of."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert not [process for process in left if "resource_tracker" not in " ".join(process.cmdline())]


def run_light(folder: Path, *names: str, **options: Any) -> tuple[list[str], dict[str, str], list[Any]]:
    """Names of the kept tasks, name -> reason of the failed ones, and all rows."""
    kept: list[str] = []
    rows: list[Any] = []

    def keep(task: Any, found: list[Any]) -> None:
        kept.append(task.name)
        rows.extend(found)

    tasks: list[Any] = [LightTask(name, str(folder)) for name in names]
    failures = run_on_cluster(QUICK, tasks, keep, scheduler=options.pop("scheduler", None), **options)
    return kept, {task.name: reason for task, reason in failures}, rows


def test_lost_workers_tasks_run_again_and_are_counted_once(
    light: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    kept, failures, rows = run_light(tmp_path, "a", "deadly", "b", "bad", "c", workers=2)
    assert sorted(kept) == ["a", "b", "c", "deadly"]
    assert failures == {"bad": "a bad task"}
    assert len(rows) == 4
    assert {row["threads"] for row in rows} == {"1"}
    assert len(LightTask("deadly", str(tmp_path)).starts()) == 2


def test_hung_tasks_are_tried_once_more_and_the_others_are_kept(light: None, tmp_path: Path) -> None:
    names = ["hung", "a", "b", "hung too", "c"]
    kept, failures, _ = run_light(tmp_path, *names, workers=2, timeout=15)
    assert sorted(kept) == ["a", "b", "c"]
    assert failures == dict.fromkeys(["hung", "hung too"], "no task ended within 15 s, also after a restart")
    assert [len(LightTask(name, str(tmp_path)).starts()) for name in names] == [2, 1, 1, 2, 1]


def test_clock_that_jumps_loses_no_worker(light: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that asks how long ago it heard of a worker, by a clock that jumps, restarts it for nothing."""
    hours = itertools.count()
    monkeypatch.setattr("distributed.scheduler.time", lambda: time.time() + 3600 * next(hours))
    with dask.config.set({"distributed.scheduler.worker-ttl": "1 s"}):  # the study's own setting comes before it
        kept, failures, _ = run_light(tmp_path, "slow", workers=1, timeout=20)
    assert (kept, failures) == (["slow"], {})
    assert len(LightTask("slow", str(tmp_path)).starts()) == 1


def test_task_that_kills_its_workers_is_given_up(light: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_cluster, "RETRIES", 1)
    kept, failures, _ = run_light(tmp_path, "killer", "a", workers=1)
    assert kept == ["a"]
    assert failures == {"killer": "its worker was lost 2 times (out of memory?)"}


def test_failed_task_ends_the_study_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_cluster, "run_task", _failing_task)
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        with pytest.raises(StudyError, match=r"1 of 4 tasks .* \(fooling-fgsm-000002.parquet: no luck\)"):
            run_study(QUICK, tmp_path, scheduler=cluster.scheduler_address)
        assert len(list((tmp_path / "rows").iterdir())) == 3
        monkeypatch.undo()
        run_study(QUICK, tmp_path, scheduler=cluster.scheduler_address)  # and with the same folder it goes on
    run_study(QUICK, tmp_path / "serial")
    assert (tmp_path / "study.parquet").read_bytes() == (tmp_path / "serial" / "study.parquet").read_bytes()


def _failing_task(config: StudyConfig, task: Any, **options: Any) -> Any:
    from perceptlib.study.tasks import run_task

    if task.part == "fooling" and task.start:
        raise ValueError("no luck")
    return run_task(config, task, **options)


def test_tasks_of_one_process_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of a worker share a network, whose hooks would mix."""
    inside = threading.Lock()

    def alone(config: Any, task: Any, **options: Any) -> list[Any]:
        assert inside.acquire(blocking=False)
        time.sleep(0.05)
        inside.release()
        return []

    monkeypatch.setattr(study_cluster, "run_task", alone)
    with LocalCluster(n_workers=1, threads_per_worker=3, processes=False, dashboard_address=None) as cluster:
        kept, failures, _ = run_light(tmp_path, *"abcdef", workers=None, scheduler=cluster.scheduler_address)
    assert sorted(kept) == list("abcdef")
    assert failures == {}


def test_lost_scheduler_is_told(light: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_cluster, "CONNECT_SECONDS", 1.0)
    cluster = LocalCluster(n_workers=0, processes=False, dashboard_address=None)
    closing = threading.Timer(1.0, cluster.close)
    closing.start()
    kept, failures, _ = run_light(tmp_path, "a", "b", "c", workers=None, scheduler=cluster.scheduler_address)
    closing.join()
    assert kept == []
    assert failures == dict.fromkeys("abc", "the scheduler was lost")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere", "http://127.0.0.1:9"])
def test_absent_scheduler_is_told_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(study_cluster, "CONNECT_SECONDS", 1.0)
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=rf"no dask scheduler answers at {address} .*start one"):
        run_study(QUICK, tmp_path, scheduler=address)
    assert time.monotonic() - started < 20  # a busy machine; the timeout itself is 1 s


@pytest.mark.parametrize("workers", [2])
def test_workers_give_the_rows_of_one_process(tmp_path: Path, workers: int) -> None:
    run_study(replace(QUICK, cams=("cam",)), tmp_path / "many", workers=workers)
    run_study(replace(QUICK, cams=("cam",)), tmp_path / "one")
    assert (tmp_path / "many" / "study.parquet").read_bytes() == (tmp_path / "one" / "study.parquet").read_bytes()
