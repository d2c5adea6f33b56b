"""The wheel in an environment of its own, outside the clone: what works there, and what asks for the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = """
import perceptlib as p
for preset in ("shapes", "digits"):
    network = p.load(preset)
scenes, network = p.shapes(2, seed=0), p.load("shapes")
result = p.maximize_loss(network, scenes.images, scenes.labels, p.SSIMBall(scenes.images, budget=0.01))
print(result.is_adversarial.tolist(), tuple(p.class_activation_map(network, scenes.images, scenes.labels).shape))
"""
LIGHT = """
import sys, time
start = time.perf_counter()
import perceptlib
seconds = time.perf_counter() - start
heavy = {"torch", "pandas", "matplotlib", "numpy", "scipy", "seaborn"} & {*sys.modules}
assert not heavy and seconds < 0.1, (heavy, seconds)
assert {*perceptlib.__all__} <= {*dir(perceptlib)}
"""


def test_import_is_light() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_every_folder_of_the_library_is_packaged() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("perceptlib/**/__init__.py")
    }
    assert {*packages} == there | {"perceptlib._data"}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with the packages of this one but for the clone."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    kept = ("perceptlib", "data", "pyproject.toml", "README.md", "LICENSE")
    for name in kept:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    there = folder / "venv" / "bin" / "python"
    packages = subprocess.run(
        [there, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(packages, "these.pth").write_text(sysconfig.get_path("purelib"))  # its own .pth files are not read
    pip = [sys.executable, "-m", "pip", "--python", there, "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, source], check=True)
    shutil.rmtree(source)
    return there


def told(python: Path, *words: str, status: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PERCEPTLIB"))}
    command = [str(python), *words]
    done = subprocess.run(command, cwd=python.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr + done.stdout[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_installed_library_attacks_and_maps(python: Path) -> None:
    assert told(python, "-c", LIBRARY) == "[True, True] (2, 64, 64)\n"


@pytest.mark.slow
def test_installed_study_runs(python: Path, tmp_path: Path) -> None:
    out = ("--preset", "shapes", "--num-images", "2", "--out", str(tmp_path / "study"))
    assert "rows in" in told(python, "-m", "perceptlib", "study", *out)


@pytest.mark.slow
def test_installed_copy_holds_what_ships_with_it(python: Path) -> None:
    answer = told(python, "-m", "perceptlib", "check", "--quick")
    assert "not looked at: files, contents: the executed pages of the book are in a clone" in answer


@pytest.mark.slow
def test_notebooks_need_the_clone_and_say_so(python: Path) -> None:
    answer = told(python, "-m", "perceptlib", "run", "01_ssim", status=2)
    assert answer.strip().endswith("clone the repository for those of the study")
