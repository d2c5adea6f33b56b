"""The table of a shapes classifier: closed forms for a flat map, and no dependence on batches."""

from __future__ import annotations

import math

import pytest
import torch
from small_networks import random_classifier
from torch import nn

from perceptlib.data import shapes
from perceptlib.data.scenes import CLASSES
from perceptlib.maps import evaluation
from perceptlib.maps.evaluation import evaluate
from perceptlib.networks import Classifier

CONDITIONS = [("smooth", "smooth"), ("smooth", "textured"), ("textured", "smooth"), ("textured", "textured")]


def constant_classifier(value: float) -> Classifier:
    """Sees the same in every place: the map of every class is `value` everywhere; it always says class 0."""

    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 1, 8, 8), value)

    linear = nn.Linear(1, len(CLASSES))
    nn.init.ones_(linear.weight)
    nn.init.zeros_(linear.bias)
    linear.bias.data[0] = 1
    features = Constant()
    return Classifier(
        nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear),
        name="constant",
        class_names=CLASSES,
        input_size=64,
        mean=[0.5] * 3,
        std=[0.25] * 3,
        cam_layer=features,
        linear_layer=linear,
        source="made",
        sha256="",
    )


def test_evaluate_of_a_flat_map_is_chance() -> None:
    rows = evaluate(constant_classifier(1.0), num_images=40, seed=3)
    assert [(row["object_texture"], row["background_texture"]) for row in rows] == [*CONDITIONS, ("all", "all")]
    assert [row["num_images"] for row in rows] == [40] * 4 + [160]
    scenes = shapes(40, seed=3)
    for row in rows:
        assert row["accuracy"] == pytest.approx(float((scenes.labels == 0).double().mean()))
        for name, regions in (("mask", scenes.masks), ("hull", scenes.hulls)):
            assert row[f"{name}_energy"] == pytest.approx(row[f"{name}_share"], rel=1e-6)
            assert row[f"{name}_share"] == pytest.approx(float(regions.double().mean()))
            assert row[f"{name}_over_chance"] == pytest.approx(1, rel=1e-6)
        assert row["num_undefined"] == 0


def test_evaluate_counts_maps_without_mass() -> None:
    row = evaluate(constant_classifier(0.0), num_images=5, seed=3)[-1]
    assert row["num_undefined"] == 20
    assert math.isnan(row["mask_energy"]) and math.isnan(row["hull_pointing"])
    assert row["mask_share"] > 0.05


def test_evaluate_does_not_depend_on_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = random_classifier()
    whole = evaluate(classifier, num_images=9)
    monkeypatch.setattr(evaluation, "_BATCH", 4)
    for one, other in zip(whole, evaluate(classifier, num_images=9), strict=True):
        numbers = [name for name in one if not name.endswith("_texture")]
        assert [one[name] for name in numbers] == pytest.approx([other[name] for name in numbers], rel=1e-4)


def test_evaluate_refuses_bad_numbers() -> None:
    with pytest.raises(ValueError, match="num_images is 0; pass a whole number, 1 or more"):
        evaluate(constant_classifier(1.0), num_images=0)
    with pytest.raises(TypeError, match=r"num_images is 1\.5, a float; pass a whole number, 1 or more"):
        evaluate(constant_classifier(1.0), num_images=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed is -2; pass a whole number, 0 or more"):
        evaluate(constant_classifier(1.0), num_images=1, seed=-2)
