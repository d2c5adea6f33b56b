"""Searches against the best that any found, on rows made by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from perceptlib.analysis.opponents import (
    aimed_summaries,
    better_rivals,
    duels,
    gains,
    judge_rivals,
    main_budget,
    opponent_summary,
    variant_ratios,
)
from perceptlib.rivals.opponents import FOUND, SPENT

COUNT = 20


def made(factors: Mapping[tuple[str, int], float], *, not_found: int = 0) -> pd.DataFrame:
    """Distances that are a factor of 1, 2, ...; the first pictures are not fooled by any search but "l2"."""
    rows = []
    for (method, budget), factor in factors.items():
        for place in range(COUNT):
            is_found = method == "l2" or place >= not_found
            size = factor * (place + 1)
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


def test_longer_run_on_fewer_pictures_is_compared_on_those() -> None:
    rows = made({("l2", 100): 1.0, ("fmn_l2", 100): 2.0, ("l2", 1000): 0.999, ("fmn_l2", 1000): 1.9})
    is_there = (rows["budget"] == 100) | rows["image"].isin([f"picture {place}" for place in range(5)])
    few = rows[is_there].assign(aim="l2", l2=rows["distance"])
    assert (main_budget(rows), main_budget(few)) == (1000, 100)  # the one with the most pictures, else the largest
    # medians of other pictures would be a third of these, and every search far from converged
    cautions = opponent_summary(few).set_index(["method", "budget"])["caution"].to_dict()
    assert cautions[("l2", 100)] == cautions[("l2", 1000)] == ""
    assert cautions[("fmn_l2", 100)] == "not converged: nearer with 1000 gradients; one setting"
    gained = gains(few).set_index("method")
    assert gained["value"].to_dict() == pytest.approx({"l2": 0.999, "fmn_l2": 0.95})
    assert gained[["aim", "larger", "num_values"]].to_numpy().tolist() == [["l2", 1000, 5]] * 2
    assert (gained["low"] <= gained["value"]).all() and (gained["value"] <= gained["high"]).all()
    assert gains(few[few["budget"] == 100]).empty and gains(few.head(0)).empty


@pytest.mark.parametrize(
    ("short", "long", "caution"), [(math.inf, 1.0, True), (math.inf, math.inf, False), (1.0, 9.0, False)]
)
def test_search_that_a_longer_run_makes_find_something_has_not_converged(
    short: float, long: float, caution: bool
) -> None:
    rows = pd.concat([searched({"l2": ("l2", [size] * 4)}, budget) for size, budget in ((short, 100), (long, 1000))])
    said = opponent_summary(rows, distance="l2").set_index("budget").loc[100, "caution"]
    assert said == ("not converged: nearer with 1000 gradients" if caution else "")


def test_runs_that_the_budget_ended_are_counted() -> None:
    rows = made({("carlini_wagner", 100): 2.0})
    rows.loc[: COUNT // 4 - 1, "outcome"] = SPENT
    assert opponent_summary(rows).iloc[0]["ended"] == 0.25
    assert opponent_summary(rows.head(0)).empty


def searched(distances: Mapping[str, tuple[str, list[float]]], budget: int = 100) -> pd.DataFrame:
    """Method -> its aim and distances, infinite where it finds nothing: the same by every distance and judge."""
    rows = []
    for method, (aim, values) in distances.items():
        for place, value in enumerate(values):
            is_found = math.isfinite(value)
            size = value if is_found else 0.0
            rows.append(
                {"image": f"picture {place}", "method": method, "aim": aim, "budget": budget, "outcome": FOUND}
                | {"is_adversarial": is_found, "gradients": 90, "forward_passes": 95}
                | dict.fromkeys(("distance", "l2", "linf", "multiscale", "ciede2000", "ms_ssim", "jod_10"), size)
            )
    return pd.DataFrame(rows)


INF = math.inf
SEARCHED = {
    "l2": ("l2", [2.0, 2.0, 2.0, INF]),
    "fmn_l2": ("l2", [1.0, 2.0, 3.0, 4.0]),
    "fmn_l2:0.1": ("l2", [3.0, 1.0, INF, INF]),
    "deepfool": ("l2", [4.0, 4.0, 4.0, INF]),
    "ssim": ("ssim", [9.0, 9.0, 9.0, 9.0]),
    "perc_al": ("ciede2000", [0.5, 0.5, 8.0, 8.0]),
}


def test_each_search_is_summed_up_by_its_own_aim_ours_first() -> None:
    rows = searched(SEARCHED)
    summary = aimed_summaries(rows)
    assert summary[["aim", "method"]].apply(tuple, axis=1).tolist() == [
        ("ssim", "ssim"),
        ("l2", "l2"),
        ("l2", "fmn_l2"),
        ("l2", "deepfool"),
        ("ciede2000", "perc_al"),
    ]
    # naively: the best setting of each picture, over the best that any search found on it
    best = np.array([[1.0, 1.0, 3.0, 4.0], [0.5, 0.5, 2.0, 4.0]])
    by_method = summary.set_index("method")
    assert by_method.loc["fmn_l2", "ratio"] == np.median(best[0] / best[1])
    assert by_method.loc["fmn_l2", ["gradients", "num_settings", "median"]].tolist() == [180, 2, 2.0]
    assert by_method.loc["fmn_l2", "low"] <= by_method.loc["fmn_l2", "ratio"] <= by_method.loc["fmn_l2", "high"]
    assert by_method.loc["l2", "high"] == math.inf and by_method.loc["l2", "success"] == 0.75
    later = pd.concat([rows, searched({"l2": ("l2", [1.0] * 4)}, budget=1000)], ignore_index=True)
    assert aimed_summaries(later)["method"].tolist() == ["l2"]  # at the largest budget
    assert aimed_summaries(rows.head(0)).empty


def test_duels_count_where_the_rival_is_strictly_nearer_and_the_most_dangerous_comes_first() -> None:
    found = duels(searched(SEARCHED))
    by_l2 = found[found["aim"] == "l2"].set_index("method")
    own = np.array(SEARCHED["l2"][1])
    for method, row in by_l2.iterrows():
        other = np.array(SEARCHED[method][1])
        assert (row["num_smaller"], row["num_images"]) == ((other < own).sum(), 4)
        assert row["ratio.value"] == pytest.approx(np.median(own) / np.median(other), nan_ok=True)
    # infinite against infinite and 2 against 2 are no win; a setting is a rival of its own; ours are none
    assert by_l2["num_smaller"].to_dict() == {"perc_al": 3, "fmn_l2": 2, "fmn_l2:0.1": 1, "deepfool": 0}
    assert by_l2["gradients"].tolist() == [90] * 4
    assert by_l2["caution"].to_dict() == {
        **{"perc_al": "one budget; one setting", "fmn_l2": "one budget", "fmn_l2:0.1": "one budget"},
        "deepfool": "one budget",
    }
    assert found["aim"].unique().tolist() == ["ssim", "l2"]  # no search of ours makes the others small here
    assert duels(searched({"l2": SEARCHED["l2"]})).empty and duels(searched(SEARCHED).head(0)).empty


def test_duels_leave_a_picture_out_that_one_of_the_two_lacks() -> None:
    rows = searched({"l2": ("l2", [2.0, 2.0]), "ddn": ("l2", [1.0, 1.0])})
    [row] = duels(rows.drop(rows.index[3])).to_dict("records")
    assert (row["num_smaller"], row["num_images"]) == (1, 1)


def test_best_rival_of_each_kind_is_that_with_the_smallest_median_loss() -> None:
    rows = searched(SEARCHED | {"linf": ("linf", [6.0, 6.0, 6.0, INF])})
    found = judge_rivals(rows, method="ssim").set_index(["judge", "kind"])
    assert found.loc["ciede2000", "rival"].to_dict() == {"linf": "linf", "l2": "l2", "perceptual": "perc_al"}
    assert found.loc[("ciede2000", "l2"), ["loss", "rival_loss", "ratio.value"]].tolist() == [9.0, 2.0, 4.5]
    best = better_rivals(found.reset_index()).set_index("judge")
    assert best["rival"].to_dict() == {"ciede2000": "l2", "ms_ssim": "l2", "jod_10": "l2"}
    own = judge_rivals(rows, method="ssim", among=("linf",))
    assert own["rival"].unique().tolist() == ["linf"] and set(own["kind"]) == {"linf"}
    assert judge_rivals(rows, method="multiscale").empty and better_rivals(judge_rivals(rows.head(0))).empty


def test_of_rivals_that_find_nothing_one_is_named_and_a_tie_is_the_first_one_s() -> None:
    rows = searched(
        {"multiscale": ("multiscale", [1.0, 2.0]), "ddn": ("l2", [INF, INF]), "apgd_l2": ("l2", [INF, INF])}
    )
    [row] = judge_rivals(rows)[lambda frame: frame["judge"] == "ciede2000"].to_dict("records")
    assert (row["rival"], row["rival_loss"], row["ratio.value"]) == ("ddn", math.inf, 0)


def test_jod_counts_where_one_of_the_two_losses_can_be_told() -> None:
    rows = searched({"multiscale": ("multiscale", [0.02, 0.001, 0.003]), "l2": ("l2", [0.001, 0.04, 0.002])})
    found = judge_rivals(rows).set_index("judge")
    assert found.loc["jod_10", "ratio.num_values"] == 2 and found.loc["ciede2000", "ratio.num_values"] == 3
    assert found.loc["jod_10", "ratio.value"] == pytest.approx(np.median([0.02, 0.001]) / np.median([0.001, 0.04]))


def test_variants_are_told_as_ratios_to_the_default_picture_by_picture() -> None:
    rows = searched({"l2": ("l2", [1.0, 2.0, 3.0, 4.0]), "ssim": ("l2", [2.0, 1.0, 9.0, INF])})
    rows = rows.rename(columns={"method": "variant"}).assign(jod_10=[0.5, 0.001, 0.3, 0.4, 0.5, 0.001, 0.9, 0.0])
    found = variant_ratios(rows).set_index(["variant", "judge"])
    assert found.index.tolist() == [("ssim", "ciede2000"), ("ssim", "ms_ssim"), ("ssim", "jod_10")]
    row = found.loc["ssim", "ciede2000"]
    assert (row["value"], row["num_values"]) == (np.median([2, 1, 9, INF]) / 2.5, 4) and row["high"] == INF
    assert found.loc[("ssim", "jod_10"), "num_values"] == 3  # a loss that is next to nothing in both says nothing
    assert variant_ratios(rows.head(0)).empty
