"""The multi-scale ball against dense matrices, scikit-image's SSIM of averaged planes, and the ball of one scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
import torch
from ball_samples import dot, noise, pictures, regions
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import ycbcr2rgb
from skimage.metrics import structural_similarity
from torch import Tensor

from perceptlib.balls import LumaBall, MultiScaleBall, SSIMBall, steepest_in_box
from perceptlib.balls.multi_scale import CHANNEL_WEIGHTS, OPPONENT, RANGES, SCALES, WEIGHTS
from perceptlib.balls.pyramid import NestedInverse, Pyramid, block_sum
from perceptlib.ssim import Reference, Window

ROUNDING = 1e-10  # float64, a few hundred operations
SOLVED = 1e-9  # relative, conjugate gradients run to the end
COLOURS = np.array(OPPONENT)


def averages(height: int, width: int, side: int) -> np.ndarray:
    """P_s as a dense matrix, (blocks, H W), by loops; blocks at the end are smaller."""
    rows = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            mask = np.zeros((height, width))
            mask[top : top + side, left : left + side] = 1
            rows.append(mask.ravel() / mask.sum())
    return np.array(rows)


def dense(image: Tensor, scales: tuple[int, ...], weights: tuple[float, ...], channels: Any, ranges: Any) -> np.ndarray:
    """A of one image (3, H, W) in opponent colours, entry by entry."""
    height, width = image.shape[-2:]
    matrix = COLOURS / np.array(ranges)[:, None]
    planes = np.einsum("dc,chw->dhw", matrix, image.numpy())
    shares, weights = np.array(channels) / np.sum(channels), np.array(weights) / np.sum(weights)
    blocks = [np.zeros((height * width,) * 2) for _ in range(3)]
    for side, weight in zip(scales, weights, strict=True):
        average = averages(height, width, side)
        shape = -(-height // side), -(-width // side)
        window = reference.window_matrix(*shape, reference.window_weights(5))
        for block, plane, share in zip(blocks, planes, shares, strict=True):
            small = (average @ plane.ravel()).reshape(1, *shape)
            block += weight * share * average.T @ reference.quadratic_matrix(small, window) @ average
    opponent = np.zeros((3 * height * width,) * 2)
    for channel, block in enumerate(blocks):
        place = slice(channel * height * width, (channel + 1) * height * width)
        opponent[place, place] = block
    mixed = np.kron(matrix, np.eye(height * width))
    return mixed.T @ opponent @ mixed


OPTIONS: dict[str, Any] = {"weights": (0.5, 0.2, 0.3), "channel_weights": (1, 2, 4), "ranges": (2, 1, 0.5)}


def test_multi_scale_ball_is_the_dense_quadratic() -> None:
    images, scales = pictures(1, 3, 10, 13), (1, 2)  # with smaller blocks at the right
    options = OPTIONS | {"weights": (0.5, 0.2)}
    truth = dense(images[0], scales, options["weights"], options["channel_weights"], options["ranges"])
    ball = MultiScaleBall(images, 0.01, scales=scales, window=Window(5), cg_steps=600, tolerance=1e-13, **options)
    change = noise(images, 1)
    flat = change.numpy().ravel()
    assert float(ball.quadratic(change)) == pytest.approx(flat @ truth @ flat, rel=SOLVED)
    assert np.allclose(ball.apply(change).numpy().ravel() / flat.size, truth @ flat, rtol=SOLVED, atol=1e-8)
    solved = np.linalg.solve(truth, flat)
    expected = np.sqrt(0.01 / (flat @ solved)) * solved
    assert np.abs(ball.steepest(change).numpy().ravel() - expected).max() < 1e-6 * np.abs(expected).max()
    units = torch.eye(flat.size, dtype=torch.float64).view(-1, *images.shape)
    inverse = np.stack([ball._over_lower_bound(unit).numpy().ravel() for unit in units]) * flat.size
    assert np.allclose(inverse, inverse.T, atol=1e-9 * np.abs(inverse).max())
    gap = np.linalg.eigvalsh(truth - np.linalg.inv(inverse))
    assert gap.min() > -1e-9 * gap.max()  # the certificate's matrix is below A


def test_multi_scale_ball_of_one_scale_and_rgb_is_the_ssim_ball() -> None:
    images = pictures(1, 3, 12, 12)
    gradient = noise(images, 1)
    one = MultiScaleBall(images, 0.01, scales=(1,), colour="rgb", cg_steps=9)
    ball = SSIMBall(images, 0.01, cg_steps=9)
    assert torch.equal(one.steepest(gradient), ball.steepest(gradient))
    small = 0.02 * gradient
    for name in ("quadratic", "gauge", "measure", "pull_back", "project"):
        torch.testing.assert_close(getattr(one, name)(small), getattr(ball, name)(small), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(one.gap_bound(gradient, small), ball.gap_bound(gradient, small))


def test_multi_scale_ball_of_luma_is_the_luma_ball_on_grey_perturbations() -> None:
    images = pictures()
    grey = 0.02 * noise(images[:, :1], 1).repeat(1, 3, 1, 1)
    ball, luma = MultiScaleBall(images, 0.01, scales=(1,), colour="luma"), LumaBall(images, 0.01)
    torch.testing.assert_close(ball.gauge(grey), luma.gauge(grey))
    torch.testing.assert_close(ball.measure(grey), luma.measure(grey))
    chroma = torch.tensor(np.linalg.inv(COLOURS)[:, 1]).view(3, 1, 1) * grey  # Cb alone
    assert bool((ball.gauge(chroma) > 0).all())


def test_multi_scale_ball_of_one_channel_takes_it_as_it_is() -> None:
    images = pictures(2, 1)
    ball, other = (MultiScaleBall(images, 0.01, colour=colour, window=Window(5)) for colour in ("opponent", "rgb"))
    assert torch.equal(ball.steepest(noise(images, 1)), other.steepest(noise(images, 1)))


def test_measure_is_the_ssim_of_averaged_opponent_planes() -> None:
    images = pictures(1, 3, 28, 36)
    change = (images + 0.05 * noise(images, 1)).clamp(0, 1) - images
    ball = MultiScaleBall(images, 0.01, scales=(1, 2), window=Window(11), **OPTIONS | {"weights": (0.5, 0.2)})
    expected = 0.0
    for side, weight in ((1, 0.5 / 0.7), (2, 0.2 / 0.7)):
        average = averages(28, 36, side)
        for place, share in enumerate((1 / 7, 2 / 7, 4 / 7)):
            before, after = (
                (average @ np.tensordot(COLOURS[place], x[0].numpy(), 1).ravel()).reshape(28 // side, 36 // side)
                for x in (images, images + change)
            )
            _, similarity = structural_similarity(
                *(before, after),
                data_range=OPTIONS["ranges"][place],
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                full=True,
            )
            expected += weight * share * (1 - similarity.mean())
    assert float(ball.measure(change)) == pytest.approx(expected, rel=1e-4)
    tiny = 1e-5 * change
    torch.testing.assert_close(ball.measure(tiny), ball.quadratic(tiny), rtol=1e-3, atol=0)
    torch.testing.assert_close(ball.measure(tiny.float()).double(), ball.measure(tiny), rtol=1e-3, atol=0)


def test_opponent_colours_are_those_of_scikit_image() -> None:
    planes = np.array([[[110.0, 90.0, 200.0]]])  # of 16 to 235 and 16 to 240, with grey at 128
    signed = (planes[0, 0] - (16, 128, 128)) / (219, 224, 224)
    assert COLOURS @ ycbcr2rgb(planes)[0, 0] == pytest.approx(signed, abs=1e-3)


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.01, 100), steps=st.integers(1, 20))
def test_multi_scale_ball_properties(seed: int, factor: float, steps: int) -> None:
    images = pictures(1, 3, 12, 15)
    gradient = noise(images, seed)
    exact = MultiScaleBall(images, 0.01, window=Window(5), cg_steps=500, tolerance=1e-13)
    best = exact.steepest(gradient)
    assert float(exact.gauge(factor * gradient)) == pytest.approx(factor * float(exact.gauge(gradient)))
    other = noise(images, seed + 1)
    assert float(dot(gradient, other / exact.gauge(other))) <= float(dot(gradient, best)) * (1 + SOLVED)
    rough = MultiScaleBall(images, 0.01, window=Window(5), cg_steps=steps).steepest(gradient)
    gap = 1 - dot(gradient, rough) / exact.gauge(rough) / dot(gradient, best)
    assert float(exact.gap_bound(gradient, rough)) >= float(gap) - 1e-12
    assert float(exact.gap_bound(gradient, best)) < 1e-9
    inside = exact.project(factor * best)
    torch.testing.assert_close(exact.project(inside), inside)
    reached = exact.pull_back(factor * best)
    assert 0.01 * (1 - 2e-3) <= float(exact.measure(reached)) <= 0.01 * (1 + SOLVED)
    assert float((images + reached).min()) >= -ROUNDING and float((images + reached).max()) <= 1 + ROUNDING


def test_multi_scale_steepest_in_box_is_certified() -> None:
    images = pictures()
    gradient = noise(images, 1)
    for support in (None, regions(images)):
        ball = MultiScaleBall(images, 0.05, window=Window(5), support=support)
        found = steepest_in_box(ball, gradient, tolerance=1e-6)
        assert bool((found.gap <= 1e-6).all()) and bool((ball.gauge(found.perturbation) <= 1 + ROUNDING).all())
        assert float((images + found.perturbation).clamp(0, 1).sub(images + found.perturbation).abs().max()) < ROUNDING


def test_five_steps_come_within_a_thousandth() -> None:
    from skimage import data

    picture = torch.from_numpy(data.astronaut()[:96, 180:276] / 255.0).permute(2, 0, 1)[None]
    gradient = noise(picture, 1)
    ball = MultiScaleBall(picture, 0.01, cg_steps=5)
    exact = MultiScaleBall(picture, 0.01, cg_steps=200, tolerance=1e-7)
    assert float(dot(gradient, ball.steepest(gradient)) / dot(gradient, exact.steepest(gradient))) > 1 - 1e-3
    assert float(ball.gap_bound(gradient, ball.steepest(gradient))) < 1e-2


@pytest.mark.parametrize("scales", [(1,), (1, 2), (1, 3, 6), (1, 2, 4, 8)])
def test_pyramid_averages_and_its_adjoint(scales: tuple[int, ...]) -> None:
    planes = noise(torch.empty(2, 3, 11, 14, dtype=torch.float64), 1)
    pyramid = Pyramid(scales, planes)
    means = pyramid.means(planes)
    values = [noise(mean, 2 + place) for place, mean in enumerate(means)]
    expected = torch.zeros_like(planes)
    for side, mean, value in zip(scales, means, values, strict=True):
        average = torch.from_numpy(averages(11, 14, side))
        assert torch.allclose(mean.flatten(2), planes.flatten(2) @ average.T, atol=ROUNDING)
        expected += (value.flatten(2) @ average).view_as(planes)
    assert torch.allclose(pyramid.adjoint(values), expected, atol=ROUNDING)


@pytest.mark.parametrize("scales", [(1,), (1, 3), (1, 2, 4, 8)])
def test_nested_inverse_is_exact(scales: tuple[int, ...]) -> None:
    planes = noise(torch.empty(2, 3, 11, 14, dtype=torch.float64), 1)
    pyramid = Pyramid(scales, planes)
    weights = [noise(mean, 9).exp() for mean in pyramid.means(planes)]
    found = NestedInverse(pyramid, weights).multiply(planes, torch.empty_like(planes))
    back = pyramid.adjoint([weight * mean for weight, mean in zip(weights, pyramid.means(found), strict=True)])
    assert torch.allclose(back, planes, atol=ROUNDING)
    assert block_sum(planes, 1) is planes


def test_scales_that_do_not_fit_are_left_out() -> None:
    images = pictures()  # 14 x 17: averages of 7 x 9 and 4 x 5
    ball = MultiScaleBall(images, 0.01, window=Window(5))
    assert ball.scales == (1, 2) and sum(ball.weights) == pytest.approx(1)
    assert ball.weights[0] / ball.weights[1] == pytest.approx(WEIGHTS[0] / WEIGHTS[1])
    assert MultiScaleBall(images, 0.01).scales == (1,)
    assert ball.select(torch.tensor([1])).weights == pytest.approx(ball.weights)
    assert MultiScaleBall(images, 0.01, scales=(1, 7), window=Window(3)).scales == (1,)  # 2 x 3 pixels are left


def test_select_keeps_every_option() -> None:
    images = pictures(3, 3, 20, 24)
    ball = MultiScaleBall(images, 0.01, scales=(1, 2, 4), window=Window(5), cg_steps=3, tolerance=0.25, **OPTIONS)
    chosen = ball.select(torch.tensor([2]))
    for name in ("scales", "weights", "cg_steps", "tolerance", "window", "colour"):
        assert getattr(chosen, name) == getattr(ball, name)
    change = noise(images, 1)
    assert torch.allclose(chosen.quadratic(change[2:]), ball.quadratic(change)[2:], rtol=1e-12)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scales": (2, 4)}, r"scales \(2, 4\) are no chain from 1 on, each a multiple of the one before; pass e.g"),
        ({"scales": (1, 2, 3)}, r"scales \(1, 2, 3\) are no chain from 1 on"),
        ({"scales": (1, 1)}, r"scales \(1, 1\) are no chain from 1 on"),
        ({"scales": ()}, r"scales \(\) are no chain from 1 on"),
        ({"scales": (1, 0)}, "a scale is 0; pass a whole number, 1 or more"),
        ({"scales": (1, 2), "weights": (1,)}, r"weights are \(1.0,\); 2 finite numbers above 0 are needed"),
        ({"weights": (1, 1, 1, 0)}, r"weights are \(1.0, 1.0, 1.0, 0.0\); 4 finite numbers above 0 are needed"),
        ({"channel_weights": (1, -1, 1)}, "channel_weights are .*; 3 finite numbers above 0 are needed"),
        ({"ranges": (1, float("inf"), 1)}, "ranges are .*; 3 finite numbers above 0 are needed"),
        ({"colour": "grey"}, "colour 'grey' is unknown; pass one of opponent, luma, rgb"),
        ({"window": Window(15)}, "window size 15 exceeds the image side 14; pass size <= 14"),
        ({"cg_steps": 0}, "cg_steps 0 is below 1; pass e.g. cg_steps=15"),
        ({"tolerance": -1.0}, "tolerance -1.0 is not at least 0; pass e.g. tolerance=1e-6"),
    ],
)
def test_multi_scale_ball_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiScaleBall(pictures(), 0.01, **options)


def test_defaults_are_one_number_for_each_scale_and_channel() -> None:
    assert len(SCALES) == len(WEIGHTS) and len(CHANNEL_WEIGHTS) == len(RANGES) == 3
    assert bool(torch.isfinite(MultiScaleBall(pictures(), 0.01).measure(torch.zeros_like(pictures()))).all())
    assert Reference(pictures()).window == Window()
