"""The check runs the notebooks again: what moved in one is named, and one that stops hides no other layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from perceptlib.check import checking as check
from perceptlib.check import recorded as check_recorded
from perceptlib.check.record import FAILED, Record, Recorded, Setting, environment, read_record, write_record
from perceptlib.check.recorded import NOTEBOOKS, notebook_quantities
from perceptlib.records import manifest

PARAMETERS = 'batch_size = 16  # pictures at once\nout = "."'
WRITE = """import json, os
from pathlib import Path
threads = int(os.environ["OMP_NUM_THREADS"])
numbers = {"share": 0.25, "group": {"met": True, "none": None, "batch": batch_size}, "threads": threads}
Path(out, "numbers.json").write_text(json.dumps({"numbers": numbers}))"""
FOUND = {"share": 0.25, "group.met": "true", "group.none": None, "group.batch": 16, "threads": 1}


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a notebook with this cell in the place of the study's; one thread, as in a check."""
    path = tmp_path / "05_smallest.ipynb"
    monkeypatch.setattr(check_recorded, "find_notebook", lambda name: path)

    def write(source: str) -> None:
        cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(source)]
        nbformat.write(new_notebook(cells=cells), path)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield write
    torch.set_num_threads(threads)


def test_every_notebook_is_a_layer_and_recorded() -> None:
    there = {path.stem for path in (manifest.data_dir().parent / "notebooks").glob("*.ipynb")}
    assert there == {*NOTEBOOKS, "12_check"}
    recorded = read_record(check.record_path("full")).layers
    for name in NOTEBOOKS:
        assert f"notebook {name}" in check.layers_of("full")
        assert len(recorded[f"notebook {name}"]) > 40
    assert not any(name.startswith("notebook") for name in check.layers_of("quick"))


@pytest.mark.slow
def test_numbers_are_those_of_a_run_with_defaults(notebook: Callable[[str], None]) -> None:
    notebook(WRITE)
    assert notebook_quantities("05_smallest", Setting()) == FOUND
    assert notebook_quantities("05_smallest", Setting(batch_size=3)) == FOUND | {"group.batch": 3}


@pytest.mark.slow
def test_changed_number_of_a_record_is_found_and_named(
    notebook: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook(WRITE)
    recorded = {name: Recorded(value) for name, value in FOUND.items()}
    recorded |= {"share": Recorded(0.2500001), "group.met": Recorded("false")}
    write_record(Record({"notebook 05_smallest": recorded}, environment()), tmp_path / "full.json")
    monkeypatch.setattr(check, "record_path", lambda level: tmp_path / "full.json")
    outcome = check.check("full", only=["notebook 05_smallest"])
    assert outcome.mode == "bitwise"
    assert [(line.layer, line.name, line.recorded, line.now, line.verdict) for line in outcome.bad] == [
        ("notebook 05_smallest", "share", 0.2500001, 0.25, "moved"),
        ("notebook 05_smallest", "group.met", "false", "true", "moved"),
    ]


@pytest.mark.slow
def test_notebook_that_stops_is_named_and_hides_no_other_layer(notebook: Callable[[str], None]) -> None:
    notebook("raise ValueError('the window is gone')")
    outcome = check.check("full", only=["statistics", "notebook 05_smallest"])
    told = (
        "RuntimeError: 05_smallest.ipynb: cell In [3], `raise ValueError('the window is gone')`, raised ValueError: "
        "the window is gone; `perceptlib run 05_smallest` shows where"
    )
    assert [(line.layer, line.name, line.verdict) for line in outcome.bad] == [("notebook 05_smallest", told, FAILED)]
    assert sum(line.layer == "statistics" for line in outcome.lines) > 10


@pytest.mark.slow
def test_notebook_without_numbers_is_told(notebook: Callable[[str], None]) -> None:
    notebook("1 + 1")
    with pytest.raises(RuntimeError, match=r"^05_smallest\.ipynb: it wrote no numbers\.json; `perceptlib run 05_smal"):
        notebook_quantities("05_smallest", Setting())


def test_runner_that_dies_is_told(notebook: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    notebook(WRITE)
    killed = partial(check_recorded.subprocess.CompletedProcess, returncode=-9, stdout="", stderr="")
    monkeypatch.setattr(check_recorded.subprocess, "run", lambda words, **options: killed(words))
    with pytest.raises(RuntimeError, match=r"^exit status -9; `perceptlib run 05_smallest` shows where$"):
        notebook_quantities("05_smallest", Setting())
