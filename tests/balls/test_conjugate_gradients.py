from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from perceptlib.balls import MultiScaleBall, SSIMBall
from perceptlib.balls.conjugate_gradients import LARGEST_SIDE, Buffers, CosinePreconditioner, solve
from perceptlib.balls.quadratic import QuadraticBall
from perceptlib.ssim import Window

ROUNDING = 1e-10  # float64, a few hundred operations, condition number below 1e3


def system(side: int = 12, *, seed: int = 0) -> tuple[SSIMBall, Tensor]:
    """A ball of two textured images, and its matrix n A for each, (2, pixels, pixels)."""
    images = torch.rand(2, 1, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    ball = SSIMBall(Window(5).filter(images), 0.01, window=Window(5))
    identity = torch.eye(side * side, dtype=torch.float64).view(-1, 1, 1, side, side)
    columns = torch.stack([ball.apply(unit.expand(2, 1, side, side)).flatten(1) for unit in identity], dim=2)
    return ball, columns


def plain(residual: Tensor, out: Tensor) -> Tensor:
    return out.copy_(residual)


def test_solve_agrees_with_a_direct_solver_from_any_start() -> None:
    ball, matrix = system()
    target, start = torch.randn(2, 2, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    truth = torch.linalg.solve(matrix, target.flatten(1)[..., None]).view(target.shape)
    for precondition in (plain, ball.precondition):
        for first in (None, start):
            solution, residual, steps = solve(ball.multiply, precondition, target, steps=200, start=first)
            assert steps == 200
            assert float((solution - truth).abs().max() / truth.abs().max()) < ROUNDING
            assert float((target - ball.apply(solution) - residual).abs().max()) < ROUNDING


def test_solve_stops_when_told_and_counts_its_steps() -> None:
    ball, _ = system()
    target = torch.ones(2, 1, 12, 12, dtype=torch.float64)
    seen: list[int] = []

    def is_done(step: int, solution: Tensor, residual: Tensor, energy: Tensor) -> bool:
        seen.append(step)
        assert torch.allclose(residual, target - ball.apply(solution), atol=ROUNDING)
        assert torch.allclose(energy.flatten(), (residual * residual).sum(dim=(1, 2, 3)))
        return step == 3

    assert solve(ball.multiply, plain, target, steps=10, is_done=is_done)[2] == 3
    assert seen == [0, 1, 2, 3]
    exact = ball.apply(target)
    assert solve(ball.multiply, plain, exact, steps=10, start=target, is_done=lambda *_: True)[2] == 0


def test_solve_of_no_step_is_its_start() -> None:
    ball, _ = system()
    start = torch.ones(2, 1, 12, 12, dtype=torch.float64)
    solution, residual, steps = solve(ball.multiply, ball.precondition, 3 * start, steps=0, start=start)
    assert steps == 0 and torch.equal(solution, start)
    assert torch.allclose(residual, 3 * start - ball.apply(start), atol=ROUNDING)


def test_solve_of_a_zero_target_is_zero_beside_another_image() -> None:
    ball, _ = system()
    target = torch.ones(2, 1, 12, 12, dtype=torch.float64)
    target[0] = 0
    solution, residual, _ = solve(ball.multiply, plain, target, steps=20)
    assert not bool(solution[0].any()) and not bool(residual[0].any())
    assert bool(torch.isfinite(solution).all()) and bool(solution[1].any())


@pytest.mark.parametrize("coupled", [0, 10**4])
@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
@pytest.mark.parametrize("frequency", [(0, 0), (1, 0), (2, 3)])
def test_cosine_preconditioner_is_the_inverse_for_constant_weights_and_low_frequencies(
    monkeypatch: pytest.MonkeyPatch, kind: str, frequency: tuple[int, int], coupled: int
) -> None:
    monkeypatch.setattr("perceptlib.balls.conjugate_gradients.COUPLED", coupled)
    window, (height, width) = Window(7, kind=kind), (24, 30)
    contrast, luminance = 50.0, 2.0
    rows, columns = (
        torch.cos(math.pi * index * (torch.arange(side, dtype=torch.float64) + 0.5) / side)
        for index, side in zip(frequency, (height, width), strict=True)
    )
    wave = torch.outer(rows, columns)[None, None]
    product = contrast * wave + (luminance - contrast) * window.filter(window.filter(wave))
    weight = torch.full_like(wave, contrast)
    low_weight = torch.full_like(wave, luminance)
    precondition = CosinePreconditioner(window, weight, low_weight, low_weight - weight)
    assert float((precondition(product, torch.empty_like(wave)) - wave).abs().max()) < ROUNDING


@pytest.mark.parametrize("spike", [1.0, 1e4])
@pytest.mark.parametrize("coupled", [0, 10**4])
def test_cosine_preconditioner_is_symmetric_and_positive(
    monkeypatch: pytest.MonkeyPatch, coupled: int, spike: float
) -> None:
    monkeypatch.setattr("perceptlib.balls.conjugate_gradients.COUPLED", coupled)
    ball, _ = system()
    contrast = ball.contrast_weight.clone()
    contrast[0, 0, 5, 5] *= spike  # far above its neighbours', so that a coupling by it alone is not positive
    weight, low_weight = ball.window.filter(contrast), ball.window.filter(ball.luminance_weight)
    preconditioner = CosinePreconditioner(ball.window, weight, low_weight, ball.luminance_weight - contrast)
    units = torch.eye(144, dtype=torch.float64).view(-1, 1, 1, 12, 12)
    columns = [
        preconditioner(unit.expand(2, 1, 12, 12), torch.empty(2, 1, 12, 12, dtype=torch.float64)) for unit in units
    ]
    for matrix in torch.stack([column.flatten(1) for column in columns], dim=2).numpy():
        assert np.abs(matrix - matrix.T).max() < ROUNDING
        assert np.linalg.eigvalsh(matrix).min() > 0


def test_cosine_preconditioner_halves_the_steps_on_a_photograph() -> None:
    from skimage import data

    picture = torch.from_numpy(data.astronaut()[40:72, 200:232] / 255.0).permute(2, 0, 1)[None]
    ball = SSIMBall(picture, 0.01)
    target = torch.randn(picture.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def diagonal(residual: Tensor, out: Tensor) -> Tensor:
        return torch.div(residual, ball.weight, out=out)

    def is_solved(step: int, solution: Tensor, residual: Tensor, energy: Tensor) -> bool:
        return float(residual.norm() / target.norm()) < 1e-5

    plainly, better = (
        solve(ball.multiply, precondition, target, steps=500, is_done=is_solved)[2]
        for precondition in (diagonal, ball.precondition)
    )
    assert better <= plainly / 2


def test_coupled_frequencies_spare_half_the_steps_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from skimage import data

    picture = torch.from_numpy(data.astronaut()[:32, :32] / 255.0).permute(2, 0, 1)[None]
    target = torch.randn(picture.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    counts = []
    for coupled in (128, 0):
        monkeypatch.setattr("perceptlib.balls.conjugate_gradients.COUPLED", coupled)
        ball, products = SSIMBall(picture, 0.01, cg_steps=500, tolerance=1e-6), []
        multiply = ball.multiply
        monkeypatch.setattr(ball, "multiply", lambda *of, to=products, by=multiply: to.append(1) or by(*of))
        assert float(ball.gap_bound(target, ball.steepest(target))) <= 1e-6
        counts.append(len(products))
    assert counts[0] <= counts[1] / 2


def test_channels_apart_are_solved_each_by_its_own_steps() -> None:
    images, target = torch.rand(2, 2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ball = SSIMBall(images, 0.01)
    together = solve(ball.multiply, ball.precondition, target, steps=4, apart=True)[:2]
    for channel in range(3):
        alone = SSIMBall(images[:, channel : channel + 1], 0.01)
        one = target[:, channel : channel + 1].clone()
        for found, expected in zip(together, solve(alone.multiply, alone.precondition, one, steps=4), strict=False):
            torch.testing.assert_close(found[:, channel : channel + 1], expected, rtol=1e-9, atol=1e-12)
    seen: list[Tensor] = []
    solve(*(ball.multiply, plain, target), steps=1, is_done=lambda *of: bool(seen.append(of[3])), apart=True)
    torch.testing.assert_close(seen[0].flatten(), target.square().sum(dim=(1, 2, 3)))


@pytest.mark.parametrize("kind", [SSIMBall, MultiScaleBall])
@pytest.mark.parametrize("has_support", [False, True])
def test_steps_in_parts_and_by_curvature_are_those_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, kind: type[QuadraticBall], has_support: bool
) -> None:
    generator = torch.Generator().manual_seed(3)
    images, gradient = torch.rand(2, 5, 3, 24, 24, dtype=torch.float64, generator=generator)
    support = torch.rand(5, 24, 24, generator=generator) > 0.3 if has_support else None
    ball = kind(images, 0.01, cg_steps=4, support=support)
    gradient = gradient if support is None else gradient * support[:, None]
    solution, residual = ball.conjugate_gradients(gradient, None, 4, None)
    energy = (solution * (gradient - residual)).sum(dim=(1, 2, 3), keepdim=True)
    for images_at_once in (1, 2, 5):
        monkeypatch.setattr("perceptlib.balls.quadratic.PART", images_at_once * ball.size)
        found = ball._solve(gradient)
        torch.testing.assert_close(found[0], solution, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found[1], energy, rtol=1e-9, atol=1e-12)


def test_larger_pictures_are_preconditioned_by_the_diagonal() -> None:
    images = torch.rand(1, 1, 12, LARGEST_SIDE + 1, generator=torch.Generator().manual_seed(0))
    ball = SSIMBall(images, 0.01)
    buffers: Buffers = (torch.empty_like(images), torch.empty_like(images))
    assert torch.equal(ball.precondition(images, buffers[0]), images / ball.weight)


def test_pictures_up_to_the_largest_side_are_preconditioned_by_cosines() -> None:
    images = torch.rand(1, 1, 12, LARGEST_SIDE, generator=torch.Generator().manual_seed(0))
    ball = SSIMBall(images, 0.01)
    assert not torch.allclose(ball.precondition(images, torch.empty_like(images)), images / ball.weight, rtol=1e-3)


def test_steps_end_where_the_tolerance_is_met() -> None:
    images, target = torch.rand(2, 2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    counts = []
    for tolerance in (0.3, 1e-2, 1e-6):
        ball = SSIMBall(images, 0.01, cg_steps=1000, tolerance=tolerance)
        products, multiply = [], ball.multiply
        object.__setattr__(ball, "multiply", lambda *of, to=products, by=multiply: to.append(1) or by(*of))
        assert float(ball.gap_bound(target, ball.steepest(target)).max()) <= tolerance
        counts.append(len(products))
    assert counts == sorted(set(counts)) and counts[-1] < 200


@pytest.mark.parametrize("coupling", ["full", "diagonal"])
def test_precondition_inverts_one_weight_per_pixel_exactly(coupling: str) -> None:
    images, residual = torch.rand(2, 2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    ball = SSIMBall(images, 0.01, coupling=coupling)
    solution = ball.precondition(residual, torch.empty_like(residual))
    assert torch.allclose(ball.apply(solution), residual, rtol=1e-10) == (coupling == "diagonal")
