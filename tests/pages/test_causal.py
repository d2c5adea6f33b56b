"""Page 08: recorded twins, an example whose perturbations stay where they may be, and what tables and figures show."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from shown import cell
from study_samples import region_rows, scene_rows

from perceptlib.analysis.recorded import recorded_factorial
from perceptlib.data import shapes
from perceptlib.pages import causal as page
from perceptlib.records import plain
from perceptlib.study.config import STUDIES
from perceptlib.study.localisation import CONDITIONS, MAPS, factorial_rows, maps_of
from perceptlib.study.presets import Study
from perceptlib.study.tasks import tasks_of

TWINS = scene_rows(dict(zip(CONDITIONS, (2.0, 1.0, 2.0, 1.0), strict=True)))
REGIONS = page.region_summaries(
    {
        "here": region_rows({"bottom": 2.0, "top": 1.0}),
        "imagenet": region_rows({"bottom": 4.0, "top": 1.0, "random": math.inf}),
        "empty": region_rows({"top": 1.0})[:0],
    }
)


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of the page, and recorded ones of one network."""
    recorded = scene_rows(dict.fromkeys(CONDITIONS, 3.0))
    monkeypatch.setattr(page, "recorded_factorial", lambda network, folder: None if network else recorded)
    return page.scenes_beside(TWINS)


def test_recorded_scenes_are_made_again(study: Study, tmp_path: Path) -> None:
    page.record_factorial(tmp_path, num_images=2, networks=(0, 1))
    about = json.loads((tmp_path / "factorial_provenance.json").read_text())
    assert about["num_images"] == 2 and about["runs"][0]["weights"]["sha256"] == study.classifier.sha256
    known, rows = factorial_rows(study.classifier, 2, budget=0.001), recorded_factorial(0, tmp_path)
    assert (rows["network"] == 0).all() and rows["share"].tolist() == pytest.approx(known["share"].tolist(), rel=1e-5)
    _, answers = page.scenes_beside(known, tmp_path)
    assert list(answers["data_set"].unique()) == ["here", "recorded, network 0", "recorded, network 1"]
    shipped = recorded_factorial()
    assert list(shipped) == list(rows) and shipped["scene"].nunique() == 200
    first = shipped[shipped["scene"] < 2]["share"]
    known = known[known["method"].isin(shipped["method"].unique())]
    assert first.tolist() == pytest.approx(known["share"].tolist(), abs=1e-3)


def test_scene_has_the_maps_of_its_four_conditions(study: Study) -> None:
    found = page.scene_maps(study.classifier, 1, budget=0.001)
    assert tuple(found) == CONDITIONS
    scenes = shapes(2, seed=0, object_texture="textured", background_texture="smooth")
    entry = found["textured/smooth"]
    assert torch.equal(entry["image"], scenes.images[1]) and torch.equal(entry["mask"], scenes.masks[1])
    known = maps_of(study.classifier, scenes.images[1:], scenes.labels[1:], budget=0.001)
    assert all(torch.allclose(entry[name], known[name][0]) for name in MAPS)


def test_regions_alone_leaves_nothing_else() -> None:
    config = page.regions_alone(STUDIES["shapes"], num_images=4)
    assert {task.part for task in tasks_of(config, 4)} == {"regions"}


def test_example_is_attacked_inside_its_regions_alone(study: Study) -> None:
    example = page.region_example(study, 5, share=0.25, candidates=2)  # counted round: the second
    assert torch.equal(example.image, study.examples.images[1])
    top, bottom = example.regions.loc[["top", "bottom"], "support"]
    assert float(example.cam[top].min()) >= float(example.cam[bottom].max())
    for region in example.regions.itertuples():
        assert int(region.support.sum()) == 64 * 64 // 4
        assert float(region.change[:, ~region.support].abs().max()) == 0
        fooled = study.classifier((example.image + region.change)[None]).argmax(1)
        assert region.answer == study.classifier.class_names[int(fooled)]
        assert (region.answer != example.label) == math.isfinite(region.distance)


def test_tables_show_effects_and_regions(scenes: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    effects = page.effect_table(*scenes)
    assert effects.data.columns.tolist() == ["effect", "here", "recorded, network 0"]
    told = effects.data["here"].tolist()
    assert told[:4] == [*("1.00 (1.00 to 1.00)", "0.50 (0.50 to 0.50)", "1.00 (1.00 to 1.00)", "2.00 (2.00 to 2.00)")]
    assert told[5] == "-1.00 (-1.00 to -1.00)" and told[-1] == "60 (0 misclassified)"
    follows = page.follows_table(scenes[1])
    assert follows.data.iloc[0].tolist() == ["SSIM ball", "undecided", "the object"]
    conditions = page.condition_table(*scenes)
    assert cell(conditions, "SSIM ball", "smooth/textured") == "1.00 (1.00 to 1.00)"
    rows = page.region_table(*REGIONS).data
    assert rows["region"].tolist()[:2] == ["top of the CAM", "bottom of the CAM"]
    assert rows["over the top's"].tolist()[:2] == ["", "2.00 (2.00 to 2.00)"]  # the top against itself says nothing
    assert rows["distance that fools, median"].iloc[4] == "infinite"


def test_numbers_are_the_page_s_own(scenes: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    numbers = plain(page.numbers(scenes, REGIONS))
    assert numbers["factorial"]["ssim"]["conditions"]["smooth_textured"]["value"] == 1
    assert set(numbers["regions"]) == {"top", "bottom"} and set(numbers["regions"]["top"]["rates"]) == {"5e-01"}


def test_scenes_are_rows_with_their_outline() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 2:5] = True
    entry = {"image": torch.rand(3, 8, 8), "mask": mask, "ssim": torch.rand(8, 8), "random": torch.full((8, 8), 2.0)}
    figure = page.scene_panels(dict.fromkeys(CONDITIONS, entry))
    assert [axes.get_title() for axes in figure.axes[3:6]] == ["smooth object", "SSIM ball", "random in SSIM ball"]
    assert {axes.images[0].norm.vmax for axes in figure.axes if axes.get_title() == "SSIM ball"} == {2.0}  # one scale
    assert len(figure.axes) == 12 and all(axes.collections[0].levels == [0.5] for axes in figure.axes)


def test_charts_of_scenes_have_a_dot_for_each_data_set(scenes: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    figure = page.condition_chart(scenes[0])
    assert [axes.get_title() for axes in figure.axes[:2]] == [
        *("smooth object,\nsmooth background", "smooth object,\ntextured background")
    ]
    field = figure.axes[1]
    dots = [line.get_xdata()[0] for line in field.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([1.0, 3.0]) and field.get_xscale() == "log" and field.yaxis_inverted()
    assert [1, 1] in [list(line.get_xdata()) for line in field.lines]  # chance
    effects = page.effect_chart(scenes[0])
    values = [line.get_xdata()[0] for axes in effects.axes for line in axes.lines if line.get_marker() == "o"]
    assert values == pytest.approx([1, 1, 0.5, 1, 1, 1])
    assert not page.effect_chart(scenes[0][scenes[0]["data_set"] == "here"]).legends
    effects.savefig(io.BytesIO())


def test_regions_of_a_picture_are_outlined_above_and_below() -> None:
    support = torch.zeros(8, 8, dtype=torch.bool)
    support[:, :3] = True
    columns = ["support", "change", "distance", "answer"]
    regions = {
        "top": [support, torch.full((3, 8, 8), 0.02), 1e-4, "ring"],
        "bottom": [support, torch.ones(3, 8, 8), 0.1, "star"],
        "random": [support, torch.zeros(3, 8, 8), math.inf, "disk"],
    }
    found = pd.DataFrame.from_dict(regions, orient="index", columns=columns).rename_axis("region")
    example = page.RegionExample(torch.rand(3, 8, 8), torch.rand(8, 8), "disk", found)
    figure = page.region_panels(example)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["top of the CAM", "bottom of the CAM", "random"]
    words = [axes.get_xlabel().replace("\n", " ") for axes in figure.axes]
    assert words == ["disk"] * 3 + ["fools at 1.0e-04: ring", "fools at 1.0e-01: star", "does not fool"]
    assert figure.frame is not None and figure.frame["distance"].tolist() == [1e-4, 0.1, math.inf]
    assert all(axes.collections for axes in figure.axes)


def test_regions_stand_in_groups_of_studies() -> None:
    figure = page.region_chart(*REGIONS)
    left, right = figure.axes
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert labels[:3] == ["here: top of the CAM", "here: bottom of the CAM", "imagenet: top of the CAM"]
    dots = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "v"]
    assert dots == pytest.approx([2.0, 4.0]) and [text.get_text() for text in left.texts] == ["not fooled"]
    assert right.get_xlim() == (-0.04, 1.04)
    figure.savefig(io.BytesIO())
