"""What README.md and the book print is what the commands print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PRINTED = sorted((ROOT / "book" / "printed").glob("*.txt"))
NUMBER = re.compile(r"\d+\.\d+")
# Another machine may round differently; a margin in the text would be no example any more.
TOLERANCE = 0.05


def assert_same_but_for_rounding(printed: str, expected: str) -> None:
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", expected)
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (printed, expected)]
    assert numbers[0] == pytest.approx(numbers[1], rel=TOLERANCE, abs=0.01)


def run(command: list[str], folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)
    assert example is not None
    code, expected = example.groups()
    assert len([line for line in code.splitlines() if line and not line.startswith("from ")]) <= 8
    exec(code, {})
    assert_same_but_for_rounding(capsys.readouterr().out, expected)


@pytest.mark.slow
@pytest.mark.parametrize("path", PRINTED, ids=[path.stem for path in PRINTED])
def test_printed_commands_print_what_the_book_says(path: Path, tmp_path: Path) -> None:
    first, _, expected = path.read_text(encoding="utf-8").partition("\n")
    program, *arguments = shlex.split(first.removeprefix("$ "))
    assert program == "perceptlib"
    for name in ("book", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    printed = run([sys.executable, "-m", "perceptlib", *arguments], tmp_path)
    if find_spec("pycvvdp"):  # one more judge speaks
        printed, expected = (re.sub("(?m)^visibility: .*\n", "", text) for text in (printed, expected))
    assert_same_but_for_rounding(printed, expected)


def test_readme_names_files_and_targets_that_exist() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE)) <= set(targets)
    for name in re.findall(r"\]\((?!https?:)([^)]+)\)", README) + re.findall(r"perceptlib run (\w+)", README):
        assert (ROOT / name).exists() or (ROOT / "notebooks" / f"{name}.ipynb").exists(), name
    for page in re.findall(r"`((?:book|notebooks)/\w+)`", README):
        assert list(ROOT.glob(f"{page}.*")), page
