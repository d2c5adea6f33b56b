"""What the figures of the sensitivity show."""

from __future__ import annotations

import io
import xml.etree.ElementTree as xml

import pytest
from test_sensitivity import BASE, GRID, SMALL, rows_of

from perceptlib.analysis.sensitivity import sensitivity_summary
from perceptlib.pages.sensitivity_figures import heat_maps, setting_chart
from perceptlib.study.sensitivity_settings import Setting

WIDE = Setting(budget=0.01)


def test_chart_has_a_row_for_each_setting_one_field_away() -> None:
    summary = sensitivity_summary(rows_of({BASE: 0.4, SMALL: 0.35, GRID: 0.3, WIDE: 0.38, Setting(q=0.1): 0.2}))
    figure = setting_chart(summary, BASE, name="energy")
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "base",
        "window uniform 7",
        "budget 0.01",
        "top 10%",
    ]
    places = list(left.get_yticks())
    assert places == sorted(places) and left.yaxis_inverted()
    for field, key in ((left, "energy_in_top_q"), (right, "beyond_energy_in_top_q")):
        known = summary[BASE][key]["value"]
        assert any(list(line.get_xdata()) == [known, known] for line in field.lines)  # the base's line
    chances = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "|"]
    assert chances == pytest.approx([0.2, 0.2, 0.2, 0.1])
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "chance"
    assert [row["setting"] for row in figure.rows] == ["base", "window uniform 7", "budget 0.01", "top 10%"]
    assert xml.fromstring(figure._repr_mimebundle_()["image/svg+xml"]).tag.endswith("svg")


def test_chart_of_spearman_has_no_chance() -> None:
    figure = setting_chart(sensitivity_summary(rows_of({BASE: 0.4, SMALL: 0.3})), BASE, score="spearman", name="rho")
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert figure.axes[0].get_xlabel() == "rho"


def test_heat_map_writes_medians_and_leaves_missing_cells_white() -> None:
    summary = sensitivity_summary(rows_of({BASE: 0.4, SMALL: 0.3, GRID: 0.2, Setting(q=0.1): 0.9}))
    figure = heat_maps(summary, BASE, scores={"energy_in_top_q": "energy"})
    field = figure.axes[0]
    assert [label.get_text() for label in field.get_xticklabels()] == ["gaussian 11 1.5", "uniform 7"]
    assert [label.get_text() for label in field.get_yticklabels()] == ["0.001", "0.01"]
    written = [text.get_text() for text in field.texts]
    known = [summary[setting]["energy_in_top_q"]["value"] for setting in (BASE, SMALL, GRID)]
    assert written == [f"{value:.2f}" for value in known]  # the fourth is missing
    assert field.collections[0].norm.vmin == 0
    assert [row["energy_in_top_q_value"] for row in figure.rows] == pytest.approx(known)
    figure.savefig(io.BytesIO())
