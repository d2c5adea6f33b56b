"""A study's tasks on dask.distributed: a local cluster, or a scheduler that is already there."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pyarrow as pa
import torch

from perceptlib.study.config import StudyConfig
from perceptlib.study.tasks import Task, run_task

RETRIES = 3  # of a task whose worker was lost
POLL = 1.0  # seconds between looks at the clock
CONNECT_SECONDS = 20.0  # for an existing scheduler to answer
LOST = "the scheduler was lost"
START_SECONDS = 60.0  # for a worker to be there again, before the clock of a timeout starts

_ONE_AT_A_TIME = threading.Lock()  # per process: hooks on a shared network would mix the tasks of two threads


def run_on_cluster(
    config: StudyConfig,
    tasks: Sequence[Task],
    keep: Callable[[Task, pa.Table], None],
    *,
    workers: int | None,
    scheduler: str | None,
    timeout: float | None = None,
    device: str | None = None,
) -> list[tuple[Task, str]]:
    """Run tasks; each result is handed to `keep` once, in this process, in the order in which they end.

    After `timeout` seconds without any finished task all workers are restarted. What ran then is tried once more, after
    the others; what is running at a second such time is given up. Handed back: tasks that could not be finished, with
    the reason. A ConnectionError tells that no scheduler answers.
    """
    from distributed import CancelledError, wait

    failures: list[tuple[Task, str]] = []
    suspects: set[Task] = set()
    waiting = deque(tasks)
    futures: dict[Any, Task] = {}
    with _client(workers, scheduler) as client:
        client.run(_load, on_error="ignore")
        last = time.monotonic()
        while waiting or futures:
            threads = _threads(client)
            done = [(future, futures.pop(future)) for future in list(futures) if future.done()]
            # no more than can run: what was submitted is then what may hang, and the others wait here
            while waiting and len(futures) < max(threads, 1):
                task = waiting.popleft()
                key = f"{task.file}-{time.monotonic_ns()}"
                futures[client.submit(_run, config, task, device, pure=False, retries=0, key=key)] = task
            lost = any(future.status == "cancelled" for future, _ in done)
            for future, task in done:
                if future.status == "finished":
                    keep(task, future.result())
                else:
                    failures.append((task, _reason(future)))
                future.release()
            if lost:
                return failures + [(task, LOST) for task in (*futures.values(), *waiting)]
            if done:
                last = time.monotonic()
            elif timeout is not None and time.monotonic() - last > timeout:
                stuck = list(futures.values()) + (list(waiting) if threads == 0 else [])
                given_up = [task for task in stuck if task in suspects]
                failures += [(task, f"no task ended within {timeout:g} s, also after a restart") for task in given_up]
                suspects |= set(stuck)
                waiting = deque(task for task in waiting if task not in stuck)
                waiting.extend(task for task in stuck if task not in given_up)
                futures = {}
                # a hung task cannot be stopped in its thread; its process can
                client.restart(wait_for_workers=False)
                if not waiting:
                    break
                with suppress(TimeoutError):  # those of another system may be longer in coming back
                    client.wait_for_workers(1, timeout=START_SECONDS)
                client.run(_load, on_error="ignore")
                last = time.monotonic()
            elif futures:
                with client.as_current(), suppress(TimeoutError, CancelledError):
                    wait(list(futures), timeout=POLL, return_when="FIRST_COMPLETED")
    return failures


def _threads(client: Any) -> int:
    try:
        return sum(client.nthreads().values())
    except OSError:  # the scheduler is lost; its client takes a moment to say so of the tasks
        return 0


def _run(config: StudyConfig, task: Task, device: str | None) -> pa.Table:
    """In a worker."""
    with _ONE_AT_A_TIME:
        torch.set_num_threads(1)  # whatever its environment says: the workers are the threads
        return run_task(config, task, device=device)


def _load() -> None:
    """In a worker, whose process has imported the library once this can be named: seconds that are no task's."""


def _reason(future: Any) -> str:
    if future.status == "cancelled":
        return LOST
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        return f"its worker was lost {RETRIES + 1} times (out of memory?)"
    return str(error) or type(error).__name__


@contextmanager
def _client(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": RETRIES,
        "distributed.worker.daemon": True,
        "distributed.scheduler.worker-ttl": None,  # by the clock of the day, which may jump; a lost process is seen
        "distributed.deploy.lost-worker-timeout": "1 h",  # away just then, restarted anew: given up for ever
        "distributed.scheduler.http.routes": [],  # no pages for other users of this machine
        "distributed.worker.http.routes": [],
        "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
        "distributed.worker.profile.enabled": False,  # a hundred looks a second at what a task does: 5 % of its time
        # dask has its workers give every freed block back to the system at once, and fetching it anew for the next
        # layer of a network takes two thirds of a study's time; these are what glibc itself settles at
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 64 * 2**20,
        "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
    }
    with dask.config.set(settings), ExitStack() as held:
        address: Any = scheduler
        if scheduler is None:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any port: two studies would want the same
                silence_logs=logging.CRITICAL,
                memory_limit=0,  # a batch that outgrows the memory is halved, its worker not killed
            )
            address = held.enter_context(cluster)
        try:
            client = Client(address, timeout=f"{CONNECT_SECONDS}s", set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ConnectionError(
                f"no dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler` and "
                "workers with `dask worker ADDRESS`"
            ) from error
        yield held.enter_context(client)
