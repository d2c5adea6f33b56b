"""Tasks that kill, hang or fail, for workers of a cluster; they import this file and nothing heavy."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, order=True)
class LightTask:
    """Stands for a task of a study.

    Attributes
    ----------
    name
        What it does: "deadly" kills its worker the first time, "killer" each time, "hung" and "hung too"
        sleep for long and "slow" for some seconds, "bad" raises.
    folder
        Where it writes down that it was started.
    """

    name: str
    folder: str

    @property
    def file(self) -> str:
        return self.name

    def starts(self) -> list[str]:
        """The process of every start."""
        log = Path(self.folder) / self.name
        return log.read_text().split() if log.is_file() else []


def run(config: Any, task: LightTask, device: str | None) -> list[dict[str, Any]]:
    with (Path(task.folder) / task.name).open("a") as log:
        log.write(f"{os.getpid()}\n")
    if task.name == "killer" or (task.name == "deadly" and len(task.starts()) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.name.startswith("hung"):
        time.sleep(600)
    if task.name == "slow":
        time.sleep(4)
    if task.name == "bad":
        raise ValueError("a bad task")
    return [{"image": task.name, "threads": os.environ.get("OMP_NUM_THREADS")}]
