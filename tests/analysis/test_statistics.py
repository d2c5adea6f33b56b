"""Statistics against scipy, statsmodels' definition and hand-made pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perceptlib.analysis import statistics
from perceptlib.analysis.statistics import (
    Interval,
    PairedTest,
    bootstrap_interval,
    difference_of_rates,
    holm,
    over_networks,
    paired_test,
    ratio_of_medians,
    t_interval,
)


def test_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    interval = bootstrap_interval(values, statistic="mean")
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean())
    # 2000 resamples leave the ends uncertain by a few percent of the width
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("number", [2, 40, 41])
@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_interval_is_that_of_scipys_bootstrap(statistic: str, number: int) -> None:
    values = pd.Series(np.random.default_rng(3).normal(size=number))
    result = stats.bootstrap(
        (values,),
        {"median": np.median, "mean": np.mean}[statistic],
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(5),
    )
    interval = bootstrap_interval(values, statistic=statistic, seed=5)
    assert (interval.low, interval.high) == tuple(result.confidence_interval)


def test_draws_of_many_pictures_are_not_kept() -> None:
    statistics._draws.cache_clear()
    for number, kept in ((1000, 1), (1001, 1)):
        values = np.random.default_rng(3).normal(size=number)
        draws = np.random.default_rng(5).integers(number, size=(2000, number))
        expected = stats.quantile(np.median(values[draws], axis=1), [0.025, 0.975])
        interval = bootstrap_interval(values, seed=5)
        assert (interval.low, interval.high) == pytest.approx(tuple(expected), rel=1e-12)
        assert statistics._draws.cache_info().currsize == kept


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
@settings(max_examples=25, deadline=None)
def test_interval_holds_its_median_and_stays_within_the_values(values: list[float]) -> None:
    interval = bootstrap_interval(values)
    slack = 1e-12 * max(1.0, *(abs(value) for value in values))  # quantiles are interpolated, so rounded
    assert min(values) - slack <= interval.low <= interval.value + slack
    assert interval.value - slack <= interval.high <= max(values) + slack
    assert interval.value == pytest.approx(float(np.median(values)))


def test_interval_counts_undefined_values() -> None:
    interval = bootstrap_interval([1.0, math.nan, 2.0, 3.0, math.nan])
    assert (interval.value, interval.num_values, interval.num_undefined) == (2.0, 3, 2)


def test_interval_of_nothing_and_of_one_value() -> None:
    nothing, one = bootstrap_interval([math.nan]), bootstrap_interval([0.5])
    assert math.isnan(nothing.value) and nothing.num_undefined == 1
    assert one.value == 0.5 and math.isnan(one.low)


def test_interval_of_equal_values_is_that_value() -> None:
    interval = bootstrap_interval([0.25] * 9)
    assert (interval.low, interval.high) == (0.25, 0.25)


def test_interval_depends_on_its_seed_alone() -> None:
    values = np.random.default_rng(2).normal(size=30)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(list(values), seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_interval_of_infinite_values_is_infinite_where_they_are() -> None:
    interval = bootstrap_interval([1.0, 2.0, 3.0, 4.0, math.inf, math.inf, math.inf])
    assert interval.value == 4 and interval.low < 4 and interval.high == math.inf


def interval_of(test: PairedTest) -> Interval:
    return Interval(test.value, test.low, test.high, test.num_values, test.num_undefined)


def pairs(seed: int, num: int = 60, shift: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    common = random.normal(size=num)
    return common + random.normal(size=num) / 2 + shift, common + random.normal(size=num) / 2


# Paired test


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("num", [6, 20, 60])
def test_paired_test_is_that_of_scipy(alternative: str, num: int) -> None:
    values, others = pairs(0, num)
    test = paired_test(values, others, alternative=alternative)
    assert test.p_value == stats.wilcoxon(values, others, alternative=alternative).pvalue
    assert interval_of(test) == bootstrap_interval(values - others)
    assert (test.num_values, test.num_undefined) == (num, 0)


def test_paired_test_of_few_pairs_follows_the_exact_distribution() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    test = paired_test(values, 0 * values, alternative="greater")
    assert test.p_value == pytest.approx(1 / 2**5)  # one of 32 choices of signs
    assert paired_test(values, 0 * values).p_value == pytest.approx(2 / 2**5)
    assert paired_test(values, 0 * values, alternative="less").p_value == 1


def test_paired_test_ranks_equal_pairs_as_pratt_does() -> None:
    random = np.random.default_rng(0)
    values, others = random.integers(0, 2, 80).astype(float), random.integers(0, 2, 80).astype(float)
    assert paired_test(values, others).p_value == stats.wilcoxon(values - others, zero_method="pratt").pvalue


def test_effect_is_the_rank_biserial_correlation_of_hand_made_pairs() -> None:
    # ranks 1, 2, 3, 4 of 1, -2, 3, 4
    assert paired_test([1, 0, 3, 4], [0, 2, 0, 0]).effect == pytest.approx((1 + 3 + 4 - 2) / 10)
    # zeros share ranks 1 and 2, for neither side
    assert paired_test([1, 2, 5, 4], [1, 2, 0, 5]).effect == pytest.approx((4 - 3) / 10)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=7))
@settings(max_examples=25, deadline=None)
def test_effect_and_p_value_turn_with_the_pair(both: list[tuple[float, float]]) -> None:
    values, others = (list(column) for column in zip(*both, strict=True))
    test, turned = paired_test(values, others), paired_test(others, values)
    assert -1 <= test.effect <= 1 and 0 <= test.p_value <= 1
    assert turned.effect == pytest.approx(-test.effect)
    assert turned.p_value == pytest.approx(test.p_value)
    assert paired_test(values, [value - 1 for value in values]).effect == 1


def test_effect_agrees_with_scipys_statistic() -> None:
    values, others = pairs(1)
    above = stats.wilcoxon(values, others, alternative="greater").statistic
    assert paired_test(values, others).effect == pytest.approx(2 * above / (60 * 61 / 2) - 1)


def test_paired_test_of_equal_values_finds_nothing() -> None:
    test = paired_test([0.25] * 9, [0.25] * 9)
    assert (test.p_value, test.effect, test.value) == (1, 0, 0)


def test_paired_test_counts_undefined_pairs() -> None:
    values, others = pairs(2)
    expected = paired_test(values, others)
    holes = paired_test([*values, math.nan, 1.0, math.nan], [*others, 1.0, math.nan, math.nan])
    assert (holes.num_values, holes.num_undefined) == (60, 3)
    assert (holes.p_value, holes.effect) == (expected.p_value, expected.effect)
    nothing = paired_test([math.nan], [1.0])
    assert math.isnan(nothing.p_value) and math.isnan(nothing.effect) and math.isnan(nothing.value)
    assert (nothing.num_values, nothing.num_undefined) == (0, 1)


def test_paired_test_takes_infinite_distances_as_the_largest() -> None:
    values, others = [1.0, 2.0, 3.0, 4.0, math.inf, 5.0], [2.0, 4.0, 6.0, math.inf, math.inf, 9.0]
    test = paired_test(values, others, alternative="less")
    finite = paired_test([1.0, 2.0, 3.0, 4.0, 9.0, 5.0], [2.0, 4.0, 6.0, 99.0, 9.0, 9.0], alternative="less")
    assert (test.p_value, test.effect, test.num_undefined) == (finite.p_value, finite.effect, 0)


def test_paired_test_under_the_null_is_calibrated() -> None:
    p_values = [paired_test(*pairs(seed, 25, shift=0)).p_value for seed in range(200)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_paired_test_takes_mean_and_seed() -> None:
    values, others = pairs(3)
    test = paired_test(values, others, statistic="mean", seed=4)
    assert interval_of(test) == bootstrap_interval(values - others, statistic="mean", seed=4)


# Holm


def test_holm_is_that_of_hand_made_p_values() -> None:
    adjusted = holm(pd.Series({"a": 0.01, "b": 0.04, "undefined": math.nan, "c": 0.03, "d": 0.005}))
    assert list(adjusted.index) == ["a", "b", "undefined", "c", "d"]
    # 4 * 0.005, 3 * 0.01, 2 * 0.03, and never below the one before; what could not be made is no member
    assert adjusted.drop("undefined").to_dict() == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert math.isnan(adjusted["undefined"])
    assert holm(pd.Series(dtype=float)).empty and math.isnan(holm(pd.Series([math.nan]))[0])


def test_holm_lies_between_the_p_value_and_bonferroni() -> None:
    p_values = np.random.default_rng(0).random(100) ** 3
    adjusted = holm(pd.Series(p_values)).to_numpy()
    assert (p_values <= adjusted).all() and (adjusted <= np.minimum(1, 100 * p_values) * (1 + 1e-12)).all()
    order = p_values.argsort()
    stepped = np.maximum.accumulate(np.arange(100, 0, -1) * p_values[order]).clip(max=1)
    np.testing.assert_allclose(adjusted[order], stepped)


# Rates


def test_difference_of_rates_is_that_of_the_pairs() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(200) < 0.7, random.random(200) < 0.5
    interval = difference_of_rates(first, second)
    differences = first.astype(float) - second
    assert interval.value == pytest.approx(first.mean() - second.mean())
    half = 1.96 * differences.std() / math.sqrt(200)
    # 2000 resamples, and steps of 1/200
    assert interval.low == pytest.approx(interval.value - half, abs=0.15 * half)
    assert interval.high == pytest.approx(interval.value + half, abs=0.15 * half)


def test_difference_of_rates_is_paired() -> None:
    first = np.random.default_rng(1).random(100) < 0.5
    second = first.copy()
    second[:3] = ~second[:3]
    both, apart = difference_of_rates(first, second), difference_of_rates(first, np.roll(second, 50))
    assert both.high - both.low < 0.4 * (apart.high - apart.low)
    same = difference_of_rates(first, first)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_difference_of_rates_counts_undefined_pairs() -> None:
    interval = difference_of_rates([1, 0, math.nan, 1], [0, 0, 1, math.nan], seed=3)
    assert (interval.value, interval.num_values, interval.num_undefined) == (0.5, 2, 2)


# Ratio of medians


def test_ratio_of_medians_is_that_of_scipys_bootstrap() -> None:
    values, others = (np.exp(column) for column in pairs(4))
    interval = ratio_of_medians(values, others, seed=5)
    assert interval.value == pytest.approx(np.median(values) / np.median(others))
    result = stats.bootstrap(
        (values, others),
        lambda a, b, axis: np.median(a, axis) / np.median(b, axis),
        paired=True,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(5),
    )
    # ends are resamples, not points between two of them
    assert (interval.low, interval.high) == pytest.approx(result.confidence_interval, rel=0.01)


def test_ratio_of_medians_is_paired() -> None:
    values = np.exp(np.random.default_rng(0).normal(size=80))
    interval = ratio_of_medians(3 * values, values)
    assert (interval.value, interval.low, interval.high) == pytest.approx((3, 3, 3))


def test_ratio_of_medians_takes_pictures_that_are_never_fooled() -> None:
    values = np.arange(1.0, 41)
    others = 2 * np.random.default_rng(0).permutation(values)
    values[35:], others[others > 64] = math.inf, math.inf
    interval = ratio_of_medians(values, others)
    assert interval.value == pytest.approx(20.5 / 41)
    assert 0 < interval.low < 0.5 < interval.high
    half = ratio_of_medians(values, np.where(others <= 42, others, math.inf))
    assert half.value == pytest.approx(0.5) and half.low == 0
    assert ratio_of_medians(others, np.full(40, math.inf)).value == 0
    never = ratio_of_medians(np.full(40, math.inf), others)
    assert never.value == never.high == math.inf
    unknown = ratio_of_medians(np.full(9, math.inf), np.full(9, math.inf))
    assert math.isnan(unknown.value) and (unknown.low, unknown.high) == (0, math.inf)


def test_ratio_of_medians_counts_undefined_pairs() -> None:
    interval = ratio_of_medians([1, 2, math.nan, 3], [1, 4, 1, math.nan])
    assert (interval.value, interval.num_values, interval.num_undefined) == (pytest.approx(0.6), 2, 2)
    nothing, one = ratio_of_medians([math.nan], [1]), ratio_of_medians([1], [2])
    assert math.isnan(nothing.value) and nothing.num_undefined == 1
    assert one.value == 0.5 and math.isnan(one.low)


def test_interval_over_networks_is_that_of_pictures_where_networks_agree() -> None:
    values = pd.Series(np.random.default_rng(1).normal(0.3, 0.1, 60), index=[f"picture {place}" for place in range(60)])
    found, alone = over_networks({0: values, 1: values, 2: values}), bootstrap_interval(values)
    assert found.value == pytest.approx(alone.value)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.02)
    assert (found.num_values, found.num_undefined) == (180, 0)


def test_interval_over_networks_spans_networks_that_differ() -> None:
    """Of three equal in all pictures, one draw in 27 has the lowest alone: more than the 2.5 % that are cut off."""
    found = over_networks({seed: pd.Series(value, index=range(9)) for seed, value in enumerate((0.1, 0.2, 0.6))})
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.1, 0.6))


def test_pictures_that_one_network_lacks_are_undefined_for_it_alone() -> None:
    first, second = pd.Series([0.0, 1.0, 0.0, 1.0], index=list("abcd")), pd.Series([0.0, 1.0], index=list("ab"))
    found = over_networks({0: first, 1: second})
    assert found.value == pytest.approx(0.5) and found.num_undefined == 2


def test_student_s_interval_is_the_closed_form() -> None:
    found = t_interval([0.1, 0.2, 0.3])
    half = 4.302653 * 0.1 / math.sqrt(3)  # t of two degrees of freedom
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half), rel=1e-6)


@pytest.mark.parametrize(
    ("function", "values", "options", "message"),
    [
        (bootstrap_interval, ([1.0],), {"statistic": "mode"}, "statistic 'mode' is unknown; pass 'median' or 'mean'"),
        (paired_test, ([1], [2]), {"statistic": "mode"}, "statistic 'mode' is unknown"),
        (paired_test, ([1], [2]), {"alternative": "above"}, "alternative 'above' is unknown; pass 'two-sided', "),
        (paired_test, ([1, 2, 3], [1, 2]), {}, "3 values and 2 others are no pairs; pass one of each per picture"),
        (difference_of_rates, ([1], [1, 0]), {}, "1 values and 2 others are no pairs"),
        (difference_of_rates, ([0.5], [1.0]), {}, r"a success is 0\.5; True, False, 0, 1 or NaN for none is allowed"),
        (ratio_of_medians, ([1, 2], [1]), {}, "2 values and 1 others are no pairs"),
        (ratio_of_medians, ([1, 2], [1, -2]), {}, "a value is -2; 0 or more, or infinity, is allowed in a ratio"),
        (holm, (pd.Series({"a": -0.1}),), {}, r"p-value -0.1 of 'a' is outside \[0, 1\]; pass a probability"),
        (holm, (pd.Series({"a": 1.5}),), {}, r"p-value 1.5 of 'a' is outside \[0, 1\]; pass a probability"),
        (
            over_networks,
            ({0: pd.Series([1.0, 2.0, 3.0])},),
            {},
            "1 networks and 3 pictures have no spread; pass 2 or mo",
        ),
        (t_interval, ([1.0],), {}, "1 values, 1 finite; pass 2 or more, all finite"),
        (t_interval, ([1.0, math.inf],), {}, "2 values, 1 finite; pass 2 or more, all finite"),
    ],
)
def test_what_has_no_answer_is_refused(function: Any, values: tuple[Any, ...], options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(*values, **options)
