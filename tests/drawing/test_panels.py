"""Panels of a figure: what is drawn, on which scale, and its numbers."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.image
import numpy as np
import PIL.Image
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perceptlib.drawing.panels import (
    Panel,
    amplification,
    attack_panel,
    draw_panel,
    grid,
    map_frame,
    outline,
    perturbation_panel,
)


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


def test_map_frame_has_the_maps_cell_by_cell() -> None:
    first, second = torch.rand(4, 6, dtype=torch.float64), torch.rand(4, 6, dtype=torch.float64)
    panels = [Panel(torch.rand(3, 4, 6), "picture"), Panel(first, "map"), Panel(second, "map")]
    frame = map_frame([*panels, Panel(torch.rand(2, 2), "of another size")])
    assert frame.index.names == ["row", "column"] and len(frame) == 24
    assert frame.loc[(2, 5)].to_dict() == {"2 map": float(first[2, 5]), "3 map": float(second[2, 5])}
    assert map_frame(panels[:1]).empty


def test_map_frame_of_a_large_map_has_means_of_blocks() -> None:
    values = torch.rand(130, 200, dtype=torch.float64)
    frame = map_frame([Panel(values, "map")])
    assert len(frame) == 32 * 50  # blocks of 4; two rows of pixels are left over
    assert frame.loc[(4, 12), "1 map"] == pytest.approx(float(values[4:8, 12:16].mean()))


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 24, 32, generator=generator)
    adversarial = (image + 0.01 * torch.randn(3, 24, 32, generator=generator)).clamp(0, 1)
    return image, adversarial, torch.rand(24, 32, generator=generator), torch.rand(24, 32, generator=generator)


def words(figure: Figure) -> list[str]:
    return [(axes.get_title() + ": " + axes.get_xlabel()).replace("\n", " ") for axes in figure.axes]


def picture_of(figure: Any) -> Any:
    return PIL.Image.open(io.BytesIO(figure._repr_mimebundle_()["image/jpeg"]))


def test_attack_panel_shows_pictures_maps_and_their_outlines(pictures: tuple[torch.Tensor, ...]) -> None:
    panel = attack_panel(*pictures, label="cat, 0.9", label_after="lynx, 0.7", cam_label="cat")
    assert words(panel) == [
        "image: cat, 0.9",
        "adversarial image: lynx, 0.7",
        "perturbation: 10 times; grey: unchanged",
        "SSIM change map: ",
        "class activation map: cat",
        "top 20 % of both: change map solid, CAM dashed",
    ]
    shown = [axes.images[0].get_array() for axes in panel.axes]
    assert [array.shape for array in shown] == [(24, 32, 3)] * 3 + [(24, 32)] * 2 + [(24, 32, 3)]
    np.testing.assert_array_equal(shown[1], pictures[1].permute(1, 2, 0))
    np.testing.assert_array_equal(shown[4], pictures[3])
    outlines = [collection.levels[0] for collection in panel.axes[5].collections]
    assert outlines == pytest.approx([float(values.double().quantile(0.8)) for values in pictures[2:]])


def test_attack_panels_can_share_the_scale_of_their_change_maps(pictures: tuple[torch.Tensor, ...]) -> None:
    panel = attack_panel(*pictures, label="a", label_after="b", cam_label="a", change_white=0.5)
    assert panel.axes[3].images[0].norm.vmax == 0.5
    assert panel.frame is not None and len(panel.frame) == 24 * 32
    assert list(panel.frame) == ["4 SSIM change map", "5 class activation map"]


@pytest.mark.parametrize("label", ["a $ and $\\frac{ no formula", "x" * 300, "", "máquina ß"])
def test_attack_panel_takes_any_class_name(pictures: tuple[torch.Tensor, ...], label: str) -> None:
    panel = attack_panel(*pictures, label=label, label_after=label, cam_label=label)
    file = io.BytesIO()
    panel.savefig(file, dpi=60)
    file.seek(0)
    assert matplotlib.image.imread(file).shape[0] > 100


def test_attack_panel_of_unchanged_image_is_grey(pictures: tuple[torch.Tensor, ...]) -> None:
    nothing = torch.zeros(24, 32)
    panel = attack_panel(pictures[0], pictures[0], nothing, nothing, label="a", label_after="a", cam_label="a")
    assert (np.asarray(panel.axes[2].images[0].get_array()) == 0.5).all()
    assert not panel.axes[5].collections  # a flat map has no top fifth
    panel.savefig(io.BytesIO())


def test_grid_shows_pictures_as_jpeg_and_leaves_unused_places_empty() -> None:
    panels = [Panel(torch.rand(8, 8) + 0.1, str(index), white=2.0, is_log=index == 1) for index in range(4)]
    figure = grid(panels)
    assert len(figure.axes) == 4 and figure.axes[0].images[0].norm.vmax == 2
    assert figure.axes[1].images[0].norm.vmin == pytest.approx(float(panels[1].values.min()))
    shown = picture_of(figure)
    assert shown.format == "JPEG" and shown.width == 6.2 * 190
