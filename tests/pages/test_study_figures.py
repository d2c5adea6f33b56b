"""Figures of a made study: what is drawn is what the summaries hold."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from made_rows import agreement_rows, cascade_rows, fooling_rows, search_rows
from matplotlib.axes import Axes

from perceptlib.analysis.results import cascade_summary, fooling_summary, score_summary, search_summary
from perceptlib.pages.study_figures import cascade_curve, distances_chart, fooling_curves, forest_plot
from perceptlib.pages.study_tables import NAMES
from perceptlib.study.config import MAPS

NUM = 8
SCORE = "energy_in_top_q"


def rows_of(field: Axes) -> list[str]:
    return [label.get_text() for label in field.get_yticklabels()]


def dots(field: Axes) -> list[tuple[float, float, Any, bool]]:
    """Value, place, marker and whether hollow of every dot."""
    lines = [line for line in field.lines if line.get_marker() not in ("None", None, "")]
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_marker(), line.get_markerfacecolor() == "white")
        for line in lines
    ]


def drawn(figure: Any) -> Any:
    figure.savefig(io.BytesIO())
    return figure


def test_fooling_curves_have_every_rate_before_and_after_rounding() -> None:
    rows = fooling_rows(
        {"l2": [[False] * 8, [True] * 4 + [False] * 4], "ssim": [[True] * 2 + [False] * 6, [True] * 8]},
        budgets=(0.001, 0.01),
    )
    summary = fooling_summary(rows)
    figure = drawn(fooling_curves({"here": summary, "imagenet": summary, "digits": summary}, names=NAMES))
    assert [field.get_title() for field in figure.axes] == [
        *("here", "imagenet", "here, rounded to 8 bits", "imagenet, rounded to 8 bits"),
        *("digits", "digits, rounded to 8 bits"),
    ]
    before, after = figure.axes[0], figure.axes[2]
    rates = [list(container.lines[0].get_ydata()) for container in before.containers]
    assert rates == [[0, 0.5], [0.25, 1]]
    assert all((container.lines[0].get_ydata() == 0).all() for container in after.containers)
    places = np.array([container.lines[0].get_xdata() for container in before.containers])
    assert np.abs(np.log(places / [0.001, 0.01])).max() < 0.1 and len(set(places[:, 0])) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["l2", "SSIM ball"]
    assert before.get_xscale() == "log"
    assert len(figure.rows) == 3 * 2 * 2 and figure.rows[0]["rate_8bit"] == 0.0
    assert [figure.rows[0][name] for name in ("data_set", "attack", "distance")] == ["here", "l2", "1e-03"]


def test_distances_chart_draws_an_arrow_where_most_are_not_fooled() -> None:
    rows = search_rows({"deepfool": [0.04] * 8, "linf": [math.inf] * 8, "ssim": [0.01] * 8})
    before, after = search_summary(rows), search_summary(rows, is_rounded=True)
    figure = drawn(distances_chart({"here": before}, {"here": after}, names=NAMES))
    [field] = figure.axes
    assert rows_of(field) == ["linf", "SSIM ball", "DeepFool"] and field.get_xscale() == "log"
    found = dots(field)
    assert [(value, hollow) for value, _, marker, hollow in found if marker != ">"] == [
        *((0.01, False), (0.04, False), (0.02, True), (0.08, True)),
    ]
    arrows = [value for value, _, marker, _ in found if marker == ">"]
    assert len(arrows) == 2 and all(0.08 < value < field.get_xlim()[1] for value in arrows)
    assert field.yaxis_inverted()
    assert [row["pictures"] for row in figure.rows] == ["as found"] * 3 + ["rounded to 8 bits"] * 3


def test_forest_plot_has_both_cams_of_every_map_and_chance() -> None:
    rows = agreement_rows(NUM, {"ssim": 0.5, "random": 0.3})
    own, another = score_summary(rows, [SCORE]), score_summary(rows, [SCORE], cam="another")
    figure = drawn(
        forest_plot(
            {"here": own, "imagenet": own}, {"here": another, "imagenet": {}}, score=SCORE, names=NAMES, chance=0.2
        )
    )
    here, beside = figure.axes
    assert rows_of(here)[:5] == ["linf", "l2", "SSIM ball, diagonal", "SSIM ball", "random in SSIM ball"]
    assert len(dots(here)) == 2 * len(MAPS) and len(dots(beside)) == len(MAPS)
    assert (pytest.approx(0.5), 3 - 0.13, "o", False) in dots(here)
    assert (pytest.approx(0.4), 3 + 0.17, "o", True) in dots(here)
    [chance] = [line for line in here.lines if line.get_linestyle() == "--"]
    assert list(chance.get_xdata()) == [0.2, 0.2]
    assert len(figure.rows) == 3 * len(MAPS) and f"{SCORE}_value" in figure.rows[0]


def test_cascade_curve_names_its_stages() -> None:
    summary = cascade_summary(cascade_rows(NUM, {0: 0.5, 4: 0.4, 53: 0.25}))
    figure = drawn(cascade_curve({"here": summary, "imagenet": summary, "digits": {}}, y="energy", chance=0.2))
    assert [field.get_title() for field in figure.axes] == ["here", "imagenet", "digits"]
    field = figure.axes[0]
    assert [label.get_text() for label in field.get_xticklabels()] == ["0", "4", "53"]
    assert list(field.containers[0].lines[0].get_ydata()) == pytest.approx([0.5, 0.4, 0.25])
    assert field.get_ylabel() == "energy"
    assert [row["stages_randomised"] for row in figure.rows] == ["0", "4", "53"] * 2


def test_figures_of_nothing_are_drawn_empty() -> None:
    drawn(fooling_curves({"here": {}}, names=NAMES))
    drawn(distances_chart({"here": {}}, {"here": {}}, names=NAMES))
    drawn(forest_plot({"here": {}}, {}, score=SCORE, names=NAMES, chance=0.2))
    drawn(cascade_curve({}, y="energy", chance=0.2))


def test_every_map_of_the_forest_has_its_own_look() -> None:
    rows = agreement_rows(2, {})
    figure = forest_plot({"here": score_summary(rows, [SCORE])}, {}, score=SCORE, names=NAMES, chance=0.2)
    lines = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", None, "")]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(MAPS)
