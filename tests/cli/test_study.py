"""The command ``perceptlib study`` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import perceptlib
from perceptlib.cli.main import app
from perceptlib.study import runner as study
from perceptlib.study.config import STUDIES

PACKAGE_ROOT = os.path.dirname(os.path.dirname(perceptlib.__file__))
QUICK = """
num_images = 4
batch_size = 1
attacks = ["fgsm"]
budgets = [0.01]
steps = 1
searches = []
maps = []
cascade = []
regions = []
"""


def invoke(*words: Any) -> Any:
    return CliRunner().invoke(app, ["study", *map(str, words)], prog_name="perceptlib")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(QUICK)
    return path


def test_help_has_examples_and_loads_nothing_heavy() -> None:
    done = invoke("--help")
    assert done.exit_code == 0
    assert "Examples:\n    perceptlib study --preset shapes" in done.output
    code = (
        "import sys; sys.argv = ['perceptlib', 'study', '--help']\n"
        "try:\n    from perceptlib.cli.main import main; main()\n"
        "except SystemExit:\n    heavy = {'torch', 'dask', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "    sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=PACKAGE_ROOT, stdout=subprocess.DEVNULL, stderr=-1, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")


def test_show_prints_the_configuration_and_runs_nothing(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = invoke("--preset", "photos", "--num-images", 3, "--seed", 7, "--show", "--out", out)
    assert done.exit_code == 0
    assert json.loads(done.stdout) == STUDIES["photos"].as_dict() | {"num_images": 3, "seed": 7}
    done = invoke("--config", config, "--show", "--out", out)
    assert json.loads(done.stdout)["batch_size"] == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--preset", "mnist"], "there is no study 'mnist'; shapes, digits, photos, imagenet are"),
        (["--preset", "shapes", "--config", "own.toml"], "both --config and --preset are given"),
        (["--config", "none.toml"], "there is no configuration none.toml; name a .toml or .json file"),
        (["--workers", "2", "--scheduler", "tcp://host:1"], "both workers and a scheduler are given"),
        (["--timeout", "0"], "timeout is 0.0; a number of seconds above 0 is allowed"),
        (["--device", "gpu"], "device is 'gpu'; cpu, cuda and cuda:NUMBER are allowed"),
        (["--device", "cuda:99"], "device is 'cuda:99', but torch finds"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    done = invoke(*words, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"perceptlib: {sentence}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--workers", "0"], ["--num-images", "none"], ["--colour", "1"]])
def test_bad_words_show_the_usage(words: list[str]) -> None:
    done = invoke(*words)
    assert done.exit_code == 2
    assert "Usage: perceptlib study" in done.stderr
    assert words[0] in done.stderr


def test_run_prints_what_became_of_the_pictures(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("--config", config, "--num-images", 3)
    assert (done.exit_code, done.stderr) == (0, "")
    *counts, last = done.stdout.splitlines()
    assert sum(int(line.split()[-1]) for line in counts) == 3
    assert all(line.startswith("fooling") for line in counts)
    assert last == f"3 rows in {Path('own-study') / 'study.parquet'}"
    again = invoke("--config", config)
    assert again.exit_code == 2
    assert "another configuration: num_images (3 there, 4 asked); name another folder" in again.stderr


def test_failure_and_interrupt_say_what_is_kept(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [1]
    original = study.run_task

    def stopping(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(study, "run_task", stopping)
    done = invoke("--config", config, "--out", tmp_path / "out")
    assert done.exit_code == 130
    assert done.stderr.startswith("perceptlib: interrupted; 1 of 4 tasks are kept; start the study again with the same")

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(study, "run_task", original)
    monkeypatch.setattr(study, "write_part", full)
    done = invoke("--config", config, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "cannot be written (No space left on device); finished tasks are kept; free space" in done.stderr


def heed_interrupts() -> None:
    """Where the tests run in the background, a shell has told them, and so their children, to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_program_survives_kill_and_interrupt(tmp_path: Path, config: Path) -> None:
    config.write_text(QUICK.replace("num_images = 4", "num_images = 400"))
    environment = os.environ | {"PYTHONPATH": PACKAGE_ROOT, "OMP_NUM_THREADS": "1"}
    out = tmp_path / "out"
    command = [sys.executable, "-m", "perceptlib", "study", "--config", str(config), "--out", str(out)]
    kept = 0
    for sign, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        process = subprocess.Popen(
            command, env=environment, stdout=-1, stderr=-1, text=True, preexec_fn=heed_interrupts
        )
        started = time.monotonic()
        while len(list(out.glob("rows/*.parquet"))) < kept + 2 and time.monotonic() - started < 120:
            time.sleep(0.02)
        process.send_signal(sign)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == status
        assert len(list(out.glob("rows/*.parquet"))) >= kept + 2
        kept = len(list(out.glob("rows/*.parquet")))
    assert errors == (
        f"perceptlib: interrupted; {kept} of 400 tasks are kept; start the study again with the same folder {out} "
        "to go on\n"
    )
