"""Pictures with the smallest perturbation found, and how near other attacks come."""

from __future__ import annotations

import pandas as pd

from perceptlib.attacks import smallest
from perceptlib.drawing.figures import Drawing
from perceptlib.drawing.tables import Table, table
from perceptlib.pages.attack import example_of, median_distances, panel_of
from perceptlib.pages.shared import Columns, tabulate
from perceptlib.study.comparison import PEERS, ball_of
from perceptlib.study.presets import Study


def smallest_example(study: Study, index: int, *, candidates: int = 10) -> Drawing:
    """One example with the smallest perturbation found whose 8-bit picture fools."""
    picture = example_of(study, index)
    ball = ball_of("ssim", picture.images, 0.01)  # its radius does not matter
    result = smallest(study.classifier, picture.images, picture.labels, ball, candidates=candidates, eight_bit=True)
    return panel_of(study.classifier, picture, result.adversarial)


def peer_table(summary: pd.DataFrame) -> Table:
    """Of `perceptlib.analysis.comparison.peer_summary`: each peer's median, gradients and survival of 8 bits."""
    columns: Columns = {
        "attack": lambda frame: frame["peer"].map(PEERS),
        "median SSIM distance (95 %)": median_distances,
        "gradients an image": "gradients",
        "fools after 8 bits": "survives_8bit",
        "pictures": "num_images",
        "not fooled": "num_not_fooled",
    }
    return tabulate(summary, columns, {"gradients an image": "{:.0f}", "fools after 8 bits": "{:.0%}"})


def start_table(starts: pd.DataFrame) -> Table:
    """Of `perceptlib.analysis.comparison.start_summary`: ALMA's median distance by the way it starts."""
    names = {
        "start": "ALMA's start",
        "distance": "median SSIM distance",
        "num_best": "pictures on which it is the best",
    }
    return table(starts.rename(columns=names), {"median SSIM distance": "{:.2e}"})
