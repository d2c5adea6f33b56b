"""The window ball's constraints against loops over the windows."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from perceptlib.convex.window_cones import WindowCones
from perceptlib.ssim import Window

C1, C2 = reference.C1, reference.C2
ROUNDING = 1e-10  # float64; the losses divide by C1 at the darkest windows
HEIGHT, WIDTH, CHANNELS = 7, 6, 2
SQUARE = 3  # side of the disjoint windows: 7 rows leave a last one of height 1
PARTS = ("both", "luminance", "contrast_structure")


def picture(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64, generator=generator)


def windows(size: int | None) -> np.ndarray:
    """Weights of every window over the pixels of one channel, (windows, H W)."""
    if size is None:
        return reference.window_matrix(HEIGHT, WIDTH, reference.window_weights(5))
    rows = []
    for top in range(0, HEIGHT, size):
        for left in range(0, WIDTH, size):
            mask = np.zeros((HEIGHT, WIDTH))
            mask[top : top + size, left : left + size] = 1
            rows.append(mask.ravel() / mask.sum())
    return np.array(rows)


def cones(size: int | None, parts: str) -> tuple[WindowCones, Tensor]:
    images = picture(0)
    return WindowCones(images, Window(5), size, parts), images


@pytest.mark.parametrize("size", [None, SQUARE])
@pytest.mark.parametrize("parts", PARTS)
def test_losses_are_those_of_a_loop_over_the_windows(size: int | None, parts: str) -> None:
    constraints, images = cones(size, parts)
    perturbation = 0.2 * picture(1) - 0.1
    expected = []
    for channel in range(CHANNELS):
        x = images[0, channel].numpy().ravel()
        y = x + perturbation[0, channel].numpy().ravel()
        for weights in windows(size):
            mean_x, mean_y = weights @ x, weights @ y
            var_x, var_y = weights @ (x - mean_x) ** 2, weights @ (y - mean_y) ** 2
            luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
            contrast = (2 * (weights @ ((x - mean_x) * (y - mean_y))) + C2) / (var_x + var_y + C2)
            similarity = {"both": luminance * contrast, "luminance": luminance, "contrast_structure": contrast}
            expected.append(1 - similarity[parts])
    found = constraints.losses(perturbation)
    assert constraints.num_windows == len(expected)
    assert np.abs(found - expected).max() < ROUNDING
    assert constraints.largest_loss(perturbation) == found.max()


@pytest.mark.parametrize("size", [None, SQUARE])
@pytest.mark.parametrize("budget", [1e-3, 0.1])
def test_cone_and_interval_are_where_each_component_loses_its_share(size: int | None, budget: float) -> None:
    constraints, images = cones(size, "both")
    share, radii, (low, high) = constraints.limits(budget)
    each = 1 - (1 - budget) ** 0.5
    assert share == pytest.approx(each / (1 - each))
    generator = np.random.default_rng(0)
    index = 0
    for channel in range(CHANNELS):
        x = images[0, channel].numpy().ravel()
        for weights in windows(size):
            mean_x = weights @ x
            deviation = np.sqrt(weights) * (x - mean_x)
            entries = np.sort(constraints.centres[index] ** 2)
            assert np.abs(entries[-(weights > 0).sum() :] - np.sort(deviation[weights > 0] ** 2)).max() < ROUNDING
            # a random deviation on the boundary of the cone: 1 - S2 is the share of the loss
            spread = np.sqrt(weights) * (generator.standard_normal(x.size))
            spread -= np.sqrt(weights) * (np.sqrt(weights) @ spread)
            change = share * deviation + radii[index] * spread / np.linalg.norm(spread)
            var_x, var_y = deviation @ deviation, (deviation + change) @ (deviation + change)
            assert change @ change / (var_x + var_y + C2) == pytest.approx(each, rel=1e-9)
            for mean in (low[index], high[index]):
                loss = mean**2 / (mean_x**2 + (mean_x + mean) ** 2 + C1)
                assert loss == pytest.approx(each, rel=1e-9)
            index += 1
    assert index == constraints.num_windows


def test_one_component_alone_may_lose_the_whole_budget() -> None:
    for parts in PARTS[1:]:
        constraints, _ = cones(SQUARE, parts)
        assert constraints.limits(0.1)[0] == pytest.approx(0.1 / 0.9)
        assert (constraints.has_luminance, constraints.has_contrast) == (parts == "luminance", parts != "luminance")


def test_too_small_a_square_is_refused() -> None:
    with pytest.raises(ValueError, match=r"window size 1 is below 2; pass e\.g\. size=8"):
        cones(1, "both")
