from __future__ import annotations

import io
import re
import xml.etree.ElementTree as xml
from typing import Any

import matplotlib
import matplotlib.pyplot
import pandas as pd

from perceptlib.drawing.figures import STYLE, Drawing, curves, interval_chart

LABELS: Any = {"by": "series", "labels": ("distance", "share")}


def lines(**series: list[tuple[float, float]]) -> pd.DataFrame:
    return pd.DataFrame([{"series": key, "x": x, "y": y} for key, points in series.items() for x, y in points])


def test_curves_are_the_same_svg_every_time() -> None:
    frame = lines(l2=[(1e-3, 0.1), (1e-2, 0.5)], new=[(1e-3, 0.2), (1e-2, 0.7)])
    frame = frame.assign(low=frame["y"] - 0.1, high=frame["y"] + 0.1)

    def drawn() -> Drawing:
        names = {"l2": "l2 ball", "new": "other"}
        return curves(frame, "x", "y", names=names, band=("low", "high"), level=0.5, **LABELS)

    shown = drawn()._repr_mimebundle_()
    assert [text.get_text() for text in drawn().legends[0].get_texts()] == ["l2 ball", "other"]
    assert shown == drawn()._repr_mimebundle_()
    assert xml.fromstring(shown["image/svg+xml"]).tag.endswith("svg")
    assert str(shown["text/csv"]).splitlines()[:2] == ["series,x,y,low,high", "l2,0.001,0.1,0,0.2"]


def test_paths_of_a_svg_are_cut_to_a_hundredth_of_a_point_and_nothing_else_is() -> None:
    figure = curves(lines(l2=[(1, 1 / 3), (10, 2 / 7)]), "x", "y", names={"l2": "l2"}, **LABELS)
    whole = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(whole, format="svg", metadata={"Date": None})
    whole_svg, cut_svg = whole.getvalue().decode(), figure._repr_mimebundle_()["image/svg+xml"]
    paths = [re.findall(r' d="([^"]*)"', svg) for svg in (whole_svg, cut_svg)]
    without = [re.sub(r' d="[^"]*"', "", svg) for svg in (whole_svg, cut_svg)]
    assert without[0] == without[1]
    numbers = [[float(word) for word in re.findall(r"-?[\d.]+", " ".join(part))] for part in paths]
    assert max(abs(first - second) for first, second in zip(*numbers, strict=True)) < 0.01
    assert max(len(word) for word in re.findall(r"\.(\d+)", " ".join(paths[0]))) > 2
    assert max(len(word) for word in re.findall(r"\.(\d+)", " ".join(paths[1]))) == 2


def test_steps_and_logarithms() -> None:
    frame = lines(l2=[(1, 1), (10, 10)])
    axes = curves(frame, "x", "y", names={"l2": "l2"}, is_step=True, is_log_y=True, **LABELS).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.lines[0].get_drawstyle() == "steps-post"


def test_short_logarithmic_axis_has_plain_numbers() -> None:
    def ticks(largest: float) -> list[str]:
        figure = curves(lines(l2=[(0.001, 0), (largest, 1)]), "x", "y", names={"l2": "l2"}, **LABELS)
        figure.savefig(io.BytesIO())
        return [text for label in figure.axes[0].get_xticklabels() if (text := label.get_text())]

    assert {"0.001", "0.002", "0.005", "0.01"} <= {*ticks(0.01)}
    assert all("10^" in tick for tick in ticks(10))


def test_interval_chart_has_a_field_for_each_score_that_is_there() -> None:
    frame = pd.DataFrame(
        [
            {"map": name, "score": score, "value": 0.4, "low": 0.3, "high": 0.6}
            for name in ("l2", "ssim", "random")
            for score in ("auc", "spearman", "kl")
        ]
    )
    figure = interval_chart(
        frame,
        names={"l2": "l2", "ssim": "SSIM", "random": "random"},
        scores={"auc": "AUC", "spearman": "Spearman", "pointing_hit": "hit"},
        chance={"auc": 0.5, "spearman": 0.0},
    )
    assert [axes.get_title() for axes in figure.axes] == ["AUC", "Spearman"]
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["l2", "SSIM", "random"]
    assert [list(line.get_xdata()) for line in first.lines[:2]] == [[0.3, 0.6], [0.4]]
    assert first.yaxis_inverted()
    figure.savefig(io.BytesIO())


def test_figures_leave_settings_and_pyplot_alone() -> None:
    before = dict(matplotlib.rcParams)
    curves(lines(l2=[(1, 1)]), "x", "y", names={"l2": "a"}, **LABELS)._repr_mimebundle_()
    assert dict(matplotlib.rcParams) == before
    assert not matplotlib.pyplot.get_fignums()


def test_figure_without_numbers_carries_none() -> None:
    assert "text/csv" not in Drawing()._repr_mimebundle_()
