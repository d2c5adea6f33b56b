"""One panel of a figure: what is drawn, on which scale, and its numbers."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perceptlib.drawing.panels import Panel, amplification, draw_panel, map_rows, outline, perturbation_panel


def drawn(panel: Panel) -> Axes:
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    draw_panel(axes, panel)
    figure.savefig(io.BytesIO())
    return axes


def scale(axes: Axes) -> list[str]:
    """The words at the colour bar, from left to right."""
    [bar] = axes.child_axes
    return [label.get_text() for label in bar.get_xticklabels()]


def test_picture_has_no_colour_bar() -> None:
    assert not drawn(Panel(torch.rand(3, 8, 8), "picture")).child_axes


def test_map_has_a_colour_bar_from_its_black_to_its_white() -> None:
    values = torch.linspace(0, 0.25, 64).view(8, 8)
    axes = drawn(Panel(values, "map", "words"))
    assert scale(axes) == ["0", "0.25"] and axes.get_xlabel() == "words"
    assert scale(drawn(Panel(values, "map", white=0.5))) == ["0", "0.5"]


def test_map_that_is_cut_off_at_white_says_so() -> None:
    assert scale(drawn(Panel(torch.linspace(0, 2, 64).view(8, 8), "map", white=0.5))) == ["0", "≥ 0.5"]


def test_logarithmic_map_begins_at_its_smallest_value() -> None:
    values = torch.logspace(-1, 1, 64).view(8, 8)
    axes = drawn(Panel(values, "map", is_log=True))
    assert scale(axes) == ["0.1", "1", "10"]
    assert axes.images[0].norm.vmin == pytest.approx(0.1)


def test_map_of_nothing_is_black() -> None:
    axes = drawn(Panel(torch.zeros(8, 8), "map"))
    assert float(axes.images[0].norm(np.zeros(1))[0]) == 0 and scale(axes) == ["0", "1"]


def test_perturbation_is_about_grey_and_its_scale_is_that_of_the_changes() -> None:
    perturbation = torch.zeros(3, 8, 8)
    perturbation[0, 0, 0], perturbation[1, 1, 1] = 0.04, -0.04
    panel = perturbation_panel(perturbation, "perturbation")
    assert panel.words == "10 times; grey: unchanged"
    axes = drawn(panel)
    picture = np.asarray(axes.images[0].get_array())
    assert picture[0, 0] == pytest.approx([0.9, 0.5, 0.5]) and picture[1, 1] == pytest.approx([0.5, 0.1, 0.5])
    assert scale(axes) == ["-0.05", "0", "+0.05"]
    assert scale(drawn(perturbation_panel(perturbation, "p", factor=5))) == ["-0.1", "0", "+0.1"]


@pytest.mark.parametrize(
    ("largest", "factor"), [(0.0, 1), (1.0, 1), (0.4, 1), (0.2, 2), (0.09, 5), (0.03, 10), (4e-4, 1000)]
)
def test_amplification_is_round_and_fits(largest: float, factor: float) -> None:
    assert amplification(torch.full((3, 4, 4), largest)) == factor


def test_outline_of_a_flat_map_is_nothing() -> None:
    axes = drawn(Panel(torch.rand(3, 8, 8), "picture"))
    outline(axes, torch.ones(8, 8), "#000000")
    assert not axes.collections
    outline(axes, torch.arange(64.0).view(8, 8), "#000000")
    assert len(axes.collections) == 1


def test_map_rows_are_the_maps_cell_by_cell() -> None:
    first, second = torch.rand(4, 6, dtype=torch.float64), torch.rand(4, 6, dtype=torch.float64)
    panels = [Panel(torch.rand(3, 4, 6), "picture"), Panel(first, "map"), Panel(second, "map")]
    rows = map_rows([*panels, Panel(torch.rand(2, 2), "of another size")])
    assert len(rows) == 24 and set(rows[0]) == {"row", "column", "2 map", "3 map"}
    row = rows[6 * 2 + 5]
    assert (row["row"], row["column"]) == (2, 5)
    assert row["2 map"] == pytest.approx(float(first[2, 5]), rel=1e-3)
    assert row["3 map"] == pytest.approx(float(second[2, 5]), rel=1e-3)
    assert map_rows(panels[:1]) == []


def test_map_rows_of_a_large_map_are_means_of_blocks() -> None:
    values = torch.rand(130, 200, dtype=torch.float64)
    rows = map_rows([Panel(values, "map")])
    assert len(rows) == 32 * 50  # blocks of 4; two rows of pixels are left over
    expected = values[4:8, 12:16].mean()
    [row] = [row for row in rows if (row["row"], row["column"]) == (4, 12)]
    assert row["1 map"] == pytest.approx(float(expected), rel=1e-3)
