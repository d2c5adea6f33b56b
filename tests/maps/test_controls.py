from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import window_matrix, window_weights
from scipy import ndimage

from perceptlib.balls import L2Ball, SSIMBall
from perceptlib.maps import random_direction
from perceptlib.maps.controls import (
    centre,
    control_maps,
    edges,
    equal_distance_noise,
    log_variance,
    squared_gradient,
    texture,
    white_noise,
)
from perceptlib.ssim import Window
from perceptlib.ssim import measure as ssim


def pictures(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_white_noise_is_standard_normal_and_independent_of_the_batch() -> None:
    images = pictures(40)
    noise = white_noise(images, seed=3)
    count = noise.numel()
    assert abs(float(noise.mean())) < 5 / count**0.5
    assert abs(float(noise.var()) - 1) < 5 * (2 / count) ** 0.5
    assert torch.equal(white_noise(images[7:9], seed=3), noise[7:9])
    assert torch.equal(white_noise(images.flip(0), seed=3), noise.flip(0))
    correlation = torch.corrcoef(noise.flatten(1)).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 6 / noise[0].numel() ** 0.5


def test_white_noise_comes_from_the_stream_that_recorded_studies_took() -> None:
    """Another stream is as good, but records would no longer be met."""
    images, seed = pictures(2), 258
    for image, noise in zip(images, white_noise(images, seed=seed), strict=True):
        digest = hashlib.sha256(image.numpy().tobytes() + bytes([2, 1, 0, 0, 0, 0, 0, 0])).digest()
        generator = torch.Generator().manual_seed(sum(byte << 8 * place for place, byte in enumerate(digest[:7])))
        assert torch.equal(noise, torch.randn(image.shape, generator=generator))


def test_white_noise_depends_on_the_seed() -> None:
    assert not torch.equal(white_noise(pictures(), seed=0), white_noise(pictures(), seed=1))
    with pytest.raises(ValueError, match="seed -1 is negative; pass seed=0 or more"):
        white_noise(pictures(), seed=-1)


@pytest.mark.parametrize("make", [lambda x: L2Ball(1.0), lambda x: SSIMBall(x, 0.01, cg_steps=50)])
def test_random_direction_is_on_the_boundary(make) -> None:
    images = pictures()
    ball = make(images)
    assert torch.allclose(ball.gauge(random_direction(images, ball, seed=0)), torch.ones(4), atol=1e-4)


@pytest.mark.parametrize("window", [Window(), Window(size=7, kind="uniform")])
@pytest.mark.parametrize("budget", [1e-5, 1e-2, torch.tensor([1e-4, 1e-3, 1e-2, 0.05])])
def test_equal_distance_noise_has_its_distance(budget, window: Window) -> None:
    images = pictures()
    adversarial = equal_distance_noise(images, budget, seed=0, window=window)
    assert float(adversarial.min()) >= 0 and float(adversarial.max()) <= 1
    goal = torch.as_tensor(budget).expand(4)
    # the ray is searched to 1e-3; float32 images at 1e-5 keep two digits
    torch.testing.assert_close(ssim.distance(images, adversarial, window=window), goal, rtol=1e-2, atol=0)


def test_equal_distance_noise_follows_the_noise() -> None:
    images = pictures().double() / 2 + 0.25  # far from 0 and 1: nothing is clipped
    change = (equal_distance_noise(images, 1e-3, seed=1) - images).flatten(1)
    similarity = torch.cosine_similarity(change, white_noise(images, seed=1).flatten(1))
    torch.testing.assert_close(similarity, torch.ones(4).double())
    together = equal_distance_noise(images, 1e-3, seed=1)
    torch.testing.assert_close(equal_distance_noise(images[2:3], 1e-3, seed=1), together[2:3])
    assert not torch.allclose(equal_distance_noise(images, 1e-3, seed=2), together)


def test_equal_distance_noise_refuses_a_negative_seed() -> None:
    with pytest.raises(ValueError, match="seed -1 is negative; pass seed=0 or more"):
        equal_distance_noise(pictures(), 1e-3, seed=-1)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**40),
    order=st.permutations(range(3)),
    budget=st.floats(1e-6, 0.1),
    levels=st.integers(2, 5),
)
def test_noise_of_an_image_is_its_own_and_keeps_budget_and_box(
    seed: int, order: list[int], budget: float, levels: int
) -> None:
    # of few levels, 0 and 1 among them: much of the ray is clipped
    images = (torch.rand(3, 1, 12, 13, generator=torch.Generator().manual_seed(levels)) * levels).floor() / (levels - 1)
    images = images.clamp(0, 1).double()
    noise = white_noise(images, seed=seed)
    assert torch.equal(white_noise(images[order], seed=seed), noise[order])
    assert not torch.equal(white_noise(images, seed=seed + 1), noise)
    adversarial = equal_distance_noise(images, budget, seed=seed)
    assert float(adversarial.min()) >= 0 and float(adversarial.max()) <= 1
    reached = ssim.distance(images, adversarial)
    assert bool((reached <= budget * (1 + 1e-9)).all()) and bool((reached >= budget * (1 - 1e-3)).all())
    torch.testing.assert_close(equal_distance_noise(images[order], budget, seed=seed), adversarial[order])


OF_IMAGES = [texture, log_variance, edges, centre]


def precise_pictures(num: int = 3, height: int = 16, width: int = 20) -> torch.Tensor:
    return torch.rand(num, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_texture_and_log_variance_are_those_of_the_windows() -> None:
    images = precise_pictures()
    matrix = window_matrix(16, 20, window_weights())
    planes = images.reshape(3, 3, -1).numpy()
    variance = (planes**2 @ matrix.T - (planes @ matrix.T) ** 2).reshape(images.shape)
    np.testing.assert_allclose(texture(images), (2 * variance + 9e-4).mean(1), rtol=1e-9)
    np.testing.assert_allclose(log_variance(images), np.log(variance + 9e-4).mean(1), rtol=1e-9)


def test_texture_and_log_variance_of_a_flat_picture_are_those_of_c2() -> None:
    grey = torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64)
    assert torch.allclose(texture(grey), torch.tensor(9e-4).double())
    assert torch.allclose(log_variance(grey), torch.tensor(math.log(9e-4)).double())


@pytest.mark.parametrize("control", [texture, log_variance])
def test_window_is_that_asked_for(control) -> None:
    images = precise_pictures()
    assert not torch.allclose(control(images, window=Window(size=7)), control(images))
    maps = control_maps(images, images, window=Window(size=7))
    torch.testing.assert_close(maps["texture"], texture(images, window=Window(size=7)))


def test_edges_are_those_of_the_luma() -> None:
    images = precise_pictures()
    luma = np.einsum("nchw,c->nhw", images.numpy(), [0.2125, 0.7154, 0.0721])
    for got, picture in zip(edges(images), luma, strict=True):
        # scikit-image's kernels sum to 1 on each side, and its magnitude is the root of the mean square
        both = [ndimage.sobel(picture, axis=axis, mode="reflect") / 4 for axis in (0, 1)]
        np.testing.assert_allclose(got, np.hypot(*both) / math.sqrt(2), atol=1e-12)


def test_edges_of_a_step_lie_beside_it() -> None:
    images = torch.zeros(1, 1, 12, 12)
    images[..., 6:] = 1
    assert edges(images).sum(1)[0].nonzero().flatten().tolist() == [5, 6]
    assert torch.allclose(edges(images.expand(-1, 3, -1, -1)), edges(images), atol=1e-6)


def test_centre_is_a_gaussian_of_a_quarter_of_each_side() -> None:
    maps = centre(precise_pictures(2, 17, 33))
    assert maps.shape == (2, 17, 33)
    assert torch.equal(maps[0], maps[1])
    assert maps[0, 8, 16] == 1
    y, x = np.mgrid[-8:9, -16:17]
    np.testing.assert_allclose(maps[0], np.exp(-((y / 17) ** 2 + (x / 33) ** 2) * 8), rtol=1e-12)
    assert torch.equal(maps, maps.flip(1, 2))


def test_squared_gradient_sums_the_channels() -> None:
    gradient = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1).expand(-1, -1, 5, 6)
    assert torch.equal(squared_gradient(gradient), torch.full((1, 5, 6), 25.0))
    with pytest.raises(ValueError, match=r"the gradient has shape \(5, 6\); pass \(N, C, H, W\)"):
        squared_gradient(gradient[0, 0])


def test_control_maps_are_named_and_belong_to_their_picture() -> None:
    images = precise_pictures().float()
    maps = control_maps(images, images - 0.5)
    assert list(maps) == ["squared_gradient", "texture", "edges", "centre"]
    for name, values in maps.items():
        assert values.shape == (3, 16, 20) and values.dtype == images.dtype
        assert (values >= 0).all()
        torch.testing.assert_close(control_maps(images[1:2], images[1:2] - 0.5)[name], values[1:2])


def test_control_maps_refuse_a_gradient_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 16, 20\) and the images \(3, 3, 16, 20\); pass equal shapes"):
        control_maps(precise_pictures(), precise_pictures(1))


@pytest.mark.parametrize("control", OF_IMAGES)
def test_bad_images_refused(control) -> None:
    with pytest.raises(TypeError, match="images have dtype int64"):
        control(precise_pictures().long())
    with pytest.raises(ValueError, match=r"images have shape \(3, 16, 20\)"):
        control(precise_pictures()[0])
    with pytest.raises(ValueError, match=r"images hold values from .* \[0, 1\] is allowed"):
        control(precise_pictures() - 1)


def test_small_images_refused() -> None:
    with pytest.raises(ValueError, match="window size 11 exceeds the image side 8"):
        texture(precise_pictures(1, 8, 8))
