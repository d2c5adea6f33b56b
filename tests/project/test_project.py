"""The files that describe the project agree with each other, and `make setup` mends what it finds."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import perceptlib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [
    Requirement(line)
    for line in (ROOT / ".requirements" / "lock.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
PYTHONS = ("3.11", "3.12", "3.13")
RECIPE = ("lock.txt", "setup.sh", "install.py")

# Stands in for a Python interpreter: prints a version, makes an environment out of itself, notes what it is asked for.
FAKE_PYTHON = """#!/bin/sh
case "$1 $2" in
"-c import ensurepip"*) echo {version} ;;
"-c "*) ;;
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo venv >>log ;;
".requirements/install.py ") echo install >>log; [ ! -e fail ] ;;
esac
"""


def pinned(python: str) -> dict[str, str]:
    """Return the versions that the lock gives to one Python on Linux."""
    system = {"python_version": python, "platform_system": "Linux", "sys_platform": "linux"}
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in LOCK
        if pin.marker is None or pin.marker.evaluate(system)
    }


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what `make setup` reads, under a path with a space."""
    folder = tmp_path / "a clone"
    (folder / ".requirements").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", *(f".requirements/{name}" for name in RECIPE)):
        (folder / name).write_text((ROOT / name).read_text())
    fake_python(folder, "3.12.1")
    return folder


def fake_python(folder: Path, version: str) -> None:
    path = folder / "python"
    path.write_text(FAKE_PYTHON.replace("{version}", version))
    path.chmod(0o755)


def setup(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "setup", f"PYTHON={folder / 'python'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def used(folder: Path) -> list[str]:
    """Return what was asked of the fake Python since last time: "venv", or "install"."""
    log = folder / "log"
    words = [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return words


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == perceptlib.__version__ == citation["version"]


def test_lock_pins_the_torch_of_the_study() -> None:
    for python in PYTHONS:
        assert pinned(python)["torch"] == "2.13.0"


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_holds_each_dependency_within_its_bounds(python: str) -> None:
    versions = pinned(python)
    extras = {name: extra for name, extra in PROJECT["optional-dependencies"].items() if name != "cvvdp"}
    assert len(extras) == len(PROJECT["optional-dependencies"]) - 1  # brings many packages: the lock leaves it out
    for line in [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]:
        requirement = Requirement(line)
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in the lock; run `make lock`"
        assert requirement.specifier.contains(version), f"the lock's {requirement.name} {version} is outside {line}"


def test_environment_lists_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"][0] == "conda-forge"
    [through_pip] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert through_pip[-1] == "-e ."
    assert {str(Requirement(line)) for line in through_pip[:-1]} == {str(pin) for pin in LOCK}


def test_make_help_names_each_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    [targets] = re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in set(targets.split()) - {"help"}:
        assert f"make {target} " in told


def test_setup_refuses_an_old_python_with_a_sentence(checkout: Path) -> None:
    fake_python(checkout, "3.9.18")
    answer = setup(checkout)
    assert answer.returncode != 0
    assert re.search(r"No Python 3.11 or newer .*found: .*python \(Python 3.9.18\)", answer.stderr)
    assert "make PYTHON=/path/to/python3.12 setup" in answer.stderr
    assert not (checkout / ".venv").exists()


def test_setup_names_an_interpreter_that_is_not_there(checkout: Path) -> None:
    (checkout / "python").unlink()
    answer = setup(checkout)
    assert answer.returncode != 0
    assert re.search(r"found: .*python \(no such command\)", answer.stderr)


def test_setup_works_once_per_content(checkout: Path) -> None:
    assert setup(checkout).returncode == 0
    assert used(checkout) == ["venv", "install"]
    (checkout / "pyproject.toml").touch()
    assert setup(checkout).returncode == 0
    assert used(checkout) == []
    with (checkout / ".requirements" / "lock.txt").open("a") as lock:
        lock.write("another==1.0\n")
    assert setup(checkout).returncode == 0
    assert used(checkout) == ["install"]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that installs, as a module."""
    monkeypatch.syspath_prepend(str(ROOT / ".requirements"))
    return import_module("install")


@pytest.mark.parametrize(("failing", "tools"), [(None, "pip uv uv"), ("uv", "pip uv pip pip"), ("pip", "pip pip")])
def test_uv_installs_and_pip_where_uv_cannot(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, failing: str | None, tools: str
) -> None:
    asked = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "config" not in command:
            asked.append(command[2])
        return subprocess.CompletedProcess(command, int(command[2] == failing), stdout="")

    monkeypatch.setattr(install.subprocess, "run", run)
    assert install.main() == int(failing == "pip")
    assert asked == tools.split()


def test_uv_looks_where_pip_does(install: ModuleType) -> None:
    told = """global.extra-index-url='file:///one\\nfile:///two'
global.index-url='https://a.example/simple'
install.index-url='https://b.example/simple'
:env:.index-url='https://c.example/simple'
:env:.cert='/certificates'
download.find-links='/elsewhere'
install.no-index='true'
"""
    options, variables = install.handed_on(told)
    assert " ".join(options) == (
        "--index-url https://c.example/simple --extra-index-url file:///one --extra-index-url file:///two --no-index"
    )
    assert variables == {"SSL_CERT_FILE": "/certificates"}
    assert install.handed_on("") == ([], {})


def test_setup_makes_anew_what_an_interruption_left(checkout: Path) -> None:
    (checkout / "fail").touch()
    answer = setup(checkout)
    assert answer.returncode != 0
    assert "could not be installed" in answer.stderr
    used(checkout)
    (checkout / ".venv" / "left").touch()
    (checkout / "fail").unlink()
    assert setup(checkout).returncode == 0
    assert used(checkout) == ["venv", "install"]
    assert not (checkout / ".venv" / "left").exists()
