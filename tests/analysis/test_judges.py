"""Rules C' and F on rows made so that each branch is taken, and the ratios against NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from study_samples import frame_of, together, unattacked

from perceptlib.analysis import judges
from perceptlib.analysis.judges import (
    AREAS,
    ASKED,
    JUDGED,
    claim_c_prime,
    claim_f,
    judge_ratios,
    verdicts_of_judges,
    worst,
)
from perceptlib.analysis.second_rules import PHOTO_NETWORKS
from perceptlib.study.config import JUDGES

COUNT = 60


def judge_rows(
    factors: Mapping[str, float] | float,
    *,
    ball: str = "ssim",
    not_fooled: int = 0,
    gradients: int = 40,
    there: tuple[str, ...] = JUDGES,
    level: float = 0.02,
) -> pd.DataFrame:
    """The ball's loss by each judge is a factor of l2's, whose level is that of its noise; linf's is twice l2's."""
    generator = np.random.default_rng(0)
    base = level * np.exp(0.5 * generator.normal(size=COUNT))
    rows = []
    for method in (f"{ball}_8bit", "l2_8bit", "linf_8bit"):
        noise = np.exp(0.05 * generator.normal(size=(COUNT, len(there))))
        for place in range(COUNT):
            is_own = not method.startswith("l")
            is_fooled = not is_own or place >= not_fooled
            losses = {}
            for column, name in enumerate(there):
                own = factors if isinstance(factors, float) else factors.get(name, 1.0)
                factor = own if is_own else 1.0 if method == "l2_8bit" else 2.0
                losses[name] = factor * base[place] * noise[place, column] if is_fooled else 0.0
            rows.append(
                {"part": "judges", "image": f"picture {place}", "method": method, "is_adversarial_8bit": is_fooled}
                | {"is_adversarial": is_fooled, "gradients": gradients if is_own else 40, "judges": " ".join(there)}
                | losses
            )
    return frame_of(rows)


def named(num_below: int, num_above: int) -> dict[str, float]:
    """Clearly below 1 for the first of the judges asked, clearly above for the last ones."""
    below, above = ASKED[:num_below], ASKED[len(ASKED) - num_above :]
    return dict.fromkeys(below, 0.5) | dict.fromkeys(above, 3.0)


@pytest.mark.parametrize(
    ("num_below", "num_above", "verdict"),
    [
        (8, 0, "supported"),
        (6, 0, "supported"),
        (6, 1, "supported with limits"),
        (5, 0, "supported with limits"),
        (4, 4, "supported with limits"),
        (1, 2, "supported with limits"),
        (1, 3, "not supported"),
        (0, 0, "not supported"),
        (0, 2, "not supported"),
        (3, 4, "not supported"),
        (3, 5, "reversed"),
        (0, 8, "reversed"),
    ],
)
@pytest.mark.parametrize("ball", ["ssim", "multiscale"])
def test_claim_c_prime_by_numbers_of_judges(num_below: int, num_above: int, verdict: str, ball: str) -> None:
    found = claim_c_prime(judge_rows(named(num_below, num_above), ball=ball), ball=ball)
    assert found.verdict == verdict
    assert [check.is_met for check in found.checks[:num_below]] == [True] * num_below
    assert ("more visible by" in found.reason) == (num_above > 0)
    if num_above:
        assert "JOD loss at 10 times" in found.reason.split("more visible by ")[1].split(";")[0]
    assert len(found.checks) == len(ASKED) + 2


def test_claim_c_prime_names_judges_that_were_not_there() -> None:
    without = tuple(name for name in JUDGES if name not in ("ms_ssim", "jod_10"))
    found = claim_c_prime(judge_rows(0.5, there=without))
    assert found.verdict == "supported" and "not asked: 1 - MS-SSIM and JOD loss at 10 times" in found.reason
    assert sum(check.is_met is None for check in found.checks) == 2
    fewer = tuple(name for name in without if name != "vif")
    assert claim_c_prime(judge_rows(0.5, there=fewer)).verdict == "not testable here"
    nothing = claim_c_prime(unattacked("judges", "wrong", "misclassified before the attack"))
    assert nothing.verdict == "not testable here" and all(check.is_met is None for check in nothing.checks)


def test_claim_c_prime_asks_for_equal_gradients() -> None:
    found = claim_c_prime(judge_rows(0.5, gradients=60))
    assert found.verdict == "not testable here" and found.reason.startswith("not at equal gradients; less visible by")
    assert [check.value for check in found.checks[-2:]] == [1.5, 1.5]
    assert claim_c_prime(judge_rows(0.5, gradients=44)).verdict == "supported"


def test_picture_that_is_not_fooled_is_infinitely_visible() -> None:
    few = judge_ratios(judge_rows(0.5, not_fooled=10)).set_index("judge")
    none = judge_ratios(judge_rows(0.5)).set_index("judge")
    assert few.loc["gmsd", "ratio.value"] > none.loc["gmsd", "ratio.value"]
    most = judge_ratios(judge_rows(0.5, not_fooled=40)).set_index("judge")
    assert most.loc["gmsd", "ratio.value"] == math.inf
    assert claim_c_prime(judge_rows(0.5, not_fooled=40)).verdict == "reversed"


def test_ratio_is_of_medians_to_the_better_rival() -> None:
    rows = judge_rows({"gmsd": 0.7, "vif": 1.3})
    ratios = judge_ratios(rows).set_index("judge")
    assert list(ratios.index) == list(JUDGES) and set(ratios["rival"]) == {"l2_8bit"}
    medians = rows.groupby("method")["gmsd"].median()
    assert ratios.loc["gmsd", "ratio.value"] == pytest.approx(medians["ssim_8bit"] / medians["l2_8bit"])
    assert ratios.loc["gmsd", "ratio.high"] < 1 < ratios.loc["vif", "ratio.low"]
    turned = rows.replace({"method": {"l2_8bit": "linf_8bit", "linf_8bit": "l2_8bit"}})
    assert set(judge_ratios(turned)["rival"]) == {"linf_8bit"}
    assert judge_ratios(turned)["ratio.value"].tolist() == pytest.approx(judge_ratios(rows)["ratio.value"].tolist())


def test_jod_counts_where_a_loss_can_be_told() -> None:
    rows = judge_rows(0.5, level=0.01)
    table = rows.pivot(index="image", columns="method", values="jod_10")
    pair = table.loc[(table[["ssim_8bit", "l2_8bit"]] > 0.01).any(axis=1), ["ssim_8bit", "l2_8bit"]]
    assert 0 < len(pair) < COUNT
    ratios = judge_ratios(rows).set_index("judge")
    assert ratios.loc["jod_10", "ratio.num_values"] == len(pair) < ratios.loc["gmsd", "ratio.num_values"]
    assert ratios.loc["jod_10", "ratio.value"] == pytest.approx(pair["ssim_8bit"].median() / pair["l2_8bit"].median())
    unseen = claim_c_prime(judge_rows(0.5, level=1e-4))
    assert "not asked: JOD loss at 10 times" in unseen.reason


def test_other_rows_are_no_part_of_what_judges_say() -> None:
    rows = judge_rows(0.5)
    scaled = rows.assign(budget=0.1, ciede2000=9.0)
    wrong = unattacked("judges", "wrong", "misclassified before the attack")
    assert judge_ratios(together(rows, scaled, wrong)).equals(judge_ratios(rows))


def curve_rows(areas: Mapping[str, float], *, noise: float = 0.02) -> pd.DataFrame:
    """Insertion areas around a value of each map, deletion areas around 1 minus it."""
    generator = np.random.default_rng(0)
    shared = 0.1 * generator.normal(size=COUNT)
    rows = []
    for method, value in areas.items():
        for place in range(COUNT):
            insertion = value + shared[place] + noise * generator.normal()
            found = {area: insertion if area.startswith("insertion") else 1 - insertion for area in AREAS}
            named = {"part": "curves", "image": f"picture {place}", "method": method, "status": "scored"}
            rows.append(named | found)
    return frame_of(rows)


GOOD = {"ssim": 0.5, "random": 0.4, "squared_gradient": 0.51, "multiscale": 0.5, "multiscale_random": 0.55}


def studies_of(*areas: Mapping[str, float]) -> dict[tuple[str, str], pd.DataFrame]:
    pairs = zip(PHOTO_NETWORKS, areas, strict=False)
    return {("imagenet", network): curve_rows(each) for network, each in pairs}


def test_claim_f_is_supported_where_all_hold_with_every_network() -> None:
    found = claim_f(studies_of(GOOD, GOOD, GOOD))
    assert found.verdict == "supported" and len(found.checks) == 3 * 2 * 4
    assert all(check.is_met for check in found.checks)
    assert claim_f(studies_of(GOOD, GOOD, GOOD), ball="multiscale").verdict == "not supported"


def test_claim_f_with_limits_names_what_falls_short_or_is_missing() -> None:
    short = GOOD | {"squared_gradient": 0.56}
    found = claim_f(studies_of(GOOD, short, GOOD))
    assert found.verdict == "supported with limits"
    assert found.reason.startswith("not within 0.02 of the squared gradient: insertion (blur) with efficientnet-lite0")
    found = claim_f(studies_of(GOOD, GOOD))
    assert (found.verdict, found.reason) == ("supported with limits", "not recorded: efficientnet-lite2")
    without = {name: value for name, value in GOOD.items() if name != "squared_gradient"}
    assert claim_f(studies_of(GOOD, GOOD, without)).reason == "not recorded: efficientnet-lite2"


def test_claim_f_is_not_supported_where_one_network_is_not_above_the_random_direction() -> None:
    found = claim_f(studies_of(GOOD, GOOD, GOOD | {"random": 0.5}))
    assert found.verdict == "not supported"
    assert "not above the random direction: insertion (blur) with efficientnet-lite2" in found.reason
    one = curve_rows(GOOD).assign(deletion_mean=0.5)  # one of four areas does not tell them apart
    assert claim_f(studies_of(GOOD, GOOD) | {("imagenet", PHOTO_NETWORKS[2]): one}).verdict == "not supported"
    found = claim_f({("shapes", "shapes-0"): curve_rows(GOOD)})
    assert found.verdict == "not testable here" and found.reason.startswith("not recorded: mobilenet_v2, ")


def test_of_several_networks_the_worst_verdict_counts_and_all_are_named() -> None:
    photos = {("imagenet", "one"): judge_rows(0.5), ("imagenet", "two"): judge_rows(3.0)}
    studies = photos | {("shapes", "x"): judge_rows(4.0)}
    found = verdicts_of_judges(studies)
    assert list(found) == list(JUDGED)
    assert found["c_prime_ssim"].verdict == judges.REVERSED
    assert found["c_prime_ssim"].reason.startswith("reversed on ImageNet photographs (two); supported on ImageNet")
    assert found["c_prime_multiscale"].verdict == found["f_ssim"].verdict == judges.NOT_TESTABLE
    with_others = verdicts_of_judges(photos | {("imagenet", "two"): judge_rows(0.5)}, {"one": judge_rows(3.0)})
    assert with_others["c_prime_ssim"].verdict == judges.REVERSED
    assert "reversed on photographs with the rivals of every library (one)" in with_others["c_prime_ssim"].reason
    assert "rivals of every library" not in with_others["c_prime_multiscale"].reason  # it was not searched there
    assert worst({}).verdict == judges.NOT_TESTABLE
    lost = {("imagenet", "a"): worst({}), ("imagenet", "b"): claim_c_prime(judge_rows(0.5))}
    assert worst(lost).verdict == judges.SUPPORTED  # and what could not be told is named
    assert "not testable here on ImageNet photographs (a)" in worst(lost).reason
