"""Optimality conditions on programs of two variables, whose solutions and multipliers are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse

from perceptlib.convex.matrices import Squares
from perceptlib.convex.solution import (
    Optimality,
    check_largest_in_ssim_ball,
    check_largest_in_window_ball,
    check_smallest_in_ssim_norm,
)

ROUNDING = 1e-12
PLANE = Squares(sparse.csr_matrix(np.eye(2)), sparse.csr_matrix(np.eye(2)), None)  # Q(r) = r1^2 + r2^2
GRADIENT = np.array([3.0, 4.0])
NOWHERE = np.array([np.nan, np.nan])  # an image that no box asks about


def is_optimal(found: Optimality) -> bool:
    return max(found.primal_residual, found.dual_residual, found.gap) < ROUNDING


def ball(r: tuple[float, float], force: float) -> Optimality:
    """max 3 r1 + 4 r2 on a disc of radius 2: r = (1.2, 1.6), multiplier 5."""
    return check_largest_in_ssim_ball(PLANE, GRADIENT, 4.0, NOWHERE, np.array(r), {"ball": np.array([force])})


def test_largest_in_the_ball_is_recognised() -> None:
    assert is_optimal(ball((1.2, 1.6), 5.0))


def test_largest_in_the_ball_shows_each_fault_by_its_size() -> None:
    assert ball((1.2, 1.6), 4.0).dual_residual == pytest.approx(0.2)  # (1 - 4/5) of the gradient is unexplained
    assert ball((1.2, 1.6), 4.0).gap == pytest.approx(0.2)
    assert ball((1.2, 1.6), -5.0).dual_residual == pytest.approx(2.0)
    far = ball((1.8, 2.4), 5.0)  # half again too far along the right ray
    assert far.primal_residual == pytest.approx(0.5) and far.dual_residual < ROUNDING
    assert far.gap == pytest.approx(1 / 3)
    aside = ball((2.0, 0.0), 5.0)  # on the sphere, elsewhere
    assert aside.primal_residual == 0 and aside.dual_residual == pytest.approx(np.hypot(2, 4) / 5)


BOX_POINT = np.array([0.96**0.5, 0.2])  # disc of radius 1, image (0, 0.8): r2 stops at the box, r1 at the disc
BOX_FORCE = 3 / 0.96**0.5


def boxed(high: tuple[float, float], low: tuple[float, float] = (0, 0), *, r: np.ndarray = BOX_POINT) -> Optimality:
    multipliers = {"ball": np.array([BOX_FORCE]), "high": np.array(high), "low": np.array(low)}
    return check_largest_in_ssim_ball(PLANE, GRADIENT, 1.0, np.array([0.0, 0.8]), r, multipliers)


def test_largest_in_ball_and_box_is_recognised_by_both_multipliers() -> None:
    pull = 4 - 0.2 * BOX_FORCE
    assert is_optimal(boxed((0, pull)))
    assert boxed((0, 0)).dual_residual == pytest.approx(pull / 5)
    assert boxed((0, 0), (0, pull)).dual_residual == pytest.approx(2 * pull / 5)  # pulls the wrong way
    assert boxed((0, 0), (0, -pull)).dual_residual == pytest.approx(pull / 5)  # right sum, wrong sign
    assert boxed((0, pull), r=np.array([0.5, 0.3])).primal_residual == pytest.approx(0.1)  # 0.8 + 0.3 over 1
    assert boxed((0, pull), r=np.array([-0.25, 0.0])).primal_residual == pytest.approx(0.25)


def smallest(r: tuple[float, float], force: float, **box: np.ndarray) -> Optimality:
    """min r1^2 + r2^2 with 3 r1 + 4 r2 >= 2: r = (0.24, 0.32), multiplier 2 * 2 / 25."""
    multipliers = {"gaps": np.array([force])} | box
    image = np.array([0.5, 0.9]) if box else NOWHERE
    return check_smallest_in_ssim_norm(PLANE, GRADIENT[None], np.array([2.0]), image, np.array(r), multipliers)


def test_smallest_that_closes_the_gap_is_recognised() -> None:
    assert is_optimal(smallest((0.24, 0.32), 0.16))
    wrong = smallest((0.24, 0.32), 0.08)
    assert wrong.dual_residual == pytest.approx(0.5)  # half of 2 A r is unexplained
    assert wrong.gap == pytest.approx(1.0)  # the dual is 0.16 - 0.16 where the primal is 0.16
    assert smallest((0.12, 0.16), 0.16).primal_residual == pytest.approx(0.5)  # closes half the gap


def test_smallest_in_the_box_takes_its_multiplier_with_the_other_sign() -> None:
    # r2 stops at 0.1, so r1 = 1.6 / 3; 2 r = 3 y, 4 y - v
    first = 1.6 / 3
    force = 2 * first / 3
    pull = 4 * force - 0.2
    zero = np.zeros(2)
    outside = smallest((first, 0.1), force, high=np.array([0, pull]), low=zero)
    assert outside.dual_residual < ROUNDING and outside.gap < ROUNDING
    assert outside.primal_residual == pytest.approx(0.5 + first - 1)  # the first pixel is beyond white here
    missing = smallest((first, 0.1), force, high=zero, low=zero)
    assert missing.dual_residual == pytest.approx(pull / np.hypot(2 * first, 0.2))


# Two windows of one pixel each and their mean: |r_w| <= 1 and (r1 + r2) / 2 <= 0.75.
WINDOWS = Squares(sparse.csr_matrix(np.eye(2, 3)), sparse.csr_matrix(np.array([[1.0, 0], [0, 1], [0.5, 0.5]])), None)


def windows(r: tuple[float, float], **multipliers: list[float]) -> Optimality:
    return check_largest_in_window_ball(
        WINDOWS,
        np.array([1.0, 2.0]),
        np.zeros((2, 1)),
        np.ones(2),
        (np.array([-0.75]), np.array([0.75])),
        NOWHERE,
        np.array(r),
        {name: np.array(values) for name, values in multipliers.items()},
    )


def test_largest_in_the_window_ball_is_recognised() -> None:
    # r2 stops at its window, r1 where the mean is 0.75: 1 = a / 2 and 2 = s2 + a / 2
    assert is_optimal(windows((0.5, 1.0), ball=[0, 1], mean_high=[2], mean_low=[0]))
    assert is_optimal(windows((1.0, 1.0), ball=[1, 2]))  # without the limits on the mean
    size = np.sqrt(5)
    assert windows((0.5, 1.0), ball=[0, 2], mean_high=[2], mean_low=[0]).dual_residual == pytest.approx(1 / size)
    wrong_side = windows((0.5, 1.0), ball=[0, 1], mean_high=[0], mean_low=[2])
    assert wrong_side.dual_residual == pytest.approx(np.hypot(2, 2) / size)
    assert windows((1.0, 1.0), ball=[0, 1], mean_high=[2], mean_low=[0]).primal_residual == pytest.approx(0.25 / 1.5)
    assert windows((1.5, 1.0), ball=[1, 2]).primal_residual == pytest.approx(0.5)


def test_window_ball_away_from_the_origin_has_its_centre_in_the_dual() -> None:
    found = check_largest_in_window_ball(
        WINDOWS,
        np.array([1.0, 2.0]),
        np.array([[0.3], [-0.2]]),
        np.array([1.0, 0.5]),
        (np.zeros(0), np.zeros(0)),
        NOWHERE,
        np.array([1.3, 0.3]),
        {"ball": np.array([1.0, 2.0])},
    )
    assert is_optimal(found)
