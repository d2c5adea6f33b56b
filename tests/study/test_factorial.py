"""The paired design on shapes: maps with known answers, effects against plain arithmetic, and the rows themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from perceptlib.analysis.statistics import Interval
from perceptlib.analysis.tables import Row, read_rows, write_rows
from perceptlib.data import shapes
from perceptlib.networks import Classifier, load
from perceptlib.study import factorial
from perceptlib.study.factorial import CONDITIONS, factorial_effects, factorial_rows, factorial_summary, factorial_table
from perceptlib.study.localisation import MAPS, maps_of


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load("shapes")


def rows_of(value: Callable[[str, np.random.Generator], float], count: int = 60, **more: Any) -> list[Row]:
    """Rows of scenes whose share over chance in a condition is a function of the condition, with its own noise."""
    generator = np.random.default_rng(0)
    rows = []
    for scene in range(count):
        chance = float(generator.uniform(0.07, 0.18))
        for name in CONDITIONS:
            on_object, behind = name.split("/")
            over = value(name, generator)
            row: Row = {"scene": scene, "object_texture": on_object, "background_texture": behind, "method": "ssim"}
            row |= {"budget": 1e-3, "is_named_rightly": True, "share": chance * over, "mask_share": chance}
            rows.append(row | {"over_chance": over} | more)
    return rows


def test_factors_of_a_product_are_its_own() -> None:
    def value(name: str, generator: np.random.Generator) -> float:
        on_object, behind = name.split("/")
        return 2.0 * 1.5 ** (on_object == "textured") * 0.5 ** (behind == "textured")

    effects = factorial_effects(rows_of(value), "ssim")
    assert effects["object_texture"]["value"] == pytest.approx(1.5)
    assert effects["background_texture"]["value"] == pytest.approx(0.5)
    assert effects["interaction"]["value"] == pytest.approx(1.0)  # which the additive scale does not see:
    assert effects["additive"]["interaction"]["value"] == pytest.approx(2 * 1.5 * 0.5 - 2 * 1.5 - 2 * 0.5 + 2)
    assert effects["background_over_object"]["value"] == pytest.approx(2 / 1.5)
    assert effects["conditions"]["textured/smooth"]["value"] == pytest.approx(3.0)
    assert effects["num_scenes"] == 60 and effects["num_left_out"] == 0


def test_additive_effects_of_a_sum_are_its_own() -> None:
    effects = factorial_effects(
        rows_of(lambda name, generator: 3 + 0.5 * name.startswith("t") - 1.2 * name.endswith("textured")), "ssim"
    )["additive"]
    assert [
        effects[name]["value"] for name in ("object_texture", "background_texture", "interaction")
    ] == pytest.approx([0.5, -1.2, 0.0])


def test_effects_are_medians_of_contrasts_within_scenes() -> None:
    rows = rows_of(lambda name, generator: float(np.exp(generator.normal(scale=0.5))))
    values = np.log(np.array([row["over_chance"] for row in rows]).reshape(-1, 4))
    smooth_smooth, smooth_textured, textured_smooth, textured_textured = values.T
    own = ((textured_smooth - smooth_smooth) + (textured_textured - smooth_textured)) / 2
    other = ((smooth_textured - smooth_smooth) + (textured_textured - textured_smooth)) / 2
    effects = factorial_effects(rows, "ssim")
    assert effects["object_texture"]["value"] == pytest.approx(np.exp(np.median(own)))
    assert effects["background_texture"]["value"] == pytest.approx(np.exp(np.median(other)))
    interaction = (textured_textured - smooth_textured) - (textured_smooth - smooth_smooth)
    assert effects["interaction"]["value"] == pytest.approx(np.exp(np.median(interaction)))
    assert effects["object_texture"]["low"] < 1 < effects["object_texture"]["high"]  # there is none


@pytest.mark.parametrize(
    "shares, answer",
    [
        ((3.0, 2.0, 4.0, 3.0), "the object"),
        ((1.2, 0.6, 2.5, 1.1), "the texture"),
        ((0.9, 2.2, 0.2, 0.8), "the smooth part"),
        ((1.0, 1.0, 1.0, 1.0), "undecided"),
        ((3.0, 0.9, 0.9, 3.0), "undecided"),
    ],
)
def test_follows_is_read_from_the_intervals(shares: tuple[float, ...], answer: str) -> None:
    intervals = {
        name: Interval(share, share - 0.05, share + 0.05, 9, 0) for name, share in zip(CONDITIONS, shares, strict=True)
    }
    assert factorial.follows(intervals) == answer


def test_wrongly_named_scenes_are_left_out_and_counted() -> None:
    rows = rows_of(lambda name, generator: 2.0, count=10)
    rows[5] |= {"is_named_rightly": False, "over_chance": 99.0}  # scene 1, one condition of four
    rows[8] |= {"over_chance": math.nan}
    effects = factorial_effects(rows, "ssim")
    assert (effects["num_scenes"], effects["num_left_out"]) == (9, 1)
    assert effects["conditions"]["smooth/smooth"]["num_undefined"] == 1
    assert effects["object_texture"]["num_undefined"] == 1 and effects["object_texture"]["value"] == 1
    nobody = factorial_effects(rows_of(lambda name, generator: 2.0, count=3, is_named_rightly=False), "ssim")
    assert nobody["num_scenes"] == 0 and math.isnan(nobody["object_texture"]["value"])
    assert nobody["follows"] == "undecided"


def test_map_without_share_anywhere_is_undefined_or_infinitely_far() -> None:
    rows = rows_of(lambda name, generator: 0.0 if name == "smooth/smooth" else 2.0)
    assert factorial_effects(rows, "ssim")["object_texture"]["value"] == math.inf
    nothing = factorial_effects(rows_of(lambda name, generator: math.nan), "ssim")
    assert nothing["object_texture"]["num_undefined"] == 60


def test_effects_survive_a_file(tmp_path: Path) -> None:
    rows = rows_of(lambda name, generator: float(generator.uniform(1, 3)))
    rows[0]["over_chance"] = math.nan
    again = factorial_summary(read_rows(write_rows(rows, tmp_path / "rows.csv")))
    first = factorial_summary(rows)
    assert again["ssim"]["follows"] == first["ssim"]["follows"]
    assert again["ssim"]["object_texture"] == pytest.approx(first["ssim"]["object_texture"], rel=1e-4)
    assert again["ssim"]["object_texture"]["num_undefined"] == 1


def test_rows_are_the_shares_of_the_maps(classifier: Classifier) -> None:
    rows = factorial_rows(classifier, 3, budget=1e-3, batch_size=2)
    assert len(rows) == 3 * 4 * len(MAPS)
    scenes = shapes(3, seed=0, object_texture="textured", background_texture="smooth")
    maps = maps_of(classifier, scenes.images, scenes.labels, budget=1e-3)
    for row in rows:
        assert row["over_chance"] == pytest.approx(row["share"] / row["mask_share"])
        if (row["object_texture"], row["background_texture"]) == ("textured", "smooth"):
            change, mask = maps[row["method"]][row["scene"]].double().numpy(), scenes.masks[row["scene"]].numpy()
            assert row["share"] == pytest.approx(change[mask].sum() / change.sum(), rel=1e-3)
            assert row["mask_share"] == pytest.approx(mask.mean())
            assert row["is_named_rightly"] == bool(
                classifier(scenes.images)[row["scene"]].argmax() == scenes.labels[row["scene"]]
            )


def test_twins_have_the_same_chance_and_maps_of_known_answer(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        masks = shapes(len(images), seed=5).masks
        return {"ssim": masks.double(), "l2": torch.ones_like(masks).double(), "linf": (~masks).double()}

    monkeypatch.setattr(factorial, "maps_of", known)
    rows = factorial_rows(classifier, 8, budget=1e-3, methods=("ssim", "l2", "linf"), seed=5)
    for row in rows:
        assert row["share"] == {"ssim": 1.0, "l2": pytest.approx(row["mask_share"]), "linf": 0.0}[row["method"]]
        assert row["mask_share"] == next(other["mask_share"] for other in rows if other["scene"] == row["scene"])
    summary = factorial_summary(rows)
    assert summary["ssim"]["follows"] == "the object" and summary["l2"]["follows"] == "undecided"
    assert summary["ssim"]["object_texture"]["value"] == pytest.approx(1)


def test_table_has_a_line_for_each_method() -> None:
    summary = {"texture": factorial_effects(rows_of(lambda name, generator: 2.0), "ssim")}
    lines = repr(factorial_table(summary)).splitlines()
    assert lines[0].split()[:5] == ["map", *CONDITIONS]
    assert lines[1].startswith("texture  2.00 (2.00 to 2.00)") and lines[1].endswith("1.00 (1.00 to 1.00)  the object")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_images": 0}, "num_images 0 and batch_size 64 must be at least 1; pass e.g. 200 and 64"),
        ({"batch_size": 0}, "num_images 1 and batch_size 0 must be at least 1"),
        ({"methods": ("ssim", "l3")}, "there is no method 'l3'; linf, l2, ssim_diagonal, ssim, random"),
    ],
)
def test_rows_refuse(classifier: Classifier, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factorial_rows(classifier, **{"num_images": 1, "budget": 1e-3} | options)


def test_effects_refuse() -> None:
    rows = rows_of(lambda name, generator: 2.0, count=2)
    with pytest.raises(ValueError, match="no row has method 'l2'; check the spelling"):
        factorial_effects(rows, "l2")
    with pytest.raises(ValueError, match="scene 1 has 3 of 4 conditions; pass all rows of it"):
        factorial_effects(rows[:-1], "ssim")
