"""Verdicts from recorded rows: of the project's own problems and benchmark, of invented studies."""

from __future__ import annotations

import pytest
from study_samples import (
    ENERGIES,
    FACTORS,
    RATES,
    agreement_rows,
    cascade_rows,
    fooling_rows,
    scene_rows,
    search_rows,
    together,
)

from perceptlib.analysis import verdicts
from perceptlib.study.factorial import CONDITIONS


def test_all_verdicts_are_made_of_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = fooling_rows(RATES), search_rows(FACTORS), agreement_rows(ENERGIES), cascade_rows({0: 0.4, 9: 0.2})
    rows = together(*parts)
    monkeypatch.setattr(verdicts, "recorded_study", lambda name: rows)
    monkeypatch.setattr(verdicts, "recorded_factorial", lambda: scene_rows(dict.fromkeys(CONDITIONS, 2.0)))
    found = verdicts.all_verdicts()
    assert {claim: verdict.verdict for claim, verdict in found.items()} == {
        "a": "supported with limits",  # of the project's own problems
        "b": "supported",
        "c": "supported",
        "d": "supported",
    }
    assert set(found) == set(verdicts.CLAIMS) and all(verdict.checks for verdict in found.values())
    monkeypatch.setattr(verdicts, "recorded_factorial", lambda: None)
    assert verdicts.verdict_d().verdict == "supported with limits"


def test_a_missed_bound_changes_verdict_b(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {"five": 1.9, "fifteen": 2.0, "diagonal": 1.0}
    monkeypatch.setattr(verdicts, "step_ratios", lambda benchmark: steps)
    verdict = verdicts.verdict_b()
    assert verdict.verdict == "not supported"
    assert [check.is_met for check in verdict.checks] == [False, True, True, True]
