from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from perceptlib.balls import SSIMBall
from perceptlib.balls.conjugate_gradients import LARGEST_SIDE, Buffers, CosinePreconditioner, solve
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


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
@pytest.mark.parametrize("frequency", [(0, 0), (1, 0), (2, 3)])
def test_cosine_preconditioner_is_the_inverse_for_constant_weights_and_low_frequencies(
    kind: str, frequency: tuple[int, int]
) -> None:
    window, (height, width) = Window(7, kind=kind), (24, 30)
    contrast, luminance = 50.0, 2.0
    rows, columns = (
        torch.cos(math.pi * index * (torch.arange(side, dtype=torch.float64) + 0.5) / side)
        for index, side in zip(frequency, (height, width), strict=True)
    )
    wave = torch.outer(rows, columns)[None, None]
    product = contrast * wave + (luminance - contrast) * window.adjoint(window.filter(wave))
    weight = torch.full_like(wave, contrast)
    precondition = CosinePreconditioner(window, weight, torch.full_like(wave, luminance))
    assert float((precondition(product, torch.empty_like(wave)) - wave).abs().max()) < ROUNDING


def test_cosine_preconditioner_is_symmetric_and_positive() -> None:
    ball, _ = system()
    preconditioner = CosinePreconditioner(ball.window, ball.weight, ball.window.adjoint(ball.luminance_weight))
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


def test_larger_pictures_are_preconditioned_by_the_diagonal() -> None:
    images = torch.rand(1, 1, 12, LARGEST_SIDE + 1, generator=torch.Generator().manual_seed(0))
    ball = SSIMBall(images, 0.01)
    buffers: Buffers = (torch.empty_like(images), torch.empty_like(images))
    assert torch.equal(ball.precondition(images, buffers[0]), images / ball.weight)


@pytest.mark.parametrize("band", [1, 2 * 12 * 12, 5 * 24])
def test_solve_in_bands_of_rows_is_that_of_whole_planes(monkeypatch: pytest.MonkeyPatch, band: int) -> None:
    ball, _ = system()
    target = torch.randn(2, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = solve(ball.multiply, plain, target, steps=12)
    monkeypatch.setattr("perceptlib.balls.conjugate_gradients.BAND", band)
    for one, other in zip(solve(ball.multiply, plain, target, steps=12)[:2], expected, strict=False):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


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
