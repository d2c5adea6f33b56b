"""The 8-bit search against brute force, plain rounding, and a picture on disk."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from perceptlib.attacks import round_to_8bit, smallest
from perceptlib.attacks.eight_bit import _prune, smallest_rounded
from perceptlib.balls import L2Ball, LinfBall, SSIMBall
from perceptlib.data import save_picture, shapes
from perceptlib.networks import load
from perceptlib.ssim import distance


class Plane(nn.Module):
    """Two classes, margin <weight, x> + bias."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, images: Tensor) -> Tensor:
        margin = images.double().flatten(1) @ self.weight + self.bias
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


def test_eight_bit_is_close_to_the_best_of_all_grids() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        image = torch.randint(100, 150, (1, 1, 12, 12), generator=generator) / 255
        weight = torch.zeros(144, dtype=torch.float64)
        weight[:4] = torch.randn(4, dtype=torch.float64, generator=generator)  # four pixels decide
        plane = Plane(weight, 2.5 / 255 * float(weight.norm()) - float(image.double().flatten() @ weight))
        result = smallest(plane, image, torch.zeros(1, dtype=torch.int64), L2Ball(1.0), eight_bit=True)
        lead = float(plane(image)[0, 0])
        best = min(
            np.linalg.norm(levels)
            for levels in itertools.product(range(-4, 5), repeat=4)
            if lead + float(np.dot(weight[:4].numpy(), levels)) / 255 < 0
        )
        assert bool(result.is_adversarial_8bit)
        assert float(result.l2) * 255 <= 1.25 * best


@pytest.mark.slow
def test_eight_bit_beats_rounding_a_longer_ray() -> None:
    classifier, scenes = load("shapes"), shapes(8, seed=20)
    images, labels = round_to_8bit(scenes.images), scenes.labels
    ball = SSIMBall(images, 0.01)
    result = smallest(classifier, images, labels, ball, eight_bit=True)
    assert bool(result.is_adversarial_8bit.all()) and bool(result.is_adversarial.all())
    assert torch.allclose(result.adversarial, round_to_8bit(result.adversarial), atol=1e-7)
    assert torch.allclose(result.distance, result.distance_8bit, rtol=1e-3)
    plain = smallest(classifier, images, labels, ball)
    ray = torch.full((8,), torch.inf, dtype=torch.float64)
    for factor in np.linspace(1, 6, 40):
        trial = round_to_8bit((images + factor * (plain.adversarial - images)).clamp(0, 1))
        is_fooled = classifier(trial).argmax(1) != labels
        size = distance(images.double(), trial.double())
        ray = torch.where(is_fooled & (size < ray), size, ray)
    was_right = plain.steps > 0  # the others come back unchanged
    assert float((result.distance / ray)[was_right].median()) < 0.98
    assert bool((result.distance <= ray * 1.05).all())


def test_eight_bit_fools_from_disk(tmp_path: Path) -> None:
    classifier, scenes = load("shapes"), shapes(3, seed=21)
    images, labels = round_to_8bit(scenes.images), scenes.labels
    for ball in (SSIMBall(images, 0.01), L2Ball(1.0), LinfBall(0.1)):
        result = smallest(classifier, images, labels, ball, eight_bit=True)
        for index, adversarial in enumerate(result.adversarial):
            save_picture(adversarial, tmp_path / f"{index}.png")
            pixels = np.asarray(Image.open(tmp_path / f"{index}.png").convert("RGB"))
            from_disk = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
            is_fooled = bool(classifier(from_disk).argmax(1) != labels[index])
            assert is_fooled == bool(result.is_adversarial_8bit[index]) and is_fooled


def test_eight_bit_leaves_misclassified_images_alone() -> None:
    classifier, scenes = load("shapes"), shapes(3, seed=22)
    wrong = (scenes.labels + 1) % 8
    result = smallest(classifier, scenes.images, wrong, L2Ball(1.0), eight_bit=True)
    assert torch.equal(result.adversarial, scenes.images)


@pytest.mark.parametrize("levels", [1, 2, 3, 10])
@pytest.mark.parametrize("length", [0.3, 1.0, 7.0])
def test_ray_is_lengthened_to_the_first_rounding_that_fools(levels: int, length: float) -> None:
    image = torch.full((2, 1, 1, 2), 128 / 255, dtype=torch.float64)
    ray = torch.zeros_like(image)
    ray[:, 0, 0, 0] = -length / 255

    def fools(images: Tensor) -> Tensor:
        return images[:, 0, 0, 0] * 255 < 128 - levels + 0.5

    def linearise(images: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError("without rounds nothing is linearised")

    found = smallest_rounded(fools, linearise, image, ray, L2Ball(1.0), rounds=0)
    assert torch.equal((found * 255).round(), torch.tensor([128.0 - levels, 128.0]).double().expand_as(found))


def test_each_ray_of_a_batch_has_its_own_length() -> None:
    images = torch.full((2, 3, 1, 2), 128 / 255, dtype=torch.float64)  # as many images as neither channels nor rows
    wanted = torch.tensor([2.0, 5.0], dtype=torch.float64)

    def fools(adversarial: Tensor) -> Tensor:
        return ((adversarial - images) * 255).flatten(1).amin(1) > wanted - 0.5

    found = smallest_rounded(fools, lambda x: (x, x), images, torch.full_like(images, 1 / 255), L2Ball(1.0), rounds=0)
    assert torch.equal(((found - images) * 255).round(), wanted.view(2, 1, 1, 1).expand_as(images))


def test_ray_that_never_fools_ends_where_it_was_given() -> None:
    image = torch.full((1, 1, 1, 2), 128 / 255, dtype=torch.float64)
    ray = torch.tensor([3.2, -0.4], dtype=torch.float64).view(1, 1, 1, 2) / 255
    found = smallest_rounded(lambda x: torch.zeros(1).bool(), lambda x: (ray, ray), image, ray, L2Ball(1.0), rounds=0)
    assert torch.equal((found * 255).round().flatten(), torch.tensor([131.0, 128.0]).double())


@pytest.mark.parametrize("seed", range(6))
def test_pruning_gives_levels_back_as_long_as_the_image_fools(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.full((1, 1, 4, 5), 128 / 255, dtype=torch.float64)
    levels = torch.randint(-3, 4, image.shape, generator=generator)
    gradient = levels.sign() * torch.rand(image.shape, dtype=torch.float64, generator=generator)
    spare = float(torch.rand(1, generator=generator)) * float((gradient * levels.sign()).sum())
    full = float((gradient * levels).sum())

    def fools(images: Tensor) -> Tensor:
        return ((images - image) * 255 * gradient).flatten(1).sum(1) >= full - spare

    # cheapest first: margin lost over squared norm saved, 2 k - 1 of k levels
    steps = [
        (abs(float(g)) / (2 * abs(int(k)) - 1), abs(float(g)))
        for k, g in zip(levels.flatten(), gradient.flatten(), strict=True)
        if k
    ]
    lost, count = 0.0, 0
    for _, margin in sorted(steps):
        if lost + margin > spare:
            break
        lost, count = lost + margin, count + 1
    pruned = _prune(fools, image, image + levels / 255, gradient, L2Ball(1.0))
    before, after = levels.abs(), ((pruned - image) * 255).round().abs()
    assert int((before - after).sum()) == count and bool((before - after).max() <= 1) and bool(fools(pruned))


def test_pruning_moves_no_pixel_that_is_at_its_nearest_level() -> None:
    image = torch.tensor([100.4, 99.7, 100.0, 100.0], dtype=torch.float64).view(1, 1, 1, 4) / 255
    adversarial = torch.tensor([100.0, 100.0, 100.0, 103.0], dtype=torch.float64).view(1, 1, 1, 4) / 255
    pruned = _prune(lambda x: torch.ones(1).bool(), image, adversarial, torch.ones_like(image), L2Ball(1.0))
    assert (pruned * 255).round().flatten().tolist() == [100, 100, 100, 102]


@pytest.mark.parametrize(("length", "margin"), [(0.6, 0.4), (0.8, 0.7), (1.4, 1.9)])
def test_pruning_counts_what_a_level_saves_of_a_part_of_a_level(length: float, margin: float) -> None:
    """Of lengths k and 1 levels one less saves 2 k - 1 and 1; margin over saving is in each case above 1."""
    image = torch.tensor([100.0 - length, 99.0], dtype=torch.float64).view(1, 1, 1, 2) / 255
    adversarial = torch.full_like(image, 100 / 255)
    gradient = torch.tensor([margin, 1.0], dtype=torch.float64).view(1, 1, 1, 2)

    def fools(images: Tensor) -> Tensor:
        return ((images - image) * 255).flatten(1).sum(1) > length - 0.01

    assert margin / (2 * length - 1) > 1
    pruned = _prune(fools, image, adversarial, gradient, L2Ball(1.0))
    assert (pruned * 255).round().flatten().tolist() == [100, 99]


class Weighed(L2Ball):
    """Size sqrt(r' A r) of pictures of two pixels: a level given back may save nothing, or cost distance."""

    def __init__(self, *rows: list[float]) -> None:
        super().__init__(1.0)
        object.__setattr__(self, "matrix", torch.tensor(rows, dtype=torch.float64))

    def gauge(self, perturbation: Tensor) -> Tensor:
        flat = perturbation.flatten(1)
        return ((flat @ self.matrix) * flat).sum(1).sqrt()


@pytest.mark.parametrize("rows", [([1.0, 0.0], [0.0, 0.0]), ([1.0, -0.9], [-0.9, 1.0])])
def test_pruning_gives_no_level_back_that_saves_no_distance(rows: tuple[list[float], list[float]]) -> None:
    image = torch.full((1, 1, 1, 2), 128 / 255, dtype=torch.float64)
    adversarial = torch.tensor([131.0, 129.0], dtype=torch.float64).view(1, 1, 1, 2) / 255
    pruned = _prune(lambda x: torch.ones(1).bool(), image, adversarial, torch.ones_like(image), Weighed(*rows))
    assert (pruned * 255).round().flatten().tolist() == [130, 129]


def test_first_of_two_equally_small_images_is_kept() -> None:
    image = torch.full((1, 1, 1, 2), 128 / 255, dtype=torch.float64)
    first, second = (torch.tensor(levels, dtype=torch.float64).view(1, 1, 1, 2) / 255 for levels in ([2, 0], [0, 2]))

    def fools(images: Tensor) -> Tensor:
        return ((images - image) * 255).flatten(1).sum(1) > 1.5

    found = smallest_rounded(fools, lambda x: (2 * second - first, first), image, first, L2Ball(1.0), rounds=1)
    assert torch.equal(((found - image) * 255).round(), first * 255)
