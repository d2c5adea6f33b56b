"""The notebooks keep the book's contract; that they run is shown by `make book`, and here for the cheapest."""

from __future__ import annotations

import ast
import json
import re
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from perceptlib.runs.notebook import execute
from perceptlib.runs.parameters import parameters_of

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STEMS = [path.stem for path in NOTEBOOKS]

MOST_LINES = 10  # of a code cell, blank ones aside; imports and parameters may be longer


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


@pytest.mark.parametrize("stem", STEMS)
def test_every_notebook_has_a_module_or_folder_of_its_name(stem: str) -> None:
    name = stem.partition("_")[2]
    assert find_spec("perceptlib.check" if name == "check" else f"perceptlib.pages.{name}")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=STEMS)
def test_parameters_are_commented_literals_and_start_with_the_preset(path: Path) -> None:
    parameters = parameters_of(path)
    assert [name for name, parameter in parameters.items() if not parameter.comment] == []
    assert parameters["seed"].default == 0
    if path.stem != "12_check":  # which looks at all embedded presets
        assert parameters["preset"].default == "shapes"
    assert parameters["out"].default == "."
    assert "parameters" in tags(code_cells(path)[0])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=STEMS)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    for cell in code_cells(path):
        assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=STEMS)
def test_notebook_only_calls_the_library(path: Path) -> None:
    forbidden = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.Lambda)
    for cell in code_cells(path):
        tree = ast.parse(re.sub(r"^(\s*)[!%].*", r"\1pass", cell.source, flags=re.MULTILINE))
        assert not [node for node in ast.walk(tree) if isinstance(node, forbidden)], cell.source
        assert not re.search(r"\bplt\b|pyplot", cell.source), cell.source
        lines = [line for line in cell.source.splitlines() if line.strip()]
        is_imports = all(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)
        assert "parameters" in tags(cell) or is_imports or len(lines) <= MOST_LINES, cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=STEMS)
def test_last_cell_of_code_writes_the_numbers(path: Path) -> None:
    last = code_cells(path)[-1].source
    assert "write_numbers(" in last and "seed=seed" in last
    assert path.stem == "12_check" or "preset=preset" in last


@pytest.mark.slow
def test_first_notebook_runs_and_leaves_every_kind_of_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first notebook, as `perceptlib run` runs it."""
    monkeypatch.chdir(tmp_path)
    run = execute(ROOT / "notebooks" / "01_ssim.ipynb", {"num_images": 2, "seed": 1}, "run")
    assert run.numbers is not None and run.page is not None
    written = json.loads(run.numbers.read_text())
    assert written["numbers"]["num_images"] == 2 and written["provenance"]["seed"] == 1
    kinds = {kind for cell in code_cells(run.notebook) for output in cell.outputs for kind in output.get("data", {})}
    assert {"image/svg+xml", "image/jpeg", "text/html"} <= kinds
    assert (tmp_path / "run" / "ratio.csv").is_file()
    assert str(tmp_path) not in run.notebook.read_text()
