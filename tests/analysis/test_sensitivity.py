"""Summaries of invented rows with known answers, and their tables."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from perceptlib.analysis.sensitivity import (
    base_table,
    label_of,
    one_field_away,
    range_table,
    recorded_summary,
    sensitivity_numbers,
    sensitivity_summary,
    sensitivity_table,
)
from perceptlib.analysis.tables import Row, write_rows
from perceptlib.records import plain
from perceptlib.study.sensitivity_settings import Setting

BASE = Setting()
SMALL, GRID = Setting(window="uniform 7"), Setting(window="uniform 7", budget=0.01)


def rows_of(energies: dict[Setting, float], *, num_images: int = 30, by_chance: float = 0.25) -> list[Row]:
    """Energies scattered around a value of each setting; the random direction's are the same for all."""
    noise = 0.05 * np.random.default_rng(0).normal(size=(2, num_images))
    return [
        {
            "image": f"picture {place}",
            **asdict(setting),
            "energy_in_top_q": energy + float(noise[0, place]),
            "spearman": energy - 0.2 + float(noise[0, place]),
            "random_energy_in_top_q": by_chance + float(noise[1, place]),
            "random_spearman": by_chance - 0.2 + float(noise[1, place]),
            "is_adversarial": place < 6,
            "distance": setting.budget,
        }
        for setting, energy in energies.items()
        for place in range(num_images)
    ]


def test_summary_is_of_medians_and_paired_differences() -> None:
    rows = rows_of({BASE: 0.4, SMALL: 0.3})
    summary = sensitivity_summary(rows)
    assert list(summary) == [BASE, SMALL]
    own = np.array([row["energy_in_top_q"] for row in rows[:30]])
    other = np.array([row["random_energy_in_top_q"] for row in rows[:30]])
    entry = summary[BASE]
    assert entry["energy_in_top_q"]["value"] == pytest.approx(np.median(own))
    assert entry["beyond_energy_in_top_q"]["value"] == pytest.approx(np.median(own - other))
    assert entry["beyond_energy_in_top_q"]["value"] != pytest.approx(np.median(own) - np.median(other), abs=1e-4)
    assert entry["fooling_rate"]["value"] == pytest.approx(0.2)
    assert entry["num_images"] == 30


def test_undefined_pictures_are_counted() -> None:
    rows = rows_of({BASE: 0.4})
    rows[0]["energy_in_top_q"] = float("nan")
    rows[1]["energy_in_top_q"] = None  # as a file has it
    entry = sensitivity_summary(rows)[BASE]
    assert entry["energy_in_top_q"]["num_undefined"] == entry["beyond_energy_in_top_q"]["num_undefined"] == 2
    assert entry["random_energy_in_top_q"]["num_undefined"] == 0


def test_labels_say_what_is_changed() -> None:
    assert label_of(BASE, BASE) == "base"
    assert label_of(GRID, BASE) == "budget 0.01, window uniform 7"
    changed = {"components": "luminance", "coupling": "diagonal", "colour": "luma", "steps": 5}
    words = [label_of(Setting(**{name: value}), BASE) for name, value in changed.items()]
    assert words == ["luminance alone", "diagonal coupling", "luma ball", "5 steps"]
    changed = {"cam_method": "grad-cam++", "layer": "features.5", "cam_class": "random", "q": 0.1}
    words = [label_of(Setting(**{name: value}), BASE) for name, value in changed.items()]
    assert words == ["Grad-CAM++", "layer features.5", "CAM of random class", "top 10%"]
    back = label_of(BASE, Setting(**{"components": "luminance", "colour": "luma", "steps": 5, "layer": "a"}))
    assert back == "both components, channels apart, 1 step, layer last"


def test_one_field_away_groups_and_leaves_the_grid_out() -> None:
    other = Setting(budget=0.01)
    near = one_field_away(sensitivity_summary(rows_of({BASE: 0.4, SMALL: 0.4, GRID: 0.4, other: 0.4})), BASE)
    assert list(near) == [BASE, SMALL, other]


def test_tables_have_a_row_for_each_setting_and_option() -> None:
    summary = sensitivity_summary(rows_of({BASE: 0.4, SMALL: 0.24, GRID: 0.9}))
    lines = repr(sensitivity_table(summary, BASE)).splitlines()
    assert len(lines) == 4 and lines[1].startswith("base  ") and lines[1].rstrip().endswith("20%     0")
    ranges = range_table(summary, BASE)
    assert [row[0] for row in ranges.rows] == ["window"]
    lowest, highest = ranges.rows[0][1:3]
    assert lowest.endswith("(window uniform 7)") and highest.endswith("(window gaussian 11 1.5)")
    assert ranges.rows[0][3] == "1 of 2"  # 0.24 is not above 0.25
    assert ("layer", "the last") in base_table(BASE).rows


def test_numbers_have_names_that_json_holds() -> None:
    numbers = sensitivity_numbers(sensitivity_summary(rows_of({BASE: 0.4, GRID: 0.3})), BASE)
    assert list(plain(numbers)) == ["base", "budget_0_01_window_uniform_7"]


def test_recorded_rows_are_found_by_name_or_path(tmp_path: Path) -> None:
    path = write_rows(rows_of({BASE: 0.4, SMALL: 0.3}), tmp_path / "mine.csv")
    assert list(recorded_summary(str(path))) == [BASE, SMALL]
    assert recorded_summary("digits") == {}
    with pytest.raises(FileNotFoundError):
        recorded_summary(str(tmp_path / "none.csv"))
