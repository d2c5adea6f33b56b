"""Claim D's controls in frames: every map's score, its own CAM against another's, texture and place held constant.

All are paired picture by picture; p-values are Holm's over the rows of a function's frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.analysis.frames import attacked, nested, paired, summarize
from perceptlib.analysis.statistics import adjusted, bootstrap_interval, paired_test
from perceptlib.study.localisation import CHANCE

SCORE = "energy_in_top_q"
LEVEL = 0.05  # of a shift's p-value
# Score -> name, what a map that knows nothing gets (None: it depends on the picture), and whether more is better.
METRICS: Mapping[str, tuple[str, float | None, bool]] = {
    "energy_in_top_q": ("energy in the CAM's top 20 %", CHANCE["energy_in_top_q"], True),
    "spearman": ("Spearman", 0.0, True),
    "pearson": ("Pearson", 0.0, True),
    "auc": ("AUC", 0.5, True),
    "shuffled_auc": ("shuffled AUC", 0.5, True),
    "iou_top_q": ("IoU of the top 20 %", CHANCE["iou_top_q"], True),
    "pointing_hit": ("pointing hit", CHANCE["pointing_hit"], True),
    "nss": ("NSS", 0.0, True),
    "sim": ("SIM", None, True),
    "kl": ("KL (less is better)", None, False),
}


def map_rows(rows: pd.DataFrame, cam: str = "cam") -> pd.DataFrame:
    """Rows of maps scored against one kind of CAM; "another" is that of another picture."""
    agreement = attacked(rows, "agreement")
    return agreement[agreement["cam"] == cam]


def map_scores(rows: pd.DataFrame, score: str = SCORE, *, cam: str = "cam") -> pd.DataFrame:
    """Each map's median score over pictures with its interval and undefined pictures."""
    return summarize(map_rows(rows, cam), ["method"], lambda group: asdict(bootstrap_interval(group[score])))


def score_differences(rows: pd.DataFrame, score: str = SCORE, *, method: str = "ssim") -> pd.DataFrame:
    """The method's score minus each other map's: interval, one-sided p-value and effect."""
    chosen = map_rows(rows)
    is_own = chosen["method"] == method
    return adjusted(summarize(chosen[~is_own], ["method"], lambda group: _above(chosen[is_own], group, score)))


def own_cam_differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Each map's score against the picture's own CAM minus that against another picture's, tested one-sided."""
    others = dict(tuple(map_rows(rows, "another").groupby("method")))
    own = map_rows(rows)
    return adjusted(
        summarize(own, ["method"], lambda group: _above(group, others.get(group["method"].iloc[0], own[:0])))
    )


def partial_correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Each map's Spearman partial correlation with the CAM given log local variance, tested one-sided against 0."""

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        values = group["partial_spearman"]
        return asdict(paired_test(values, np.zeros(len(values)), alternative="greater"))

    return adjusted(summarize(map_rows(rows), ["method"], record))


def shift_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Each map's share of pictures whose p-value over toroidal shifts is below 0.05; 0.05 where place says nothing."""

    def record(group: pd.DataFrame) -> Mapping[str, Any]:
        p_values = group["shift_p_value"].astype(float)
        return asdict(bootstrap_interval((p_values < LEVEL).where(p_values.notna()).astype(float), statistic="mean"))

    return summarize(map_rows(rows), ["method"], record)


def metric_differences(rows: pd.DataFrame, other: str) -> pd.DataFrame:
    """Every score of the SSIM ball's map and another, and their paired difference, tested in the better direction.

    Intervals are of the median over pictures, of pointing hits of the mean. Empty where either map was not scored.
    """
    chosen = map_rows(rows)
    own, others = (chosen[chosen["method"] == name] for name in ("ssim", other))
    if own.empty or others.empty:
        return pd.DataFrame(columns=["score"])
    found = []
    for score, (_, _, is_more_better) in METRICS.items():
        both = paired(own, others, score)
        statistic = "mean" if score == "pointing_hit" else "median"
        sides = (asdict(bootstrap_interval(values, statistic=statistic)) for values in both)
        test = paired_test(*both, alternative="greater" if is_more_better else "less", statistic=statistic)
        found.append({"score": score} | dict(zip(("own", "other"), sides, strict=True)) | asdict(test))
    return adjusted(pd.json_normalize(found))


def cascade_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Score by the number of stages whose weights are randomised from the top, with its interval."""
    return summarize(_cascade(rows), ["stage"], lambda group: asdict(bootstrap_interval(group[SCORE])))


def cascade_falls(rows: pd.DataFrame) -> pd.DataFrame:
    """How far the trained network's score lies above that of each randomised one, paired and tested one-sided."""
    chosen = _cascade(rows)
    is_trained = chosen["stage"] == 0
    return adjusted(summarize(chosen[~is_trained], ["stage"], lambda group: _above(chosen[is_trained], group)))


def halves(rows: pd.DataFrame) -> pd.DataFrame:
    """The same numbers from the pictures at even and at odd positions, and whether their intervals overlap.

    Two intervals of 95 % from the same law overlap in more than 99 of 100 cases: one that does not is a sign that the
    number depends on the pictures, one that does is weak comfort.
    """
    even, odd = (_half(rows[rows["position"] % 2 == place]) for place in (0, 1))
    both = even.add_prefix("even.").join(odd.add_prefix("odd."), how="inner").rename_axis("number").reset_index()
    if both.empty:
        return both
    lows, highs = (both[[f"even.{end}", f"odd.{end}"]] for end in ("low", "high"))
    is_known = lows.notna().all(axis=1) & highs.notna().all(axis=1)
    overlaps = lows.max(axis=1) <= highs.min(axis=1)
    return both.assign(is_overlapping=overlaps.astype(object).where(is_known, None))


def control_summaries(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All of claim D's numbers of one study but its verdict; frames are empty where the rows are missing."""
    return {
        "own": map_scores(rows),
        "another": map_scores(rows, cam="another"),
        "differences": score_differences(rows),
        "own_cam": own_cam_differences(rows),
        "random": metric_differences(rows, "random"),
        "squared_gradient": metric_differences(rows, "squared_gradient"),
        "partial": partial_correlations(rows),
        "shifts": shift_shares(rows),
        "cascade": cascade_scores(rows),
        "falls": cascade_falls(rows),
        "halves": halves(rows),
    }


def cascade_numbers(scores: pd.DataFrame, falls: pd.DataFrame) -> dict[str, Any]:
    """`cascade_scores` and `cascade_falls` as ``numbers.json`` has them: by stage, with the fall inside."""
    fall = nested(falls.astype({"stage": str}), "stage")
    return {stage: entry | {"fall": fall.get(stage)} for stage, entry in nested(scores, "stage").items()}


def _above(own: pd.DataFrame, others: pd.DataFrame, score: str = SCORE) -> dict[str, Any]:
    return asdict(paired_test(*paired(own, others, score), alternative="greater"))


def _cascade(rows: pd.DataFrame) -> pd.DataFrame:
    return attacked(rows, "cascade").astype({"stage": int}).sort_values("stage", kind="stable")


def _half(rows: pd.DataFrame) -> pd.DataFrame:
    """Value, low and high of each number, of one half of the pictures."""
    own, partial = (map_scores(rows, score).query("method == 'ssim'") for score in (SCORE, "partial_spearman"))
    differences = score_differences(rows) if len(own) else own
    numbers = [
        own.assign(number="score"),
        differences.assign(number="minus_" + differences["method"]),
        partial.assign(number="partial"),
        cascade_falls(rows).tail(1).assign(number="fall"),
    ]
    return pd.concat(numbers).set_index("number").reindex(columns=["value", "low", "high"]).astype(float)
