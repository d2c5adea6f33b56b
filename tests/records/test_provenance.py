from __future__ import annotations

import json
import math
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import perceptlib
from perceptlib.records import commit, plain, replacing, write_json
from perceptlib.records.provenance import command, provenance


def test_plain_turns_scalars_into_python_types() -> None:
    numbers = plain({
        "tensor": torch.tensor(0.5, dtype=torch.float64),
        "one_entry": torch.tensor([3]),
        "numpy": np.float32(0.25),
        "index": np.int64(7),
        "flag": np.bool_(True),
        "word": "ssim",
        "per_ball": {"l2": {"fooling_rate": np.float64(1)}},
        "none": None,
    })  # fmt: skip
    assert numbers == {
        "tensor": 0.5, "one_entry": 3, "numpy": 0.25, "index": 7, "flag": True, "word": "ssim",
        "per_ball": {"l2": {"fooling_rate": 1.0}}, "none": None,
    }  # fmt: skip
    assert [type(value) for value in numbers.values()] == [
        float, int, float, int, bool, str, dict, type(None),
    ]  # fmt: skip


@pytest.mark.parametrize("nan", [math.nan, np.float32("nan"), torch.tensor(math.nan)])
def test_plain_nan_is_none(nan: object) -> None:
    assert plain({"undefined": {"score": nan}}) == {"undefined": {"score": None}}


@pytest.mark.parametrize("infinite", [math.inf, -math.inf, np.float64("inf"), torch.tensor(math.inf)])
def test_plain_refuses_infinity(infinite: object) -> None:
    with pytest.raises(ValueError, match=r"number ratio\.l2 is -?inf; JSON has no infinity; write NaN"):
        plain({"ratio": {"l2": infinite}})


@pytest.mark.parametrize("array", [torch.zeros(3), np.zeros(3)])
def test_plain_refuses_arrays(array: object) -> None:
    with pytest.raises(TypeError, match=r"number scores is an array of shape \(3,\); write one number"):
        plain({"scores": array})


def test_plain_refuses_other_kinds() -> None:
    with pytest.raises(TypeError, match="number scores is a list; bool, int, float, str, None or a mapping"):
        plain({"scores": [1, 2]})


@pytest.mark.parametrize(("key", "legal"), [("at.0.01", "at_0_01"), (0.01, "0_01"), ("", "name"), ("a b", "a_b")])
def test_plain_refuses_names_that_prose_cannot_quote(key: object, legal: str) -> None:
    with pytest.raises(ValueError, match=f"letters, digits, _ and - are allowed; write '{legal}'"):
        plain({"rates": {key: 1}})


@given(st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), st.floats(allow_infinity=False) | st.integers()))
def test_plain_survives_json(numbers: dict[str, float]) -> None:
    assert json.loads(json.dumps(plain(numbers), allow_nan=False)) == plain(numbers)


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


def test_write_json_replaces_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    path.write_text("old")
    write_json(path, {"name": "Schloß", "value": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Schloß", "value": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_keeps_old_file_when_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        assert temporary.suffix == ".png"
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
