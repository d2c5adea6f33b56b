"""A folder belongs to one run at a time, and to nobody once its run is gone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from perceptlib.records import FolderInUse, claimed


def test_second_run_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    sentence = r"another run is writing into .*folder; wait for it, or name another folder"
    with claimed(folder), pytest.raises(FolderInUse, match=sentence), claimed(folder):
        pass
    with claimed(folder), claimed(tmp_path):
        assert folder.is_dir()
    assert not list(folder.iterdir())


def test_files_of_a_folder_are_held_one_by_one(tmp_path: Path) -> None:
    sentence = r"another run is writing .*a\.bin; wait for it, or name another file"
    with claimed(tmp_path, "a.bin"), claimed(tmp_path, "b.bin"), claimed(tmp_path):  # noqa: SIM117
        with pytest.raises(FolderInUse, match=sentence), claimed(tmp_path, "a.bin"):
            pass
    assert not list(tmp_path.iterdir())


def test_folder_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), claimed(tmp_path):
        raise KeyError
    with claimed(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the run that is killed is a fork")
def test_lock_of_a_killed_run_blocks_nobody(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        with claimed(tmp_path / "out"):
            (tmp_path / "held").touch()
            time.sleep(60)
        os._exit(0)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with pytest.raises(FolderInUse), claimed(tmp_path / "out"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with claimed(tmp_path / "out"):
        pass
