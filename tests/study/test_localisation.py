from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from reference import window_matrix, window_weights
from torch import nn

from perceptlib.data import shapes
from perceptlib.maps import class_activation_map
from perceptlib.maps import scores as agreement
from perceptlib.networks import Classifier, load
from perceptlib.ssim import measure as ssim
from perceptlib.study import localisation, presets
from perceptlib.study.localisation import MAPS, factorial_rows, maps_of


@pytest.fixture(scope="module")
def study() -> presets.Study:
    return presets.load_study("shapes", num_images=5)


@pytest.fixture(scope="module")
def maps(study: presets.Study) -> dict[str, torch.Tensor]:
    return localisation.maps_of(study.classifier, study.pictures.images, study.pictures.labels, budget=1e-3)


def test_margin_gradient_of_a_linear_network_is_a_difference_of_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 2])
    logits = network(images).detach()
    gradient = localisation.margin_gradient(network, images, labels)
    for index, label in enumerate(labels.tolist()):
        rival = max((k for k in range(3) if k != label), key=lambda k, row=logits[index]: float(row[k]))
        expected = (network[1].weight[rival] - network[1].weight[label]).view(3, 4, 4)
        torch.testing.assert_close(gradient[index], expected)


def test_change_maps_share_their_mean(maps: dict[str, torch.Tensor]) -> None:
    assert list(maps) == list(localisation.MAPS)
    for method in ("linf", "l2", "ssim_diagonal", "ssim", "random"):
        # rescaled to the distance, which is the map's mean, to 1e-3
        assert maps[method].mean((1, 2)).tolist() == pytest.approx([1e-3] * 5, rel=3e-3)


def test_texture_map_is_the_window_variance(study: presets.Study, maps: dict[str, torch.Tensor]) -> None:
    matrix = window_matrix(64, 64, window_weights())
    variances = []
    for channel in study.pictures.images[0].double().numpy():
        x = channel.ravel()
        variances.append((matrix @ x**2 - (matrix @ x) ** 2).reshape(64, 64))
    np.testing.assert_allclose(maps["texture"][0], 2 * np.mean(variances, 0) + 9e-4, atol=1e-5)


def test_random_map_knows_nothing_of_the_network(study: presets.Study, maps: dict[str, torch.Tensor]) -> None:
    pictures = study.pictures
    other = localisation.maps_of(study.classifier, pictures.images, (pictures.labels + 1) % 8, budget=1e-3)
    torch.testing.assert_close(other["random"], maps["random"])
    assert not torch.allclose(other["ssim"], maps["ssim"])
    reseeded = localisation.maps_of(study.classifier, pictures.images, pictures.labels, budget=1e-3, seed=1)
    assert not torch.allclose(reseeded["random"], maps["random"])


def test_more_steps_are_an_attack_at_the_same_distance(study: presets.Study) -> None:
    pictures = study.pictures
    maps = localisation.maps_of(study.classifier, pictures.images, pictures.labels, budget=1e-3, steps=2, cg_steps=4)
    assert maps["l2"].mean((1, 2)).tolist() == pytest.approx([1e-3] * 5, rel=3e-3)


def test_agreement_rows_are_the_scores_of_each_map(study: presets.Study, maps: dict[str, torch.Tensor]) -> None:
    rows = localisation.agreement_rows(study, budget=1e-3, batch_size=5)
    cam = class_activation_map(study.classifier, study.pictures.images, study.pictures.labels)
    assert len(rows) == 5 * len(localisation.MAPS)
    energy = agreement.energy_in_top_q(maps["ssim"], cam)
    assert rows.loc[rows["method"] == "ssim", "energy_in_top_q"].tolist() == pytest.approx(energy.tolist())
    first = rows.iloc[0]
    assert study.pictures.masks is not None
    mask = study.pictures.masks[0]
    assert first["image"] == study.pictures.ids[0] and first["method"] == "linf"
    assert first["mask_share"] == pytest.approx(float(mask.double().mean()))
    assert first["energy_in_mask"] == pytest.approx(float(maps["linf"][0][mask].sum() / maps["linf"][0].sum()))


def test_cam_on_the_object_is_known_where_the_object_is(study: presets.Study) -> None:
    assert localisation.cam_energy_in_mask(study).between(0, 1).sum() == 5
    unknown = presets.Study(study.classifier, presets.load_pictures("photos", num_images=1), study.examples, 1)
    assert localisation.cam_energy_in_mask(unknown).empty


def test_map_without_mass_has_no_share_of_the_object() -> None:
    share = localisation.in_mask(torch.zeros(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool))["energy_in_mask"]
    assert bool(share.isnan().all())
    assert ssim.C2 == 9e-4  # what the texture map adds


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

    monkeypatch.setattr(localisation, "maps_of", known)
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
        ({"methods": ("ssim", "l3")}, "there is no method 'l3'; linf, l2, ssim_diagonal, ssim, multiscale, random"),
    ],
)
def test_rows_refuse(classifier: Classifier, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factorial_rows(classifier, **{"num_images": 1, "budget": 1e-3} | options)
