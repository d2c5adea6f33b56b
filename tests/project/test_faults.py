"""Full disks, folders without rights, kills at any moment: results under their final names are whole, and one is told.

Those of a study are in tests/study.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from study_samples import failing
from typer.testing import CliRunner

from perceptlib.cli.main import app
from perceptlib.cli.picture import OUTPUTS, Options, attack_picture
from perceptlib.data import read_picture
from perceptlib.networks import load
from perceptlib.records import provenance, writing_to
from perceptlib.runs import notebook as runs
from perceptlib.runs.notebook import execute
from perceptlib.runs.sweep import run_sweep
from perceptlib.training import small as training
from perceptlib.training.small import train_and_save

pytestmark = pytest.mark.slow

FULL = OSError(errno.ENOSPC, "No space left on device")
READ_ONLY = OSError(errno.EROFS, "Read-only file system")
DENIED = PermissionError(errno.EACCES, "Permission denied")
TOLD = r"cannot be written \({}\); files under their final names are whole; free space or make the folder writable and"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cells = [new_code_cell('n = 1\nout = "."', metadata={"tags": ["parameters"]}), new_code_cell("n + 1")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    return tmp_path / "a.ipynb"


def attack(picture: Path, out: Path) -> None:
    attack_picture(picture, out, load("shapes"), Options("ssim", steps=1))


@pytest.mark.parametrize("after", [0, 1, 2])
def test_full_disk_leaves_whole_files_of_an_attack(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(provenance.os, "replace", failing(os.replace, FULL, after=after))
    with pytest.raises(OSError, match="out " + TOLD.format("No space left on device")):
        attack(picture, out)
    assert sorted(path.name for path in out.glob("[!.]*")) == sorted(OUTPUTS[:after])
    monkeypatch.undo()
    attack(picture, out)
    assert sorted(path.name for path in out.glob("[!.]*")) == sorted(OUTPUTS)


@pytest.mark.parametrize("error", [READ_ONLY, DENIED])
def test_folder_without_rights_is_told_by_the_command(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    # as an administrator all may be written, so that a folder's rights would not do
    monkeypatch.setattr(tempfile, "mkdtemp", failing(tempfile.mkdtemp, error, after=0))
    words = ["attack", str(picture), "--network", "shapes-0", "--steps", "1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert f"cannot be written ({error.strerror})" in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_folder_that_cannot_be_made_is_told(picture: Path, notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", failing(Path.mkdir, READ_ONLY, after=0))
    told = TOLD.format("Read-only file system")
    with pytest.raises(OSError, match=told):
        attack(picture, picture.parent / "out")
    with pytest.raises(OSError, match=told):
        execute(notebook, {}, picture.parent / "out")
    with pytest.raises(OSError, match=told):
        run_sweep(notebook, {"n": [1]}, picture.parent / "out")


def test_full_disk_leaves_nothing_of_a_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance.os, "replace", failing(os.replace, FULL, after=0))
    with pytest.raises(OSError, match="out " + TOLD.format("No space left on device")):
        execute(notebook, {}, tmp_path / "out", html=False)
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_file_that_outgrows_its_limit_is_told(picture: Path, tmp_path: Path) -> None:
    """A true refusal of the system, in a child: no file may have more than 200 bytes."""
    resource = pytest.importorskip("resource")
    child = os.fork()
    if child == 0:
        status = 5
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
            attack(picture, tmp_path / "out")
        except OSError as error:
            status = 3 if "cannot be written (File too large)" in str(error) else 4
        finally:  # whatever was raised, or the child would go on with the tests of its parent
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_sweep_on_a_full_disk_keeps_its_finished_cells(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    cell = out / "cells" / "n=1" / "cell.json"
    cell.parent.mkdir(parents=True)
    cell.write_text("of an earlier run")
    monkeypatch.setattr(provenance.os, "replace", failing(os.replace, FULL, after=1))
    monkeypatch.setattr("perceptlib.runs.sweep._run_cell", os.abort)  # the process ends, and how cannot be noted
    with pytest.raises(OSError, match="out " + TOLD.format("No space left on device")):
        run_sweep(notebook, {"n": [2]}, out, workers=1)
    assert cell.read_text() == "of an earlier run"


def test_training_finds_out_first_that_it_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", None)  # not reached
    monkeypatch.setattr(tempfile, "mkdtemp", failing(tempfile.mkdtemp, READ_ONLY, after=0))
    with pytest.raises(OSError, match=TOLD.format("Read-only file system")):
        train_and_save("shapes", seed=0, out=tmp_path / "net.safetensors", amount=64, num_evaluated=1)


def test_other_errors_of_the_system_tell_of_themselves(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt"), writing_to(tmp_path):
        (tmp_path / "none.txt").read_text()


def killed(work: Callable[[], object], moment: int) -> None:
    """Do it in a child that SIGKILL ends before or after a file takes its final name."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        left, replace = [moment], os.replace

        def deadly(*arguments: Any) -> None:
            for step in (lambda: None, lambda: replace(*arguments)):
                step()
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        os.replace = deadly  # type: ignore[assignment]
        work()
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the children that are killed are forks")
@pytest.mark.parametrize("moment", range(6))
def test_attack_killed_at_any_moment_leaves_whole_files(picture: Path, tmp_path: Path, moment: int) -> None:
    out = tmp_path / "out"
    killed(lambda: attack(picture, out), moment)
    left = {path.name for path in out.glob("[!.]*")}
    assert left == set(OUTPUTS[: (moment + 1) // 2])
    for name in left:
        if name.endswith(".png"):
            assert read_picture(out / name).shape[1] == 3
        else:
            assert "provenance" in json.loads((out / name).read_text())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the children that are killed are forks")
@pytest.mark.parametrize("moment", [0, 1])
def test_run_killed_at_its_end_leaves_the_notebook_whole_or_not_at_all(
    notebook: Path, tmp_path: Path, moment: int
) -> None:
    out = tmp_path / "out"
    killed(lambda: execute(notebook, {}, out, html=False), moment)
    names = [path.name for path in out.glob("[!.]*")]
    assert names == ["a.ipynb"][:moment]
    if names:
        counts = [cell.execution_count for cell in nbformat.read(out / "a.ipynb", as_version=4).cells]
        assert None not in counts


def jump(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the clock of the day jump at every look at it."""
    now, calls = time.time(), [0]

    def clock() -> float:
        calls[0] += 1
        return now + calls[0] * seconds

    monkeypatch.setattr(time, "time", clock)


@pytest.mark.parametrize("seconds", [-3600.0, 86_400.0])
def test_clock_that_jumps_changes_no_time_of_an_attack(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    jump(monkeypatch, seconds)
    attack(picture, tmp_path / "attack")
    assert 0 <= json.loads((tmp_path / "attack" / "result.json").read_text())["seconds"] < 60


@pytest.mark.parametrize("seconds", [-3600.0, 86_400.0])
def test_clock_that_jumps_stops_no_run(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    jump(monkeypatch, seconds)
    assert execute(notebook, {}, tmp_path / "run", html=False).notebook.is_file()


def test_kernel_that_does_not_answer_is_told(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "START_SECONDS", 0)
    with pytest.raises(runs.NotebookError, match=r"^a\.ipynb: no kernel answered within 0 s; run it again where less"):
        execute(notebook, {}, tmp_path / "run", html=False)
    assert not list((tmp_path / "run").glob("[!.]*"))
