"""A reader's runs in the book: each beside its page, damaged ones told, nothing of a user's text read as markup."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
import verify
import your_runs

import experiments

v4 = nbformat.v4
SCRIPT = "<script>alert(1)</script>"
MARKUP = "{num}`x` {{ y }} **bold** $z$"


def write_run(folder: Path, name: str, parameters: dict[str, Any], numbers: dict[str, Any], code: str = "1") -> None:
    """What `perceptlib run` leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    defaults = v4.new_code_cell('preset = "shapes"\nbudget = 0.01\nout = "."', metadata={"tags": ["parameters"]})
    injected = v4.new_code_cell("# Parameters", metadata={"tags": ["injected-parameters"]})
    metadata = {"papermill": {"parameters": parameters | {"out": str(folder)}}}
    nbformat.write(
        v4.new_notebook(cells=[defaults, injected, v4.new_code_cell(code)], metadata=metadata), folder / f"{name}.ipynb"
    )
    weights = {"source": SCRIPT, "sha256": "0123456789abcdef0123"}
    provenance = {"date": "2026-01-02T03:04:05+00:00", "versions": {"torch": "2.13.0"}, "weights": weights}
    (folder / "numbers.json").write_text(json.dumps({"numbers": numbers, "provenance": provenance}))
    (folder / f"{name}.html").write_text("<p>executed</p>")
    (folder / "rows.csv").write_text("a\n1\n")


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[experiments.Page]:
    """A repository with a notebook, shown with its defaults and with photographs."""
    monkeypatch.chdir(tmp_path)
    write_run(Path("build/runs/02_attack"), "02_attack", {}, {"rate": 0.5, "same": 1, "only": 2})
    write_run(Path("build/runs/02_photos"), "02_attack", {"preset": "photos"}, {"rate": 0.25, "same": 1})
    Path("notebooks").mkdir()
    shutil.copyfile("build/runs/02_attack/02_attack.ipynb", "notebooks/02_attack.ipynb")
    Path("build/src/book").mkdir(parents=True)
    return [
        experiments.Page("02_attack", "02_attack"),
        experiments.Page("02_photos", "02_attack", title="On photographs"),
    ]


def listed(wanted: list[experiments.Page]) -> list[str]:
    """What the page holds of each run, as HTML."""
    your_runs.stage_own_runs(Path("build/src"), wanted)
    return Path("build/src/book/your_runs.html").read_text().split("<section ")[1:]


def rows(section: str) -> list[str]:
    """Rows of a section's tables, cells apart by bars."""
    found = re.findall(r"<tr><td>(.*?)</td></tr>", section)
    return [re.sub("</td><td>", "|", row).replace("&#x27;", "'") for row in found]


def test_run_stands_beside_the_nearest_page_with_what_differs(wanted: list[experiments.Page]) -> None:
    write_run(Path("runs/mine"), "02_attack", {"budget": 0.02}, {"rate": 0.75, "same": 1, "more": {"x": None}})
    write_run(Path("runs/photos"), "02_attack", {"preset": "photos", "budget": 0.02}, {"rate": 0.25, "same": 1})
    mine, photos = listed(wanted)
    assert 'beside the page <a href="../notebooks/02_attack.html">' in mine
    assert rows(mine) == ["budget|0.01|0.02", "rate|0.5|0.75", "more.x|–|undefined", "only|2|–"]
    assert "Numbers that are the same to four digits: 1." in mine and "has changed" not in mine
    assert "Made on 2026-01-02 03:04 UTC with torch 2.13.0. Weights: " in mine
    links = re.findall(r'<a href="\.\./(_static/[^"]+)">([^<]+)</a>', mine)
    assert [name for _, name in links] == ["02_attack.html", "rows.csv", "numbers.json"]
    assert all(Path("build/src/book", address).is_file() for address, _ in links)
    assert ">On photographs</a>" in photos and "No number differs." in photos and "four digits: 2." in photos


def test_run_of_older_code_says_so(wanted: list[experiments.Page]) -> None:
    write_run(Path("runs/old"), "02_attack", {}, {"rate": 0.5}, code="2")
    assert "The notebook's code has changed since this run." in listed(wanted)[0].replace("&#x27;", "'")


def test_run_of_a_notebook_of_ones_own_is_listed_by_itself(wanted: list[experiments.Page]) -> None:
    write_run(Path("runs/own"), "mine", {"budget": 0.02}, {"rate": 0.5})
    [entry] = listed(wanted)
    assert "beside" not in entry
    assert rows(entry) == ["preset|–|'shapes'", "budget|–|0.02", "rate|–|0.5"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({"numbers.json": "{half"}, "cannot be read (JSONDecodeError"),
        ({"numbers.json": "[1]"}, "cannot be read (TypeError"),
        ({"numbers.json": '{"numbers": [1], "provenance": {}}'}, "cannot be read (AttributeError"),
        ({"numbers.json": '{"numbers": {}, "provenance": {"date": 1}}'}, "cannot be read (TypeError"),
        ({"02_attack.ipynb": "no notebook"}, "cannot be read (ValueError"),
        ({"02_attack.ipynb": None}, "holds no executed notebook"),
        ({"02_attack.ipynb": None, "02_attack.failed.ipynb": ""}, "as far as it came is 02_attack.failed.ipynb"),
        ({"other.ipynb": "{}"}, "holds 2 executed notebooks; give each run a folder of its own"),
        ({"sweep.json": "{half"}, "cannot be read (JSONDecodeError"),
        ({"sweep.json": '{"notebook": "02_attack", "grid": {}}'}, "has not ended; start it again with --out runs/bad"),
        ({"sweep.json": '{"rows": 1}'}, "cannot be read (TypeError"),
    ],
)
def test_damaged_run_is_told_and_the_others_are_listed(
    wanted: list[experiments.Page], damage: dict[str, str | None], told: str
) -> None:
    for name in ("bad", "good"):
        write_run(Path("runs", name), "02_attack", {}, {"rate": 0.5})
    for file, content in damage.items():
        Path("runs/bad", file).unlink(missing_ok=True)
        if content is not None:
            Path("runs/bad", file).write_text(content)
    bad, good = listed(wanted)
    assert told in bad and "Made on" in good and "Made on" not in bad


def test_run_whose_last_try_failed_shows_the_one_before(wanted: list[experiments.Page]) -> None:
    write_run(Path("runs/mine"), "02_attack", {}, {"rate": 0.5})
    Path("runs/mine/02_attack.failed.ipynb").touch()
    Path("runs/mine/numbers.json").unlink()
    [mine] = listed(wanted)
    assert "A later run in this folder stopped at an error: see 02_attack.failed.ipynb." in mine
    assert "There is no numbers.json: the notebook wrote no numbers." in mine


def write_sweep(folder: Path) -> None:
    folder.mkdir(parents=True)
    rows = [
        {"parameters": {"ball": SCRIPT, "budget": 0.1}, "error": "", "numbers": {"rate": 0.123456}},
        {"parameters": {"ball": "l2", "budget": 0.1}, "error": f"raised {SCRIPT}", "numbers": {"rate": None}},
    ]
    figures = [{"number": "rate", "file": "1-rate.svg", "alt": f"rate {SCRIPT}"}]
    grid = {"ball": [SCRIPT, "l2"], "budget": [0.1]}
    (folder / "sweep.json").write_text(
        json.dumps({"notebook": "02_attack", "grid": grid, "rows": rows, "figures": figures, "provenance": {}})
    )
    (folder / "1-rate.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')
    for name in ("sweep.html", "sweep.csv", "cells/a-1/02_attack.html"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def test_sweep_is_listed_with_its_figures(wanted: list[experiments.Page]) -> None:
    write_sweep(Path("runs/budgets"))
    [entry] = listed(wanted)
    assert "2 runs, by ball, budget." in entry
    assert re.findall(r"\">([\w.-]+)</a>", entry) == ["sweep.html", "sweep.csv", "1-rate.svg"]
    assert Path("build/src/book/_static/your_runs/1-budgets/cells/a-1/02_attack.html").is_file()


def test_texts_are_shown_as_they_are(wanted: list[experiments.Page]) -> None:
    assert listed(wanted) == []
    assert Path("build/src/book/your_runs.html").read_text() == "<p>This copy of the book has none.</p>"
    numbers = {"class": SCRIPT, "markup": MARKUP} | {f"n{place}": place for place in range(40)}
    write_run(Path("runs", f"mine {MARKUP} <i>"), "02_attack", {"preset": SCRIPT}, numbers)
    shutil.copytree(f"runs/mine {MARKUP} <i>", os.fsdecode(b"runs/odd\xff"))
    write_sweep(Path("runs/sweep"))
    Path("runs/empty").mkdir()
    page = "\n".join(listed(wanted))
    assert SCRIPT not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert "mine {num}`x` {{ y }} **bold** $z$ &lt;i&gt;" in page
    assert "holds no executed notebook" in page and re.search(
        r"<details><summary>Numbers that differ: 4\d</summary>", page
    )
    whole = Path("build/src/book/your_runs.html").read_text(encoding="utf-8")
    assert verify.parse(f"<!DOCTYPE html><title>t</title>{whole}")[1] == []
