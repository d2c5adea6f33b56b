from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import perceptlib
from perceptlib.records import commit, plain
from perceptlib.records.provenance import command, provenance, told_in


def test_provenance_names_versions_machine_and_weights() -> None:
    classifier = SimpleNamespace(name="shapes", source="seed 1", sha256="ab" * 32, mean=torch.zeros(1))
    listing = {"number": 5, "sha256": "cd" * 32}
    record = provenance(seed=3, preset="photos", classifier=classifier, pictures=listing)  # type: ignore[arg-type]
    assert record["versions"]["perceptlib"] == perceptlib.__version__
    assert record["versions"]["torch"] == version("torch")
    assert (record["seed"], record["preset"], record["threads"]) == (3, "photos", torch.get_num_threads())
    assert record["weights"] == {"name": "shapes", "source": "seed 1", "sha256": "ab" * 32}
    assert (record["pictures"], record["device"], record["command"]) == (listing, "cpu", command())
    assert provenance(seed=0, device="of the workers")["device"] == "of the workers"
    assert abs((datetime.now(UTC) - datetime.fromisoformat(record["date"])).total_seconds()) < 60
    assert plain(record) | {"versions": None} == record | {"versions": None}


def test_commit_is_git_s_own_and_none_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists() and shutil.which("git"):
        head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
        found = commit()
        assert found is not None and head.startswith(found.removesuffix("-dirty")) and len(found) >= 12
        monkeypatch.setenv("PATH", str(tmp_path))
        assert commit() is None
    monkeypatch.setattr("perceptlib.records.provenance.ROOT", tmp_path)
    assert commit() is None


def test_provenance_without_classifier_has_no_weights() -> None:
    record = provenance(seed=0)
    assert (record["weights"], record["pictures"], record["device"]) == (None, None, "cpu")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/x/.venv/bin/perceptlib attack /home/me/cat.jpg --out=/tmp/cat", "perceptlib attack cat.jpg --out=cat"),
        (".venv/bin/perceptlib run 02_attack -p budget 4/255", "perceptlib run 02_attack -p budget 4/255"),
        (
            "perceptlib run nb/a.ipynb -p csv=/data/list.csv --out ../b",
            "perceptlib run nb/a.ipynb -p csv=list.csv --out ../b",
        ),
        ("perceptlib attack C:\\Users\\me\\cat.jpg", "perceptlib attack cat.jpg"),
        ("perceptlib study --scheduler tcp://host:8786", "perceptlib study --scheduler tcp://host:8786"),
        ("/x/perceptlib/__main__.py train", "python -m perceptlib train"),
        ("book/build.py record", "python book/build.py record"),
        ("/x/own.py 1", "python own.py 1"),
        ("-c", "python -c"),
        ("/x/ipykernel_launcher.py -f /tmp/kernel.json", "cells of a notebook"),
    ],
)
def test_command_is_as_typed_without_paths_of_a_machine(monkeypatch: pytest.MonkeyPatch, typed: str, told: str) -> None:
    monkeypatch.delenv("PERCEPTLIB_COMMAND", raising=False)
    monkeypatch.setattr(sys, "argv", typed.split())
    assert command() == told


def test_command_of_words_with_spaces_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERCEPTLIB_COMMAND", raising=False)
    words = ["run", "a", "-p", "texts", "['/my pictures/a', 'b']", "-p", "title", "a / b"]
    monkeypatch.setattr(sys, "argv", ["/x/perceptlib", *words])
    assert shlex.split(command()) == ["perceptlib", *words[:4], "['a', 'b']", *words[5:]]
    monkeypatch.setattr(sys, "argv", [str(Path(perceptlib.__file__).parent / "records" / "manifest.py")])
    assert command() == "python -m perceptlib.records.manifest"


def test_command_of_a_kernel_is_what_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEPTLIB_COMMAND", "perceptlib run 02_attack")
    assert command() == "perceptlib run 02_attack"


def test_provenance_inside_a_file_is_found_in_each_form() -> None:
    versions = {"versions": {"torch": "2.13.0"}}
    assert told_in({"numbers": {}, "provenance": versions}) == [versions]
    assert told_in({"num_images": 3, "runs": [versions, 1, {"seed": 2}]}) == [
        {"num_images": 3} | versions,
        {"num_images": 3, "seed": 2},
    ]
    assert told_in({"machine": {"torch": "2", "processor": "a", "threads": 1}}) == [
        {"versions": {"torch": "2"}, "machine": "a", "threads": 1}
    ]
    assert told_in(versions) == [versions]
    assert told_in({"seed": 0}) == told_in({"provenance": {}}) == []
