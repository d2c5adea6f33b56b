"""How the book says which state of the project it shows, and how it is cited."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book" / "_ext")]

import this_copy  # noqa: E402


@pytest.mark.parametrize(("commit", "note"), [("0123456789ab-dirty", ["commit 0123456789ab"]), (None, [])])
def test_entry_says_what_the_citation_file_says(commit: str | None, note: list[str]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    entry = this_copy.bibtex(citation, "2026", commit)
    assert entry.startswith("@misc{perceptlib,\n  author = {{The perceptlib authors}},\n") and entry.endswith("}\n}")
    values = [line.partition(" = {")[2].rstrip(",").removesuffix("}") for line in entry.splitlines()[2:-1]]
    assert values == [citation["title"], "2026", citation["version"], citation["url"], *note]
