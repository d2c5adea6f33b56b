"""What every ball must meet, and the SSIM ball against dense linear algebra."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from ball_samples import BALLS, dot, noise, pictures, regions
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from perceptlib.balls import Ball, L2Ball, LinfBall, SSIMBall, WindowBall
from perceptlib.ssim import measure as ssim

SOLVED = 1e-9  # relative, float64, conjugate gradients run to the end
TOGETHER = 1e-5  # pixels: images of a batch stop together, alone earlier, at a gap of 1e-12 (its root is the pixels')
PROJECTED = 1e-4  # relative: the projection's own tolerance is 1e-5 on the multiplier


@pytest.fixture(params=list(BALLS), scope="module")
def ball(request: pytest.FixtureRequest) -> Ball:
    return BALLS[request.param](pictures())


def test_ball_steepest_is_on_the_boundary_and_maximises(ball: Ball) -> None:
    gradient = noise(pictures(), 1)
    best = ball.steepest(gradient)
    assert torch.allclose(ball.gauge(best), torch.ones(2).double(), atol=1e-6)
    inside, scale = best != 0, float(best.abs().max())
    for step in (gradient, *(noise(gradient, seed) for seed in range(2, 10))):
        for length in (1e-3, 0.1, 1.0, 1e3):  # near the best and far from it, on the same support
            other = best + length * scale * inside * step
            other = other / ball.gauge(other).view(-1, 1, 1, 1)
            assert bool((dot(gradient, other) <= dot(gradient, best) * (1 + SOLVED)).all())


def test_ball_gauge_is_homogeneous_and_zero_at_zero(ball: Ball) -> None:
    perturbation = noise(pictures(), 3)
    assert torch.allclose(ball.gauge(2.5 * perturbation), 2.5 * ball.gauge(perturbation), rtol=1e-10)
    assert bool((ball.gauge(torch.zeros_like(perturbation)) == 0).all())


def test_ball_gauge_is_convex(ball: Ball) -> None:
    first, second = noise(pictures(), 4), 0.2 * noise(pictures(), 5)
    assert bool((ball.gauge(first + second) <= ball.gauge(first) + ball.gauge(second) + 1e-9).all())


def test_ball_project_is_the_nearest_point(ball: Ball) -> None:
    outside = noise(pictures(), 6)
    nearest = ball.project(outside)
    assert bool((ball.gauge(nearest) <= 1 + 1e-9).all())
    scale = dot(outside, outside)
    farthest = ball.steepest(outside - nearest)  # <r - p, s - p> <= 0 for every s of the ball
    assert bool((dot(outside - nearest, farthest - nearest) <= PROJECTED * scale).all())
    inside = 0.5 * nearest
    assert torch.equal(ball.project(inside), inside) or torch.allclose(ball.project(inside), inside, atol=1e-15)


def test_ball_pull_back_is_within_the_true_radius(ball: Ball) -> None:
    images = pictures()
    perturbation = (images + noise(images, 8)).clamp(0, 1) - images
    measured = ball.measure(ball.pull_back(perturbation))
    assert bool((measured <= torch.as_tensor(ball.radius, dtype=torch.float64) * (1 + 1e-9)).all())


def test_ball_zero_gradient_has_zero_steepest(ball: Ball) -> None:
    assert bool((ball.steepest(torch.zeros_like(pictures())) == 0).all())


def test_ball_gradient_scale_does_not_matter(ball: Ball) -> None:
    gradient = noise(pictures(), 9)
    small, large = ball.steepest(1e-30 * gradient), ball.steepest(1e20 * gradient)
    assert float((small - large).abs().max()) < 1e-3 * float(large.abs().max())


def test_ball_select_is_the_ball_of_those_images(ball: Ball) -> None:
    gradient = noise(pictures(), 10)
    chosen = ball.select(torch.tensor([1])).steepest(gradient[1:])
    assert torch.allclose(chosen, ball.steepest(gradient)[1:], atol=TOGETHER)


def test_ball_refuses_a_gradient_with_nan(ball: Ball) -> None:
    with pytest.raises(ValueError, match="gradient has NaN or infinite entries; check the classifier's output"):
        ball.steepest(torch.full_like(pictures(), torch.nan))


def test_ssim_ball_is_the_dense_quadratic() -> None:
    images = pictures(1, 2, 12, 13)
    matrix = reference.window_matrix(12, 13, reference.window_weights())
    dense = reference.quadratic_matrix(images[0].numpy(), matrix)
    assert np.linalg.eigvalsh(dense).min() > 0
    ball = SSIMBall(images, 0.01, cg_steps=400, tolerance=1e-13)
    perturbation = noise(images, 1)
    flat = perturbation.numpy().ravel()
    assert float(ball.quadratic(perturbation)) == pytest.approx(flat @ dense @ flat, rel=1e-9)
    assert np.allclose(ball.apply(perturbation).numpy().ravel() / flat.size, dense @ flat, rtol=1e-9, atol=1e-9)
    solved = np.linalg.solve(dense, flat)
    expected = np.sqrt(0.01 / (flat @ solved)) * solved
    assert np.abs(ball.steepest(perturbation).numpy().ravel() - expected).max() < 1e-6 * np.abs(expected).max()
    assert np.all(np.linalg.eigvalsh(dense - np.diag(ball._lower_weight.numpy().ravel() / flat.size)) > -1e-9)


def test_ssim_ball_quadratic_is_the_second_order_of_the_distance() -> None:
    images = pictures()
    direction, ball = noise(images, 2), SSIMBall(images, 0.01)
    for scale, tolerance in ((1e-3, 1e-1), (1e-5, 1e-3)):
        ratio = ball.measure(scale * direction) / ball.quadratic(scale * direction)
        assert torch.allclose(ratio, torch.ones_like(ratio), atol=tolerance)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 25), coupling=st.sampled_from(["full", "diagonal"]))
def test_ssim_ball_gap_bound_is_never_below_the_true_gap(seed: int, steps: int, coupling: str) -> None:
    images = pictures(1, 1, 13, 12)
    gradient = noise(images, seed)
    exact = SSIMBall(images, 0.01, cg_steps=500, tolerance=1e-13)
    rough = SSIMBall(images, 0.01, cg_steps=steps, coupling=coupling).steepest(gradient)
    gap = 1 - dot(gradient, rough) / exact.gauge(rough) / dot(gradient, exact.steepest(gradient))
    bound = exact.gap_bound(gradient, rough)
    assert float(bound) >= float(gap) - 1e-12
    assert float(exact.gap_bound(gradient, exact.steepest(gradient))) < 1e-9


def test_ssim_ball_tolerance_is_met_with_fewer_steps() -> None:
    images = pictures()
    gradient = noise(images, 3)
    ball = SSIMBall(images, 0.01, cg_steps=500, tolerance=1e-6)
    assert bool((ball.gap_bound(gradient, ball.steepest(gradient)) <= 1e-6).all())
    assert bool((SSIMBall(images, 0.01, cg_steps=2).gap_bound(gradient, -gradient) == 1).all())
    assert bool((ball.gap_bound(torch.zeros_like(gradient), gradient) == 0).all())


def test_ssim_ball_favours_texture() -> None:
    images = pictures(1, 3, 24, 24)
    spent = SSIMBall(images, 0.01, cg_steps=100).steepest(noise(images, 4)).abs().mean(dim=(0, 1, 3))
    assert float(spent[:8].mean()) > 3 * float(spent[-8:].mean())


def test_window_ball_fills_every_window() -> None:
    images = pictures(1, 3, 16, 24)
    ball = WindowBall(images, 0.02, size=8)
    perturbation = ball.steepest(noise(images, 5))
    window_ssim = []
    for channel in range(3):
        for row in range(0, 16, 8):
            for column in range(0, 24, 8):
                x = images[0, channel, row : row + 8, column : column + 8].numpy()
                y = x + perturbation[0, channel, row : row + 8, column : column + 8].numpy()
                mean = (2 * x.mean() * y.mean() + reference.C1) / (x.mean() ** 2 + y.mean() ** 2 + reference.C1)
                covariance = ((x - x.mean()) * (y - y.mean())).mean()
                window_ssim.append(mean * (2 * covariance + reference.C2) / (x.var() + y.var() + reference.C2))
    assert np.allclose(window_ssim, 0.98, atol=1e-9)  # flat: it cannot localise
    assert float(ball.measure(perturbation)) == pytest.approx(0.02, abs=1e-9)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda x: LinfBall(0.0), "epsilon 0.0 is not a finite number above 0; pass a float or one value per image"),
        (lambda x: L2Ball(float("nan")), "epsilon nan is not a finite number above 0"),
        (lambda x: SSIMBall(x, -0.1), "budget -0.1 is not a finite number above 0"),
        (lambda x: SSIMBall(x, 1.0), "budget 1.0 is not below 1; pass an SSIM distance such as 0.01"),
        (lambda x: SSIMBall(x, 0.1, coupling="half"), "coupling 'half' is unknown; pass 'full' or 'diagonal'"),
        (lambda x: SSIMBall(x, 0.1, components="colour"), "components 'colour' is unknown; pass 'both'"),
        (lambda x: SSIMBall(x, 0.1, cg_steps=0), "cg_steps 0 is below 1; pass e.g. cg_steps=15"),
        (lambda x: SSIMBall(x, 0.1, tolerance=-1.0), "tolerance -1.0 is not at least 0; pass e.g. tolerance=1e-6"),
        (lambda x: WindowBall(x, 1.5), "budget 1.5 is not below 1"),
        (lambda x: WindowBall(x, 0.1, size=1), "window size 1 is below 2; pass e.g. size=8"),
        (lambda x: WindowBall(x[0], 0.1), r"images have shape \(3, 14, 17\); four axes"),
    ],
)
def test_ball_refuses(make: Callable[[Tensor], Ball], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(pictures())


@pytest.mark.parametrize("make", [lambda x: SSIMBall(x, 0.1), lambda x: WindowBall(x, 0.1)])
def test_ball_refuses_other_images(make: Callable[[Tensor], Ball]) -> None:
    message = r"the ball was made for images of shape \(2, 3, 14, 17\) and met \(1, 3, 14, 17\); make a ball"
    with pytest.raises(ValueError, match=message):
        make(pictures()).steepest(pictures(1))


@pytest.mark.parametrize("make", [lambda x, r: SSIMBall(x, r), lambda x, r: L2Ball(r), lambda x, r: WindowBall(x, r)])
def test_ball_refuses_a_wrong_number_of_radii(make: Callable[[Tensor, Tensor], Ball]) -> None:
    with pytest.raises(ValueError, match="3 radii for 2 images; pass a float or one value per image"):
        make(pictures(), torch.full((3,), 0.1)).steepest(pictures())


@pytest.mark.parametrize("coupling", ["full", "diagonal"])
@pytest.mark.parametrize("support", [None, regions(pictures())])
def test_ssim_ball_multiplies_in_buffers_as_it_applies(coupling: str, support: Tensor | None) -> None:
    ball = SSIMBall(pictures(), 0.01, coupling=coupling, support=support)
    direction = noise(pictures(), 11)
    kept = direction.clone()
    buffers = torch.empty_like(direction), torch.empty_like(direction)
    product = ball.multiply(direction, buffers)
    assert product.data_ptr() == buffers[1].data_ptr() and torch.equal(direction, kept)
    assert torch.allclose(product, ball.apply(direction), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("make", [SSIMBall, WindowBall, lambda x, radii: L2Ball(radii)])
def test_ball_select_takes_each_image_with_its_radius(make: Callable[[Tensor, Tensor], Ball]) -> None:
    images, radii = pictures(3), torch.tensor([0.01, 0.02, 0.04])
    for index in (torch.tensor([2, 0]), torch.tensor([True, False, True])):
        assert torch.equal(torch.as_tensor(make(images, radii).select(index).radius), radii[index])


@pytest.mark.parametrize("coupling", ["full", "diagonal"])
def test_ssim_ball_of_one_component_keeps_a_thousandth_of_the_other(coupling: str) -> None:
    images, change = pictures(), noise(pictures(), 12)
    parts = [SSIMBall(images, 0.01, components=name) for name in ("both", "luminance", "contrast_structure")]
    both, luminance, contrast = (ball.quadratic(change) for ball in parts)
    torch.testing.assert_close(luminance + contrast, (1 + 1e-3) * both)
    constant = torch.full_like(images, 0.1)  # has no contrast: V = 0 and m = 0.1
    mean = ssim.Reference(images).mean
    expected = (0.01 / (2 * mean**2 + ssim.C1)).mean((1, 2, 3))
    torch.testing.assert_close(parts[1].quadratic(constant), expected)
    torch.testing.assert_close(parts[2].quadratic(constant), 1e-3 * expected)


def test_ssim_ball_select_keeps_every_option() -> None:
    options = {"coupling": "full", "components": "luminance", "cg_steps": 3, "tolerance": 0.25}
    chosen = SSIMBall(pictures(3), 0.01, window=ssim.Window(5), **options).select(torch.tensor([2]))  # type: ignore[arg-type]
    assert {name: getattr(chosen, name) for name in options} == options
    assert chosen.window == ssim.Window(5) and chosen.radius == 0.01 and chosen.support is None
    window_ball = WindowBall(pictures(3), 0.01, size=5).select(torch.tensor([2]))
    assert window_ball.size == 5 and torch.equal(window_ball.images, pictures(3)[2:])


def test_ssim_ball_measures_in_the_dtype_that_it_is_given() -> None:
    images = pictures().float()
    ball, change = SSIMBall(images, 0.01), 1e-3 * noise(pictures(), 13)
    exact = ssim.Reference(images.double()).distance(change)
    torch.testing.assert_close(ball.measure(change), exact, rtol=1e-12, atol=0)
    single = ball.measure(change.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("components", ["both", "luminance", "contrast_structure"])
def test_ssim_ball_diagonal_certifies_its_own_optimum(components: str) -> None:
    images, gradient = pictures(), noise(pictures(), 14)
    ball = SSIMBall(images, 0.01, coupling="diagonal", components=components)
    best = ball.steepest(gradient)
    rough = best + 0.5 * float(best.std()) * noise(images, 15)
    assert bool((ball.gap_bound(gradient, best) < 1e-12).all())
    # with one weight per pixel the bound is the gap itself
    gap = 1 - dot(gradient, rough) / ball.gauge(rough) / dot(gradient, best)
    assert bool(((gap > 0.01) & (gap < 0.9)).all())
    torch.testing.assert_close(ball.gap_bound(gradient, rough), gap)


def test_ball_is_the_same_copied_pickled_and_kept(ball: Ball) -> None:
    gradient = noise(pictures(), 16)
    expected = ball.steepest(gradient)
    for other in (copy.copy(ball), copy.deepcopy(ball), pickle.loads(pickle.dumps(ball))):
        other.check(pictures())
        assert torch.equal(other.steepest(gradient), expected)
        assert torch.equal(other.measure(expected), ball.measure(expected))
    assert torch.equal(ball.steepest(gradient), expected)


@pytest.mark.slow
def test_balls_are_the_same_in_another_process(tmp_path: Path) -> None:
    gradient, balls = noise(pictures(), 16), [make(pictures()) for make in BALLS.values()]
    (tmp_path / "balls").write_bytes(pickle.dumps((balls, gradient)))
    code = (
        "import pickle, sys, torch; torch.set_num_threads(1); balls, gradient = pickle.load(open(sys.argv[1], 'rb'));"
        "pickle.dump([ball.steepest(gradient) for ball in balls], open(sys.argv[2], 'wb'))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "balls", tmp_path / "found"], check=True)
    for ball, found in zip(balls, pickle.loads((tmp_path / "found").read_bytes()), strict=True):
        assert torch.equal(ball.steepest(gradient), found)
