"""Verdicts in one sentence: the worst stands first, and no part is left out."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from perceptlib.analysis.verdicts import (
    LIMITED,
    NOT_SUPPORTED,
    NOT_TESTABLE,
    REVERSED,
    SUPPORTED,
    WORST_FIRST,
    Check,
    Verdict,
    listed,
    worst_first,
)

STUDIES = [("imagenet", "mobilenet_v2"), ("imagenet", "efficientnet-lite0"), ("shapes", "shapes-0"), ("digits", "own")]


def said(*words: str) -> dict[tuple[str, str], Verdict]:
    return {study: Verdict(word, "", ()) for study, word in zip(STUDIES, words, strict=False)}


def test_the_worst_verdict_stands_first_and_all_are_named() -> None:
    assert worst_first(said(LIMITED, SUPPORTED, NOT_SUPPORTED, REVERSED)) == (
        "reversed on digits (own); not supported on shapes (shapes-0); supported with limits on ImageNet photographs "
        "(mobilenet_v2); supported on ImageNet photographs (efficientnet-lite0)"
    )
    assert worst_first(said(LIMITED, LIMITED, NOT_SUPPORTED, NOT_SUPPORTED)) == (
        "not supported on shapes (shapes-0) and digits (own); "
        "supported with limits on ImageNet photographs (all 2 networks)"
    )
    assert worst_first(said(SUPPORTED)) == "supported on ImageNet photographs (mobilenet_v2)"
    assert worst_first({}) == "not testable here: nothing is recorded"
    unknown = {("my_own", "net"): Verdict("half a verdict", "", ())}
    assert worst_first(said(SUPPORTED) | unknown).endswith("; half a verdict on my_own (net)")


@given(st.lists(st.sampled_from(WORST_FIRST), min_size=1, max_size=4))
def test_no_sentence_reads_better_than_its_worst_part(words: list[str]) -> None:
    sentence = worst_first(said(*words))
    assert sentence.startswith(min(words, key=WORST_FIRST.index) + " on")
    assert ". " not in sentence
    parts = sentence.split("; ")
    assert [part.split(" on ")[0] for part in parts] == sorted({*words}, key=WORST_FIRST.index)
    for (_, network), word in zip(STUDIES, words, strict=False):
        part = next(part for part in parts if part.startswith(f"{word} on "))
        assert network in part or "all 2 networks" in part


def test_words_are_listed_as_in_prose() -> None:
    assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]


def test_verdict_is_plain_numbers_without_infinity() -> None:
    entry = Verdict(
        NOT_TESTABLE, "why", (Check.of("ratio", {"value": 1, "low": 0.5, "high": math.inf}, True),)
    ).as_dict()
    assert entry["verdict"] == "not testable here" and entry["reason"] == "why"
    assert entry["check_1"]["high"] is None and entry["check_1"]["low"] == 0.5 and entry["check_1"]["is_met"] is True
