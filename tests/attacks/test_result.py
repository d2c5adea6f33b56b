"""The record of an attack against numbers worked out by hand: one pixel decides, so every margin is read off."""

from __future__ import annotations

import copy
import pickle
import time
from pathlib import Path

import pytest
import torch
from random_states import digest
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from perceptlib.attacks import AttackResult, Status, maximize_loss, measure, round_to_8bit, smallest
from perceptlib.attacks.network import attack_margin
from perceptlib.attacks.result import Yardstick
from perceptlib.balls import Ball, L2Ball, LinfBall, SSIMBall
from perceptlib.rivals.bisection import smallest_pgd
from perceptlib.ssim import Window
from perceptlib.ssim import measure as ssim

SIDE = 12
BOUNDARY = 0.5015  # 127.9 levels: 0.501 fools, and is rounded to 128 / 255, which does not


class FirstPixel(nn.Module):
    """Three classes: the first leads the second by how far the first pixel is above the boundary."""

    def forward(self, images: Tensor) -> Tensor:
        lead = images.double()[:, 0, 0, 0] - BOUNDARY
        return torch.stack([lead, torch.zeros_like(lead), torch.full_like(lead, -9.0)], dim=1)


def with_first(values: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    """Pictures of one channel that differ in their first pixel alone."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(SIDE, SIDE, generator=generator).double().repeat(len(values), 1, 1, 1)
    images[:, 0, 0, 0] = torch.tensor(values, dtype=torch.float64)
    return images.to(dtype)


BEFORE = [0.6, 0.6, 0.5, 0.7, 0.7, BOUNDARY, 0.6]
AFTER = [0.4, 0.501, 0.4, 0.7, 0.6, 0.4, BOUNDARY]
EXPECTED = [
    Status.FOOLED,
    Status.FOOLED_BEFORE_ROUNDING,
    Status.MISCLASSIFIED_BEFORE,  # though it fools
    Status.NO_GRADIENT,
    Status.NOT_FOOLED,
    Status.FOOLED,  # a margin of 0 is correct
    Status.NOT_FOOLED,
]


def measured(**options) -> AttackResult:
    labels = torch.zeros(len(BEFORE), dtype=torch.int64)
    has_gradient = torch.tensor([True, True, True, False, True, True, True])
    return measure(FirstPixel(), with_first(BEFORE), with_first(AFTER), labels, has_gradient=has_gradient, **options)


def test_status_follows_from_the_margins() -> None:
    result = measured()
    assert list(result.status) == EXPECTED
    assert result.is_adversarial.tolist() == [True, True, True, False, False, True, False]
    assert result.is_adversarial_8bit.tolist() == [True, False, True, False, False, True, False]
    assert result.margin_before.tolist() == pytest.approx([value - BOUNDARY for value in BEFORE])
    assert result.margin_after.tolist() == pytest.approx([value - BOUNDARY for value in AFTER])
    assert result.fooling_rate == 3 / 6  # without the one that was wrong before
    unknown = measure(FirstPixel(), with_first([0.7]), with_first([0.7]), torch.zeros(1, dtype=torch.int64))
    assert unknown.status == (Status.NOT_FOOLED,)


def test_norms_are_those_of_the_one_pixel() -> None:
    result = measured()
    expected = [abs(before - after) for before, after in zip(BEFORE, AFTER, strict=True)]
    assert result.linf.tolist() == pytest.approx(expected) and result.l2.tolist() == pytest.approx(expected)
    assert bool((result.violation == 0).all())


def test_mean_ssim_is_that_of_scikit_image() -> None:
    images = with_first([0.5, 0.6])
    adversarial = (images + 0.1 * torch.rand(images.shape, generator=torch.Generator().manual_seed(4))).clamp(0, 1)
    result = measure(FirstPixel(), images, adversarial, torch.zeros(2, dtype=torch.int64))
    for value, clean, changed in zip(result.mean_ssim, images, adversarial, strict=True):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
        assert float(value) == pytest.approx(structural_similarity(clean[0].numpy(), changed[0].numpy(), **options))


def test_distances_are_taken_with_the_window_of_the_ball() -> None:
    window = Window(7)
    images, adversarial = with_first(BEFORE), with_first(AFTER)
    result = measured(ball=SSIMBall(images, 0.5, window=window))
    for values, changed in ((result.distance, adversarial), (result.distance_8bit, round_to_8bit(adversarial))):
        torch.testing.assert_close(values, ssim.distance(images, changed, window=window))
    torch.testing.assert_close(result.mean_ssim, ssim.mean_ssim(images, adversarial, window=window))
    torch.testing.assert_close(measured().distance, ssim.distance(images, adversarial))


def test_rows_hold_the_record_as_plain_scalars() -> None:
    result = measured(steps=4, gradients=torch.arange(7), settings={"attack": "by hand"}, started=time.perf_counter())
    rows = result.rows()
    assert len(rows) == 7
    columns = "label target status margin_before margin_after is_adversarial is_adversarial_8bit distance distance_8bit"
    columns += " mean_ssim linf l2 violation steps gradients seconds attack"
    for index, row in enumerate(rows):
        assert set(row) == set(columns.split())
        assert (row["steps"], row["gradients"], row["label"], row["target"]) == (4, index, 0, None)
        assert (row["status"], row["attack"]) == (str(EXPECTED[index]), "by hand")
        assert row["margin_after"] == float(result.margin_after[index])
        assert row["seconds"] == pytest.approx(result.seconds / 7)
    assert measured().rows()[0]["steps"] == measured().rows()[0]["gradients"] == 0


def test_targets_are_reached_where_they_lead_every_other_class() -> None:
    labels, targets = torch.zeros(2, dtype=torch.int64), torch.tensor([1, 2])
    logits = FirstPixel()(with_first([0.4, 0.4]))
    # the first is BOUNDARY - 0.4 ahead of the best other, the second 9 behind it
    assert attack_margin(logits, labels, targets).tolist() == pytest.approx([0.4 - BOUNDARY, 9.0])
    assert attack_margin(logits, labels, None).tolist() == pytest.approx([0.4 - BOUNDARY] * 2)
    result = measure(FirstPixel(), with_first([0.6, 0.6]), with_first([0.4, 0.4]), labels, targets=targets)
    assert result.status == (Status.FOOLED, Status.NOT_FOOLED)
    assert [row["target"] for row in result.rows()] == [1, 2]


def test_seconds_count_from_the_start() -> None:
    assert measured().seconds == 0
    assert 5 <= measured(started=time.perf_counter() - 5).seconds < 65


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_violation_is_the_larger_of_box_and_ball(dtype: torch.dtype) -> None:
    images = with_first([0.5, 0.5, 0.5, 0.5], dtype)
    adversarial = images.clone()
    adversarial[:, 0, 0, 0] = torch.tensor([-0.25, 1.125, 0.75, 0.5])

    def violation(ball: Ball | None) -> torch.Tensor:
        return Yardstick(images, ball).compare(adversarial).violation

    assert violation(None).tolist() == [0.25, 0.125, 0, 0]
    found = violation(LinfBall(torch.tensor([0.625, 0.125, 0.125, 0.125])))
    assert found.tolist() == [0.25, 0.5, 0.125, 0] and found.dtype == torch.float64
    assert violation(L2Ball(0.5)).tolist() == [0.25, 0.125, 0, 0]


@pytest.mark.parametrize("components", ["both", "luminance", "contrast_structure"])
@pytest.mark.parametrize("has_support", [False, True])
def test_yardstick_measures_an_ssim_ball_as_the_ball_does(components: str, has_support: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 2, 16, 16, generator=generator)
    adversarial = (images + 0.2 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    support = torch.ones(3, 16, 16, dtype=torch.bool) if has_support else None
    if support is not None:
        support[0, 0, 0] = False
    ball = SSIMBall(images, torch.tensor([1e-3, 1e-3, 0.9]), components=components, support=support)
    found = Yardstick(images, ball).compare(adversarial)
    size = ball.measure(adversarial.double() - images.double())
    assert torch.equal(found.violation, (size - torch.tensor([1e-3, 1e-3, 0.9]).double()).clamp_min(0))
    assert bool(found.violation[0].isinf()) == has_support and float(found.violation[2]) == 0


def test_rounding_keeps_the_grid_and_takes_the_nearest_level() -> None:
    levels = torch.arange(256).double() / 255
    assert torch.equal(round_to_8bit(levels), levels)
    assert torch.equal(round_to_8bit(levels[:-1] + 0.4 / 255), levels[:-1])
    assert torch.equal(round_to_8bit(levels[:-1] + 0.6 / 255), levels[1:])


def test_status_and_advice_are_words_that_files_and_readers_keep() -> None:
    assert {status.value: status.advice.split(":")[0] for status in Status} == {
        "fooled": "none",
        "fooled before rounding only": "raise the budget",
        "not fooled": "raise the budget or the number of steps, or try loss='margin'",
        "misclassified before the attack": "leave the image out of fooling rates",
        "no gradient": "use loss='margin' or float64",
    }


def test_result_saves_loads_and_pickles(tmp_path: Path) -> None:
    result = measured(ball=SSIMBall(with_first(BEFORE), 0.5), settings={"attack": "by hand", "step_size": 0.25})
    result.save(tmp_path / "result.pt")
    for other in (AttackResult.load(tmp_path / "result.pt"), pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert digest(other) == digest(result) and other.rows() == result.rows() and other.status == result.status
    assert [path.name for path in tmp_path.iterdir()] == ["result.pt"]
    (tmp_path / "result.pt").write_bytes((tmp_path / "result.pt").read_bytes()[:-100])
    torch.save({"adversarial": torch.zeros(1)}, tmp_path / "other.pt")
    for name in ("result.pt", "other.pt"):
        with pytest.raises(
            ValueError, match=rf"{name} holds no result of an attack, or a damaged one \(\w+\); write one"
        ):
            AttackResult.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        AttackResult.load(tmp_path / "missing.pt")


def test_results_of_batches_become_one() -> None:
    whole = measured(steps=4, gradients=torch.arange(7), settings={"attack": "by hand"})
    labels, has_gradient = torch.zeros(7, dtype=torch.int64), torch.tensor([True, True, True, False, True, True, True])
    parts = [
        measure(
            FirstPixel(),
            *(with_first(BEFORE)[part], with_first(AFTER)[part], labels[part]),
            has_gradient=has_gradient[part],
            steps=4,
            gradients=torch.arange(7)[part],
            started=time.perf_counter() - 1,
            settings={"attack": "by hand"},
        )
        for part in (slice(3), slice(3, 7))
    ]
    joined = AttackResult.concatenate(parts)
    assert digest(joined) == digest(whole) and joined.seconds == parts[0].seconds + parts[1].seconds > 2
    for wrong in ([], [whole, measured()], [parts[0], measured(targets=torch.ones(7, dtype=torch.int64))]):
        with pytest.raises(ValueError, match=r"no result to concatenate|results of different settings, shapes"):
            AttackResult.concatenate(wrong)


class Counting(FirstPixel):
    """Counts each image that passes."""

    seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return super().forward(images)


@pytest.mark.parametrize("eight_bit", [False, True])
def test_forward_passes_are_those_of_the_attack_alone(eight_bit: bool) -> None:
    images, labels = with_first(BEFORE, torch.float32), torch.zeros(7, dtype=torch.int64)
    for attack in (
        lambda net: maximize_loss(net, images, labels, LinfBall(0.2), steps=3),
        lambda net: smallest(net, images, labels, L2Ball(1.0), refinements=2, eight_bit=eight_bit),
        lambda net: smallest_pgd(net, images, labels, "pgd_l2", steps=2),
    ):
        result = attack(network := Counting())
        measuring = network.seen - int(result.forward_passes.sum())  # clean, adversarial and rounded images
        assert measuring == 3 * 7 or (measuring > 3 * 7 and result.settings["attack"] == "smallest_pgd")
        assert bool((result.forward_passes >= result.gradients).all()) and "forward_passes" not in result.rows()[0]
    assert maximize_loss(Counting(), images, labels, LinfBall(0.2), steps=3).forward_passes.tolist() == [4] * 7


def test_small_images_are_measured_without_a_window_that_does_not_fit() -> None:
    images, labels = with_first(BEFORE)[..., :8, :8], torch.zeros(7, dtype=torch.int64)
    for attack in (maximize_loss, smallest):
        result = attack(FirstPixel(), images, labels, L2Ball(0.2))
        for undefined in (result.distance, result.distance_8bit, result.mean_ssim):
            assert bool(undefined.isnan().all())
        assert bool(result.is_adversarial.all())
        window = Window(7, kind="uniform")
        result = attack(FirstPixel(), images, labels, SSIMBall(images, 0.05, window=window))
        torch.testing.assert_close(result.distance, ssim.distance(images, result.adversarial, window=window))
        torch.testing.assert_close(result.mean_ssim, ssim.mean_ssim(images, result.adversarial, window=window))
        with pytest.raises(ValueError, match="window size 11 exceeds the image side 8"):
            attack(FirstPixel(), images, labels, SSIMBall(images, 0.05))
