"""The page "Choosing a network", followed word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).resolve().parents[2] / "book" / "own_network.md"


@pytest.mark.slow
def test_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S))
    with torch.random.fork_rng():
        exec(compile(program, PAGE.name, "exec"), {})
    told = capsys.readouterr().out
    assert "10 classes, pictures of side 224" in told
    assert "maps are read from a Sequential before Linear(in_features=512, out_features=10, bias=True)" in told
    assert "distances: [0.01, 0.01]" in told and "of a random direction: [0." in told
    assert (tmp_path / "my-study" / "study.parquet").is_file()
