"""Files appear whole or not at all, a folder belongs to one run at a time, and numbers come back from JSON."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perceptlib.records import FolderInUse, claimed, plain, replacing, write_json


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
