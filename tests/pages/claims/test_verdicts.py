"""Page 11: tables of the verdicts, and the numbers that other pages quote."""

from __future__ import annotations

import json

import pytest
from shown import cell
from study_samples import agreement_rows, cascade_rows, fooling_rows, scene_rows, search_rows, together

from perceptlib.analysis.second_rules import BY_STUDY
from perceptlib.analysis.verdicts import LIMITED, NOT_SUPPORTED, REVERSED, SUPPORTED, Check, Verdict
from perceptlib.pages.claims import verdicts as page
from perceptlib.records import plain
from perceptlib.study.localisation import CONDITIONS

CHECKS = (Check("rate", 0.4, 0.3, 0.5, 0.001, True), Check("ratio", 2.0, is_met=False), Check("missing", float("nan")))
BY = {
    ("imagenet", "mobilenet_v2"): dict.fromkeys(BY_STUDY, Verdict(SUPPORTED, "", ())) | {"d": Verdict(LIMITED, "", ())},
    ("digits", "digits-0"): dict.fromkeys(BY_STUDY, Verdict(NOT_SUPPORTED, "", ())),
}
VERDICTS = {"a": Verdict(LIMITED, "all but one", CHECKS)}


def test_verdicts_and_their_checks_are_shown() -> None:
    table = page.verdict_table(VERDICTS)
    row = "A: finding an adversarial example is a tractable convex program"
    assert cell(table, row, "checks that hold") == "1 of 3" and cell(table, row, "what decided") == "all but one"
    checks = page.check_table(VERDICTS["a"])
    assert cell(checks, "rate", "value (95 %)") == "0.4 (0.3 to 0.5)" and cell(checks, "rate", "p (Holm)") == "0.001"
    assert cell(checks, "ratio", "value (95 %)") == "2" and cell(checks, "ratio", "p (Holm)") == ""
    assert [cell(checks, name, "holds") for name in ("rate", "ratio", "missing")] == ["yes", "no", "not measured"]
    assert page.check_rows(VERDICTS)["claim"].tolist() == ["a"] * 3


def test_verdicts_by_study_stand_before_a_sentence_that_hides_none() -> None:
    rows = page.study_verdict_rows(BY)
    assert page.study_verdict_table(BY).data.equals(rows)
    assert rows["network"].tolist() == ["mobilenet_v2", "digits-0"]
    assert rows.loc[0, ["data set", "C: fooling rate", "D: SSIM ball"]].tolist() == [
        "ImageNet photographs",
        SUPPORTED,
        LIMITED,
    ]
    assert page.summaries(BY)["d"] == (
        "not supported on digits (digits-0); supported with limits on ImageNet photographs (mobilenet_v2)"
    )
    table = page.second_table({"e": Verdict(REVERSED, "by 6 of 8", ())})
    assert table.data.loc[0, ["verdict", "what decided"]].tolist() == [REVERSED, "by 6 of 8"]


def test_numbers_are_plain_and_named_for_the_book(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = fooling_rows({"ssim": 0.4, "l2": 0.1}), search_rows({"ssim": 1.0, "ssim_8bit": 1.5, "pgd_l2": 3.0})
    rows = together(*parts, agreement_rows({"ssim": 0.4, "texture": 0.25}), cascade_rows({0: 0.4, 9: 0.2}))
    monkeypatch.setattr(page, "recorded_study", lambda name: rows)
    monkeypatch.setattr(page, "recorded_factorial", lambda: scene_rows(dict.fromkeys(CONDITIONS, 2.0)))
    numbers = page.numbers(VERDICTS, BY, {"e": Verdict(LIMITED, "why", ())})
    assert (
        numbers["e"]["reason"] == "why" and numbers["by_study"]["digits"]["digits-0"]["d"]["verdict"] == NOT_SUPPORTED
    )
    assert numbers["summary"] == page.summaries(BY)
    assert numbers["imagenet"]["rates"]["ssim"]["1e-05"]["rate"] == pytest.approx(0.4)
    assert numbers["digits"]["ratios"]["pgd_l2"]["value"] == pytest.approx(1 / 3, rel=0.1)
    assert set(numbers["digits"]["ratios_8bit"]) == {"ssim", "pgd_l2"}
    assert numbers["imagenet"]["energies"]["texture"]["value"] == pytest.approx(0.25, abs=0.02)
    assert numbers["factorial"]["ssim"]["conditions"]["smooth_textured"]["value"] == 2
    assert "Infinity" not in json.dumps(plain(numbers))


def test_study_table_names_the_last_start() -> None:
    table = page.study_table()
    assert table.data["study"].tolist()[0] == "ImageNet photographs, mobilenet_v2"
    assert cell(table, "ImageNet photographs, mobilenet_v2", "pictures") == "200 (24 misclassified, 0 failed)"
