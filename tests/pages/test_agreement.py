from __future__ import annotations

import math

import pandas as pd
import pytest

from perceptlib.drawing.panels import grid
from perceptlib.pages import agreement as page
from perceptlib.study.localisation import SCORES
from perceptlib.study.presets import Study


@pytest.fixture
def summary() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"method": method, "score": score, "value": 0.4, "low": 0.3, "high": 0.5, "num_undefined": 1}
            for method in ("ssim", "random")
            for score in (*SCORES, "energy_in_mask")
        ]
    )


def test_map_panels_share_the_scale_of_the_change_maps(study: Study) -> None:
    panels = {panel.title: panel for panel in page.map_panels(study, 0, budget=0.001)}
    assert list(panels)[:2] == ["image", "CAM"] and len(panels) == 11
    changes = ("linf", "l2", "SSIM ball, diagonal", "SSIM ball", "random in SSIM ball")
    assert len({panels[title].white for title in changes}) == 1
    assert panels["texture"].white != panels["linf"].white
    grid(list(panels.values()))


def test_scores_show_with_chance(summary: pd.DataFrame) -> None:
    lines = repr(page.score_table(summary)).splitlines()
    assert lines[1].split()[:6] == ["SSIM", "ball", "0.40", "(0.30", "to", "0.50)"]
    assert lines[3].split() == ["chance", "0.20", "0.00", "0.50", "0.11", "0.20"]
    assert [axes.get_title() for axes in page.score_figure(summary).axes] == list(SCORES.values())


def test_differences_name_the_map_that_is_compared(summary: pd.DataFrame) -> None:
    shown = page.difference_table(summary[:1], method="l2")
    assert next(iter(shown.data)) == "l2 against" and shown.data["undefined pictures"].tolist() == [1]


def test_object_table_says_where_the_object_is_not_known(summary: pd.DataFrame) -> None:
    shown = page.object_table(summary, pd.Series([0.5, 0.6, 0.7]), 0.125).data.set_index("map").squeeze()
    assert shown["SSIM ball"] == "0.40 (0.30 to 0.50)" and shown["chance: the object's area"] == "0.12"
    assert shown["the CAM itself"].startswith("0.60 (0.50 to 0.70)")
    assert "not outlined" in repr(page.object_table(summary, pd.Series([], dtype=float), math.nan))
