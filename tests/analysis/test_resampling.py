"""Intervals are drawn as scipy's bootstrap draws, with the level, resamples and seed that are asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from test_statistics import pairs

from perceptlib.analysis.statistics import bootstrap_interval, difference_of_rates, paired_test, ratio_of_medians


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_interval_is_that_of_scipys_bootstrap(statistic: str) -> None:
    values = np.random.default_rng(3).normal(size=40)
    function = {"median": np.median, "mean": np.mean}[statistic]
    for given_options, level, resamples, seed in (
        ({}, 0.95, 2000, 0),
        ({"level": 0.6, "num_resamples": 99}, 0.6, 99, 0),
    ):
        result = stats.bootstrap(
            (values,),
            function,
            confidence_level=level,
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
        interval = bootstrap_interval(values, statistic=statistic, **given_options)  # type: ignore[arg-type]
        assert (interval.low, interval.high) == tuple(result.confidence_interval)
    assert bootstrap_interval(values) == bootstrap_interval(values, statistic="median")


def test_difference_of_rates_is_the_interval_of_the_mean_difference() -> None:
    random = np.random.default_rng(4)
    first, second = random.random(50) < 0.7, random.random(50) < 0.5
    differences = first.astype(float) - second
    for options in ({}, {"level": 0.6, "num_resamples": 99, "seed": 8}):
        expected = bootstrap_interval(differences, statistic="mean", **options)  # type: ignore[arg-type]
        assert difference_of_rates(first, second, **options) == expected  # type: ignore[arg-type]


def test_ratio_of_medians_has_the_level_asked_for() -> None:
    values, others = (np.exp(column) for column in pairs(6))
    for given_options, level, resamples, seed in (
        ({}, 0.95, 2000, 0),
        ({"level": 0.6, "num_resamples": 99, "seed": 5}, 0.6, 99, 5),
    ):
        interval = ratio_of_medians(values, others, **given_options)  # type: ignore[arg-type]
        ratios = stats.bootstrap(
            (values, others),
            lambda a, b, axis: np.median(a, axis) / np.median(b, axis),
            paired=True,
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
        ends = np.sort(ratios)[
            [math.floor((resamples - 1) * (1 - level) / 2), math.ceil((resamples - 1) * (1 + level) / 2)]
        ]
        assert (interval.low, interval.high) == pytest.approx(tuple(ends))


def test_paired_test_draws_as_its_seed_says() -> None:
    values, others = pairs(5)
    assert paired_test(values, others).difference == bootstrap_interval(values - others, statistic="median", seed=0)
