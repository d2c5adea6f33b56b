from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptlib.balls import L2Ball, SSIMBall
from perceptlib.maps import random_direction
from perceptlib.maps.controls import equal_distance_noise, white_noise
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
