from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import ssim_maps, window_matrix, window_weights

from perceptlib.pages.ssim import distances as page
from perceptlib.ssim import measure as ssim
from perceptlib.study import presets


@pytest.fixture(scope="module")
def pictures() -> presets.Pictures:
    return presets.load_pictures("shapes", num_images=3)


@pytest.fixture(scope="module")
def cat() -> presets.Pictures:
    return presets.photograph("cat")


def test_textbook_losses_are_those_of_the_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    images, others = torch.rand(2, 1, 1, 12, 13, generator=generator, dtype=torch.float64)
    luminance, contrast = page.textbook_losses(images, others)
    matrix = window_matrix(12, 13, window_weights())
    expected = ssim_maps(images[0, 0].numpy(), others[0, 0].numpy(), matrix)
    np.testing.assert_allclose(1 - luminance[0, 0], expected[0], atol=1e-12)
    np.testing.assert_allclose(1 - contrast[0, 0], expected[1], atol=1e-10)  # variances cancel in the textbook


def test_identities_hold_to_rounding(pictures: presets.Pictures) -> None:
    noisy = page.equal_distance(pictures.images, 0.1, seed=0)["white_noise"]
    deviations = page.identity_deviations(pictures.images, noisy)
    assert max(deviations.values()) < 1e-10
    assert "mean SSIM: against scikit-image" in repr(page.deviation_table(deviations))


def test_identity_deviations_see_a_difference(pictures: presets.Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = page.equal_distance(pictures.images, 0.1, seed=0)["white_noise"]
    monkeypatch.setattr(ssim, "C2", 1e-3)
    assert page.identity_deviations(pictures.images, noisy)["mean_ssim"] > 1e-6


def test_pairs_are_equal_in_one_measure_and_far_apart_in_the_other(cat: presets.Pictures) -> None:
    sizes = page.pair_sizes(cat, page.equal_l2(cat.images, 40.0, seed=0))
    assert [entry["l2"] for entry in sizes.values()] == pytest.approx([40, 40], rel=1e-4)
    assert sizes["white_noise"]["distance"] > 10 * sizes["brighter"]["distance"]
    sizes = page.pair_sizes(cat, page.noise_of_equal_l2(cat.images, 10.0, seed=0))
    assert [entry["l2"] for entry in sizes.values()] == pytest.approx([10, 10], rel=1e-4)
    assert sizes["noise_in_texture"]["distance"] < 0.6 * sizes["white_noise"]["distance"]
    sizes = page.pair_sizes(cat, page.equal_distance(cat.images, 0.05, seed=0))
    assert [entry["distance"] for entry in sizes.values()] == pytest.approx([0.05, 0.05], rel=2e-3)
    assert sizes["brighter"]["l2"] > 5 * sizes["white_noise"]["l2"]


def test_at_l2_takes_clipping_into_account() -> None:
    images = torch.tensor([[[[0.0, 0.9]]], [[[0.5, 0.5]]]], dtype=torch.float64)
    changed = page.at_l2(images, torch.ones_like(images), 0.5)
    assert (changed - images).flatten(1).norm(dim=1).tolist() == pytest.approx([0.5, 0.5])
    assert changed[0, 0, 0].tolist() == pytest.approx([0.24**0.5, 1.0])  # 0.1 is all that the second pixel has left


def test_at_l2_refuses_what_does_not_fit() -> None:
    images = torch.full((1, 1, 2, 2), 0.5)
    with pytest.raises(ValueError, match=r"a change of l2 norm 2 does not fit into \[0, 1\]; pass a smaller one"):
        page.at_l2(images, torch.ones_like(images), 2.0)


def test_pair_panels_share_the_scale_of_their_change_maps(cat: presets.Pictures) -> None:
    panels = page.pair_panels(cat, page.equal_l2(cat.images, 10.0, seed=0))
    assert [panel.title for panel in panels] == [
        *("cat", "brighter", "white noise", "allowed change", "change map", "change map")
    ]
    assert panels[4].white == panels[5].white == max(float(panel.values.max()) for panel in panels[4:])


def test_allowed_change_is_wide_where_there_is_texture() -> None:
    images = torch.full((1, 1, 48, 96), 0.5, dtype=torch.float64)
    images[..., 48:] += 0.2 * torch.randn(48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    allowed = page.allowed_change(images.clamp(0, 1))[0]
    assert float(allowed.median()) == pytest.approx(1)
    # variance 0.04 against none: sqrt((2 * 0.04 + C2) / C2) is 9.5, windows vary about it
    assert 7 < float(allowed[10:-10, 58:-10].median() / allowed[10:-10, 10:-58].median()) < 12


def test_shape_panels_are_pictures(cat: presets.Pictures) -> None:
    panels = page.shape_panels(cat, budget=0.01, seed=0)
    assert [panel.values.ndim for panel in panels] == [2, 3, 3]
    assert all(float(panel.values.min()) >= 0 and float(panel.values.max()) <= 1 for panel in panels[1:])
    assert panels[1].reach == panels[2].reach


def test_ratio_tends_to_one_and_contrast_bends_it(pictures: presets.Pictures) -> None:
    rows = page.ratio_rows(pictures, [1e-8, 1e-2], seed=0)
    assert len(rows) == 3 * 4 * 2
    numbers = page.ratio_numbers(page.ratio_medians(rows))
    assert [entry["1e-08"] for entry in numbers.values()] == pytest.approx([1] * 4, abs=1e-3)
    assert numbers["more_contrast"]["1e-02"] < 1 < numbers["less_contrast"]["1e-02"]
    assert page.ratio_figure(page.ratio_medians(rows)).axes[0].get_ylabel() == "true distance D / Q(r)"
