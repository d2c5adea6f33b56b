"""Searches at equal gradients: each against the smallest distance that any found, against ours, and by judges."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.analysis.frames import summarize
from perceptlib.analysis.judges import loss_ratio
from perceptlib.analysis.statistics import Interval, ratio_of_medians
from perceptlib.judges import JUDGES
from perceptlib.rivals.opponents import SPENT
from perceptlib.study.opponents import DISTANCES, OWN

NEAR = 1.01  # times the reference counts as having found it
CONVERGED = 0.99  # of its own distance at least is what a search keeps with the next larger budget
# Searches whose steps follow from the linearised network: no step size was chosen for them.
UNTUNED = ("ssim", "multiscale", "l2", "linf", "deepfool", "super_deepfool")
AIMS = DISTANCES | {"ms_ssim": "ms_ssim", "ciede2000": "ciede2000"}
NORMS = ("linf", "l2")  # kinds of rivals that rule C' knows
# Kinds of rivals -> what they make small. Of ours only those of norms are rivals.
KINDS = {"linf": ("linf",), "l2": ("l2",), "perceptual": ("ssim", "ms_ssim", "ciede2000")}


def opponent_summary(rows: pd.DataFrame, *, distance: str = "distance", by_setting: bool = False) -> pd.DataFrame:
    """Every search at every budget against the smallest distance that any search, setting or budget found.

    Parameters
    ----------
    rows : DataFrame
        Of `perceptlib.study.opponents.record_opponents`, of one or several budgets.
    distance : str
        The column that is compared: "distance" (SSIM), "l2", "linf", "multiscale" or a judge's.
    by_setting : bool
        Keep the settings of a search apart; else the best of them counts, and the passes and gradients of all.

    Returns
    -------
    DataFrame
        For each ``method`` and ``budget``: medians of the distance and of its ratio to the picture's reference,
        infinite where nothing was found (AttackBench's optimality), the ratio with its interval from ``low`` to
        ``high``; ``near``, the share of pictures within 1 % of the reference; ``success``; mean ``gradients`` and
        ``forward_passes``; ``ended``, the share of runs that the budget ended; ``num_settings``; and ``caution``, why
        the search may not be called beaten: it has one setting, or has not converged, as a larger budget or its last
        setting still gains, or was run with one budget alone.
    """
    if rows.empty:
        return pd.DataFrame(columns=["method", "budget"])
    num_settings = rows.groupby(rows["method"].map(_search))["method"].nunique()
    pictures = _by_picture(rows, distance, by_setting=by_setting)

    def record(some: pd.DataFrame) -> dict[str, Any]:
        ratio = ratio_of_medians(some["ratio"], np.ones(len(some)))  # its ends are right with infinite values, too
        return {
            distance: float(np.median(some["found"])),
            **{"ratio": float(np.median(some["ratio"])), "low": ratio.low, "high": ratio.high},
            "near": float((some["ratio"] <= NEAR).mean()),
            "success": float(np.isfinite(some["found"]).mean()),
            **{name: float(some[name].mean()) for name in ("gradients", "forward_passes", "ended")},
            "num_settings": int(num_settings[_search(some.iloc[0]["method"])]) if not by_setting else 1,
            "num_images": len(some),
        }

    summary = summarize(pictures, ["method", "budget"], record)
    summary["caution"] = [
        _caution(pictures[pictures["method"] == row["method"]], row["budget"], num_settings[_search(row["method"])])
        for row in summary.to_dict("records")
    ]
    return summary.sort_values(["budget", "ratio"], kind="stable", ignore_index=True)


def main_budget(rows: pd.DataFrame) -> int:
    """The budget with the most pictures, of several the largest: longer runs may have had fewer."""
    by_budget = rows.groupby("budget")["image"].nunique()
    return int(by_budget[by_budget == by_budget.max()].index.max())


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """What a larger budget gains: each search, its settings apart, by its own distance, on the pictures that had both.

    A row a ``method``, ``aim`` and ``larger`` budget than the `main_budget`, with the ratio of medians, the larger
    budget's over the main one's, as `perceptlib.analysis.statistics.ratio_of_medians` gives it, and ``ratio``, the
    median over the picture's smallest distance that any search found.
    """
    kept: list[dict[str, Any]] = []
    for (method, aim), some in rows.groupby(["method", "aim"], sort=False):
        column, budget = AIMS[aim], main_budget(rows)
        for larger in sorted(one for one in some["budget"].unique() if one > budget):
            summary = opponent_summary(rows, distance=column, by_setting=True).set_index(["method", "budget"])
            about = {"method": method, "aim": aim, "larger": int(larger)}
            about["ratio"] = summary.loc[(method, larger), "ratio"]
            kept.append(about | vars(_gain(_found(some, column), budget, larger)))
    columns = ["method", "aim", "larger", "ratio", "value", "low", "high", "num_values", "num_undefined"]
    found = pd.DataFrame(kept, columns=columns)
    return found.sort_values("aim", key=lambda aims: aims.map([*AIMS].index), kind="stable", ignore_index=True)


def aimed_summaries(rows: pd.DataFrame) -> pd.DataFrame:
    """`opponent_summary` of each search by its own ``aim``, at the `main_budget`: ours first, then the nearest.

    ``median`` is of the aim's distance. The reference is the least that any search found, whatever it made small.
    """
    frames = []
    for aim, column in AIMS.items() if len(rows) else ():
        own = set(rows.loc[rows["aim"] == aim, "method"].map(_search))
        summary = opponent_summary(rows, distance=column).rename(columns={column: "median"})
        summary = summary[summary["method"].isin(own) & (summary["budget"] == main_budget(rows))]
        summary = summary.sort_values("method", key=lambda names: ~names.isin([*OWN]), kind="stable")
        frames.append(summary.assign(aim=aim))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["aim", "method", "budget"])


def duels(rows: pd.DataFrame) -> pd.DataFrame:
    """Each search of ours against every search of others by our distance, whatever theirs is, at the `main_budget`.

    A row an ``aim`` and rival, ``method``, its settings apart, as each spends the budget: ``num_smaller`` pictures, of
    ``num_images``, on which the rival's distance is smaller; ``ratio`` of medians, ours over the rival's, with its
    paired interval; the rival's ``gradients``, ``forward_passes`` and ``caution``. The most dangerous rival of each aim
    comes first.
    """
    kept: list[dict[str, Any]] = []
    for aim, column in DISTANCES.items() if len(rows) else ():
        budget = main_budget(rows)
        found = _found(rows[rows["budget"] == budget], column).pivot(index="image", columns="method", values="found")
        summary = opponent_summary(rows, distance=column, by_setting=True)
        summary = summary[summary["budget"] == budget].set_index("method")
        for rival in found.columns.drop([*OWN], errors="ignore") if aim in found else ():
            pair = found[[aim, rival]].dropna()
            counts = {"num_smaller": int((pair[rival] < pair[aim]).sum()), "num_images": len(pair)}
            ratio = {"ratio": vars(ratio_of_medians(pair[aim], pair[rival]))}
            of_rival = summary.loc[rival, ["gradients", "forward_passes", "caution"]].to_dict()
            kept.append({"aim": aim, "method": rival} | counts | ratio | of_rival)
    if not kept:
        return pd.DataFrame(columns=["aim", "method"])
    frame = pd.json_normalize(kept)
    frame["danger"] = frame["num_smaller"] / frame["num_images"]
    frame = frame.sort_values(["danger", "ratio.value"], ascending=False, kind="stable").drop(columns="danger")
    return frame.sort_values("aim", key=lambda aims: aims.map([*DISTANCES].index), kind="stable", ignore_index=True)


def judge_rivals(rows: pd.DataFrame, *, method: str = "multiscale", among: Collection[str] = ()) -> pd.DataFrame:
    """By each judge the search with the smallest median loss of each kind of rivals, and our search's ratio to it.

    Parameters
    ----------
    rows : DataFrame
        Of `perceptlib.study.opponents.record_opponents`; those of the `main_budget` count.
    method : str
        The search of ours whose loss is divided by the rival's.
    among : collection of str
        Rivals allowed; all without. The settings of a search are rivals of each other, as each spends the budget.

    Returns
    -------
    DataFrame
        A row for each ``judge`` that was there and ``kind`` of `KINDS`: the ``rival``, both medians, ``loss`` and
        ``rival_loss``, and ``ratio`` with its interval as in `perceptlib.analysis.judges.loss_ratio`, on the
        pictures where both have a value. A picture that is not fooled counts as infinitely visible.
    """
    kept: list[dict[str, Any]] = []
    last = rows[rows["budget"] == main_budget(rows)] if len(rows) else rows
    for name in (judge for judge in JUDGES if judge in last):
        losses = _found(last, name).pivot(index="image", columns="method", values="found")
        medians = losses[last["method"].unique()].median().dropna()  # of equal ones the first
        for kind, aims in KINDS.items():
            is_rival = last["aim"].isin(aims) & (last["method"] != method)
            is_rival &= last["method"].isin(among) if among else (kind in NORMS) | ~last["method"].isin([*OWN])
            rivals = medians[medians.index.isin(last.loc[is_rival, "method"])]
            if method in medians and len(rivals):
                rival = str(rivals.idxmin()) if np.isfinite(rivals).any() else str(rivals.index[0])
                ratio = vars(loss_ratio(losses[[method, rival]].dropna(), name))
                both = {"loss": medians[method], "rival_loss": medians[rival], "ratio": ratio}
                kept.append({"judge": name, "kind": kind, "rival": rival} | both)
    columns = ["judge", "kind", "rival", "rival_loss", "ratio.value", "ratio.low", "ratio.high"]
    return pd.json_normalize(kept) if kept else pd.DataFrame(columns=columns)


def better_rivals(found: pd.DataFrame) -> pd.DataFrame:
    """Of `judge_rivals`, by each judge the better of the l2 and linf rivals, as rule C' takes it."""
    norms = found[found["kind"].isin(NORMS)]
    return norms.sort_values("rival_loss", kind="stable").drop_duplicates("judge").sort_index() if len(norms) else norms


def variant_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a ``variant`` and ``judge``: the loss of its search over the default ball's, as `loss_ratio` gives it.

    `rows` is of `perceptlib.study.opponents.record_variants`, whose first variant is the default. A picture that is not
    fooled counts as infinitely visible.
    """
    kept = []
    for name in (judge for judge in JUDGES if judge in rows and len(rows)):
        losses = _found(rows, name).pivot(index="image", columns="variant", values="found")
        default, *others = rows["variant"].unique()
        for variant in others:
            ratio = loss_ratio(losses[[variant, default]].dropna(), name)
            kept.append({"variant": variant, "judge": name} | vars(ratio))
    columns = ["variant", "judge", "value", "low", "high", "num_values", "num_undefined"]
    return pd.DataFrame(kept, columns=columns)


def _search(method: str) -> str:
    """The name without the setting."""
    return method.partition(":")[0]


def _found(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows with ``found``: the column, infinite where nothing was found, undefined where it has no value."""
    return rows.assign(found=rows[column].where(rows["is_adversarial"].eq(True), math.inf).astype(float))


def _by_picture(rows: pd.DataFrame, distance: str, *, by_setting: bool = False) -> pd.DataFrame:
    """A row a picture, search and budget, the best setting counting, with its ``ratio`` to the picture's reference."""
    found = _found(rows, distance).assign(ended=rows["outcome"].eq(SPENT))
    reference = found.groupby("image")["found"].min()
    if not by_setting:
        found["method"] = found["method"].map(_search)
    best = {"found": "min", "gradients": "sum", "forward_passes": "sum", "ended": "mean"}
    pictures = found.groupby(["image", "method", "budget"], sort=False, as_index=False).agg(best)
    return pictures.assign(ratio=_ratio(pictures["found"], pictures["image"].map(reference)))


def _ratio(values: pd.Series, reference: pd.Series) -> pd.Series:
    """Infinite where nothing was found, also by nobody."""
    return (values / reference).where(np.isfinite(values), math.inf)


def _caution(pictures: pd.DataFrame, budget: int, num_settings: int) -> str:
    """Of one search's pictures at all budgets."""
    others = sorted(set(pictures["budget"]) - {budget})
    larger, smaller = ([one for one in others if one > budget], [one for one in others if one < budget])
    said = []
    if larger and _gain(pictures, budget, larger[0]).value < CONVERGED:
        said.append(f"not converged: nearer with {larger[0]} gradients")
    elif not larger and smaller and _gain(pictures, smaller[-1], budget).value < CONVERGED:
        said.append(f"not known to have converged: still nearer than with {smaller[-1]} gradients")
    elif not others:
        said.append("one budget")
    if num_settings == 1 and pictures["method"].iloc[0] not in UNTUNED:
        said.append("one setting")
    return "; ".join(said)


def _gain(pictures: pd.DataFrame, budget: int, larger: int) -> Interval:
    """Ratio of medians of what was found, the larger budget's over the other's, on the pictures that had both."""
    found = pictures.pivot(index="image", columns="budget", values="found").reindex(columns=[budget, larger]).dropna()
    return ratio_of_medians(found[larger], found[budget])
