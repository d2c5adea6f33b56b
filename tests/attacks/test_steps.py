"""Single steps of `maximize_loss`: what is kept, what is recorded, and options at their ends."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from perceptlib.attacks import maximize_loss, rescale_to_distance
from perceptlib.attacks.maximize import ascend, default_step
from perceptlib.balls import L2Ball, LinfBall, SSIMBall
from perceptlib.ssim import Window, distance

SIDE = 12


class Valley(nn.Module):
    """Margin (mean - 0.4)^2 - 0.01 of the picture's mean: lowest at 0.4, and rising on both sides of it."""

    def forward(self, images: Tensor) -> Tensor:
        margin = (images.double() - 0.4).mean((1, 2, 3)) ** 2 - 0.01  # of exactly flat pictures exactly
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


def flat(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE).clone()


def zeros(count: int = 1) -> Tensor:
    return torch.zeros(count, dtype=torch.int64)


def test_step_is_the_ball_once_and_crosses_it_more_than_twice_otherwise() -> None:
    assert default_step(1) == 1
    assert [default_step(steps) * steps for steps in (2, 5, 10)] == [2.5] * 3


@pytest.mark.parametrize("loss", ["margin", "cross_entropy"])
def test_best_of_all_iterates_is_kept(loss: str) -> None:
    # from 0.6 steps of 0.15 meet 0.45, 0.3, 0.45 and so on; of 0.45 and the first image the nearer to 0.4 is 0.45
    images = flat(0.6, 0.42)
    for steps in (1, 2, 3):
        best, has_gradient = ascend(Valley(), images, zeros(2), LinfBall(0.9), steps=steps, step_size=1 / 6, loss=loss)
        assert torch.allclose(images + best, flat(0.45, 0.42)) and bool(has_gradient.all())


def test_best_iterate_may_be_the_clean_image() -> None:
    result = maximize_loss(Valley(), flat(0.4), zeros(), LinfBall(0.3), steps=2)
    assert float(result.linf) == 0


def test_gradient_met_once_is_a_gradient() -> None:
    best, has_gradient = ascend(Valley(), flat(0.4, 0.5), zeros(2), LinfBall(0.1), steps=2, step_size=1.0)
    assert has_gradient.tolist() == [False, True]
    assert torch.allclose(best, flat(0.0, -0.1))


def test_iterates_stay_in_ball_and_box() -> None:
    images = flat(0.05, 0.95)
    for limit in (0.02, 0.2):
        best, _ = ascend(Valley(), images, zeros(2), LinfBall(limit), steps=1, step_size=3.0)
        expected = flat(min(0.05 + limit, 1.0), 0.95 - limit)
        assert torch.allclose(images + best, expected)


def test_settings_record_what_was_asked() -> None:
    row = maximize_loss(Valley(), flat(0.6), zeros(), L2Ball(0.1), steps=1, step_size=0.25, loss="margin").rows()[0]
    expected = {"attack": "maximize_loss", "ball": "L2Ball", "num_steps": 1, "step_size": 0.25, "loss": "margin"}
    assert {name: row[name] for name in expected} == expected
    assert (row["steps"], row["gradients"]) == (1, 1)
    row = maximize_loss(Valley(), flat(0.6), zeros(), LinfBall(0.1)).rows()[0]
    expected = {"ball": "LinfBall", "num_steps": 10, "step_size": 0.25, "loss": "cross_entropy"}
    assert {name: row[name] for name in expected} == expected


def test_targeted_step_lowers_the_loss_of_the_target() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, SIDE * SIDE, dtype=torch.float64, generator=generator)

    def classifier(images: Tensor) -> Tensor:
        return (images - 0.5).flatten(1) @ weight.T

    images = flat(0.5)
    logits = classifier(images)
    share = torch.softmax(logits, dim=1)
    # gradient of log softmax of class 2
    uphill = (weight[2] - share @ weight).view(1, 1, SIDE, SIDE)
    best, _ = ascend(
        classifier,  # type: ignore[arg-type]
        *(images, zeros(), L2Ball(0.01)),
        steps=1,
        step_size=1.0,
        targets=torch.tensor([2]),
    )
    assert torch.allclose(best, 0.01 * uphill / uphill.norm())


def test_rescale_takes_the_window() -> None:
    images = flat(0.5) + 0.1 * torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()
    change = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for window in (Window(5), Window(7, kind="uniform")):
        adversarial = rescale_to_distance(images, change, 0.01, window=window)
        assert float(distance(images, adversarial, window=window)) == pytest.approx(0.01, rel=1.1e-3)


def test_attack_ends_on_the_true_distance() -> None:
    images = flat(0.5) + 0.1 * torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()
    result = maximize_loss(Valley(), images, zeros(), SSIMBall(images, 0.01), steps=2)
    assert 0.01 * (1 - 1.1e-3) <= float(result.distance) <= 0.01


class Sure(nn.Module):
    """So sure that the cross entropy is exactly 0, and so is its gradient; the margin's is not."""

    def forward(self, images: Tensor) -> Tensor:
        value = 1e4 * (images.mean((1, 2, 3)) - 0.4)
        return torch.stack([value, -value], dim=1)


def test_margin_has_a_gradient_where_the_cross_entropy_has_none() -> None:
    images = flat(0.6).float()
    lost, found = (
        maximize_loss(Sure(), images, zeros(), LinfBall(0.3), steps=2, loss=loss)
        for loss in ("cross_entropy", "margin")
    )
    assert [lost.status[0].value, found.status[0].value] == ["no gradient", "fooled"]
