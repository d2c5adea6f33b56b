"""Karush-Kuhn-Tucker conditions of the convex programs, from a point and its multipliers alone, without a solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perceptlib.convex.window_matrices import Array, Squares


@dataclass(frozen=True)
class Optimality:
    """Residuals of the Karush-Kuhn-Tucker conditions; see `ConvexSolution`."""

    primal_residual: float
    dual_residual: float
    gap: float


def _box_terms(perturbation: Array, multipliers: dict[str, Array], image: Array) -> tuple[Array, float, float]:
    """Pull of the box on stationarity, its part of the dual objective, and its violation."""
    if "high" not in multipliers:
        return np.zeros_like(perturbation), 0.0, 0.0
    high, low = multipliers["high"], multipliers["low"]
    outside = float(np.maximum(image + perturbation - 1, -(image + perturbation)).max())
    return high - low, float(high @ (1 - image) + low @ image), max(outside, 0.0)


def _dual_residual(stationarity: Array, gradient: Array, multipliers: dict[str, Array]) -> float:
    """Relative norm of the stationarity condition, or of the worst sign of a multiplier."""
    scale = max(float(np.linalg.norm(gradient)), 1e-300)
    negative = max((0.0, *(float(-values.min()) for values in multipliers.values())))
    return max(float(np.linalg.norm(stationarity)), negative) / scale


def check_largest_in_ssim_ball(
    squares: Squares, gradient: Array, budget: float, image: Array, perturbation: Array, multipliers: dict[str, Array]
) -> Optimality:
    """Conditions of P1, max <g, r> s.t. sqrt(Q(r)) <= sqrt(budget) (multiplier s) and the box (v+, v-).

    g = s A r / sqrt(Q) + v+ - v-, and the dual objective s sqrt(budget) + <v+, 1 - x> + <v-, x>.
    """
    radius, norm = budget**0.5, squares.quadratic(perturbation) ** 0.5
    force = float(multipliers["ball"][0])
    box_pull, box_value, outside = _box_terms(perturbation, multipliers, image)
    pull = force / max(norm, 1e-300) * squares.apply(perturbation)
    value = float(gradient @ perturbation)
    dual = force * radius + box_value
    return Optimality(
        max(norm / radius - 1, outside, 0.0),
        _dual_residual(gradient - pull - box_pull, gradient, multipliers),
        abs(dual - value) / max(abs(value), 1e-300),
    )


def check_smallest_in_ssim_norm(
    squares: Squares, gradients: Array, gaps: Array, image: Array, perturbation: Array, multipliers: dict[str, Array]
) -> Optimality:
    """Conditions of P3, min Q(r) s.t. <g_k, r> >= gap_k (multipliers y_k >= 0) and the box.

    2 A r = sum y_k g_k - v+ + v-, and the dual objective <y, gaps> - <v+, 1 - x> - <v-, x> - Q(r).
    """
    forces = multipliers["gaps"]
    box_pull, box_value, outside = _box_terms(perturbation, multipliers, image)
    gradient = 2 * squares.apply(perturbation)
    value = squares.quadratic(perturbation)
    shortfall = float(((gaps - gradients @ perturbation) / np.maximum(np.abs(gaps), 1e-300)).max())
    dual = float(forces @ gaps) - box_value - value
    return Optimality(
        max(shortfall, outside, 0.0),
        _dual_residual(gradient - gradients.T @ forces + box_pull, gradient, multipliers),
        abs(dual - value) / max(value, 1e-300),
    )


def check_largest_in_window_ball(
    squares: Squares,
    gradient: Array,
    centres: Array,
    radii: Array,
    mean_limits: tuple[Array, Array],
    image: Array,
    perturbation: Array,
    multipliers: dict[str, Array],
) -> Optimality:
    """Conditions of P2, max <g, r> s.t. |G_w r - c_w| <= R_w, low_w <= m_w <= high_w, and the box.

    g = sum of s_w G_w'(G_w r - c_w) / |G_w r - c_w| + W'(a+ - a-) + v+ - v-; either group of constraints may be
    missing from the multipliers.
    """
    box_pull, dual, outside = _box_terms(perturbation, multipliers, image)
    pull, violation = box_pull, outside
    if "ball" in multipliers:
        forces = multipliers["ball"]
        offset = squares.forms(perturbation).reshape(len(forces), -1) - centres
        norms = np.linalg.norm(offset, axis=1)
        push = (forces / np.maximum(norms, 1e-300))[:, None] * offset
        pull = pull + squares.adjoint(push.ravel())
        dual += float(forces @ radii + (push * centres).sum())
        violation = max(violation, float((norms / radii).max()) - 1)
    if "mean_high" in multipliers:
        above, below = multipliers["mean_high"], multipliers["mean_low"]
        means = squares.lift[len(perturbation) :]
        low, high = mean_limits
        reached = means @ perturbation
        pull = pull + means.T @ (above - below)
        dual += float(above @ high - below @ low)
        violation = max(violation, float((np.maximum(reached - high, low - reached) / (high - low)).max()))
    value = float(gradient @ perturbation)
    return Optimality(
        max(violation, 0.0),
        _dual_residual(gradient - pull, gradient, multipliers),
        abs(dual - value) / max(abs(value), 1e-300),
    )
