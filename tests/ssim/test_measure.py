from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.metrics import structural_similarity

from perceptlib.ssim import measure as ssim

ROUNDING = 1e-10  # float64; variances are differences of means of squares
SKIMAGE = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1, "channel_axis": 0}


def pair(height: int = 40, width: int = 53, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """A crop of a photograph with a flat patch, and a noisy copy; each (1, 3, H, W), float64."""
    picture = data.chelsea()[100 : 100 + height, 100 : 100 + width].transpose(2, 0, 1) / 255
    picture[:, :15, :15] = 0.5
    noisy = picture + noise * np.random.default_rng(0).standard_normal(picture.shape)
    return torch.tensor(picture)[None], torch.tensor(noisy.clip(0, 1))[None]


def test_ssim_equals_scikit_image() -> None:
    first, second = pair()
    value, full = structural_similarity(first[0].numpy(), second[0].numpy(), full=True, **SKIMAGE)
    assert float(ssim.mean_ssim(first, second)) == pytest.approx(value, abs=1e-6)
    assert np.abs(ssim.ssim_map(first, second)[0].numpy() - full).max() < 1e-6
    assert float(ssim.distance(first, second)) == pytest.approx(1 - full.mean(), abs=1e-9)
    assert np.abs(ssim.change_map(first, second)[0].numpy() - (1 - full).mean(axis=0)).max() < 1e-6


def test_ssim_components_equal_the_textbook() -> None:
    first, second = pair(17, 23)
    matrix = reference.window_matrix(17, 23, reference.window_weights())
    luminance, contrast = ssim.components(first, second)
    for channel in range(3):
        expected = reference.ssim_maps(first[0, channel].numpy(), second[0, channel].numpy(), matrix)
        assert np.abs(luminance[0, channel].numpy() - expected[0]).max() < ROUNDING
        assert np.abs(contrast[0, channel].numpy() - expected[1]).max() < ROUNDING


def test_ssim_gradient_is_right() -> None:
    first, second = (image[:, :1, :11, :12].contiguous() for image in pair())
    second.requires_grad_(True)
    for function in (ssim.distance, ssim.mean_ssim, ssim.ssim_map, ssim.change_map):
        assert torch.autograd.gradcheck(lambda image, f=function: f(first, image), (second,), atol=1e-6)


def test_ssim_gradient_equals_scikit_image_on_its_valid_area() -> None:
    first, second = pair()
    second.requires_grad_(True)
    _, expected = structural_similarity(first[0].numpy(), second[0].detach().numpy(), gradient=True, **SKIMAGE)
    # it differentiates the mean over the whole map of each channel, and near the border with a filter for the adjoint
    (gradient,) = torch.autograd.grad(ssim.ssim_map(first, second).mean(dim=(0, 2, 3)).sum(), second)
    inside = (slice(None), slice(10, -10), slice(10, -10))
    assert np.abs(gradient[0].numpy()[inside] - expected[inside]).max() < 1e-6


@pytest.mark.parametrize("amplitude", [1e-5, 1e-4, 1e-3])
def test_ssim_distance_keeps_three_digits_in_float32(amplitude: float) -> None:
    first, _ = pair()
    single = first.float()
    noisy = (single + amplitude * torch.randn(first.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    exact = float(ssim.distance(single.double(), noisy.double()))
    assert float(ssim.distance(single, noisy)) == pytest.approx(exact, rel=1e-3)
    if amplitude == 1e-5:
        assert exact < 1e-6


def test_ssim_of_constants_is_the_luminance_term() -> None:
    first, second = torch.full((1, 1, 12, 12), 0.25, dtype=torch.float64), torch.full((1, 1, 12, 12), 0.75).double()
    expected = 1 - 0.5**2 / (0.25**2 + 0.75**2 + ssim.C1)
    assert float(ssim.mean_ssim(first, second)) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), scale=st.floats(0, 1))
def test_ssim_is_symmetric_bounded_and_one_for_equal_images(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(2, 1, 12, 14, generator=generator)
    second = first + scale * (torch.rand(2, 1, 12, 14, generator=generator) - first)
    similarity = ssim.ssim_map(first, second)
    assert bool((similarity <= 1).all() and (similarity >= -1).all())
    assert torch.allclose(ssim.distance(first, second), ssim.distance(second, first), atol=1e-5)
    assert bool((ssim.distance(first, first) == 0).all())


def test_ssim_batch_is_image_by_image() -> None:
    first, second = pair()
    batch = torch.cat([first, second]), torch.cat([second, first.flip(-1)])
    single = torch.cat([ssim.distance(a[None], b[None]) for a, b in zip(*batch, strict=True)])
    assert torch.allclose(ssim.distance(*batch), single, rtol=1e-12)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), budget=st.floats(1e-6, 0.3), scale=st.floats(1e-3, 1))
def test_reach_hits_the_budget_inside_the_box(seed: int, budget: float, scale: float) -> None:
    first, _ = pair(24, 24)
    direction = scale * torch.randn(first.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    clean = ssim.Reference(first)
    reached = clean.reach(direction, budget)
    value = float(clean.distance(reached))
    assert (1 - 1e-3) * budget <= value <= budget
    assert float((first + reached).min()) >= 0 and float((first + reached).max()) <= 1


@pytest.mark.parametrize("scale", [1e-5, 1e-7, 1e-10])
def test_reach_does_not_depend_on_the_length_of_its_direction(scale: float) -> None:
    images = pair(24, 24)[0].float()
    # heavy tails, as a gradient has: most entries are small beside the largest, and none may be lost beside the image
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) ** 3
    clean = ssim.Reference(images)
    long, short = (clean.reach(factor * direction, 1e-5) for factor in (1e-3, scale))
    assert torch.allclose(short, long, rtol=1e-3, atol=0)  # the tolerance of the distance


def test_reach_of_a_saturated_or_zero_ray_ends() -> None:
    clean = ssim.Reference(torch.ones(1, 1, 12, 12, dtype=torch.float64))
    assert float(clean.reach(torch.ones(1, 1, 12, 12, dtype=torch.float64), 0.1).abs().max()) == 0
    assert float(clean.reach(torch.zeros(1, 1, 12, 12, dtype=torch.float64), 0.1).abs().max()) == 0


def test_reach_ends_where_the_whole_ray_is_too_short() -> None:
    images = torch.ones(1, 1, 12, 12, dtype=torch.float64)
    images[..., 3:6, 3:6] = 0.9
    for scale in (1e-3, 1.0):
        reached = ssim.Reference(images).reach(scale * torch.ones_like(images), 0.9)
        assert torch.allclose(images + reached, torch.ones_like(images), atol=1e-12)


def test_reach_of_a_budget_below_all_numbers_of_its_type_ends() -> None:
    first, second = (image.float() for image in pair(12, 12))
    reached = ssim.Reference(first).reach(second - first, 1e-44)
    assert float(ssim.Reference(first).distance(reached)) <= 1e-44


def test_ssim_in_parts_is_that_of_all_planes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pair()
    batch = torch.cat(images), torch.cat(images[::-1])

    def maps() -> list[torch.Tensor]:
        clean = ssim.Reference(batch[0])
        change = batch[1] - batch[0]
        return [clean.mean, clean.variance, clean.loss_map(change), *clean.losses(change), *clean.moments(change)]

    together = maps()
    for planes in (1, 4):  # 4 of 6: the last part is smaller
        monkeypatch.setattr(ssim, "CHUNK", planes * 40 * 53 * 8)
        for one, other in zip(maps(), together, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-15)


def test_ssim_refuses_bad_input() -> None:
    first = torch.zeros(1, 3, 12, 12)
    with pytest.raises(ValueError, match=r"images \(1, 3, 12, 12\) and others \(1, 1, 12, 12\) differ in shape"):
        ssim.distance(first, first[:, :1])
    with pytest.raises(ValueError, match=r"images are on cpu and others on meta; move one of them"):
        ssim.distance(first, first.to("meta"))
    with pytest.raises(TypeError, match=r"images are torch.float32 and others torch.float64; convert"):
        ssim.distance(first, first.double())
    with pytest.raises(TypeError, match=r"images have dtype uint8; float32 or float64"):
        ssim.distance(first.byte(), first.byte())
    with pytest.raises(ValueError, match=r"images have shape \(12, 12\); four axes"):
        ssim.distance(first[0, 0], first[0, 0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_ssim_on_cuda_equals_cpu() -> None:
    first, second = pair()
    assert torch.allclose(ssim.distance(first.cuda(), second.cuda()).cpu(), ssim.distance(first, second), rtol=1e-9)


@pytest.mark.parametrize("components", ["both", "luminance", "contrast_structure"])
def test_reach_is_image_by_image_on_rays_that_are_clipped(components: str) -> None:
    first, second = pair(24, 24, noise=0.5)
    images = torch.cat([first, second, second])
    # one is there at once, one is cut back, one grows from nearly nothing and is clipped on its way
    rays = torch.cat([second - first, first - second, 1e-5 * (first - second)])
    budgets = torch.tensor([0.5, 0.01, 0.2], dtype=torch.float64)
    clean = ssim.Reference(images)
    together = clean.reach(rays, budgets, components=components)
    values = clean.distance(together, components=components)
    for index in range(3):
        alone = ssim.Reference(images[index : index + 1])
        reached = alone.reach(rays[index : index + 1], float(budgets[index]), components=components)
        torch.testing.assert_close(together[index : index + 1], reached, rtol=0, atol=1e-12)
        value = float(values[index])
        assert value <= float(budgets[index])
        is_free = bool((reached.abs() > 0).all()) and components == "both" and index > 0
        assert value >= (1 - 1e-3) * float(budgets[index]) or not is_free


@pytest.mark.parametrize("components", ["luminance", "contrast_structure"])
def test_distance_of_one_component_is_the_mean_of_its_loss(components: str) -> None:
    first, second = pair(17, 23)
    maps = dict(zip(("luminance", "contrast_structure"), ssim.components(first, second), strict=True))
    value = ssim.Reference(first).distance(second - first, components=components)
    torch.testing.assert_close(value, 1 - maps[components].mean((1, 2, 3)), rtol=1e-9, atol=0)
    reached = ssim.Reference(first).reach(second - first, 1e-3, components=components)
    assert float(ssim.Reference(first).distance(reached, components=components)) == pytest.approx(1e-3, rel=1.1e-3)
