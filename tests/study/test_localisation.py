from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference import window_matrix, window_weights
from torch import nn

from perceptlib.maps import class_activation_map
from perceptlib.maps import scores as agreement
from perceptlib.ssim import measure as ssim
from perceptlib.study import localisation, presets


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
    assert [row["energy_in_top_q"] for row in rows if row["method"] == "ssim"] == pytest.approx(energy.tolist())
    first = rows[0]
    assert study.pictures.masks is not None
    mask = study.pictures.masks[0]
    assert first["image"] == study.pictures.ids[0] and first["method"] == "linf"
    assert first["mask_share"] == pytest.approx(float(mask.double().mean()))
    assert first["energy_in_mask"] == pytest.approx(float(maps["linf"][0][mask].sum() / maps["linf"][0].sum()))
    assert localisation.object_share(rows) == pytest.approx(
        float(np.median(study.pictures.masks.double().mean((1, 2)))), abs=0.02
    )


def test_summary_takes_medians_and_the_share_of_hits() -> None:
    scores = dict.fromkeys(localisation.SCORES, 0.5)
    rows = [{"method": "ssim", "image": str(i)} | scores | {"spearman": value, "pointing_hit": hit}
            for i, (value, hit) in enumerate([(0.1, 1.0), (0.2, 0.0), (0.9, 0.0), (math.nan, 0.0)])]  # fmt: skip
    summary = localisation.agreement_summary(rows)["ssim"]
    assert summary["spearman"]["value"] == 0.2 and summary["spearman"]["num_undefined"] == 1
    assert summary["pointing_hit"]["value"] == 0.25
    assert "energy_in_mask" not in summary
    lines = repr(localisation.agreement_table({"ssim": summary})).splitlines()
    assert lines[1].startswith("SSIM ball  0.50 (0.50 to 0.50)") and lines[2].split() == [
        *("chance", "0.20", "0.00", "0.50", "0.11", "0.20")
    ]


def test_differences_are_taken_picture_by_picture() -> None:
    values = {"ssim": [0.1, 0.6, 0.9], "random": [0.0, 0.5, 0.2], "l2": [0.1, math.nan, 0.9]}
    rows = [{"method": method, "spearman": value} for method, column in values.items() for value in column]
    differences = localisation.paired_differences(rows, "spearman")
    assert list(differences) == ["random", "l2"]
    assert differences["random"]["value"] == pytest.approx(0.1, abs=1e-6)
    assert (differences["l2"]["value"], differences["l2"]["num_undefined"]) == (0, 1)
    assert repr(localisation.difference_table(differences)).splitlines()[2].split()[-1] == "1"
    assert localisation.difference_table(differences, method="l2").columns[0] == "l2 against"
    with pytest.raises(ValueError, match="no row has method = 'l3'; check the spelling"):
        localisation.paired_differences(rows, "spearman", method="l3")


def test_object_table_says_where_the_object_is_not_known(study: presets.Study) -> None:
    own = localisation.cam_energy_in_mask(study)
    assert own is not None and own.num_values == 5
    summary = {"ssim": {"energy_in_mask": {"value": 0.4, "low": 0.3, "high": 0.5}}}
    lines = repr(localisation.object_table(summary, own, 0.125)).splitlines()
    assert lines[1] == "SSIM ball                  0.40 (0.30 to 0.50)" and lines[-1].endswith("0.12")
    unknown = presets.Study(study.classifier, presets.load_pictures("photos", num_images=1), study.examples, 1)
    assert localisation.cam_energy_in_mask(unknown) is None
    assert "not outlined" in repr(localisation.object_table(summary, None, math.nan))
    assert math.isnan(localisation.object_share([{"method": "ssim"}]))


def test_map_without_mass_has_no_share_of_the_object() -> None:
    share = localisation.in_mask(torch.zeros(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool))["energy_in_mask"]
    assert bool(share.isnan().all())
    assert ssim.C2 == 9e-4  # what the texture map adds
