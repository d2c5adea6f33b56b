from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptlib.statistics import bootstrap_interval


def test_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    interval = bootstrap_interval(values, statistic="mean")
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean())
    # 2000 resamples leave the ends uncertain by a few percent of the width
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_narrows_with_its_level() -> None:
    values = np.random.default_rng(1).normal(size=50)
    wide, narrow = (bootstrap_interval(values, level=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
@settings(max_examples=25, deadline=None)
def test_interval_holds_its_median_and_stays_within_the_values(values: list[float]) -> None:
    interval = bootstrap_interval(values, num_resamples=200)
    assert min(values) <= interval.low <= interval.value <= interval.high <= max(values)
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


def test_interval_refuses_unknown_statistic_and_level() -> None:
    with pytest.raises(ValueError, match="statistic 'mode' is unknown; pass 'median' or 'mean'"):
        bootstrap_interval([1.0], statistic="mode")
    with pytest.raises(ValueError, match=r"level 95 is not between 0 and 1; pass e.g. level=0.95"):
        bootstrap_interval([1.0], level=95)
