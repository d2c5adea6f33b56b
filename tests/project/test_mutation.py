"""The tools that test the tests: what they name exists, what they report is counted, and they tell killed from not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER, TOOLS = ROOT / "tests" / "mutation", ROOT / "build" / "quality"
sys.path.append(str(FOLDER))

from core_modules import MODULES, TESTS, source  # noqa: E402
from report import LEAST, text  # noqa: E402

RECORD: dict[str, Any] = {
    **{"date": "2026-01-01", "commit": "abc", "python": "3.11", "mutmut": "3", "torch": "2"},
    **{"size": 4, "seed": 0, "longest": 3.0, "tests": 9, "tests_left_out": 1, "mutants": {"one": 7, "two": 4}},
}
SURVIVOR = {"module": "two", "line": 3, "before": "a < 1", "after": "a <= 1", "ended": "survived"}


def record(num_killed: int) -> dict[str, Any]:
    killed = [
        {"module": "one", "line": index, "before": "1", "after": str(index), "ended": ended, "by": "a test"}
        for index, ended in zip(range(num_killed), ["killed", "timeout", "crash"] * num_killed, strict=False)
    ]
    return {**RECORD, "rows": [*killed, SURVIVOR]}


def test_core_modules_and_their_tests_are_found_by_folder() -> None:
    assert {"ssim.window", "balls.norms", "attacks.maximize", "maps.controls", "analysis.statistics"} <= set(MODULES)
    assert all(path.is_file() for path in (*map(source, MODULES), *TESTS)) and len(TESTS) > 10


def test_report_counts_and_asks_for_explanations() -> None:
    lines, is_good = text(record(9), [])
    assert not is_good and "Not explained." in lines and "- a < 1\n  + a <= 1" in lines
    assert "| one | 7 | 9 | 9 | 0 | 100 |" in lines and "| two | 4 | 1 | 0 | 1 | 0 |" in lines
    assert "| all | 11 | 10 | 9 | 1 | 90 |" in lines
    explained = [{**{name: SURVIVOR[name] for name in ("module", "before", "after")}, "why": "a is never 1"}]
    lines, is_good = text(record(9), explained)  # type: ignore[arg-type]
    assert is_good and "a is never 1" in lines and "Not explained." not in lines
    assert text(record(3), explained)[1] is False  # type: ignore[arg-type]
    assert LEAST == 0.85


def test_recorded_report_is_that_of_the_recorded_results() -> None:
    results = json.loads((FOLDER / "results.json").read_text())
    explanations = json.loads((FOLDER / "explanations.json").read_text())
    lines, is_good = text(results, explanations)
    assert is_good and (FOLDER / "README.md").read_text() == lines


KILLED_OR_NOT = """
import json, sys
from core_modules import ROOT, source
from mutants import sample
from processes import forked, prepare, verdict

prepare([ROOT / "tests" / "records" / "test_messages.py"])
code = source("records.messages").read_text()
mutants, total = sample("records.messages", code, 1000, 0)
assert total == len(mutants) and all(mutant.code != code for mutant in mutants)
first, again, other = (sample("records.messages", code, 3, seed)[0] for seed in (0, 0, 1))
assert first == again != other
tests = ["tests/records/test_messages.py::test_long_values_are_cut"]
[longer] = (mutant.code for mutant in mutants if "MOST_LETTERS - 4" in mutant.code)
texts = (code, longer, "import os; os._exit(1)")
outcomes = [forked(lambda: verdict("records.messages", text, tests), 20) for text in texts]
print(json.dumps([outcome["ended"] for outcome in outcomes]))
"""


@pytest.mark.slow
def test_a_changed_module_is_noticed_and_the_same_one_is_not() -> None:
    if not (TOOLS / "installed").exists():
        pytest.skip("libcst, mutmut and coverage are not installed: make mutants puts them under build/quality")
    answer = subprocess.run(
        [sys.executable, "-c", KILLED_OR_NOT],
        env=os.environ | {"PYTHONPATH": f"{TOOLS}{os.pathsep}{FOLDER}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout.splitlines()[-1]) == ["survived", "killed", "crash"]
