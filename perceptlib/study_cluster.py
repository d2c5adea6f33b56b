"""A study's tasks on dask.distributed: a local cluster, or a scheduler that is already there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from perceptlib.study_config import StudyConfig
from perceptlib.study_tasks import Task, run_task
from perceptlib.tables import Row

RETRIES = 3  # of a task whose worker was lost
POLL = 1.0  # seconds between looks at the clock


def run_on_cluster(
    config: StudyConfig,
    tasks: Sequence[Task],
    keep: Callable[[Task, list[Row]], None],
    *,
    workers: int | None,
    scheduler: str | None,
    timeout: float | None = None,
    device: str = "cpu",
) -> list[tuple[Task, str]]:
    """Run tasks; each result is handed to `keep` once, in the order in which they end.

    Parameters
    ----------
    config, tasks, keep
        The study, what is to be done, and what becomes of a task's rows; `keep` runs in this process.
    workers, scheduler
        Processes of a local cluster, or the address of a scheduler; one of them is None.
    timeout
        Seconds without any finished task after which all workers are restarted; twice without progress ends the run.
    device
        As of `perceptlib.study.run_study`.

    Returns
    -------
    list
        Tasks that could not be finished, with the reason.

    Raises
    ------
    ConnectionError
        No scheduler answers at the address.
    """
    with _client(workers, scheduler) as client:
        futures = {_submit(client, config, task, device): task for task in tasks}
        failures: list[tuple[Task, str]] = []
        last, restarts = time.monotonic(), 0
        while futures:
            ended = [future for future in futures if future.done()]
            for future in ended:
                task = futures.pop(future)
                if future.status == "finished":
                    keep(task, future.result())
                    restarts = 0
                else:
                    failures.append((task, _reason(future)))
                future.release()
            if ended:
                last = time.monotonic()
            elif timeout is not None and time.monotonic() - last > timeout:
                if restarts:
                    hung = f"no task ended within {timeout:g} s, also after the workers were restarted"
                    failures += [(task, hung) for task in futures.values()]
                    break
                # a hung task cannot be stopped in its thread; its process can
                tasks_left = list(futures.values())
                client.restart(wait_for_workers=False)
                futures = {_submit(client, config, task, device): task for task in tasks_left}
                last, restarts = time.monotonic(), 1
            else:
                time.sleep(min(POLL, 0.05 * len(tasks)))
        return failures


def _submit(client: Any, config: StudyConfig, task: Task, device: str) -> Any:
    return client.submit(_run, config, task, device, pure=False, retries=0, key=f"{task.file}-{time.monotonic_ns()}")


def _run(config: StudyConfig, task: Task, device: str) -> list[Row]:
    return run_task(config, task, device=device)


def _reason(future: Any) -> str:
    error = future.exception()
    name = type(error).__name__
    if name == "KilledWorker":
        return f"its worker was lost {RETRIES + 1} times (out of memory?)"
    return str(error) or name


@contextmanager
def _client(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": RETRIES,
        "distributed.worker.daemon": True,
        "distributed.comm.timeouts.connect": "20s",
    }
    with dask.config.set(settings):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout="20s", set_as_default=False)
            except (OSError, TimeoutError, ValueError) as error:
                raise ConnectionError(
                    f"no dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler` and "
                    "workers with `dask worker ADDRESS`"
                ) from error
            try:
                yield client
            finally:
                client.close()
            return
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
                memory_limit=0,  # a batch that outgrows the memory is halved, its worker not killed
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
