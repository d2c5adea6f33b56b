"""Searches against the best that any found, on rows made by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from perceptlib.analysis.opponents import opponent_ratios, opponent_summary
from perceptlib.attacks.opponents import FOUND, SPENT

COUNT = 20


def made(factors: Mapping[tuple[str, int], float], *, not_found: int = 0, scatter: float = 0.0) -> pd.DataFrame:
    """Distances that are a factor of 1, 2, ...; the first pictures are not fooled by any search but "l2"."""
    generator = np.random.default_rng(0)
    rows = []
    for (method, budget), factor in factors.items():
        for place in range(COUNT):
            is_found = method == "l2" or place >= not_found
            size = factor * (place + 1) * np.exp(scatter * generator.normal())
            rows.append(
                {"image": f"picture {place}", "method": method, "budget": budget, "outcome": FOUND}
                | {"is_adversarial": is_found, "distance": size if is_found else 0.0}
                | {"gradients": budget, "forward_passes": 2 * budget}
            )
    return pd.DataFrame(rows)


def test_reference_is_the_best_of_every_search_setting_and_budget() -> None:
    rows = made({("l2", 100): 2.0, ("ddn", 100): 1.005, ("ddn:0.1", 100): 3.0, ("ddn", 1000): 1.0})
    summary = opponent_summary(rows).set_index(["method", "budget"])
    assert list(summary.index) == [("ddn", 100), ("l2", 100), ("ddn", 1000)]
    assert summary["ratio"].tolist() == pytest.approx([1.005, 2.0, 1.0])
    assert summary["near"].tolist() == [1, 0, 1]
    assert summary.loc[("l2", 100), "distance"] == pytest.approx(2 * (COUNT + 1) / 2)
    # of two settings the better counts, and the effort of both
    assert summary.loc[("ddn", 100), ["gradients", "forward_passes", "num_settings"]].tolist() == [200, 400, 2]
    apart = opponent_summary(rows, by_setting=True).set_index(["method", "budget"])
    assert apart.loc[("ddn:0.1", 100), "ratio"] == pytest.approx(3.0)
    assert apart.loc[("ddn", 100), "gradients"] == 100


@pytest.mark.parametrize(("not_found", "success", "ratio"), [(5, 0.75, 2.0), (11, 0.45, math.inf)])
def test_search_that_finds_nothing_counts_as_infinite(not_found: int, success: float, ratio: float) -> None:
    rows = made({("l2", 100): 1.0, ("fmn_l2", 100): 2.0}, not_found=not_found)
    row = opponent_summary(rows).set_index("method").loc["fmn_l2"]
    assert (row["success"], row["ratio"]) == (success, ratio)
    nobody = made({("fmn_l2", 100): 2.0}, not_found=COUNT)
    row = opponent_summary(nobody).iloc[0]
    assert (row["success"], row["near"], row["ratio"], row["distance"]) == (0, 0, math.inf, math.inf)


def test_search_that_may_not_be_called_beaten_says_why() -> None:
    factors = {("alma_ssim", 100): 4.0, ("alma_ssim", 1000): 2.0, ("perc_al", 100): 3.0, ("perc_al", 1000): 2.99}
    factors |= {("fmn_l2", 100): 1.5, ("fmn_l2:0.1", 100): 1.5, ("l2", 100): 1.0, ("deepfool", 100): 1.4}
    factors |= {("deepfool", 1000): 1.4}
    cautions = opponent_summary(made(factors)).set_index(["method", "budget"])["caution"].to_dict()
    assert cautions == {
        ("alma_ssim", 100): "not converged: nearer with 1000 gradients; one setting",
        ("alma_ssim", 1000): "not known to have converged: still nearer than with 100 gradients; one setting",
        ("perc_al", 100): "one setting",
        ("perc_al", 1000): "one setting",
        ("fmn_l2", 100): "one budget",
        ("l2", 100): "one budget",
        ("deepfool", 100): "",
        ("deepfool", 1000): "",
    }


def test_runs_that_the_budget_ended_are_counted() -> None:
    rows = made({("carlini_wagner", 100): 2.0})
    rows.loc[: COUNT // 4 - 1, "outcome"] = SPENT
    assert opponent_summary(rows).iloc[0]["ended"] == 0.25
    assert opponent_summary(rows.head(0)).empty


def test_ratios_to_each_other_are_paired_and_have_intervals() -> None:
    factors = {("multiscale", 100): 1.0, ("l2", 100): 2.0, ("ddn", 100): 1.0, ("ddn", 1000): 1.0}
    rows = made(factors, scatter=0.02).rename(columns={"distance": "ciede2000"})
    ratios = opponent_ratios(rows).set_index("method")
    assert list(ratios.index) == ["ddn", "l2"]  # at the budget that both have
    medians = rows[rows["budget"] == 100].groupby("method")["ciede2000"].median()
    assert ratios.loc["l2", "ratio.value"] == pytest.approx(medians["multiscale"] / medians["l2"])
    assert ratios.loc["l2", "ratio.high"] < 1
    assert ratios.loc["ddn", "ratio.low"] < 1 < ratios.loc["ddn", "ratio.high"]
    assert opponent_ratios(rows, method="ssim").empty
