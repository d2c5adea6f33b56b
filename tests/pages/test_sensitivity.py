"""Page 09: tables, and what the figures of the sensitivity show."""

from __future__ import annotations

import io

from shown import cell
from study_samples import setting_rows

from perceptlib.analysis.sensitivity import setting_scores
from perceptlib.pages import sensitivity as page
from perceptlib.study.sensitivity import Setting

BASE = Setting()
SMALL, GRID = Setting(window="uniform 7"), Setting(window="uniform 7", budget=0.01)
SCORES = setting_scores(
    setting_rows({BASE: 0.4, SMALL: 0.24, GRID: 0.3, Setting(budget=0.01): 0.38, Setting(q=0.1): 0.2})
)


def test_tables_have_a_row_for_each_setting_and_option() -> None:
    table = page.setting_table(SCORES)
    assert table.data["changed"].tolist() == ["base", "window uniform 7", "budget 0.01", "top 10%"]
    assert cell(table, "base", "fooled") == "20%" and cell(table, "base", "undefined pictures") == "0"
    ranges = page.range_table(SCORES)
    assert cell(ranges, "window", "lowest difference").endswith("(window uniform 7)")
    assert cell(ranges, "window", "above 0") == "1 of 2"  # 0.24 is not above 0.25
    assert cell(page.base_table(BASE), "layer", "base") == "the last"
    nothing = setting_scores(setting_rows({BASE: 0.4})[:0])
    assert {table.data.iloc[0, 0] for table in (page.setting_table(nothing), page.range_table(nothing))} == {
        "not recorded"
    }


def test_chart_has_a_row_for_each_setting_one_field_away() -> None:
    figure = page.setting_chart(SCORES)
    figure.savefig(io.BytesIO())
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        *("base", "window uniform 7", "budget 0.01", "top 10%")
    ]
    assert list(left.get_yticks()) == sorted(left.get_yticks()) and left.yaxis_inverted()
    for field, key in ((left, "energy_in_top_q"), (right, "beyond_energy_in_top_q")):
        known = SCORES.at[0, f"{key}.value"]
        assert any(list(line.get_xdata()) == [known, known] for line in field.lines)  # the base's line
    (chance,) = (line for line in left.lines if line.get_marker() == "|")
    assert list(chance.get_xdata()) == [0.2, 0.2, 0.2, 0.1]
    spearman = page.setting_chart(SCORES, score="spearman")
    assert not [line for line in spearman.axes[0].lines if line.get_marker() == "|"]


def test_heat_map_writes_medians_and_leaves_missing_cells_white() -> None:
    shown = SCORES[SCORES["label"] != "budget 0.01"]
    figure = page.heat_maps(shown, {"energy_in_top_q": "energy"})
    field = figure.axes[0]
    assert [label.get_text() for label in field.get_xticklabels()] == ["gaussian 11 1.5", "uniform 7"]
    assert [label.get_text() for label in field.get_yticklabels()] == ["0.001", "0.01"]
    known = [f"{shown.at[place, 'energy_in_top_q.value']:.2f}" for place in (0, 1, 2)]
    assert [text.get_text() for text in field.texts] == known  # the fourth is missing
    assert field.collections[0].norm.vmin == 0
    assert figure.frame is not None and figure.frame["label"].tolist()[:2] == ["base", "window uniform 7"]
    figure.savefig(io.BytesIO())
