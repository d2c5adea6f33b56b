"""Verdicts follow their rules: each condition alone changes the verdict as the rule says."""

from __future__ import annotations

import math
from typing import Any

import pytest
from study_samples import agreement_rows, cascade_rows, fooling_rows, search_rows

from perceptlib.analysis.claims import (
    LIMITED,
    NOT_SUPPORTED,
    NOT_TESTABLE,
    SUPPORTED,
    check_table,
    claim_c,
    claim_c_together,
    claim_d,
)

RATES = {"ssim": 0.4, "l2": 0.1, "linf": 0.05}
FACTORS = {"ssim": 1.0, "ssim_8bit": 1.5, "pgd_l2": 3.0, "pgd_linf": 5.0, "deepfool": 4.0, "carlini_wagner": 3.0}
ENERGIES = {"ssim": 0.4, "l2": 0.3, "linf": 0.15, "random": 0.25, "texture": 0.25, "edges": 0.3, "centre": 0.3}
ENERGIES |= {"squared_gradient": 0.33}
CONDITIONS = {name: {"value": 2.0, "low": 1.5, "high": 3.0} for name in ("s/s", "s/t", "t/s", "t/t")}
EFFECTS = {"background_over_object": {"value": 0.8, "low": 0.6, "high": 1.1}}


def study_c(**changes: Any) -> list[dict[str, Any]]:
    rates, factors = RATES | changes.get("rates", {}), FACTORS | changes.get("factors", {})
    factors = {name: factor for name, factor in factors.items() if factor is not None}
    return fooling_rows(rates, rounded=changes.get("rounded", 1.0)) + search_rows(factors)


def test_claim_c_is_supported_where_every_check_holds() -> None:
    for is_rounded in (False, True):
        verdict = claim_c(study_c(), is_rounded=is_rounded)
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
    assert claim_c(study_c(**changes)).verdict == expected


def test_claim_c_needs_rows() -> None:
    assert claim_c(fooling_rows(RATES)).verdict == NOT_TESTABLE
    assert claim_c(search_rows(FACTORS)).verdict == NOT_TESTABLE
    searches = search_rows(FACTORS)
    for missing in ("ssim", "linf"):  # a rate that nobody measured neither holds nor fails
        rates = {name: rate for name, rate in RATES.items() if name != missing}
        verdict = claim_c(fooling_rows(rates) + searches)
        assert verdict.verdict == NOT_TESTABLE
        assert [check.is_met for check in verdict.checks if "linf's" in check.name and "rate" in check.name][-1] is None
    below = fooling_rows({"ssim": 0.1, "l2": 0.4}) + searches
    assert claim_c(below).verdict == NOT_SUPPORTED  # whatever linf's rates are
    one = claim_c(fooling_rows(RATES, num_images=1) + searches)
    assert one.verdict == NOT_TESTABLE  # one picture has no interval


def test_claim_c_over_data_sets() -> None:
    good = claim_c(study_c()), claim_c(study_c(), is_rounded=True)
    bad = claim_c(study_c(rates={"l2": 0.9})), claim_c(study_c(rates={"l2": 0.9}), is_rounded=True)
    none = claim_c([]), claim_c([])
    assert claim_c_together({"a": good, "b": good}).verdict == SUPPORTED
    assert claim_c_together({"a": good, "b": none}).verdict == SUPPORTED
    assert claim_c_together({"a": good, "b": bad}).verdict == LIMITED
    assert claim_c_together({"a": (good[0], bad[1])}).verdict == LIMITED
    assert claim_c_together({"a": bad}).verdict == NOT_SUPPORTED
    assert claim_c_together({"a": none}).verdict == NOT_TESTABLE


def study_d(energies: dict[str, float] | None = None, *, partial: float = 0.3, last: float = 0.2) -> list[Any]:
    return agreement_rows(ENERGIES | (energies or {}), partial=partial) + cascade_rows({0: 0.4, 20: last})


def test_claim_d_is_supported_where_every_check_holds() -> None:
    verdict = claim_d(study_d(), CONDITIONS, EFFECTS)
    assert verdict.verdict == SUPPORTED, verdict.reason
    assert len(verdict.checks) == 1 + 2 + 5 + 2 + 4 + 1


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
        ([], NOT_TESTABLE),
    ],
)
def test_claim_d_follows_its_rule(rows: list[Any], expected: str) -> None:
    assert claim_d(rows, CONDITIONS, EFFECTS).verdict == expected


@pytest.mark.parametrize("missing", ["random", "l2"])
def test_claim_d_is_not_testable_without_what_decides_it(missing: str) -> None:
    rows = [row for row in study_d() if row["method"] != missing]
    verdict = claim_d(rows, CONDITIONS, EFFECTS)
    assert verdict.verdict == NOT_TESTABLE
    assert verdict.reason == f"not measured: energy above that of {missing} by 0.03"
    assert [check.is_met for check in verdict.checks if check.name.startswith(f"energy above that of {missing}")] == [
        None
    ]
    lost = [row for row in study_d({"l2": 0.5, "random": 0.5}) if row["method"] != missing]
    assert claim_d(lost, CONDITIONS, EFFECTS).verdict == NOT_SUPPORTED  # the other one decides alone


def test_claim_d_counts_a_missing_control_as_not_met() -> None:
    rows = [row for row in study_d() if row["method"] != "edges"]
    verdict = claim_d(rows, CONDITIONS, EFFECTS)
    assert verdict.verdict == LIMITED
    assert verdict.reason == "does not hold: energy above that of edges by 0.03"


def test_claim_d_looks_at_shapes() -> None:
    below = CONDITIONS | {"s/t": {"value": 0.9, "low": 0.8, "high": 1.05}}
    assert claim_d(study_d(), below, EFFECTS).verdict == LIMITED
    moved = {"background_over_object": {"value": 2.0, "low": 1.5, "high": 3.0}}
    assert claim_d(study_d(), CONDITIONS, moved).verdict == LIMITED
    assert claim_d(study_d(), None, None).verdict == LIMITED  # not measured is not met
    assert claim_d(agreement_rows(ENERGIES), CONDITIONS, EFFECTS).verdict == LIMITED


def test_check_table_shows_what_decided() -> None:
    text = repr(check_table(claim_d(study_d({"edges": 0.4}), None, None)))
    assert "energy above that of edges by 0.03" in text
    assert "not measured" in text
    entry = claim_d(study_d(), CONDITIONS, EFFECTS).as_dict()
    assert entry["check_1"]["is_met"] is True
    assert math.isfinite(entry["check_1"]["p_value"])
