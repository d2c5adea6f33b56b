"""Notebook 06: fooling rates at equal distance, the distance that fools, and claim C by its rule."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter

from perceptlib.analysis.claims import RIVALS, claim_c, claim_c_together
from perceptlib.analysis.comparison import fooling_rates, rate_differences, search_distances
from perceptlib.analysis.frames import counts, keyed, over
from perceptlib.analysis.recorded import HERE
from perceptlib.analysis.verdicts import Verdict
from perceptlib.drawing.figures import Drawing, fields, legend, look_of, styled
from perceptlib.drawing.tables import MISSING, Table, intervals, table
from perceptlib.pages.shared import NAMES, TESTED, Columns, blank, in_order, lines, method_rows, of, part, tabulate
from perceptlib.study.config import StudyConfig
from perceptlib.study.runner import run_study

KINDS = {"": "as found", "_8bit": "rounded to 8 bits"}  # ending of a column -> of which pictures it is


def run_here(config: StudyConfig, out: str | os.PathLike[str]) -> pd.DataFrame:
    """Rows of a study run, or continued, in a page's output folder; each configuration has its own folder there."""
    digest = hashlib.sha256(json.dumps(config.as_dict(), sort_keys=True).encode()).hexdigest()[:12]
    return run_study(config, Path(out) / "study" / f"{config.preset}-{digest}")


def data_set_table(studies: Mapping[str, pd.DataFrame]) -> Table:
    """Pictures of each data set: all, misclassified from the start, failed, compared; and undefined scores."""

    def record(rows: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame([counts(rows) | {"undefined": int(rows["status"].str.startswith("undefined").sum())}])

    columns = {"data set": "data_set", "pictures": "num_images", "misclassified": "num_misclassified"}
    columns |= {"failed": "num_failed", "compared": "num_compared", "rows with an undefined score": "undefined"}
    return tabulate(over(studies, record), columns)


def summaries(studies: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """All of claim C's frames, those of `perceptlib.analysis.comparison` for all data sets.

    "searches_8bit" is of pictures rounded to 8 bits, compared with the SSIM ball's search on the 8-bit grid.
    """
    return {
        "counts": over(studies, lambda rows: pd.DataFrame([counts(rows)])),
        "fooling": over(studies, fooling_rates),
        "differences": over(studies, rate_differences),
        "searches": over(studies, search_distances),
        "searches_8bit": over(studies, partial(search_distances, method="ssim_8bit", is_rounded=True)),
    }


def numbers(found: Mapping[str, pd.DataFrame], verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, Any]:
    """What ``numbers.json`` keeps of `summaries` and `verdicts`: by data set, and the verdicts."""
    said = {f"{name}_{place}": one.as_dict() for name, each in verdicts.items() for place, one in enumerate(each)}
    content = {}
    for name in found["counts"]["data_set"]:
        content[name] = {key: keyed(of(frame, name)) for key, frame in found.items()}
    return content | {"verdicts": said}


def verdicts(found: Mapping[str, pd.DataFrame]) -> dict[str, tuple[Verdict, ...]]:
    """Data set -> verdicts on claim C as found and rounded to 8 bits; last the one verdict on the recorded data sets.

    The page's own small study is part of the last verdict only where nothing is recorded.
    """
    said = {}
    for name in found["counts"]["data_set"]:
        differences, searches, rounded = (of(found[key], name) for key in ("differences", "searches", "searches_8bit"))
        said[name] = claim_c(differences, searches), claim_c(differences, rounded, is_rounded=True)
    recorded = {name: both for name, both in said.items() if name != HERE}
    return {**said, "recorded_together" if recorded else "together": (claim_c_together(recorded or said),)}


@styled
def fooling_curves(rates: pd.DataFrame) -> Drawing:
    """Fooling rate against SSIM distance, a line an attack: a row of fields for each data set, as found and rounded."""
    shown = in_order(rates)
    methods = [name for name in NAMES if name in set(shown.get("method", ()))]
    # Attacks stand a little beside each other, so that no interval hides another.
    aside = {method: 1.07 ** (place - (len(methods) - 1) / 2) for place, method in enumerate(methods)}
    titles = [f"{name}, {words}" for name in rates["data_set"].unique() for words in KINDS.values()]
    figure, axes = fields(titles, shown, height=2.2, extra=0.9, sharey=True)
    for name, own in shown.groupby("data_set", sort=False) if methods else ():
        for ending, words in KINDS.items():
            field = axes[f"{name}, {words}"]
            places = own["budget"] * own["method"].map(aside)
            lines(field, own, places, (f"rate{ending}", f"low{ending}", f"high{ending}"))
            field.set(xscale="log", xlabel="", ylabel="fooling rate", ylim=(-0.04, 1.04))
    for field in list(axes.values())[-len(KINDS) :]:
        field.set_xlabel("SSIM distance")
    legend(figure, {method: NAMES[method] for method in methods})
    return figure


def rate_table(rates: pd.DataFrame) -> Table:
    """Rates of every data set, attack and distance, as found and after rounding."""
    columns: Columns = {
        "attack": lambda frame: frame["data_set"] + ": " + frame["method"].map(NAMES),
        "SSIM distance": "budget",
        "fooling rate (95 %)": partial(intervals, columns=("rate", "low", "high")),
        "after rounding (95 %)": partial(intervals, columns=("rate_8bit", "low_8bit", "high_8bit")),
        "median mean SSIM": "mean_ssim",
        "pictures": "num_images",
    }
    return tabulate(in_order(rates), columns, {"SSIM distance": "{:g}", "median mean SSIM": "{:.5f}"})


def difference_table(differences: pd.DataFrame) -> Table:
    """The SSIM ball's fooling rate minus that of the norms that the rule of claim C names, paired by picture."""
    shown = differences[differences["method"].isin(RIVALS)] if len(differences) else differences
    columns: Columns = {
        "difference of rates": lambda frame: frame["data_set"] + ": SSIM ball minus " + frame["method"].map(NAMES),
        "SSIM distance": "budget",
        "as found (95 %)": partial(intervals, form="{:+.2f}"),
        "after rounding (95 %)": partial(intervals, form="{:+.2f}", columns=("value_8bit", "low_8bit", "high_8bit")),
        "pictures": "num_values",
    }
    return tabulate(in_order(shown), columns, {"SSIM distance": "{:g}"})


@styled
def distances_chart(searches: pd.DataFrame, rounded: pd.DataFrame) -> Drawing:
    """Median SSIM distance that fools, a row a search: as found (filled) and rounded to 8 bits (hollow, below).

    An infinite one, where half of the pictures or more are not fooled, is an arrow at the right edge.
    """
    ends = ["distance", "low", "high"]
    known = pd.concat([searches, rounded])
    known = known.assign(**{end: known[end].where(np.isfinite(known[end]) & (known[end] > 0)) for end in ends})
    limits = known.groupby("data_set")[ends].agg(["min", "max"])
    low, high = (limits.xs(word, axis=1, level=1).agg(word, axis=1) for word in ("min", "max"))

    def within(frame: pd.DataFrame) -> pd.DataFrame:
        marks = frame["method"].map(look_of)
        arrows = marks.map(lambda look: look._replace(marker=">"))
        edge = 2.2 * frame["data_set"].map(high)
        clipped = {end: frame[end].clip(upper=edge) for end in ends}
        return frame.assign(look=marks.mask(np.isinf(frame["distance"]), arrows), **clipped)

    figure, axes = method_rows(
        within(searches), within(rounded), ("as found", "rounded to 8 bits"), columns=("distance", "low", "high")
    )
    figure.frame = pd.concat([searches.assign(kind=KINDS[""]), rounded.assign(kind=KINDS["_8bit"])])
    for name, field in axes.items():
        field.set(xscale="log", xlabel="SSIM distance that fools")
        if math.isfinite(high.get(name, math.nan)):
            field.set_xlim(low[name] / 1.6, 3 * high[name])
        field.xaxis.set_major_locator(LogLocator(numticks=5))
        field.xaxis.set_minor_formatter(NullFormatter())
    return figure


def ratio_table(searches: pd.DataFrame, *, method: str = "ssim") -> Table:
    """The method's median distance that fools over each other search's, a column a data set; below 1 it is nearer."""
    others = in_order(searches[searches["method"] != method])
    texts = others.assign(text=part("ratio.", intervals))
    wide = texts.pivot(index="method", columns="data_set", values="text").fillna(MISSING)
    wide = wide.reindex(index=[name for name in NAMES if name in wide.index], columns=searches["data_set"].unique())
    wide.index = pd.Index(NAMES[method] + " over " + wide.index.map(NAMES), name="ratio of medians (95 %)")
    return table(wide.rename_axis(columns=None))


def search_table(searches: pd.DataFrame, data_set: str, *, method: str = "ssim") -> Table:
    """Distances that fool on one data set, tests and costs, and the method's distance over each."""
    columns: Columns = {
        "search": lambda frame: frame["method"].map(NAMES),
        "median distance (95 %)": partial(intervals, form="{:.2g}", columns=("distance", "low", "high")),
        f"{NAMES[method]} over it (95 %)": blank(part("ratio.", intervals), "method", method),
        "p (Holm)": blank(TESTED["p (Holm)"], "method", method),
        "effect": blank(TESTED["effect"], "method", method),
        "gradients": "gradients",
        "median l2": "l2",
        "pictures": "num_images",
        "not fooled": "num_not_fooled",
    }
    shown = in_order(searches[searches["data_set"] == data_set])
    return tabulate(shown, columns, {"gradients": "{:g}", "median l2": "{:.2g}"})


def verdict_table(said: Mapping[str, Sequence[Verdict]], columns: Sequence[str]) -> Table:
    """Verdicts in words with the reason for each: a line, such as a data set -> a verdict a column, or one for all."""
    lines = {
        name.replace("_", " "): [f"{one.verdict}: {one.reason}" for one in each] + [""] * (len(columns) - len(each))
        for name, each in said.items()
    }
    return table(pd.DataFrame.from_dict(lines, orient="index", columns=list(columns)).rename_axis(""))
