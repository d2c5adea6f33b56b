"""The attacks against optima known on paper (a linear classifier) and the contracts that every ball must meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from perceptlib.attacks import Status, maximize_loss, rescale_to_distance, round_to_8bit, smallest
from perceptlib.balls import L2Ball, LinfBall, SSIMBall, WindowBall
from perceptlib.data import shapes
from perceptlib.networks import Classifier, load
from perceptlib.ssim import distance

SIDE = 16


class Linear(nn.Module):
    """Two or more classes whose margins are linear in the image, so that every optimum is a formula."""

    def __init__(self, num_classes: int = 2, bias: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = scale * torch.randn(num_classes, 3 * SIDE * SIDE, generator=generator).double() / SIDE
        self.bias = torch.zeros(num_classes).double()
        self.bias[0] = bias

    def forward(self, images: Tensor) -> Tensor:
        return (images.double() - 0.5).flatten(1) @ self.weight.T + self.bias

    def gradient(self, label: int, other: int, like: Tensor) -> Tensor:
        """Of the margin's negative: other minus label."""
        return (self.weight[other] - self.weight[label]).view(1, 3, SIDE, SIDE).expand_as(like).to(like.dtype)


class Cubed(nn.Module):
    """A margin that flattens towards its boundary, so that each linearisation falls short of it."""

    def forward(self, logits: Tensor) -> Tensor:
        lead = logits[:, 0] - logits[:, 1]
        return torch.stack([(lead + 0.1) ** 3 - 0.001, torch.zeros_like(lead)], dim=1)


def grey(count: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    """Mid-grey pictures with texture on one half: far from 0 and 1, so that clipping plays no part."""
    generator = torch.Generator().manual_seed(1)
    images = torch.full((count, 3, SIDE, SIDE), 0.5)
    images[..., :8] += 0.05 * torch.randn(count, 3, SIDE, 8, generator=generator)
    return images.clamp(0, 1).to(dtype)


def balls_of(images: Tensor) -> list:
    return [
        LinfBall(0.004),
        L2Ball(0.05),
        SSIMBall(images, 1e-4, cg_steps=300, tolerance=1e-12),
        SSIMBall(images, 1e-4, coupling="diagonal"),
    ]


KINDS = ["linf", "l2", "ssim", "ssim diagonal"]


@pytest.mark.parametrize("index", range(4), ids=KINDS)
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_maximize_loss_reaches_the_linear_optimum(index: int, loss: str) -> None:
    images, classifier = grey(), Linear(bias=1.0)
    ball, labels = balls_of(images)[index], torch.zeros(3, dtype=torch.int64)
    result = maximize_loss(classifier, images, labels, ball, steps=4, loss=loss)
    gradient = classifier.gradient(0, 1, images)
    best = ball.steepest(gradient)
    if isinstance(ball, SSIMBall):  # the attack ends on the true distance, not on its quadratic form
        best = rescale_to_distance(images, best, 1e-4) - images
    expected = result.margin_before - (gradient * best).flatten(1).sum(1)
    assert torch.allclose(result.margin_after, expected, rtol=2e-3)
    assert bool((result.violation == 0).all())


def test_maximize_loss_starts_where_it_is_told() -> None:
    """A loss that is flat around the picture: only a start elsewhere finds the slope."""

    def flat_then_falling(images: Tensor) -> Tensor:
        lead = 1 - 3 * ((images - 0.5).flatten(1).amax(1) - 0.1).clamp_min(0)
        return torch.stack([lead + 1, torch.ones_like(lead)], 1)

    images, labels = torch.full((2, 3, SIDE, SIDE), 0.5).double(), torch.zeros(2, dtype=torch.int64)
    start = torch.zeros_like(images)
    start[:, 1, 2, 3] = 9.0  # cut to [0, 1], and pulled into the ball
    ball = L2Ball(0.45)
    assert not maximize_loss(flat_then_falling, images, labels, ball).is_adversarial.any()
    result = maximize_loss(flat_then_falling, images, labels, ball, start=start)
    assert bool(result.is_adversarial.all())
    torch.testing.assert_close(result.l2, torch.full((2,), 0.45).double())
    assert not result.violation.any()


def test_maximize_loss_targeted_reaches_the_target() -> None:
    images, classifier = grey(), Linear(num_classes=4)
    labels = classifier(images).argmax(1)
    targets = (labels + 1) % 4
    for loss in ("cross_entropy", "margin"):
        result = maximize_loss(classifier, images, labels, SSIMBall(images, 0.05), targets=targets, loss=loss)
        assert torch.equal(classifier(result.adversarial).argmax(1), targets)
        assert torch.equal(result.is_adversarial, result.margin_after < 0)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), budget=st.floats(1e-5, 0.2), steps=st.integers(1, 4))
def test_maximize_loss_stays_in_the_budget_of_scikit_image(seed: int, budget: float, steps: int) -> None:
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    result = maximize_loss(Linear(), images, torch.zeros(2, dtype=torch.int64), SSIMBall(images, budget), steps=steps)
    assert float(result.adversarial.min()) >= 0 and float(result.adversarial.max()) <= 1
    for clean, adversarial in zip(images.double().numpy(), result.adversarial.double().numpy(), strict=True):
        _, full = structural_similarity(
            *(clean, adversarial),
            **{"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1},
            channel_axis=0,
            full=True,
        )
        assert 1 - full.mean() <= budget


@pytest.fixture(scope="module")
def shapes_network() -> Classifier:
    return load("shapes")


def test_attacks_fool_the_shapes_network_with_every_ball(shapes_network: Classifier) -> None:
    scenes = shapes(6, seed=7)
    images, labels = scenes.images, scenes.labels
    for ball in (LinfBall(0.05), L2Ball(3.0), SSIMBall(images, 0.05), WindowBall(images, 0.2)):
        result = maximize_loss(shapes_network, images, labels, ball)
        assert result.fooling_rate > 0.9
        assert bool((result.violation <= 1e-6).all())
        near = smallest(shapes_network, images, labels, ball)
        assert near.fooling_rate == 1
        assert float(near.distance.median()) < float(result.distance.median())


def test_smallest_in_the_ssim_ball_needs_less_distance_than_in_l2(shapes_network: Classifier) -> None:
    scenes = shapes(6, seed=8)
    ssim_ball = smallest(shapes_network, scenes.images, scenes.labels, SSIMBall(scenes.images, 0.01))
    l2 = smallest(shapes_network, scenes.images, scenes.labels, L2Ball(1.0))
    assert float((ssim_ball.distance / l2.distance).median()) < 0.6


def test_smallest_refinements_shrink_and_still_fool(shapes_network: Classifier) -> None:
    scenes = shapes(6, seed=11)
    ball = SSIMBall(scenes.images, 0.01)
    plain, refined = (
        smallest(shapes_network, scenes.images, scenes.labels, ball, refinements=count) for count in (0, 4)
    )
    assert plain.fooling_rate == refined.fooling_rate == 1
    assert float((refined.distance / plain.distance).median()) < 0.9
    assert bool(
        (ball.gauge(refined.adversarial - scenes.images) <= ball.gauge(plain.adversarial - scenes.images)).all()
    )
    assert bool((refined.gradients > plain.gradients).all())
    assert bool((refined.gradients <= plain.gradients + 4 * 2).all())


def test_result_is_measured_from_the_images(shapes_network: Classifier) -> None:
    scenes = shapes(6, seed=9)
    images, labels = scenes.images, scenes.labels
    result = maximize_loss(shapes_network, images, labels, SSIMBall(images, 0.03), steps=3)
    difference = result.adversarial.double() - images.double()
    assert torch.equal(result.is_adversarial, shapes_network(result.adversarial).argmax(1) != labels)
    rounded = round_to_8bit(result.adversarial)
    assert torch.equal(result.is_adversarial_8bit, shapes_network(rounded).argmax(1) != labels)
    assert torch.allclose(result.distance, distance(images.double(), result.adversarial.double()))
    assert torch.allclose(result.distance_8bit, distance(images.double(), rounded.double()))
    assert np.allclose(result.l2, np.sqrt((difference.numpy() ** 2).sum((1, 2, 3))))
    assert np.allclose(result.linf, np.abs(difference.numpy()).max((1, 2, 3)))
    assert result.gradients.tolist() == [3] * 6 and result.seconds > 0
    rows = result.rows()
    assert len(rows) == 6 and rows[2]["distance"] == float(result.distance[2]) and rows[0]["ball"] == "SSIMBall"
    assert all(isinstance(value, str | float | int | bool | None) for row in rows for value in row.values())


def test_status_says_what_happened(shapes_network: Classifier) -> None:
    scenes = shapes(4, seed=10)
    images, labels = scenes.images, scenes.labels
    wrong = labels.clone()
    wrong[0] = (labels[0] + 1) % 8
    tiny = maximize_loss(shapes_network, images, wrong, SSIMBall(images, 1e-9), steps=1)
    assert tiny.status[0] == Status.MISCLASSIFIED_BEFORE and tiny.status[1] == Status.NOT_FOOLED
    near = smallest(shapes_network, images, wrong, SSIMBall(images, 0.01))
    assert near.steps[0] == 0 and float(near.distance[0]) == 0
    assert near.status[1] in (Status.FOOLED, Status.FOOLED_BEFORE_ROUNDING)
    flat = maximize_loss(Linear(scale=0.0, bias=1.0), grey(2), torch.zeros(2, dtype=torch.int64), L2Ball(0.1))
    assert flat.status == (Status.NO_GRADIENT,) * 2
    assert all(status.advice for status in Status)
    assert np.isnan(maximize_loss(Linear(), grey(1), 1 - Linear()(grey(1)).argmax(1), L2Ball(0.1)).fooling_rate)


def test_smallest_stops_at_its_number_of_steps() -> None:
    images, curved = grey(), nn.Sequential(Linear(bias=1.0), Cubed())
    result = smallest(curved, images, torch.zeros(3, dtype=torch.int64), L2Ball(0.1), steps=2, refinements=0)
    assert result.status == (Status.NOT_FOOLED,) * 3 and result.steps.tolist() == [2] * 3
    assert result.gradients.tolist() == [2] * 3 and bool((result.l2 > 0).all())
    assert bool((result.margin_after < result.margin_before).all())
    assert smallest(curved, images, torch.zeros(3, dtype=torch.int64), L2Ball(0.1)).fooling_rate == 1


def test_smallest_without_gradient_returns_the_image() -> None:
    result = smallest(Linear(scale=0.0, bias=1.0), grey(2), torch.zeros(2, dtype=torch.int64), L2Ball(0.1))
    assert result.status == (Status.NO_GRADIENT,) * 2 and float(result.l2.max()) == 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": torch.full((3, 3, SIDE, SIDE), 1.5)}, r"images hold values from 1.5 to 1.5; \[0, 1\] is allowed"),
        ({"images": torch.full((3, 3, SIDE, SIDE), torch.nan)}, "images hold NaN in 3 of 3 pictures"),
        ({"images": torch.zeros(0, 3, SIDE, SIDE)}, "an empty batch"),
        ({"labels": torch.full((3,), 7)}, "labels hold class 7; 0 to 1 are allowed"),
        ({"labels": torch.zeros(2).long()}, r"labels have shape \(2,\); one per image"),
        ({"targets": torch.zeros(3).long()}, "target 0 of image 0 is its label; pass another class"),
        ({"targets": torch.full((3,), 9)}, "targets hold class 9"),
        ({"steps": 0}, "steps is 0; pass a whole number, 1 or more"),
    ],
)
@pytest.mark.parametrize("attack", [maximize_loss, smallest])
def test_attacks_refuse_bad_input(attack, change: dict, message: str) -> None:
    call = {"images": grey(), "labels": torch.zeros(3, dtype=torch.int64)} | change
    with pytest.raises(ValueError, match=message):
        attack(Linear(), call.pop("images"), call.pop("labels"), L2Ball(0.1), **call)


@pytest.mark.parametrize("attack", [maximize_loss, smallest])
def test_attacks_refuse_wrong_types(attack) -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(TypeError, match="images have dtype uint8; float32 or float64"):
        attack(Linear(), (grey() * 255).byte(), labels, L2Ball(0.1))
    with pytest.raises(TypeError, match="labels have dtype float32; int64 is allowed"):
        attack(Linear(), grey(), labels.float(), L2Ball(0.1))


@pytest.mark.parametrize(
    "attack, options, message",
    [
        (maximize_loss, {"loss": "hinge"}, "loss 'hinge' is unknown; pass 'cross_entropy' or 'margin'"),
        (maximize_loss, {"start": torch.zeros(3, 3, 4, 4)}, r"made for images of shape .* and met \(3, 3, 4, 4\)"),
        (maximize_loss, {"start": grey() / 0}, "start has NaN or infinite entries; pass finite numbers"),
        (maximize_loss, {"step_size": 0.0}, "step_size 0.0 is not above 0; pass a share of the ball such as 0.25"),
        (smallest, {"candidates": 0}, "candidates is 0; pass a whole number, 1 or more"),
        (smallest, {"refinements": -1}, "refinements is -1; pass a whole number, 0 or more"),
        (smallest, {"overshoot": -0.1}, "overshoot -0.1 is not a finite number of at least 0"),
    ],
)
def test_attacks_refuse_bad_options(attack, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(Linear(), grey(), torch.zeros(3, dtype=torch.int64), L2Ball(0.1), **options)


def test_rescale_to_distance_reaches_equal_distance() -> None:
    images = grey(3)
    perturbation = torch.randn(images.shape, generator=torch.Generator().manual_seed(2)).double()
    for scale in (1e-4, 1.0):
        adversarial = rescale_to_distance(images, scale * perturbation, torch.tensor([0.01, 0.001, 0.1]).double())
        goal = torch.tensor([0.01, 0.001, 0.1]).double()
        assert torch.allclose(distance(images, adversarial), goal, rtol=1.1e-3)
        assert bool((distance(images, adversarial) <= goal).all())


def test_attacks_on_photographs_stay_within_budget(assets) -> None:
    from perceptlib.data import image_folder

    classifier = load("imagenet", weights=assets / "mobilenet_v2_imagenet_tf.safetensors")
    images, labels, _ = next(iter(image_folder(assets / "images.csv").batches(2)))
    is_right = classifier(images).argmax(1) == labels
    images, labels = images[is_right], labels[is_right]
    result = maximize_loss(classifier, images, labels, SSIMBall(images, 0.001, cg_steps=5), steps=2)
    assert result.fooling_rate == 1
    assert bool((result.violation == 0).all()) and bool((result.distance <= 0.001).all())
    near = smallest(classifier, images, labels, SSIMBall(images, 0.01), candidates=2, refinements=1)
    far = smallest(classifier, images, labels, L2Ball(1.0), candidates=2, refinements=1)
    assert near.fooling_rate == far.fooling_rate == 1
    assert float((near.distance / far.distance).median()) < 0.5
