"""Searches at equal gradients: each against the smallest distance that any of them found."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.analysis.frames import summarize
from perceptlib.analysis.statistics import ratio_of_medians
from perceptlib.attacks.opponents import SPENT

NEAR = 1.01  # times the reference counts as having found it
CONVERGED = 0.99  # of its own distance at least is what a search keeps with the next larger budget
# Searches whose steps follow from the linearised network: no step size was chosen for them.
UNTUNED = ("ssim", "multiscale", "l2", "linf", "deepfool", "super_deepfool")


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
        infinite where nothing was found (AttackBench's optimality); ``near``, the share of pictures within 1 % of the
        reference; ``success``; mean ``gradients`` and ``forward_passes``; ``ended``, the share of runs that the budget
        ended; ``num_settings``; and ``caution``, why the search may not be called beaten: it has one setting, or has
        not converged, as a larger budget or its last setting still gains, or was run with one budget alone.
    """
    if rows.empty:
        return pd.DataFrame(columns=["method", "budget"])
    found = rows.assign(
        found=rows[distance].where(rows["is_adversarial"].eq(True), math.inf).astype(float),
        search=rows["method"].str.partition(":")[0],
        ended=rows["outcome"].eq(SPENT),
    )
    reference = found.groupby("image")["found"].min()
    num_settings = found.groupby("search")["method"].nunique()
    group = "method" if by_setting else "search"
    best = {"found": "min", "gradients": "sum", "forward_passes": "sum", "ended": "mean", "search": "first"}
    pictures = found.groupby(["image", group, "budget"], sort=False, as_index=False).agg(
        **{name: (name, how) for name, how in best.items() if name != group}
    )
    pictures["ratio"] = _ratio(pictures["found"], pictures["image"].map(reference))

    def record(some: pd.DataFrame) -> dict[str, Any]:
        return {
            distance: float(np.median(some["found"])),
            "ratio": float(np.median(some["ratio"])),
            "near": float((some["ratio"] <= NEAR).mean()),
            "success": float(np.isfinite(some["found"]).mean()),
            **{name: float(some[name].mean()) for name in ("gradients", "forward_passes", "ended")},
            "num_settings": int(num_settings[some.iloc[0]["search"]]) if not by_setting else 1,
            "num_images": len(some),
        }

    summary = summarize(pictures, [group, "budget"], record).rename(columns={group: "method"})
    medians = summary.set_index(["method", "budget"])[distance].to_dict()
    summary["caution"] = [
        _caution(row["method"], row["budget"], medians, int(num_settings[row["method"].partition(":")[0]]))
        for row in summary.to_dict("records")
    ]
    return summary.sort_values(["budget", "ratio"], kind="stable", ignore_index=True)


def opponent_ratios(rows: pd.DataFrame, *, method: str = "multiscale", column: str = "ciede2000") -> pd.DataFrame:
    """Median of a column of one search over that of each other at equal budget, paired, infinite where nothing fools.

    ``ratio`` has its bootstrap interval; the settings of a search are kept apart.
    """
    found = rows.assign(found=rows[column].where(rows["is_adversarial"].eq(True), math.inf).astype(float))
    table = found.pivot_table(index="image", columns=["budget", "method"], values="found", aggfunc="min")
    kept = []
    for budget, other in table.columns:
        if other != method and (budget, method) in table:
            pair = table[[(budget, method), (budget, other)]].dropna()
            ratio = ratio_of_medians(pair.iloc[:, 0], pair.iloc[:, 1])
            kept.append({"method": other, "budget": budget, "ratio": vars(ratio)})
    return pd.json_normalize(kept) if kept else pd.DataFrame(columns=["method", "budget"])


def _ratio(values: pd.Series, reference: pd.Series) -> pd.Series:
    """Infinite where nothing was found, also by nobody."""
    return (values / reference).where(np.isfinite(values), math.inf)


def _caution(method: str, budget: int, medians: dict[Any, float], num_settings: int) -> str:
    said = []
    larger = [other for name, other in medians if name == method and other > budget]
    smaller = [other for name, other in medians if name == method and other < budget]
    if larger and not medians[method, min(larger)] >= CONVERGED * medians[method, budget]:
        said.append(f"not converged: nearer with {min(larger)} gradients")
    elif not larger and smaller and not medians[method, budget] >= CONVERGED * medians[method, max(smaller)]:
        said.append(f"not known to have converged: still nearer than with {max(smaller)} gradients")
    elif not larger and not smaller:
        said.append("one budget")
    if num_settings == 1 and method not in UNTUNED:
        said.append("one setting")
    return "; ".join(said)
