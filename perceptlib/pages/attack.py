"""Notebook 02: pictures attacked, rates at equal distance, the smallest distance that fools."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from perceptlib.analysis.comparison import shares_fooled
from perceptlib.attacks import round_to_8bit
from perceptlib.drawing.figures import Drawing, curves
from perceptlib.drawing.panels import attack_panel
from perceptlib.drawing.tables import Table, intervals, table
from perceptlib.maps import class_activation_map
from perceptlib.networks import Classifier
from perceptlib.pages.shared import Columns, tabulate
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import METHODS, attack_at_distance
from perceptlib.study.presets import Pictures, Study

TIMES_MEAN = 20.0  # a change map is drawn white from so many times its mean on


def example_of(study: Study, index: int) -> Pictures:
    """One of the study's examples; counted round, so that the third is there with any number of pictures."""
    return study.examples.select(torch.tensor([index % len(study.examples)]))


def short_name(classifier: Classifier, index: int) -> str:
    """The first of a class's names."""
    return classifier.class_names[index].partition(",")[0]


def attacked_example(
    study: Study, index: int, *, budget: float, method: str = "ssim", steps: int = 10, cg_steps: int = 15
) -> Drawing:
    """One example attacked in a ball, rounded to 8 bits, as it would be saved.

    The change map's scale ends at twenty times the budget, its mean: examples at one budget share it.
    """
    picture = example_of(study, index)
    result = attack_at_distance(
        study.classifier, picture.images, picture.labels, method, budget, steps=steps, cg_steps=cg_steps
    )
    return panel_of(study.classifier, picture, round_to_8bit(result.adversarial), change_white=TIMES_MEAN * budget)


def rates_figure(rates: pd.DataFrame) -> Drawing:
    """Fooling rates of `perceptlib.analysis.comparison.rates_at_distances` over the distance."""
    labels = ("SSIM distance", "share of pictures fooled")
    return curves(rates, "budget", "rate", by="method", names=METHODS, labels=labels, band=("low", "high"))


def rates_table(rates: pd.DataFrame) -> Table:
    """Share fooled at each distance, and in brackets after rounding to 8 bits."""
    percent = "{:.0%}".format
    shown = rates.assign(text=rates["rate"].map(percent) + " (" + rates["rate_8bit"].map(percent) + ")")
    by_budget = shown.pivot(index="method", columns="budget", values="text").loc[rates["method"].unique()]
    return table(by_budget.rename(index=METHODS, columns="at {:g}".format).rename_axis("ball"))


def shares_figure(rows: pd.DataFrame) -> Drawing:
    """Share of pictures whose smallest perturbation lies within a distance."""
    labels = ("smallest SSIM distance that fools", "share of pictures up to there")
    return curves(shares_fooled(rows), "distance", "share", by="method", names=METHODS, labels=labels, is_step=True)


def smallest_table(summary: pd.DataFrame) -> Table:
    """Of `perceptlib.analysis.comparison.smallest_distances`: each ball's median, norms and survival of 8 bits."""
    columns: Columns = {
        "ball": lambda frame: frame["method"].map(METHODS),
        "median SSIM distance (95 %)": median_distances,
        "of l2's": "ratio_to_l2",
        "l2 norm": "l2",
        "linf norm": "linf",
        "fools after 8 bits": "survives_8bit",
        "not fooled": "num_not_fooled",
    }
    return tabulate(summary, columns, {"of l2's": "{:.2f}", "fools after 8 bits": "{:.0%}"})


def median_distances(summary: pd.DataFrame) -> pd.Series:
    return intervals(summary, "{:.2e}", ("distance", "distance_low", "distance_high"))


@torch.no_grad()
def _answer(classifier: Classifier, images: Tensor) -> str:
    probability, index = classifier(images)[0].softmax(0).max(0)
    return f"{short_name(classifier, int(index))}, {float(probability):.2f}"


def panel_of(classifier: Classifier, picture: Pictures, saved: Tensor, *, change_white: float | None = None) -> Drawing:
    return attack_panel(
        picture.images[0],
        saved[0],
        ssim.change_map(picture.images, saved)[0],
        class_activation_map(classifier, picture.images, picture.labels)[0],
        label=_answer(classifier, picture.images),
        label_after=_answer(classifier, saved),
        cam_label=short_name(classifier, int(picture.labels)),
        change_white=change_white,
    )
