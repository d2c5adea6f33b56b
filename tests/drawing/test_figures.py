from __future__ import annotations

import io
import xml.etree.ElementTree as xml
from typing import Any

import matplotlib.image
import matplotlib.pyplot
import numpy as np
import PIL.Image
import pytest
import torch

from perceptlib.drawing.figures import Drawing, attack_panel, curves, grid, interval_chart
from perceptlib.drawing.panels import Panel


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 24, 32, generator=generator)
    adversarial = (image + 0.01 * torch.randn(3, 24, 32, generator=generator)).clamp(0, 1)
    return image, adversarial, torch.rand(24, 32, generator=generator), torch.rand(24, 32, generator=generator)


def words(figure: Drawing) -> list[str]:
    return [(axes.get_title() + ": " + axes.get_xlabel()).replace("\n", " ") for axes in figure.axes]


def picture_of(figure: Drawing) -> Any:
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
    assert len(panel.rows) == 24 * 32 and set(panel.rows[0]) == {
        *("row", "column", "4 SSIM change map", "5 class activation map")
    }


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


def test_curves_are_the_same_svg_every_time() -> None:
    def svg() -> str:
        figure = curves(
            {"l2": ([1e-3, 1e-2], [0.1, 0.5]), "new": ([1e-3, 1e-2], [0.2, 0.7])},
            names={"l2": "l2 ball", "new": "other"},
            x="distance",
            y="share",
            intervals={"l2": ([0.0, 0.4], [0.2, 0.6])},
            level=0.5,
        )
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["l2 ball", "other"]
        return str(figure._repr_mimebundle_()["image/svg+xml"])

    carried = curves({"l2": ([1], [2])}, names={"l2": "a"}, x="x", y="y")._repr_mimebundle_()
    assert carried["text/csv"] == "series,x,y\nl2,1,2\n"
    first = svg()
    assert first == svg()
    assert xml.fromstring(first).tag.endswith("svg")


def test_steps_and_logarithms() -> None:
    figure = curves({"l2": ([1, 10], [1, 10])}, names={"l2": "l2"}, x="x", y="y", is_step=True, is_log_y=True)
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.lines[0].get_drawstyle() == "steps-post"


def test_short_logarithmic_axis_has_plain_numbers() -> None:
    def ticks(largest: float) -> list[str]:
        figure = curves({"l2": ([0.001, largest], [0, 1])}, names={"l2": "l2"}, x="x", y="y")
        figure.savefig(io.BytesIO())
        return [text for label in figure.axes[0].get_xticklabels() if (text := label.get_text())]

    assert {"0.001", "0.002", "0.005", "0.01"} <= {*ticks(0.01)}
    assert all("10^" in tick for tick in ticks(10))


def test_interval_chart_has_a_field_for_each_score_that_is_there() -> None:
    entry = {"value": 0.4, "low": 0.3, "high": 0.6}
    summary = {method: {"auc": entry, "spearman": entry, "kl": entry} for method in ("l2", "ssim", "random")}
    figure = interval_chart(
        summary,
        names={"l2": "l2", "ssim": "SSIM", "random": "random"},
        scores={"auc": "AUC", "spearman": "Spearman", "pointing_hit": "hit"},
        chance={"auc": 0.5, "spearman": 0.0},
    )
    assert [axes.get_title() for axes in figure.axes] == ["AUC", "Spearman"]
    assert figure.rows[0] == {"map": "l2", "score": "auc"} | entry and len(figure.rows) == 9
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["l2", "SSIM", "random"]
    assert [list(line.get_xdata()) for line in first.lines[:2]] == [[0.3, 0.6], [0.4]]
    assert first.yaxis_inverted()
    figure.savefig(io.BytesIO())


def test_figures_leave_settings_and_pyplot_alone() -> None:
    before = dict(matplotlib.rcParams)
    curves({"l2": ([1], [1])}, names={"l2": "a"}, x="x", y="y")._repr_mimebundle_()
    assert dict(matplotlib.rcParams) == before
    assert not matplotlib.pyplot.get_fignums()
