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
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook

from perceptlib.drawing.figures import LOOKS
from perceptlib.runs import report, sweep
from perceptlib.runs.notebook import PageError
from perceptlib.runs.parameters import ParameterError
from perceptlib.runs.report import axis_of, chart_words, choose_numbers, sweep_chart, write_report
from perceptlib.runs.sweep import parse_grid, run_sweep, split_values

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
    second = run_sweep(notebook, {"budget": [2.0, 3.0]}, tmp_path / "out").iloc[1]
    (tmp_path / "out" / second["folder"] / "cell.json").write_text("{half")
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
    assert list(rows["error"]) == ["the process ended with status -9 (out of memory?)"] * 2


def test_sweep_refuses_the_folder_of_another(notebook: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.json").write_text('{"notebook": "b"}')
    with pytest.raises(ValueError, match="holds a sweep of b; pass another --out"):
        run_sweep(notebook, {"budget": [1.0]}, tmp_path / "out")


def test_sweep_refuses_names_that_no_page_can_hold(notebook: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the name .* is no UTF-8; rename it"):
        run_sweep(notebook.rename(tmp_path / "caf\udce9.ipynb"), {"budget": [1.0]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cell_without_numbers_is_a_row_that_says_so(tmp_path: Path) -> None:
    sweep._write_cell(tmp_path / "cell", "key", "", 1.0)
    assert sweep._row({}, tmp_path / "cell", tmp_path)["error"] == "the notebook wrote no numbers"


def test_cell_without_page_is_done(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(source: Path, parameters: Any, folder: Path) -> None:
        raise PageError("no page")

    monkeypatch.setattr(sweep, "execute", execute)
    monkeypatch.setattr(sweep, "_end_with_parent", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    sweep._run_cell(notebook, {}, tmp_path / "cell", "key")
    assert sweep.read_cell(tmp_path / "cell" / "cell.json")["status"] == "done"


def test_cells_have_folders_of_their_own() -> None:
    parameters = [{"a": "x/y"}, {"a": "x_y"}, {"a": "../x"}, {"a": "x" * 300}, {"a": [1]}, {"a": "[1]"}]
    names = [sweep._folder_name(one) for one in parameters]
    assert len(set(names)) == len(names)
    assert all("/" not in name and len(name) < 80 for name in names)


# What is left


def frame(*numbers: dict[str, Any], error: str = "", **parameters: list[Any]) -> pd.DataFrame:
    """Rows of runs with these numbers; the last with an error where one is given."""
    rows = [
        {name: values[place] for name, values in parameters.items()}
        | {"status": "done", "error": "", "seconds": 0.0, "folder": f"cells/{place}"}
        | found
        for place, found in enumerate(numbers)
    ]
    if error:
        rows[-1] |= {"status": "failed", "error": error}
    return pd.DataFrame(rows)


def over(grid: dict[str, list[Any]]) -> pd.DataFrame:
    """The number is budget times the length of the ball's name."""
    cells = sweep.cells_of(grid)
    parameters = {name: [cell[name] for cell in cells] for name in grid}
    return frame(*({"x": cell["budget"] * len(cell["ball"])} for cell in cells), **parameters)


def test_row_has_parameters_status_and_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "one"
    sweep._write_cell(folder, "key", "", 1.5)
    (folder / "numbers.json").write_text('{"numbers": {"ball": "l2", "group": {"a": null, "b": 1.5}}}')
    parameters = {"budgets": [0.1], "ball": "l2", "image": None}
    assert sweep._row(parameters, folder, tmp_path) == {
        **{"budgets": "[0.1]", "ball": "l2", "image": "null", "status": "done", "error": "", "seconds": 1.5},
        **{"folder": "cells/one", "numbers.ball": "l2", "group.a": None, "group.b": 1.5},
    }
    (folder / "numbers.json").write_text("{half")
    assert "numbers.json is damaged" in sweep._row(parameters, folder, tmp_path)["error"]
    sweep._write_cell(folder, "key", "broken", 1.5)
    assert sweep._row({}, folder, tmp_path)["status"] == "failed"


def test_numbers_that_differ_are_chosen() -> None:
    grid = {"n": [1, 2]}
    rows = frame(
        *({"same": 1, "text": "a", "flag": True, "list": [n], "gap": None} | dict.fromkeys(("d1", "d2", "d3", "d4"), n)
          for n in (1, 2)),
        n=[1, 2],
    )  # fmt: skip
    assert choose_numbers(rows, grid) == ["d1", "d2", "d3"]
    assert choose_numbers(rows[:1], {"n": [1]}) == ["same", "d1", "d2"]
    assert choose_numbers(rows, grid, ["d4"]) == ["d4"]
    with pytest.raises(ValueError, match="no run has the number dd4; did you mean d4"):
        choose_numbers(rows, grid, ["dd4"])
    assert choose_numbers(frame({}, n=[1], error="x"), grid, ["d4"]) == []
    balls = frame(*(dict.fromkeys(("linf.a", "l2.a", "ssim.a", "ssim.b"), n) for n in (1, 2)), n=[1, 2])
    assert choose_numbers(balls, grid) == ["ssim.a", "ssim.b", "linf.a"]
    ends = frame(*(dict.fromkeys(("ssim.low", "ssim.high", "a.value", "b"), n) for n in (1, 2)), n=[1, 2])
    assert choose_numbers(ends, grid) == ["a.value", "b", "ssim.low"]
    both = {"ball": ["l2", "ssim"], "budget": [1, 3]}
    rows = over(both).assign(**{"ssim.a": [1, 3, 1, 3]})
    assert choose_numbers(rows, both) == ["x", "ssim.a"]  # of which the second knows nothing of the ball


def test_chart_draws_a_line_for_each_setting_over_the_numeric_parameter() -> None:
    grid: dict[str, list[Any]] = {"ball": ["l2", "ssim", "$a$b"], "budget": [0.1, 0.001, 0.01]}
    assert axis_of(grid) == "budget"
    figure = sweep_chart(over(grid)[:-1], grid, "x")
    [axes] = figure.axes
    assert axes.get_xscale() == "log" and len(axes.lines) == 3
    assert list(axes.lines[1].get_xdata()) == [0.001, 0.01, 0.1]
    assert list(axes.lines[1].get_ydata()) == pytest.approx([0.004, 0.04, 0.4])
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 3
    figure.canvas.draw()  # a dollar sign of a user starts no formula
    words = chart_words(over(grid), grid, "x")
    assert "one line for every setting of ball" in words and "Least 0.002 at ball = l2, budget = 0.001" in words


def test_chart_of_names_has_points_without_lines() -> None:
    grid: dict[str, list[Any]] = {"ball": ["l2", "ssim"], "budget": [0.1]}
    [axes] = sweep_chart(over(grid), grid, "x").axes
    assert axis_of(grid) == "ball" and not axes.lines and len(axes.collections[0].get_offsets()) == 2
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["l2", "ssim"]
    undefined = over(grid).assign(x=[None, 2.0])
    assert chart_words(undefined, grid, "x").endswith("ball = ssim, budget = 0.1. Undefined in 1 of 2 runs.")


def test_a_ball_has_its_own_look_in_a_sweep() -> None:
    grid: dict[str, list[Any]] = {"ball": ["ssim", "l2"], "budget": [0.1, 0.2]}
    [axes] = sweep_chart(over(grid), grid, "x").axes
    assert [line.get_color() for line in axes.lines] == [LOOKS["ssim"].colour, LOOKS["l2"].colour]


@pytest.fixture
def swept(tmp_path: Path) -> tuple[pd.DataFrame, dict[str, list[Any]]]:
    """Two runs, the second failed, with a ball's name that is a script."""
    grid: dict[str, list[Any]] = {"budget": [0.1, 0.2], "ball": [SCRIPT]}
    rows = over(grid)
    (tmp_path / "cells" / "0").mkdir(parents=True)
    provenance = {"date": "2026-01-02T03:04:05+00:00", "weights": {"source": SCRIPT}, "versions": {"torch": "2"}}
    (tmp_path / "cells" / "0" / "numbers.json").write_text(json.dumps({"provenance": provenance}))
    rows.loc[1, ["status", "error", "x"]] = ["failed", f"raised {SCRIPT}", None]
    return rows, grid


def test_report_is_complete_and_escapes_what_users_write(tmp_path: Path, swept: Any) -> None:
    left = write_report("a.ipynb", *swept, tmp_path)
    assert [path.name for path in left] == ["sweep.csv", "sweep.html", "1-x.svg", "1-x.png"]
    page = left[1].read_text()
    assert "<script" not in page and page.count("&lt;script&gt;") >= 3
    assert "http" not in page.replace("http-equiv", "")
    assert 'href="cells/0/a.ipynb">notebook</a>' in page  # whose page could not be made
    ElementTree.parse(left[2])
    with left[0].open(newline="") as lines:
        assert [line["status"] for line in csv.DictReader(lines)] == ["done", "failed"]
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert told["rows"][0] == {
        "parameters": {"budget": 0.1, "ball": SCRIPT},
        "error": "",
        "numbers": {"x": swept[0]["x"][0]},
    }
    assert told["rows"][1]["numbers"] == {"x": None} and told["provenance"]["weights"]


def test_figure_that_fails_costs_nothing_else(tmp_path: Path, swept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise KeyError("font")

    monkeypatch.setattr(report, "sweep_chart", broken)
    with pytest.raises(
        RuntimeError, match=r"^1-x\.svg could not be drawn \(KeyError: 'font'\); all else in .* is written$"
    ):
        write_report("a.ipynb", *swept, tmp_path)
    assert {path.name for path in tmp_path.glob("sweep.*")} == {"sweep.csv", "sweep.html", "sweep.json"}


@pytest.mark.parametrize(("values", "notes"), [((1, 1), ["No number differs between these runs."]), ((1, 2), [])])
def test_report_says_where_no_number_differs(tmp_path: Path, values: tuple[int, int], notes: list[str]) -> None:
    rows = frame(*({"x": value} for value in values), budget=[0.1, 0.2])
    (tmp_path / "cells" / "0").mkdir(parents=True)
    (tmp_path / "cells" / "0" / "numbers.json").write_text("{}")
    write_report("a.ipynb", rows, {"budget": [0.1, 0.2]}, tmp_path)
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


@pytest.mark.slow
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
