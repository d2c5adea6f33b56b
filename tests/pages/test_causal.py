"""Causal tests: recorded twins, regions of the study, and an example whose perturbations stay where they may be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from study_samples import region_rows

from perceptlib.analysis.tables import read_rows
from perceptlib.data import shapes
from perceptlib.pages.causal import (
    record_factorial,
    recorded_factorial,
    region_example,
    region_summaries,
    regions_alone,
    scene_maps,
)
from perceptlib.records import data_dir
from perceptlib.study.config import STUDIES
from perceptlib.study.factorial import CONDITIONS, factorial_rows
from perceptlib.study.localisation import MAPS, maps_of
from perceptlib.study.presets import Study, load_study
from perceptlib.study.tasks import tasks_of


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("shapes", num_images=3)


def test_recorded_scenes_are_made_again(study: Study, tmp_path: Path) -> None:
    record_factorial(tmp_path, num_images=2, networks=(0, 1))
    about = json.loads((tmp_path / "factorial_provenance.json").read_text())
    assert about["num_images"] == 2 and about["runs"][0]["weights"]["sha256"] == study.classifier.sha256
    known = factorial_rows(study.classifier, 2, budget=0.001)
    rows = read_rows(tmp_path / "factorial.csv")
    assert [row["network"] for row in rows] == [0] * len(known)
    assert [row["share"] for row in rows] == pytest.approx([row["share"] for row in known], rel=1e-5)
    found = recorded_factorial(tmp_path)
    assert list(found) == ["recorded, network 0", "recorded, network 1"]
    assert found["recorded, network 0"]["ssim"]["num_scenes"] <= 2


def test_shipped_scenes_are_the_same_ones_for_every_network(study: Study) -> None:
    found = recorded_factorial()
    assert len(found) == 3
    for summary in found.values():
        assert list(summary) == list(MAPS)
        assert summary["ssim"]["num_scenes"] + summary["ssim"]["num_left_out"] == 200
    rows = [row for row in read_rows(data_dir() / "recorded" / "shapes" / "factorial.csv") if row["scene"] < 2]
    known = factorial_rows(study.classifier, 2, budget=0.001)
    assert [row["share"] for row in rows] == pytest.approx([row["share"] for row in known], abs=1e-3)


def test_nothing_recorded_is_nothing(tmp_path: Path) -> None:
    assert recorded_factorial(tmp_path) == {}


def test_scene_has_the_maps_of_its_four_conditions(study: Study) -> None:
    found = scene_maps(study.classifier, 1, budget=0.001)
    assert tuple(found) == CONDITIONS
    scenes = shapes(2, seed=0, object_texture="textured", background_texture="smooth")
    entry = found["textured/smooth"]
    assert torch.equal(entry["image"], scenes.images[1]) and torch.equal(entry["mask"], scenes.masks[1])
    known = maps_of(study.classifier, scenes.images[1:], scenes.labels[1:], budget=0.001)
    assert all(torch.allclose(entry[name], known[name][0]) for name in MAPS)


def test_regions_alone_leaves_nothing_else() -> None:
    config = regions_alone(STUDIES["shapes"], num_images=4)
    assert {task.part for task in tasks_of(config, 4)} == {"regions"}


def test_region_summaries_have_the_top_first_and_leave_empty_studies_out() -> None:
    rows = region_rows({"bottom": 2.0, "random": 1.5, "top": 1.0})
    found = region_summaries({"here": rows, "empty": []})
    assert {name: list(summary) for name, summary in found.items()} == {"here": ["top", "bottom", "random"]}


def test_example_is_attacked_inside_its_regions_alone(study: Study) -> None:
    example = region_example(study, 4, share=0.25, candidates=2)  # counted round: the second
    assert torch.equal(example.image, study.examples.images[1])
    top, bottom = example.supports["top"], example.supports["bottom"]
    assert float(example.cam[top].min()) >= float(example.cam[bottom].max())
    for name, support in example.supports.items():
        assert int(support.sum()) == 64 * 64 // 4
        change = example.perturbations[name]
        assert float(change[:, ~support].abs().max()) == 0
        answer = example.answers[name]
        fooled = study.classifier((example.image + change)[None]).argmax(1)
        assert answer == study.classifier.class_names[int(fooled)]
        assert (answer != example.label) == math.isfinite(example.distances[name])
