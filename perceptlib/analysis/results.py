"""What a study's rows say: rates, distances, scores and effects, paired by picture, each with its interval.

Pictures that the network names wrongly from the start, and pictures that failed, have nothing to compare; how many they
were is part of every summary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from perceptlib.analysis.statistics import (
    PairedTest,
    bootstrap_interval,
    difference_of_rates,
    holm,
    paired_test,
    ratio_of_medians,
)
from perceptlib.analysis.tables import Row
from perceptlib.attacks import Status

Summary = dict[str, Any]
_UNATTACKED = (str(Status.MISCLASSIFIED_BEFORE), "failed")


def select(rows: Sequence[Row], **where: Any) -> list[Row]:
    """Rows of pictures that were computed, whose columns have the given values."""
    return [
        row
        for row in rows
        if not row["status"].startswith(_UNATTACKED) and all(row[name] == value for name, value in where.items())
    ]


def counts(rows: Sequence[Row]) -> Summary:
    """Pictures of a study: all, named wrongly from the start, failed, and those left to compare."""
    by_picture: dict[str, set[str]] = {}
    for row in rows:
        by_picture.setdefault(row["image"], set()).add(row["status"])
    wrong = sum(_UNATTACKED[0] in statuses for statuses in by_picture.values())
    failed = sum(any(status.startswith("failed") for status in statuses) for statuses in by_picture.values())
    return {
        "num_images": len(by_picture),
        "num_misclassified": wrong,
        "num_failed": failed,
        "num_compared": len(by_picture) - wrong - failed,
    }


def pairs(
    rows: Sequence[Row], name: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> tuple[list[Any], list[Any]]:
    """One column under two conditions, of the pictures that have both, in one order."""
    values, others = ({row["image"]: row[name] for row in select(rows, **condition)} for condition in (first, second))
    both = [image for image in values if image in others]
    return [values[image] for image in both], [others[image] for image in both]


def distance_of(row: Row, *, is_rounded: bool = False) -> float:
    """SSIM distance at which a search fooled, infinite where it did not; of the picture rounded to 8 bits, or not."""
    suffix = "_8bit" if is_rounded else ""
    return float(row[f"distance{suffix}"]) if row[f"is_adversarial{suffix}"] else math.inf


def fooling_summary(rows: Sequence[Row]) -> dict[str, dict[str, Summary]]:
    """Attack -> budget as text -> rate with its interval, rate after rounding to 8 bits, mean SSIM, and pictures."""
    summary: dict[str, dict[str, Summary]] = {}
    fooling = select(rows, part="fooling")
    for method in dict.fromkeys(row["method"] for row in fooling):
        summary[method] = {}
        for budget in sorted({row["budget"] for row in fooling if row["method"] == method}):
            chosen = select(fooling, method=method, budget=budget)
            rate = bootstrap_interval([row["is_adversarial"] for row in chosen], statistic="mean")
            rounded = bootstrap_interval([row["is_adversarial_8bit"] for row in chosen], statistic="mean")
            summary[method][f"{budget:.0e}"] = {
                "budget": budget,
                "rate": rate.value,
                "low": rate.low,
                "high": rate.high,
                "rate_8bit": rounded.value,
                "low_8bit": rounded.low,
                "high_8bit": rounded.high,
                "mean_ssim": float(np.median([row["mean_ssim"] for row in chosen])),
                "num_images": len(chosen),
            }
    return summary


def rate_differences(rows: Sequence[Row], *, method: str = "ssim") -> dict[str, dict[str, Summary]]:
    """Other attack -> budget as text -> the method's rate minus the other's, paired, also after rounding to 8 bits."""
    fooling = select(rows, part="fooling")
    differences: dict[str, dict[str, Summary]] = {}
    for other in dict.fromkeys(row["method"] for row in fooling if row["method"] != method):
        differences[other] = {}
        for budget in sorted({row["budget"] for row in fooling}):
            conditions = {"method": method, "budget": budget}, {"method": other, "budget": budget}
            before = difference_of_rates(*pairs(fooling, "is_adversarial", *conditions))
            rounded = difference_of_rates(*pairs(fooling, "is_adversarial_8bit", *conditions))
            differences[other][f"{budget:.0e}"] = {
                "budget": budget,
                **asdict(before),
                **{f"{name}_8bit": value for name, value in asdict(rounded).items()},
            }
    return differences


def search_summary(rows: Sequence[Row], *, method: str = "ssim", is_rounded: bool = False) -> dict[str, Summary]:
    """Search -> median distance that fools, and the method's distance over it, paired by picture.

    Parameters
    ----------
    rows
        Of a study.
    method
        The search that the others are compared with.
    is_rounded
        Count distance and success of the pictures rounded to 8 bits.

    Returns
    -------
    dict
        ``distance``, ``low``, ``high``: median with its interval, infinite where most are not fooled. ``ratio``: of
        medians, with its interval; ``p_value`` (Wilcoxon, one-sided, Holm over the searches) and ``effect``
        (rank-biserial, -1 where the method is always nearer); ``gradients``: median number; ``num_images`` and
        ``num_not_fooled``.
    """
    searches = select(rows, part="smallest")
    found = [row | {"distance_": distance_of(row, is_rounded=is_rounded)} for row in searches]
    names = list(dict.fromkeys(row["method"] for row in found))
    summary: dict[str, Summary] = {}
    for name in names:
        chosen = select(found, method=name)
        distances = [row["distance_"] for row in chosen]
        interval = bootstrap_interval(distances)
        own, other = pairs(found, "distance_", {"method": method}, {"method": name})
        test = paired_test(own, other, alternative="less")
        summary[name] = {
            "distance": interval.value,
            "low": interval.low,
            "high": interval.high,
            "ratio": asdict(ratio_of_medians(own, other)),
            "p_value": test.p_value,
            "effect": test.effect,
            "gradients": float(np.median([row["gradients"] for row in chosen])),
            "l2": float(np.median([row["l2"] for row in chosen])),
            "linf": float(np.median([row["linf"] for row in chosen])),
            "num_images": len(chosen),
            "num_not_fooled": sum(math.isinf(distance) for distance in distances),
        }
    adjusted = holm({name: entry["p_value"] for name, entry in summary.items() if name != method})
    for name, p_value in adjusted.items():
        summary[name]["p_value"] = p_value
    return summary


def score_summary(
    rows: Sequence[Row], scores: Sequence[str], *, cam: str = "cam", statistics: Mapping[str, str] | None = None
) -> dict[str, dict[str, Summary]]:
    """Map -> score -> median over pictures (or the statistic named) with its interval and undefined pictures."""
    chosen = select(rows, part="agreement", cam=cam)
    return {
        method: {
            score: asdict(
                bootstrap_interval(
                    [row[score] for row in chosen if row["method"] == method],
                    statistic=(statistics or {}).get(score, "median"),
                )
            )
            for score in scores
        }
        for method in dict.fromkeys(row["method"] for row in chosen)
    }


def score_tests(rows: Sequence[Row], score: str, *, method: str = "ssim", cam: str = "cam") -> dict[str, Summary]:
    """Other map -> the method's score minus the other's, paired: interval, one-sided p-value (Holm) and effect."""
    chosen = select(rows, part="agreement", cam=cam)
    others = [name for name in dict.fromkeys(row["method"] for row in chosen) if name != method]
    tests = {
        other: paired_test(*pairs(chosen, score, {"method": method}, {"method": other}), alternative="greater")
        for other in others
    }
    return adjusted_tests(tests)


def own_against_another(rows: Sequence[Row], score: str, *, method: str = "ssim") -> Summary:
    """The method's score against the picture's own CAM minus that against another picture's; as `score_tests`."""
    values = pairs(
        rows,
        score,
        {"part": "agreement", "method": method, "cam": "cam"},
        {"part": "agreement", "method": method, "cam": "another"},
    )
    return adjusted_tests({"another": paired_test(*values, alternative="greater")})["another"]


def cascade_summary(rows: Sequence[Row], score: str = "energy_in_top_q") -> dict[str, Summary]:
    """Stages randomised from the top -> score with its interval, and how far the trained network's is above it."""
    chosen = select(rows, part="cascade")
    stages = sorted({row["stage"] for row in chosen})
    tests = {
        str(stage): paired_test(*pairs(chosen, score, {"stage": 0}, {"stage": stage}), alternative="greater")
        for stage in stages
        if stage
    }
    adjusted = adjusted_tests(tests)
    return {
        str(stage): asdict(bootstrap_interval([row[score] for row in chosen if row["stage"] == stage]))
        | {"stage": stage, "fall": adjusted.get(str(stage))}
        for stage in stages
    }


def region_summary(rows: Sequence[Row]) -> dict[str, Summary]:
    """Region -> fooling rate at each budget, median distance that fools, and both against the top region, paired."""
    chosen = [row | {"distance_": distance_of(row)} for row in select(rows, part="regions")]
    summary: dict[str, Summary] = {}
    for region in dict.fromkeys(row["region"] for row in chosen):
        searched = select(chosen, region=region, budget=None)
        distance = bootstrap_interval([row["distance_"] for row in searched])
        own, top = pairs(chosen, "distance_", {"region": region, "budget": None}, {"region": "top", "budget": None})
        rates = {}
        for budget in sorted({row["budget"] for row in chosen if row["budget"] is not None}):
            attacked = select(chosen, region=region, budget=budget)
            conditions = {"region": region, "budget": budget}, {"region": "top", "budget": budget}
            rates[f"{budget:.0e}"] = asdict(
                bootstrap_interval([row["is_adversarial"] for row in attacked], statistic="mean")
            ) | {
                "budget": budget,
                "below_top": asdict(difference_of_rates(*reversed(pairs(chosen, "is_adversarial", *conditions)))),
            }
        test = paired_test(own, top, alternative="greater")
        summary[region] = {
            "area": float(np.median([row["mask_share"] for row in searched])),
            "distance": distance.value,
            "low": distance.low,
            "high": distance.high,
            "ratio_to_top": asdict(ratio_of_medians(own, top)),
            "p_value": test.p_value,
            "effect": test.effect,
            "rates": rates,
            "num_images": len(searched),
            "num_not_fooled": sum(math.isinf(row["distance_"]) for row in searched),
        }
    return summary


def adjusted_tests(tests: Mapping[str, PairedTest]) -> dict[str, Summary]:
    """Plain entries of tests with their p-values adjusted as one family."""
    adjusted = holm({name: test.p_value for name, test in tests.items()})
    return {
        name: asdict(test.difference) | {"p_value": adjusted[name], "effect": test.effect, "num_pairs": test.num_pairs}
        for name, test in tests.items()
    }
