"""Rows of the paired design on shapes, against the maps that they are made of, and maps with known answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from perceptlib.data import shapes
from perceptlib.networks import Classifier, load
from perceptlib.study import factorial
from perceptlib.study.factorial import factorial_rows
from perceptlib.study.localisation import MAPS, maps_of


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load("shapes")


def test_rows_are_the_shares_of_the_maps(classifier: Classifier) -> None:
    rows = factorial_rows(classifier, 3, budget=1e-3, batch_size=2)
    assert len(rows) == 3 * 4 * len(MAPS)
    scenes = shapes(3, seed=0, object_texture="textured", background_texture="smooth")
    maps = maps_of(classifier, scenes.images, scenes.labels, budget=1e-3)
    for row in rows.to_dict("records"):
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
    shares = rows.pivot(index=["scene", "object_texture", "background_texture"], columns="method", values="share")
    chance = rows.groupby("scene")["mask_share"]
    assert (chance.nunique() == 1).all()  # twins have the same object
    assert (shares["ssim"] == 1).all() and (shares["linf"] == 0).all()
    known = shares.index.get_level_values("scene").map(chance.first())
    assert shares["l2"].to_numpy() == pytest.approx(known.to_numpy())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_images": 0}, "num_images 0 and batch_size 64 must be at least 1; pass e.g. 200, 64"),
        ({"batch_size": 0}, "num_images 1 and batch_size 0 must be at least 1"),
        ({"methods": ("ssim", "l3")}, "there is no method 'l3'; linf, l2, ssim_diagonal, ssim, random"),
    ],
)
def test_rows_refuse(classifier: Classifier, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factorial_rows(classifier, **{"num_images": 1, "budget": 1e-3} | options)
