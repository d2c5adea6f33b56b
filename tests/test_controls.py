from __future__ import annotations

import pytest
import torch

from perceptlib.balls import L2Ball, SSIMBall
from perceptlib.controls import random_direction, white_noise


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


def test_white_noise_depends_on_the_seed() -> None:
    assert not torch.equal(white_noise(pictures(), seed=0), white_noise(pictures(), seed=1))
    with pytest.raises(ValueError, match="seed -1 is negative; pass seed=0 or more"):
        white_noise(pictures(), seed=-1)


@pytest.mark.parametrize("make", [lambda x: L2Ball(1.0), lambda x: SSIMBall(x, 0.01, cg_steps=50)])
def test_random_direction_is_on_the_boundary(make) -> None:
    images = pictures()
    ball = make(images)
    assert torch.allclose(ball.gauge(random_direction(images, ball, seed=0)), torch.ones(4), atol=1e-4)
