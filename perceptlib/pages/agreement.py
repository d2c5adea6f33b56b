"""Notebook 03: each map beside the class activation map, and how well they agree."""

from __future__ import annotations

import pandas as pd

from perceptlib.analysis.statistics import bootstrap_interval
from perceptlib.drawing.figures import Drawing, interval_chart
from perceptlib.drawing.panels import Panel, nearly_largest
from perceptlib.drawing.tables import Table, interval, intervals, table
from perceptlib.maps import class_activation_map
from perceptlib.pages.attack import example_of, short_name
from perceptlib.pages.shared import Columns, tabulate
from perceptlib.study.comparison import BALLS
from perceptlib.study.localisation import CHANCE, MAPS, RANDOM, SCORES, maps_of
from perceptlib.study.presets import Study


def map_panels(
    study: Study, index: int, *, budget: float, steps: int = 1, cg_steps: int = 15, seed: int = 0
) -> list[Panel]:
    """One example with its CAM and the map of every method; the change maps share one scale."""
    picture = example_of(study, index)
    classifier, images, labels = study.classifier, picture.images, picture.labels
    maps = maps_of(classifier, images, labels, budget=budget, steps=steps, cg_steps=cg_steps, seed=seed)
    white = max(nearly_largest(maps[method]) for method in (*BALLS, *RANDOM))
    panels = [
        Panel(images[0], "image", short_name(classifier, int(labels))),
        Panel(class_activation_map(classifier, images, labels)[0], "CAM"),
    ]
    for name, values in maps.items():
        is_change = name in BALLS or name in RANDOM
        panels.append(Panel(values[0], MAPS[name], white=white if is_change else nearly_largest(values)))
    return panels


def score_figure(summary: pd.DataFrame) -> Drawing:
    """Every map's scores of `perceptlib.analysis.comparison.score_summary`, with intervals."""
    return interval_chart(summary.rename(columns={"method": "map"}), names=MAPS, scores=SCORES, chance=CHANCE)


def score_table(summary: pd.DataFrame) -> Table:
    """The same as numbers; the last row is chance."""
    texts = summary.assign(text=intervals(summary)).pivot(index="method", columns="score", values="text")
    shown = texts.loc[summary["method"].unique(), list(SCORES)].rename(index=MAPS)
    shown.loc["chance"] = [f"{CHANCE[score]:.2f}" for score in SCORES]
    return table(shown.rename(columns=SCORES).rename_axis("map"))


def difference_table(differences: pd.DataFrame, *, method: str = "ssim") -> Table:
    """How far the method's score is above each other map's: `perceptlib.analysis.comparison.paired_differences`."""
    columns: Columns = {
        f"{MAPS[method]} against": lambda frame: frame["method"].map(MAPS),
        "median paired difference (95 %)": intervals,
        "undefined pictures": "num_undefined",
    }
    return tabulate(differences, columns)


def object_table(summary: pd.DataFrame, cam: pd.Series, mask_share: float) -> Table:
    """Share of every map that lies on the object, beside the CAM's own and the object's share of the picture."""
    if cam.empty:
        shown = pd.Series({"not measured": "the objects of these pictures are not outlined"})
    else:
        found = summary[summary["score"] == "energy_in_mask"]
        own = bootstrap_interval(cam)
        shown = intervals(found).set_axis(found["method"].map(MAPS))
        shown["the CAM itself"] = interval(own.value, own.low, own.high)
        shown["chance: the object's area"] = f"{mask_share:.2f}"
    return table(shown.rename_axis("map").to_frame("energy on the object (95 %)"))
