"""Verdicts from recorded rows: of the project's own records where they are known, of invented ones otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study_samples import agreement_rows, cascade_rows, fooling_rows, search_rows
from test_claims import ENERGIES, FACTORS, RATES

from perceptlib.analysis import verdicts
from perceptlib.analysis.tables import write_rows
from perceptlib.study.factorial import factorial_rows
from perceptlib.study.presets import load_network
from perceptlib.study.rows import table_of, write_part

READERS = (verdicts.recorded_benchmark, verdicts.recorded_problems, verdicts.recorded_study)


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with three invented studies and a small factorial, the project's own problems and benchmark."""
    rows = fooling_rows(RATES) + search_rows(FACTORS) + agreement_rows(ENERGIES) + cascade_rows({0: 0.4, 9: 0.2})
    for row in rows:
        row.setdefault("shuffled_auc", 0.6)
    origin = {"weights": {"source": "w", "sha256": "0" * 64}, "seed": 0, "python": "3.11", "machine": "m"}
    origin |= {"versions": {"perceptlib": "0", "torch": "2"}, "date": "2026-01-01T00:00:00"}
    for name in verdicts.STUDIES:
        folder = tmp_path / "recorded" / name
        folder.mkdir(parents=True)
        write_part(table_of(rows), folder / "study.parquet")
        (folder / "provenance.json").write_text(json.dumps({"runs": [origin | {"seed": 1}, origin]}))
    factorial = factorial_rows(load_network("shapes"), 6, budget=0.001, methods=("ssim", "random"), cg_steps=3)
    write_rows(factorial, tmp_path / "recorded" / "shapes" / "factorial.csv")
    own = verdicts.data_dir()
    for name in ("convex", "bench"):
        (tmp_path / "recorded" / name).symlink_to(own / "recorded" / name)
    for module in (verdicts, *(entry.__module__ for entry in READERS)):
        target = module if not isinstance(module, str) else __import__(module, fromlist=["data_dir"])
        monkeypatch.setattr(target, "data_dir", lambda: tmp_path)
    return tmp_path


def test_all_verdicts_are_made_of_checks(records: Path) -> None:
    found = verdicts.all_verdicts()
    assert set(found) == set(verdicts.CLAIMS)
    assert found["c"].verdict == "supported"
    assert found["a"].verdict == "supported with limits"  # of the project's own problems
    assert found["b"].verdict == "supported"
    assert all(verdict.checks for verdict in found.values())
    rows = verdicts.check_rows(found)
    assert len(rows) == sum(len(verdict.checks) for verdict in found.values())
    assert {row["claim"] for row in rows} == set(verdicts.CLAIMS)
    text = repr(verdicts.verdict_table(found))
    assert "C: high fooling rate" in text and "supported with limits" in text


def test_a_missed_bound_changes_verdict_b(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {"five": 1.9, "fifteen": 2.0, "diagonal": 1.0}
    monkeypatch.setattr(verdicts, "step_ratios", lambda benchmark: steps)
    verdict = verdicts.verdict_b()
    assert verdict.verdict == "not supported"
    assert [check.is_met for check in verdict.checks] == [False, True, True, True]


def test_key_numbers_are_plain_and_named_for_the_book(records: Path) -> None:
    numbers = verdicts.key_numbers()
    assert numbers["imagenet"]["rates"]["ssim"]["1e-05"]["rate"] == pytest.approx(0.4)
    assert numbers["digits"]["ratios"]["pgd_l2"]["value"] == pytest.approx(1 / 3, rel=0.1)
    assert numbers["imagenet"]["energies"]["texture"]["value"] == pytest.approx(0.25, abs=0.02)
    assert numbers["factorial"]["ssim"]["conditions"]["smooth_textured"]["value"] > 0
    assert "Infinity" not in json.dumps(numbers)


def test_study_table_names_the_last_start(records: Path) -> None:
    table = verdicts.study_table()
    assert table.columns == ("", "ImageNet photographs", "shapes", "digits")
    assert table.rows[0] == ("pictures", *["100 (0 named wrongly, 0 failed)"] * 3)
    assert dict((row[0], row[1]) for row in table.rows)["seed"] == "0"
