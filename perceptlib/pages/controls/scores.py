"""Notebook 07: the agreement against every control, with texture and place held constant, and claim D by its rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from perceptlib.analysis.causal import factorial_effects
from perceptlib.analysis.claims import claim_d
from perceptlib.analysis.controls import METRICS, SCORE, cascade_numbers, control_summaries
from perceptlib.analysis.frames import keyed, stacked
from perceptlib.analysis.recorded import recorded_factorial
from perceptlib.analysis.verdicts import NOT_TESTABLE, Check, Verdict
from perceptlib.drawing.figures import Drawing, fields, styled
from perceptlib.drawing.tables import Table, intervals
from perceptlib.pages.shared import NAMES, TESTED, Columns, blank, in_order, lines, method_rows, of, part, tabulate
from perceptlib.study.config import STUDIES
from perceptlib.study.localisation import CHANCE, factorial_rows
from perceptlib.study.presets import load_network

NOT_RECORDED = Verdict(NOT_TESTABLE, "not recorded", (Check("not recorded", float("nan")),))
_HALVES = {"score": "its own value", "partial": "partial correlation", "fall": "fall when all weights are randomised"}


def summaries(studies: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """All of claim D's frames, those of `perceptlib.analysis.controls.control_summaries` for all data sets."""
    each = {name: control_summaries(rows) for name, rows in studies.items()}
    return {key: stacked({name: found[key] for name, found in each.items()}) for key in next(iter(each.values()))}


def numbers(found: Mapping[str, pd.DataFrame], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """What ``numbers.json`` keeps of `summaries` and `verdicts`: by data set, and the verdicts."""
    scored = {key: frame.assign(score=SCORE) if key in ("own", "another") else frame for key, frame in found.items()}
    content: dict[str, Any] = {}
    for name in verdicts:
        kept = scored.keys() - {"cascade", "falls"}
        content[name] = {key: keyed(of(frame, name)) for key, frame in scored.items() if key in kept}
        content[name]["cascade"] = cascade_numbers(of(found["cascade"], name), of(found["falls"], name))
    return content | {"verdicts": {name: verdict.as_dict() for name, verdict in verdicts.items()}}


def verdicts(
    studies: Mapping[str, pd.DataFrame], *, num_scenes: int, seed: int = 0, network: str = ""
) -> dict[str, Verdict]:
    """Data set -> verdict on claim D by the rule for photographs.

    What texture does to the SSIM ball's share on the object is recorded, or else computed on `num_scenes` scenes.
    """
    scenes = recorded_factorial()
    if scenes is None and num_scenes:
        budget, classifier = STUDIES["shapes"].map_budget, load_network("shapes", network=network)
        scenes = factorial_rows(classifier, num_scenes, budget=budget, methods=("ssim",), seed=seed)
    effects = None if scenes is None else factorial_effects(scenes[scenes["method"] == "ssim"])
    return {name: claim_d(rows, effects) for name, rows in studies.items()}


@styled
def forest_plot(found: Mapping[str, pd.DataFrame]) -> Drawing:
    """Every map's energy in the top 20 % of its own CAM (filled) and of another picture's (hollow); dashed: chance."""
    figure, axes = method_rows(found["own"], found["another"], ("its own CAM", "another picture's CAM"))
    for field in axes.values():
        field.axvline(CHANCE[SCORE], color="#000000", linewidth=1, linestyle="dashed")
        field.xaxis.set_major_locator(MaxNLocator(4))
        field.set_xlabel("share of energy")
    return figure


def control_table(found: Mapping[str, pd.DataFrame], data_set: str) -> Table:
    """Score of every map of one data set, the SSIM ball's above it, and its own CAM's above another picture's."""
    own = of(found["own"], data_set)
    for key in ("differences", "own_cam") if len(own) else ():
        tests = of(found[key], data_set).reindex(columns=["method", "value", "low", "high", "p_value", "effect"])
        own = own.merge(tests.set_index("method").add_prefix(f"{key}."), on="method", how="left")
    columns: Columns = {
        "map": lambda frame: frame["method"].map(NAMES),
        "energy in its own CAM's top 20 %": intervals,
        "SSIM ball minus it (95 %)": blank(part("differences.", TESTED["(95 %)"]), "method", "ssim"),
        "p (Holm)": blank(part("differences.", TESTED["p (Holm)"]), "method", "ssim"),
        "effect": blank(part("differences.", TESTED["effect"]), "method", "ssim"),
        "own minus another's CAM (95 %)": part("own_cam.", TESTED["(95 %)"]),
        "p of that (Holm)": part("own_cam.", TESTED["p (Holm)"]),
        "undefined": "num_undefined",
    }
    return tabulate(in_order(own), columns)


def metric_table(frame: pd.DataFrame, other: str, data_sets: list[str]) -> Table:
    """Every score of the SSIM ball's map against another map's, for some data sets."""
    chances = {score: "" if chance is None else f"{chance:.2f}" for score, (_, chance, _) in METRICS.items()}
    columns: Columns = {
        "score": lambda frame: frame["data_set"] + ": " + frame["score"].map(lambda name: METRICS[name][0]),
        "chance": lambda frame: frame["score"].map(chances),
        "SSIM ball (95 %)": part("own.", intervals),
        f"{NAMES[other]} (95 %)": part("other.", intervals),
        "paired difference (95 %)": TESTED["(95 %)"],
        "p (Holm)": TESTED["p (Holm)"],
        "effect": TESTED["effect"],
        "undefined": "num_undefined",
    }
    return tabulate(frame[frame["data_set"].isin(data_sets)], columns)


def place_table(found: Mapping[str, pd.DataFrame], data_set: str) -> Table:
    """What place and texture explain of each map's agreement, on one data set."""
    partial, shifts = (of(found[key], data_set) for key in ("partial", "shifts"))
    both = partial.merge(shifts.set_index("method").add_prefix("shift."), on="method") if len(partial) else partial
    columns: Columns = {
        "map": lambda frame: frame["method"].map(NAMES),
        "partial correlation (95 %)": TESTED["(95 %)"],
        "p (Holm)": TESTED["p (Holm)"],
        "effect": TESTED["effect"],
        "pictures with shift p < 0.05 (95 %; chance 0.05)": part("shift.", intervals),
        "undefined": "shift.num_undefined",
    }
    return tabulate(in_order(both), columns)


@styled
def cascade_curve(cascade: pd.DataFrame) -> Drawing:
    """Score against the number of stages randomised from the top, a field for each data set; dashed: chance."""
    figure, axes = fields(cascade["data_set"].unique(), cascade, height=2.9, sharey=True)
    for name, field in axes.items():
        own = of(cascade, name).assign(method="ssim")
        lines(field, own, own.index.to_series(), ("value", "low", "high"))
        field.axhline(CHANCE[SCORE], color="#000000", linewidth=1, linestyle="dashed")
        field.set_xticks(own.index, own["stage"].astype(str))
        field.set(xlabel="stages randomised", ylabel="energy in the CAM's top 20 %")
    return figure


def cascade_table(found: Mapping[str, pd.DataFrame]) -> Table:
    """Scores by stages randomised and data set, and how far the trained network's score is above them."""
    keys, cascade, falls = ["data_set", "stage"], found["cascade"], found["falls"]
    if len(falls):
        cascade = cascade.merge(falls.set_index(keys).add_prefix("fall."), on=keys, how="left")
    columns: Columns = {
        "stages randomised": lambda frame: frame["data_set"] + ": " + frame["stage"].astype(str),
        "energy in the trained CAM's top 20 %": intervals,
        "fall (95 %)": blank(part("fall.", TESTED["(95 %)"]), "stage", 0),
        "p (Holm)": blank(part("fall.", TESTED["p (Holm)"]), "stage", 0),
        "effect": blank(part("fall.", TESTED["effect"]), "stage", 0),
    }
    return tabulate(cascade, columns)


def halves_table(halves: pd.DataFrame, data_sets: list[str]) -> Table:
    """Both halves' numbers for some data sets, and whether their intervals overlap."""

    def words(number: str) -> str:
        return _HALVES.get(number) or f"SSIM ball minus {NAMES[number.removeprefix('minus_')]}"

    columns: Columns = {
        "number": lambda frame: frame["data_set"] + ": " + frame["number"].map(words),
        "even pictures (95 %)": part("even.", intervals),
        "odd pictures (95 %)": part("odd.", intervals),
        "overlap": lambda frame: frame["is_overlapping"].map({True: "yes", False: "no"}).fillna("no interval"),
    }
    return tabulate(halves[halves["data_set"].isin(data_sets)], columns)
