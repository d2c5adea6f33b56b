"""Verdicts follow their rules: each condition alone changes the verdict as the rule says."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
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

from perceptlib.analysis import claims, programs
from perceptlib.analysis.causal import factorial_effects
from perceptlib.analysis.claims import claim_c, claim_c_of, claim_c_together, claim_d
from perceptlib.analysis.comparison import rate_differences, search_distances
from perceptlib.analysis.verdicts import LIMITED, NOT_SUPPORTED, NOT_TESTABLE, SUPPORTED, Verdict
from perceptlib.study.localisation import CONDITIONS

EFFECTS = factorial_effects(scene_rows(dict(zip(CONDITIONS, (2.0, 2.0, 3.0, 3.0), strict=True))))


def judged_c(rows: pd.DataFrame, *, is_rounded: bool = False) -> Verdict:
    method = "ssim_8bit" if is_rounded else "ssim"
    searches = search_distances(rows, method=method, is_rounded=is_rounded)
    return claim_c(rate_differences(rows), searches, is_rounded=is_rounded)


def study_c(**changes: Any) -> pd.DataFrame:
    rates, factors = RATES | changes.get("rates", {}), FACTORS | changes.get("factors", {})
    factors = {name: factor for name, factor in factors.items() if factor is not None}
    return together(fooling_rows(rates), search_rows(factors))


def test_claim_c_is_supported_where_every_check_holds() -> None:
    for is_rounded in (False, True):
        verdict = judged_c(study_c(), is_rounded=is_rounded)
        assert verdict.verdict == SUPPORTED, verdict
        assert len(verdict.checks) == 2 * 3 + 4
        assert all(check.is_met for check in verdict.checks)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"factors": {"deepfool": 0.9}}, LIMITED),
        ({"factors": {"carlini_wagner": None}}, LIMITED),
        ({"factors": {"deepfool": 0.9, "pgd_l2": 0.9}}, NOT_SUPPORTED),
        ({"rates": {"l2": 0.45}}, NOT_SUPPORTED),
        ({"rates": {"l2": 0.4}}, NOT_SUPPORTED),  # nowhere below, nowhere above
        ({"rates": {"linf": 0.5}}, NOT_SUPPORTED),
    ],
)
def test_claim_c_follows_its_rule(changes: dict[str, Any], expected: str) -> None:
    assert judged_c(study_c(**changes)).verdict == expected


def test_claim_c_needs_rows() -> None:
    assert judged_c(fooling_rows(RATES)).verdict == NOT_TESTABLE
    assert judged_c(search_rows(FACTORS)).verdict == NOT_TESTABLE
    searches = search_rows(FACTORS)
    for missing in ("ssim", "linf"):  # a rate that nobody measured neither holds nor fails
        rates = {name: rate for name, rate in RATES.items() if name != missing}
        verdict = judged_c(together(fooling_rows(rates), searches))
        assert verdict.verdict == NOT_TESTABLE
        assert [check.is_met for check in verdict.checks if "linf's" in check.name and "rate" in check.name][-1] is None
    below = together(fooling_rows({"ssim": 0.1, "l2": 0.4}), searches)
    assert judged_c(below).verdict == NOT_SUPPORTED  # whatever linf's rates are
    one = judged_c(together(fooling_rows(RATES, num_images=1), searches))
    assert one.verdict == NOT_TESTABLE  # one picture has no interval


def test_claim_c_of_rows_is_that_of_their_comparisons() -> None:
    rows = together(study_c(), fooling_rows({"fgsm": 0.2}), search_rows({"pgd_ssim": 2.0}))
    assert claim_c_of(rows) == (judged_c(rows), judged_c(rows, is_rounded=True))


def test_claim_c_over_data_sets() -> None:
    good, bad = ((judged_c(rows), judged_c(rows, is_rounded=True)) for rows in (study_c(), study_c(rates={"l2": 0.9})))
    none = judged_c(study_c()[:0]), judged_c(study_c()[:0])
    assert claim_c_together({"a": good, "b": good}).verdict == SUPPORTED
    assert claim_c_together({"a": good, "b": none}).verdict == SUPPORTED
    assert claim_c_together({"a": good, "b": bad}).verdict == LIMITED
    assert claim_c_together({"a": (good[0], bad[1])}).verdict == LIMITED
    assert claim_c_together({"a": bad}).verdict == NOT_SUPPORTED
    assert claim_c_together({"a": none}).verdict == NOT_TESTABLE


def study_d(energies: dict[str, float] | None = None, *, partial: float = 0.3, last: float = 0.2) -> pd.DataFrame:
    return together(agreement_rows(ENERGIES | (energies or {}), partial=partial), cascade_rows({0: 0.4, 20: last}))


def test_claim_d_is_supported_where_every_check_holds() -> None:
    verdict = claim_d(study_d(), EFFECTS)
    assert verdict.verdict == SUPPORTED, verdict.reason
    assert len(verdict.checks) == 1 + 2 + 5 + 2 + 4 + 1
    entry = verdict.as_dict()
    assert entry["check_1"]["is_met"] is True and math.isfinite(entry["check_1"]["p_value"])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (study_d({"squared_gradient": 0.39}), LIMITED),  # above, by less than 0.03
        (study_d({"texture": 0.5}), LIMITED),
        (study_d({"edges": 0.4}), LIMITED),
        (study_d(partial=-0.1), LIMITED),
        (study_d(last=0.45), LIMITED),
        (study_d({"random": 0.4}), NOT_SUPPORTED),
        (study_d({"l2": 0.5}), NOT_SUPPORTED),
        (study_d({"ssim": 0.1, "random": 0.05, "l2": 0.05, "linf": 0.05}), NOT_SUPPORTED),  # below chance
        (study_d()[:0], NOT_TESTABLE),
    ],
)
def test_claim_d_follows_its_rule(rows: pd.DataFrame, expected: str) -> None:
    assert claim_d(rows, EFFECTS).verdict == expected


@pytest.mark.parametrize("missing", ["random", "l2"])
def test_claim_d_is_not_testable_without_what_decides_it(missing: str) -> None:
    rows = study_d().query(f"method != '{missing}'")
    verdict = claim_d(rows, EFFECTS)
    assert verdict.verdict == NOT_TESTABLE
    assert verdict.reason == f"not measured: energy above that of {missing} by 0.03"
    assert [check.is_met for check in verdict.checks if check.name.startswith(f"energy above that of {missing}")] == [
        None
    ]
    lost = study_d({"l2": 0.5, "random": 0.5}).query(f"method != '{missing}'")
    assert claim_d(lost, EFFECTS).verdict == NOT_SUPPORTED  # the other one decides alone


def test_claim_d_counts_a_missing_control_as_not_met() -> None:
    verdict = claim_d(study_d().query("method != 'edges'"), EFFECTS)
    assert verdict.verdict == LIMITED
    assert verdict.reason == "not measured: energy above that of edges by 0.03"
    verdict = claim_d(study_d({"texture": 0.5}).query("method != 'edges'"), EFFECTS)
    words = "energy above that of {} by 0.03"
    assert verdict.reason == f"does not hold: {words.format('texture')}; not measured: {words.format('edges')}"


def test_claim_d_of_another_ball_has_a_random_direction_of_its_own() -> None:
    rows = together(study_d({"multiscale": 0.5, "multiscale_random": 0.5}))
    verdict = claim_d(rows, EFFECTS, ball="multiscale")
    assert (verdict.verdict, verdict.reason) == (NOT_SUPPORTED, "not above the random direction in the same ball")
    assert claim_d(rows, EFFECTS).verdict == SUPPORTED and claim_d(study_d(), EFFECTS, ball="multiscale").checks == ()
    verdict = claim_d(study_d({"multiscale": 0.5, "multiscale_random": 0.2}), EFFECTS, ball="multiscale")
    assert verdict.verdict == LIMITED  # neither scenes nor randomised weights were measured with this ball
    assert verdict.reason.startswith("not measured: falls when all weights are randomised; on shapes")


def test_claim_d_looks_at_shapes() -> None:
    below = EFFECTS.assign(low=EFFECTS["low"].mask(EFFECTS["effect"] == "conditions.smooth/textured", 0.8))
    assert claim_d(study_d(), below).verdict == LIMITED
    moved = EFFECTS.assign(low=EFFECTS["low"].mask(EFFECTS["effect"] == "background_over_object", 1.5))
    assert claim_d(study_d(), moved).verdict == LIMITED
    assert claim_d(study_d(), None).verdict == LIMITED  # not measured is not met
    assert claim_d(agreement_rows(ENERGIES), EFFECTS).verdict == LIMITED


def test_all_verdicts_are_made_of_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = fooling_rows(RATES), search_rows(FACTORS), agreement_rows(ENERGIES), cascade_rows({0: 0.4, 9: 0.2})
    rows = together(*parts)
    monkeypatch.setattr(claims, "recorded_studies", lambda: [("imagenet", "one"), ("imagenet", "two")])
    monkeypatch.setattr(claims, "recorded_study", lambda name: rows)
    monkeypatch.setattr(claims, "recorded_factorial", lambda: scene_rows(dict.fromkeys(CONDITIONS, 2.0)))
    found = claims.all_verdicts()
    assert {claim: verdict.verdict for claim, verdict in found.items()} == {
        "a": "supported with limits",  # of the project's own problems
        "b": "supported",
        "c": "supported",
        "d": "supported",
    }
    assert set(found) == set(claims.CLAIMS) and all(verdict.checks for verdict in found.values())
    monkeypatch.setattr(claims, "recorded_factorial", lambda: None)
    assert claims.all_verdicts()["d"].verdict == "supported with limits"


def test_a_missed_bound_changes_verdict_b(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {"five": 1.9, "fifteen": 2.0, "diagonal": 1.0}
    monkeypatch.setattr(programs, "step_ratios", lambda benchmarks: steps)
    verdict = claims.claim_b()
    assert verdict.verdict == "not supported"
    assert [check.is_met for check in verdict.checks] == [False, True, True, True]
