"""Sweeps: the grid as it is read, runs that resume, and the comparison that is left."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook

from perceptlib.runs import sweep
from perceptlib.runs.charts import axis_of, chart_words, sweep_chart
from perceptlib.runs.grid import parse_grid, split_values
from perceptlib.runs.parameters import ParameterError
from perceptlib.runs.report import choose_numbers, write_report
from perceptlib.runs.sweep import SweepRow, flat, run_sweep, table_rows

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = """\
ball = "ssim"  # what bounds
budget = 0.01  # SSIM distance
budgets = [0.1]  # more of them
out = "."
"""
# Says how often it was run, and fails for one ball. Nothing heavy is imported.
WRITE = """\
import json, os, pathlib
with open(pathlib.Path(out).parent / "count", "a") as count:
    count.write("x")
numbers = {"double": 2 * budget, "name": ball, "group": {"threads": int(os.environ["OMP_NUM_THREADS"])}}
assert ball != "none", "no such ball"
pathlib.Path(out, "numbers.json").write_text(json.dumps({"numbers": numbers}))
"""
SCRIPT = "<script>alert(1)</script>"


def write_notebook(folder: Path, *cells: str) -> Path:
    codes = [new_code_cell(source) for source in cells]
    codes[0].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=codes), folder / "a.ipynb")
    return folder / "a.ipynb"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(tmp_path, PARAMETERS, WRITE)


def rows_of(folder: Path, grid: dict[str, list[Any]]) -> list[SweepRow]:
    """Rows without runs: the number is budget times the length of the ball's name."""
    return [
        SweepRow({"budget": budget, "ball": ball}, folder / "cells" / f"{budget}{ball}", {"x": budget * len(ball)})
        for budget in grid["budget"]
        for ball in grid["ball"]
    ]


# The grid


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.001,0.003", ["0.001", "0.003"]),
        ("ssim, l2", ["ssim", "l2"]),
        ("[0.1, 0.2]", ["[0.1, 0.2]"]),
        ("[0.1, 0.2],[0.3]", ["[0.1, 0.2]", "[0.3]"]),
        ("{'a': (1, 2)},{}", ["{'a': (1, 2)}", "{}"]),
        ("['a,b','c']", ["['a,b','c']"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("cat's,dog's", ["cat's", "dog's"]),
    ],
)
def test_values_are_split_outside_brackets_and_quotes(text: str, values: list[str]) -> None:
    assert split_values(text) == values


@given(st.lists(st.lists(st.integers(), max_size=3), min_size=1, max_size=4))
def test_values_of_lists_come_back(lists: list[list[int]]) -> None:
    assert split_values(",".join(map(str, lists))) == [str(one) for one in lists]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,,2", "has an empty value"),
        ("", "has an empty value"),
        ("[1,2", "`]` is missing"),
        ("'a,b", "`'` is missing"),
    ],
)
def test_values_that_do_not_read_are_refused(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        split_values(text)


def test_grid_has_the_types_of_the_notebook(notebook: Path) -> None:
    texts = [("budget", "1,0.5"), ("ball", "ssim,'a,b'"), ("budgets", "[1, 2],[0.3]")]
    assert parse_grid(notebook, texts) == {
        "budget": [1.0, 0.5],
        "ball": ["ssim", "a,b"],
        "budgets": [[1.0, 2.0], [0.3]],
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([("budgte", "1")], r"no parameter `budgte`; did you mean `budget`\?\nparameters of a"),
        ([("budget", "1,x")], "parameter `budget` of a is 'x'; a value of type float is needed"),
        ([("budget", "1"), ("budget", "2")], "`budget` is given twice; write its values behind one -p"),
        ([("budget", "1,1.0")], "has the value 1.0 twice; give each value once"),
        ([("out", "here")], "`out` is the output folder; set it with --out DIR"),
        ([], r"a sweep needs a parameter; write -p NAME VALUE,VALUE\nparameters of a"),
    ],
)
def test_grid_that_does_not_fit_is_refused(notebook: Path, texts: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parse_grid(notebook, texts)


# Runs


def test_sweep_knows_a_finished_cell_by_all_that_it_depends_on(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def pretend(source: Path, cells: Any, **_: Any) -> None:
        asked.append(len(cells))
        for parameters, folder, key in cells:
            sweep._write_cell(folder, key, "", 0.0)
            (folder / "numbers.json").write_text(json.dumps({"numbers": parameters}))

    monkeypatch.setattr(sweep, "_run_all", pretend)
    run_sweep(notebook, {"budget": [1.0, 2.0]}, tmp_path / "out")
    [_, second] = run_sweep(notebook, {"budget": [2.0, 3.0]}, tmp_path / "out")
    (second.folder / "cell.json").write_text("{half")
    run_sweep(notebook, {"budget": [1.0, 2.0, 3.0]}, tmp_path / "out")
    monkeypatch.setenv("PERCEPTLIB_WEIGHTS", "other")
    run_sweep(notebook, {"budget": [1.0]}, tmp_path / "out")
    write_notebook(tmp_path, PARAMETERS, WRITE + "pass\n")
    run_sweep(notebook, {"budget": [1.0]}, tmp_path / "out")
    assert asked == [2, 1, 1, 1, 1]


def test_sweep_whose_process_dies_goes_on(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        """Ends at once, as if it had been killed."""

        exitcode = -9

        def __init__(self, **_: Any) -> None:
            self.sentinel, other = os.pipe()
            os.close(other)

        def start(self) -> None: ...
        def join(self) -> None: ...

    monkeypatch.setattr(sweep, "get_context", lambda _: type("Context", (), {"Process": Process}))
    rows = run_sweep(notebook, {"budget": [1.0, 2.0]}, tmp_path / "out", workers=1)
    assert [row.error for row in rows] == ["the process ended with status -9 (out of memory?)"] * 2


def test_sweep_refuses_the_folder_of_another(notebook: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.json").write_text('{"notebook": "b"}')
    with pytest.raises(ValueError, match="holds a sweep of b; pass another --out"):
        run_sweep(notebook, {"budget": [1.0]}, tmp_path / "out")


def test_cell_without_numbers_is_a_row_that_says_so(tmp_path: Path) -> None:
    sweep._write_cell(tmp_path / "cell", "key", "", 1.0)
    assert sweep._row({}, tmp_path / "cell").error == "the notebook wrote no numbers"


def test_cells_have_folders_of_their_own() -> None:
    parameters = [{"a": "x/y"}, {"a": "x_y"}, {"a": "../x"}, {"a": "x" * 300}, {"a": [1]}, {"a": "[1]"}]
    names = [sweep._folder_name(one) for one in parameters]
    assert len(set(names)) == len(names)
    assert all("/" not in name and len(name) < 80 for name in names)


# What is left


def test_table_has_parameters_status_and_numbers(tmp_path: Path) -> None:
    rows = [
        SweepRow({"budgets": [0.1], "ball": "l2"}, tmp_path, flat({"ball": "l2", "group": {"a": None, "b": 1.5}})),
        SweepRow({"budgets": [0.2], "ball": "l2"}, tmp_path, error="broken"),
    ]
    first, second = table_rows(rows)
    assert first == {
        "budgets": "[0.1]", "ball": "l2", "status": "done", "error": "", "seconds": 0.0,
        "numbers.ball": "l2", "group.a": None, "group.b": 1.5,
    }  # fmt: skip
    assert (second["status"], second["error"]) == ("failed", "broken")


def test_numbers_that_differ_are_chosen(tmp_path: Path) -> None:
    numbers = [{"same": 1, "text": "a", "flag": True, "d1": n, "gap": None, "d2": n, "d3": n, "d4": n} for n in (1, 2)]
    rows = [SweepRow({"n": number["d1"]}, tmp_path, number) for number in numbers]
    assert choose_numbers(rows) == ["d1", "d2", "d3"]
    balls = [SweepRow({}, tmp_path, {"linf.a": n, "l2.a": n, "ssim.a": n, "ssim.b": n}) for n in (1, 2)]
    assert choose_numbers(balls) == ["ssim.a", "ssim.b", "linf.a"]
    both = [
        SweepRow({"ball": ball, "budget": budget}, tmp_path, {"ssim.a": budget, "b": budget * len(ball)})
        for ball in ("l2", "ssim")
        for budget in (1, 3)
    ]
    ends = [SweepRow({}, tmp_path, {"ssim.low": n, "ssim.high": n, "a.value": n, "b": n}) for n in (1, 2)]
    assert choose_numbers(ends) == ["a.value", "b", "ssim.low"]
    assert choose_numbers(both) == ["b", "ssim.a"]  # of which the second knows nothing of the ball
    assert choose_numbers(rows[:1]) == ["same", "d1", "d2"]
    assert choose_numbers(rows, ["d4"]) == ["d4"]
    assert choose_numbers([SweepRow({}, tmp_path, error="x")], ["d4"]) == []
    with pytest.raises(ValueError, match="no run has the number dd4; did you mean d4"):
        choose_numbers(rows, ["dd4"])


def test_chart_draws_a_line_for_each_setting_over_the_numeric_parameter(tmp_path: Path) -> None:
    grid: dict[str, list[Any]] = {"ball": ["l2", "ssim", "$a$b"], "budget": [0.1, 0.001, 0.01]}
    assert axis_of(grid) == "budget"
    figure = sweep_chart(rows_of(tmp_path, grid)[:-1], grid, "x")
    [axes] = figure.axes
    assert axes.get_xscale() == "log" and len(axes.lines) == 3
    assert list(axes.lines[1].get_xdata()) == [0.001, 0.01, 0.1]
    assert list(axes.lines[1].get_ydata()) == pytest.approx([0.004, 0.04, 0.4])
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines}) == 3
    figure.canvas.draw()  # a dollar sign of a user starts no formula
    words = chart_words(rows_of(tmp_path, grid), grid, "x")
    assert "one line for every setting of ball" in words and "Least 0.002 at budget = 0.001, ball = l2" in words


def test_chart_of_names_has_points_without_lines(tmp_path: Path) -> None:
    grid: dict[str, list[Any]] = {"ball": ["l2", "ssim"], "budget": [0.1]}
    [axes] = sweep_chart(rows_of(tmp_path, grid), grid, "x").axes
    assert axis_of(grid) == "ball" and axes.lines[0].get_linestyle() == "None"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["l2", "ssim"]


def test_looks_of_many_settings_differ_and_a_ball_has_its_own() -> None:
    from perceptlib.drawing.style import LOOKS
    from perceptlib.runs.charts import _looks

    looks = _looks([{"steps": steps} for steps in range(28)])
    assert len(set(looks)) == len(looks)
    assert _looks([{"ball": "ssim"}, {"ball": "l2"}]) == [LOOKS["ssim"], LOOKS["l2"]]
    assert len(set(_looks([{"ball": "l2"}, {"ball": "other"}]))) == 2


def test_report_is_complete_and_escapes_what_users_write(tmp_path: Path) -> None:
    grid: dict[str, list[Any]] = {"budget": [0.1, 0.2], "ball": [SCRIPT]}
    rows = rows_of(tmp_path, grid)
    rows[0].folder.mkdir(parents=True)
    provenance = {"date": "2026-01-02T03:04:05+00:00", "weights": {"source": SCRIPT}, "versions": {"torch": "2"}}
    (rows[0].folder / "numbers.json").write_text(json.dumps({"provenance": provenance}))
    rows[1] = SweepRow(rows[1].parameters, rows[1].folder, error=f"raised {SCRIPT}")
    left = write_report("a.ipynb", rows, grid, tmp_path)
    assert [path.name for path in left] == ["sweep.csv", "sweep.html", "1-x.svg", "1-x.png"]
    page = left[1].read_text()
    assert "<script" not in page and page.count("&lt;script&gt;") >= 3
    assert "http" not in page.replace("http-equiv", "")
    ElementTree.parse(left[2])
    with left[0].open(newline="") as lines:
        assert [line["status"] for line in csv.DictReader(lines)] == ["done", "failed"]
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert told["rows"][0]["numbers"] == {"x": rows[0].numbers["x"]} and told["provenance"]["weights"]


@pytest.mark.parametrize(("values", "notes"), [((1, 1), ["No number differs between these runs."]), ((1, 2), [])])
def test_report_says_where_no_number_differs(tmp_path: Path, values: tuple[int, int], notes: list[str]) -> None:
    grid: dict[str, list[Any]] = {"budget": [0.1, 0.2]}
    rows = [SweepRow({"budget": 0.1 * value}, tmp_path / str(value), {"x": x}) for value, x in enumerate(values, 1)]
    for row in rows:
        row.folder.mkdir()
        (row.folder / "numbers.json").write_text(json.dumps({"provenance": {}}))
    write_report("a.ipynb", rows, grid, tmp_path)
    assert json.loads((tmp_path / "sweep.json").read_text())["notes"] == notes
    assert ("No number differs" in (tmp_path / "sweep.html").read_text()) == bool(notes)


def program(*words: str, folder: Path) -> subprocess.Popen[str]:
    # A copy of the library: a sweep starts anew when the code changes, as it may while this test runs.
    library = folder / "library"
    if not library.exists():
        shutil.copytree(ROOT / "perceptlib", library / "perceptlib", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(library), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "perceptlib", "sweep", *words]
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=-1, stderr=-1, text=True)


def test_killed_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    """The true program, killed without warning after its first run, then started again; its second run fails."""
    notebook = write_notebook(tmp_path, PARAMETERS, WRITE)
    words = (notebook.name, "-p", "ball", "ssim,none", "-p", "budget", "0.5", "--out", "out", "--workers", "1")
    first = program(*words, folder=tmp_path)
    done, until = tmp_path / "out" / "cells", time.monotonic() + 300
    while not list(done.glob("*/cell.json")) and time.monotonic() < until:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = program(*words, folder=tmp_path)
    out, err = second.communicate(timeout=300)

    assert second.returncode == 1
    assert "1 of 2 runs failed, the first with: a.ipynb: cell In" in err and "no such ball" in err
    assert "out/sweep.csv\nout/sweep.html\nout/1-double.svg" in out
    assert (done / "count").read_text() == "xx"  # each was run once
    assert len(list(done.glob("*/a.html"))) == len(list(done.glob("*/a.failed.ipynb"))) == 1
    with (tmp_path / "out" / "sweep.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["ball"], row["status"], row["double"], row["group.threads"]) for row in rows] == [
        ("ssim", "done", "1", "1"),
        ("none", "failed", "", ""),
    ]
