from __future__ import annotations

import pytest
import torch

from perceptlib.drawing.figures import attack_panel, grid
from perceptlib.pages import examples
from perceptlib.ssim import measure as ssim
from perceptlib.study import presets


@pytest.fixture(scope="module")
def study() -> presets.Study:
    return presets.load_study("shapes", num_images=3)


def test_attacked_example_is_what_would_be_saved(study: presets.Study) -> None:
    arguments = examples.attacked_example(study, 1, budget=0.01, steps=2, cg_steps=4)
    levels = arguments["adversarial"] * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    picture, saved = arguments["image"][None], arguments["adversarial"][None]
    torch.testing.assert_close(arguments["change_map"], ssim.change_map(picture, saved)[0])
    name = study.classifier.class_names[int(study.pictures.labels[1])]
    assert arguments["label"].startswith(f"{name}, ") and arguments["cam_label"] == name
    assert arguments["change_white"] == 0.2  # twenty times the budget
    attack_panel(**arguments)


def test_examples_are_counted_round(study: presets.Study) -> None:
    first = examples.attacked_example(study, 0, budget=0.01, steps=1, method="l2")
    again = examples.attacked_example(study, len(study.examples), budget=0.01, steps=1, method="l2")
    assert torch.equal(first["image"], again["image"])


def test_map_panels_share_the_scale_of_the_change_maps(study: presets.Study) -> None:
    panels = {panel.title: panel for panel in examples.map_panels(study, 0, budget=0.001)}
    assert list(panels)[:2] == ["image", "CAM"] and len(panels) == 9
    changes = ("linf", "l2", "SSIM ball, diagonal", "SSIM ball", "random in SSIM ball")
    assert len({panels[title].white for title in changes}) == 1
    assert panels["texture"].white != panels["linf"].white
    grid(list(panels.values()))
