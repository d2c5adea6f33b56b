"""What the figures of the causal tests show."""

from __future__ import annotations

import io
import math

import pytest
import torch
from study_samples import region_rows
from test_factorial import rows_of

from perceptlib.pages.causal import RegionExample, region_summaries
from perceptlib.pages.causal_figures import condition_chart, effect_chart, region_chart, region_panels, scene_panels
from perceptlib.study.factorial import CONDITIONS, factorial_summary


def test_scenes_are_rows_with_their_outline() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 2:5] = True
    entry = {"image": torch.rand(3, 8, 8), "mask": mask, "ssim": torch.rand(8, 8), "random": torch.full((8, 8), 2.0)}
    figure = scene_panels(dict.fromkeys(CONDITIONS, entry))
    assert len(figure.axes) == 12
    assert [axes.get_title() for axes in figure.axes[3:6]] == ["smooth object", "SSIM ball", "random in SSIM ball"]
    assert figure.axes[3].get_xlabel() == "textured background"
    assert {axes.images[0].norm.vmax for axes in figure.axes if axes.get_title() == "SSIM ball"} == {2.0}  # one scale
    assert all(axes.collections[0].levels == [0.5] for axes in figure.axes)


def test_conditions_have_a_field_each() -> None:
    here = factorial_summary(rows_of(lambda name, _: 2.0 if name == "smooth/textured" else 4.0))
    figure = condition_chart(here, factorial_summary(rows_of(lambda name, _: 3.0)))
    assert [axes.get_title() for axes in figure.axes] == [
        "smooth object,\nsmooth background",
        "smooth object,\ntextured background",
        "textured object,\nsmooth background",
        "textured object,\ntextured background",
    ]
    field = figure.axes[1]
    assert field.get_xscale() == "log" and field.yaxis_inverted()
    dots = [line.get_xdata()[0] for line in field.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([2.0, 3.0])
    assert [1, 1] in [list(line.get_xdata()) for line in field.lines]  # chance
    assert len(condition_chart(here).legends) == 0
    assert {(row["scenes"], row["condition"]) for row in figure.rows} == {
        (scenes, condition) for scenes in ("here", "recorded") for condition in CONDITIONS
    }


def test_effects_have_a_dot_for_each_summary() -> None:
    double = factorial_summary(rows_of(lambda name, _: 2.0 if name.endswith("textured") else 4.0))
    figure = effect_chart({"here": double, "recorded": double, "again": double})
    values = [[line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"] for axes in figure.axes]
    assert [value for field in values for value in field] == pytest.approx([1.0] * 3 + [0.5] * 3 + [1.0] * 3)
    figure.savefig(io.BytesIO())


def test_regions_of_a_picture_are_outlined_above_and_below() -> None:
    support = torch.zeros(8, 8, dtype=torch.bool)
    support[:, :3] = True
    names = ("top", "bottom", "random")
    example = RegionExample(
        image=torch.rand(3, 8, 8),
        cam=torch.rand(8, 8),
        label="disk",
        supports=dict.fromkeys(names, support),
        perturbations={
            "top": 0.02 * torch.ones(3, 8, 8),
            "bottom": torch.ones(3, 8, 8),
            "random": torch.zeros(3, 8, 8),
        },
        distances={"top": 1e-4, "bottom": 0.1, "random": math.inf},
        answers={"top": "ring", "bottom": "star", "random": "disk"},
    )
    figure = region_panels(example)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["top of the CAM", "bottom of the CAM", "random"]
    words = [axes.get_xlabel().replace("\n", " ") for axes in figure.axes]
    assert words == ["disk"] * 3 + ["fools at 1.0e-04: ring", "fools at 1.0e-01: star", "does not fool"]
    assert [axes.get_title() for axes in figure.axes[3:]] == ["perturbation"] * 3
    assert [(row["region"], row["distance"]) for row in figure.rows] == list(example.distances.items())
    change = float(example.perturbations["top"].abs().max())
    assert figure.rows[0] == {
        **{"region": "top", "area": float(example.supports["top"].float().mean()), "distance": 1e-4},
        **{"largest_change": change, "answer": "ring"},
    }
    assert all(axes.collections for axes in figure.axes)


def test_regions_stand_in_groups_of_studies() -> None:
    summaries = region_summaries(
        {
            "here": region_rows({"bottom": 2.0, "top": 1.0}),
            "imagenet": region_rows({"bottom": 4.0, "top": 1.0, "random": math.inf}),
        }
    )
    figure = region_chart(summaries)
    left, right = figure.axes
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert labels[:3] == ["here: top of the CAM", "here: bottom of the CAM", "imagenet: top of the CAM"]
    dots = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "v"]
    assert dots == pytest.approx([2.0, 4.0])
    assert [text.get_text() for text in left.texts] == ["not fooled"]
    assert right.get_xlim() == (-0.04, 1.04)
    assert [row["region"] for row in figure.rows if row["study"] == "here"] == ["top", "bottom"]
    figure.savefig(io.BytesIO())
