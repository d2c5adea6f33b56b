"""The gallery's photographs follow from its rules; its maps, and those of the strip, are the ones a study scores."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from perceptlib.drawing.figures import WIDTH
from perceptlib.pages.controls import gallery as page
from perceptlib.study.config import StudyConfig
from perceptlib.study.presets import Study
from perceptlib.study.randomisation import stages
from perceptlib.study.tasks import Task, run_task

BUDGET = 1e-3
CONFIG = StudyConfig(
    num_images=4, attacks=(), searches=(), regions=(), maps=("ssim", "texture"), cams=("cam",), cascade=(0, 2, -1),
    map_budget=BUDGET, cg_steps=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def shown(study: Study) -> pd.DataFrame:
    return page.photographs(study, budget=BUDGET, cg_steps=3)


@pytest.mark.parametrize(
    ("shares", "names"),
    [
        ([(0.3, 0.2), (0.6, 0.7), (0.5, 0.1), (0.4, 0.4)], ("2", "0", "1")),  # the largest share follows texture
        ([(0.1, 0.5), (0.2, 0.2), (0.3, 0.3)], ("2", "1", "0")),
        ([(0.9, 0.1), (0.8, 0.2), (0.7, 0.3)], ("0", "1", "2")),  # none lies more in texture: the one that lacks least
        ([(0.3, 0.3), (0.3, 0.3), (0.3, 0.3)], ("1", "2", "0")),  # of equals the first
    ],
)
def test_rows_follow_the_rules(shares: list[tuple[float, float]], names: tuple[str, str, str]) -> None:
    rows = page.chosen(pd.DataFrame(shares, list("0123")[: len(shares)], ["change_in_cam", "change_in_texture"]))
    assert list(rows) == list(page.ROWS)
    assert tuple(one.name for one in rows.values()) == names


def test_fewer_photographs_than_rows_are_refused(shown: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="there are 2 photographs; 3 or more are needed, one for each row"):
        page.chosen(shown[:2])


def test_shares_are_those_of_a_study(study: Study, shown: pd.DataFrame) -> None:
    rows = run_task(CONFIG, Task("agreement", "", 0, 4), device="cpu").to_pandas()
    scores = rows.pivot(index="image", columns="method", values="energy_in_top_q")
    assert shown.index.tolist() == list(study.pictures.ids)
    assert shown["change_in_cam"].to_dict() == pytest.approx(scores["ssim"].to_dict(), rel=1e-4)
    assert shown["texture_in_cam"].to_dict() == pytest.approx(scores["texture"].to_dict(), rel=1e-4)


def test_strip_has_the_scores_of_a_studys_cascade(study: Study, shown: pd.DataFrame) -> None:
    rows = run_task(CONFIG, Task("cascade", "", 0, 4), device="cpu").to_pandas()
    name = shown.index[1]
    recorded = rows[rows["image"] == name].sort_values("stage")
    networks = page.randomised(study, name, CONFIG.cascade, budget=BUDGET, cg_steps=3)
    assert networks["stages"].tolist() == recorded["stage"].tolist() == [0, 2, len(stages(study.classifier))]
    assert networks["share"].tolist() == pytest.approx(recorded["energy_in_top_q"].tolist(), rel=1e-3)
    assert networks["is_all"].tolist() == [False, False, True]
    assert torch.allclose(networks["change"][0], shown.iloc[1].change, rtol=1e-3, atol=1e-7)
    assert networks["share"][0] == pytest.approx(shown.iloc[1].change_in_cam, rel=1e-4)


def test_strip_of_an_unknown_picture_is_refused(study: Study) -> None:
    with pytest.raises(ValueError, match="there is no picture 'cat'; shapes-0-0, "):
        page.randomised(study, "cat", [0], budget=BUDGET)


def test_gallery_tells_the_shares_and_outlines_the_cam(shown: pd.DataFrame) -> None:
    rows = page.chosen(shown)
    figure = page.gallery_figure(rows)
    agrees = rows["agrees"]
    titles = [axes.get_title() for axes in figure.axes[:9]]
    assert titles[:3] == [agrees.label, f"change: {agrees.change_in_cam:.0%}", f"texture: {agrees.texture_in_cam:.0%}"]
    assert figure.axes[0].get_xlabel() == "agrees" and figure.axes[6].get_xlabel() == "follows texture most"
    assert all(axes.collections for axes in figure.axes[:9]), "a panel has no outline"
    numbers = page.gallery_numbers(rows)
    assert numbers["agrees"]["photograph"] == agrees.name
    assert numbers["textured"]["change_in_texture"] == rows["textured"].change_in_texture


def test_strip_tells_stages_and_shares(study: Study, shown: pd.DataFrame) -> None:
    networks = page.randomised(study, shown.index[0], [0, 1, -1, 1000], budget=BUDGET, cg_steps=3)
    figure = page.strip_figure(shown.iloc[0], networks)
    titles = [axes.get_title() for axes in figure.axes[:5]]
    told = [f"{share:.0%}" for share in networks["share"]]
    texture = f"texture: {shown.iloc[0].texture_in_cam:.0%}"
    assert titles == [shown.iloc[0].label, f"none: {told[0]}", f"1: {told[1]}", f"all: {told[2]}", texture]
    assert figure.get_figwidth() == WIDTH and all(axes.collections for axes in figure.axes[:5])


def test_strip_without_stages_shows_the_photograph(study: Study, shown: pd.DataFrame) -> None:
    networks = page.randomised(study, shown.index[0], [], budget=BUDGET)
    assert networks.empty
    assert page.strip_figure(shown.iloc[0], networks).axes[0].get_title() == shown.iloc[0].label
