"""The second rules: each condition alone changes the verdict as the rule says, and what is missing is named."""

from __future__ import annotations

import pandas as pd
import pytest
from study_samples import ENERGIES, FACTORS, RATES, agreement_rows, cascade_rows, fooling_rows, scene_rows, search_rows
from study_samples import together as joined

from perceptlib.analysis import second_rules
from perceptlib.analysis.second_rules import (
    BY_STUDY,
    PHOTO_NETWORKS,
    SECOND,
    claim_d_prime,
    claim_e,
    claim_g,
    robust_minus_standard,
    second_verdicts,
    verdicts_by_study,
)
from perceptlib.analysis.verdicts import LIMITED, NOT_SUPPORTED, NOT_TESTABLE, SUPPORTED, Check, Verdict
from perceptlib.study.localisation import CONDITIONS

Said = dict[tuple[str, str], Verdict]
BOTH = ENERGIES | {"multiscale": 0.42, "multiscale_random": 0.26}


def judged(word: str, above: bool | None = True) -> Verdict:
    """A verdict on claim D whose check of the random direction is met or not."""
    return Verdict(word, "", (Check("energy above that of random by 0.03", 0.1, 0.05, 0.15, 0.001, above),))


def with_words(*words: str) -> Said:
    """Claim D of the photograph networks, and every other network above its random direction."""
    said = {("imagenet", name): judged(word) for name, word in zip(PHOTO_NETWORKS, words, strict=False)}
    drawn = [(preset, f"{preset}{kind}") for preset in ("shapes", "digits") for kind in ("-0", "-l2-0")]
    return said | dict.fromkeys(drawn, judged(NOT_SUPPORTED))  # only the random direction counts there


def test_d_prime_is_supported_where_claim_d_is_with_every_photograph_network() -> None:
    verdict = claim_d_prime(with_words(SUPPORTED, SUPPORTED, SUPPORTED))
    assert (verdict.verdict, verdict.reason) == (SUPPORTED, "with every network")
    assert len(verdict.checks) == 3 + 4 and all(check.is_met for check in verdict.checks)
    assert verdict.checks[0].value == 0.1 and verdict.checks[0].low == 0.05


@pytest.mark.parametrize(
    ("words", "expected", "reason"),
    [
        ((LIMITED, SUPPORTED, SUPPORTED), LIMITED, "claim D supported with limits with mobilenet_v2"),
        ((SUPPORTED, SUPPORTED, NOT_SUPPORTED), LIMITED, "claim D not supported with efficientnet-lite2"),
        ((NOT_SUPPORTED, NOT_SUPPORTED, SUPPORTED), NOT_SUPPORTED, "claim D not supported with mobilenet_v2"),
        ((SUPPORTED, SUPPORTED), LIMITED, "not recorded: photographs with efficientnet-lite2"),
        ((SUPPORTED, NOT_TESTABLE), NOT_TESTABLE, "not recorded: photographs with efficientnet-lite0"),
        ((NOT_SUPPORTED, NOT_SUPPORTED), NOT_SUPPORTED, "not recorded: photographs with efficientnet-lite2"),
        ((), NOT_TESTABLE, "not recorded: photographs with mobilenet_v2"),
    ],
)
def test_d_prime_follows_its_rule(words: tuple[str, ...], expected: str, reason: str) -> None:
    verdict = claim_d_prime(with_words(*words))
    assert verdict.verdict == expected and reason in verdict.reason


def test_d_prime_names_drawn_networks_that_fail_or_are_missing() -> None:
    said = with_words(SUPPORTED, SUPPORTED, SUPPORTED)
    verdict = claim_d_prime(said | {("digits", "digits-0"): judged(NOT_SUPPORTED, above=False)})
    assert verdict.verdict == LIMITED
    assert verdict.reason == "not above its random direction on digits with digits-0"
    verdict = claim_d_prime(said | {("digits", "digits-0"): judged(NOT_TESTABLE, above=None)})
    assert (verdict.verdict, verdict.reason) == (LIMITED, "not recorded: digits with digits-0")
    del said["digits", "digits-l2-0"]
    verdict = claim_d_prime(said)
    assert (verdict.verdict, verdict.reason) == (LIMITED, "not recorded: digits with an adversarially trained network")
    del said["shapes", "shapes-0"]
    assert "shapes with a standard network" in claim_d_prime(said).reason


def gains(*multiscale: float, noise: float = 0.001) -> dict[tuple[str, str], pd.DataFrame]:
    """Photographs on which the multi-scale ball's map has these energies; its gain is 0.15 at 0.41, as the other's."""
    return {
        ("imagenet", name): agreement_rows(BOTH | {"multiscale": value}, noise=noise)
        for name, value in zip(PHOTO_NETWORKS, multiscale, strict=False)
    }


@pytest.mark.parametrize(
    ("energies", "expected", "reason"),
    [
        ((0.41, 0.41, 0.5), SUPPORTED, "with every photograph network"),
        (
            (0.40, 0.40, 0.40),
            NOT_SUPPORTED,
            "upper end below 0 with mobilenet_v2, efficientnet-lite0 and",
        ),
        ((0.41, 0.41, 0.30), NOT_SUPPORTED, "upper end below 0 with efficientnet-lite2"),
        ((0.41, 0.42), LIMITED, "not recorded: photographs with efficientnet-lite2"),
        ((0.30,), NOT_SUPPORTED, "partly SSIM's own"),
        ((), NOT_TESTABLE, "not recorded: photographs with mobilenet_v2, photographs with efficientnet-lite0"),
    ],
)
def test_e_follows_its_rule(energies: tuple[float, ...], expected: str, reason: str) -> None:
    verdict = claim_e(gains(*energies))
    assert verdict.verdict == expected and reason in verdict.reason
    assert len(verdict.checks) == 3


def test_e_names_intervals_that_are_too_wide_and_needs_rows_of_both_balls() -> None:
    wide = gains(0.41, noise=0.3)
    assert claim_e(gains(0.41, 0.41, 0.41) | wide).verdict == LIMITED
    verdict = claim_e(wide)
    assert verdict.verdict == NOT_TESTABLE and verdict.reason.startswith("lower end -0.")
    assert claim_e({("imagenet", "mobilenet_v2"): agreement_rows(ENERGIES)}).verdict == NOT_TESTABLE


def test_e_is_the_median_of_paired_differences_of_gains() -> None:
    rows = gains(0.45, noise=0.03)
    energies = rows["imagenet", "mobilenet_v2"].pivot(index="image", columns="method", values="energy_in_top_q")
    gain = energies["multiscale"] - energies["multiscale_random"] - (energies["ssim"] - energies["random"])
    assert claim_e(rows).checks[0].value == pytest.approx(gain.median())


def pairs(preset: str, *robust: float, standard: float = 0.3) -> dict[tuple[str, str], pd.DataFrame]:
    """Standard networks, and adversarially trained ones whose maps have these energies."""
    found = {(preset, f"{preset}-{seed}"): agreement_rows({"ssim": standard}) for seed in range(3)}
    for seed, value in enumerate(robust):
        found[preset, f"{preset}-l2-{seed}"] = agreement_rows({"l2": 0.1, "ssim": value})
    return found


@pytest.mark.parametrize(
    ("shapes", "digits", "expected", "reason"),
    [
        ((0.4, 0.42, 0.44), (0.4, 0.4, 0.4), SUPPORTED, "above 0 on shapes and digits"),
        ((0.4, 0.42, 0.44), (0.3, 0.2, 0.25), LIMITED, "above 0 on shapes, not on digits"),
        ((0.2, 0.2, 0.2), (0.3, 0.2, 0.25), NOT_SUPPORTED, "above 0 neither on shapes nor on digits"),
        ((0.4, 0.42, 0.1), (0.4, 0.4, 0.4), LIMITED, "above 0 on digits, not on shapes"),  # one of three networks
        ((0.4, 0.4, 0.4), (0.4, 0.4), LIMITED, "not recorded: digits with digits-l2-2 beside the standard network"),
        (
            (0.2, 0.2, 0.2),
            (),
            NOT_TESTABLE,
            "not above 0 on shapes; not recorded: digits with digits-l2-0",
        ),
        ((), (), NOT_TESTABLE, "not recorded: shapes with shapes-l2-0, shapes-l2-1 and shapes-l2-2 beside the"),
        ((0.31, 0.36, 0.6), (0.4, 0.4, 0.4), SUPPORTED, "the t interval over three networks reaches 0 on shapes"),
    ],
)
def test_g_follows_its_rule(shapes: tuple[float, ...], digits: tuple[float, ...], expected: str, reason: str) -> None:
    verdict = claim_g(pairs("shapes", *shapes) | pairs("digits", *digits))
    assert verdict.verdict == expected and reason in verdict.reason


def test_g_pairs_the_pictures_that_both_networks_have() -> None:
    found = pairs("shapes", 0.4, 0.4, 0.4)
    found["shapes", "shapes-l2-0"] = found["shapes", "shapes-l2-0"].query("image != 'picture 7'")
    differences = robust_minus_standard(found, "shapes", "l2")
    assert [len(values) for values in differences.values()] == [99, 100, 100]
    assert differences[1].median() == pytest.approx(0.1, abs=0.02)
    assert robust_minus_standard(found, "shapes", "linf") == {}
    names = [check.name for check in claim_g(found).checks]
    assert names[:3] == [f"shapes, seed {seed}: over pictures" for seed in range(3)]
    assert names[3:5] == ["shapes: robust minus standard above 0, over networks and pictures",
                          "shapes: t interval over networks"]  # fmt: skip


def test_every_study_has_its_verdicts_and_shapes_their_own_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def scenes(number: int) -> pd.DataFrame | None:
        asked.append(number)
        return scene_rows(dict.fromkeys(CONDITIONS, 2.0)) if number < 2 else None

    monkeypatch.setattr(second_rules, "recorded_factorial", scenes)
    rows = joined(fooling_rows(RATES), search_rows(FACTORS), agreement_rows(BOTH), cascade_rows({0: 0.4, 9: 0.2}))
    names = [("imagenet", "mobilenet_v2"), ("shapes", "shapes-1"), ("shapes", "shapes-2"), ("digits", "digits-l2-0")]
    studies = dict.fromkeys(names, rows)
    found = verdicts_by_study(studies)
    assert list(found) == names and asked == [0, 1, 2]
    assert {key: one.verdict for key, one in found["shapes", "shapes-1"].items()} == dict(
        zip(BY_STUDY, (SUPPORTED, SUPPORTED, SUPPORTED, LIMITED), strict=True)
    )
    assert found["shapes", "shapes-2"]["d"].verdict == LIMITED  # without scenes
    assert list(second_verdicts(studies, found)) == list(SECOND)
