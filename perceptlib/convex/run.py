"""The parts that all convex programs share: image, auxiliary variables, box, one run of a solver in cvxpy."""

from __future__ import annotations

import time
import warnings
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from cvxpy.reductions.solvers.defines import SOLVER_MAP_CONIC
from numpy.typing import NDArray
from torch import Tensor

from perceptlib.balls import SSIMBall
from perceptlib.balls.norms import check_support
from perceptlib.convex.optimality import Optimality
from perceptlib.convex.solution import ConvexSolution, ConvexStatus, Sizes
from perceptlib.convex.window_matrices import Array, Squares, ssim_squares
from perceptlib.records.checks import as_images
from perceptlib.ssim import Window

_STATUS = {
    cp.OPTIMAL: ConvexStatus.OPTIMAL,
    cp.OPTIMAL_INACCURATE: ConvexStatus.INACCURATE,
    cp.INFEASIBLE: ConvexStatus.INFEASIBLE,
    cp.INFEASIBLE_INACCURATE: ConvexStatus.INFEASIBLE,
    cp.UNBOUNDED: ConvexStatus.UNBOUNDED,
    cp.UNBOUNDED_INACCURATE: ConvexStatus.UNBOUNDED,
    cp.settings.INFEASIBLE_OR_UNBOUNDED: ConvexStatus.UNBOUNDED,
    cp.settings.USER_LIMIT: ConvexStatus.SOLVER_LIMIT,
}

# Clarabel's own 1e-8 is at times out of reach for the equations of the auxiliary variables once the gap is far below
# it (about one problem in 250 then ends "almost solved" with a gap of 1e-10). Residuals are recomputed from r alone.
_OPTIONS: dict[str, dict[str, Any]] = {"CLARABEL": {"tol_feas": 1e-7}}


def cone_solvers() -> list[str]:
    """Installed solvers of cvxpy that know second-order cones."""
    return [name for name in cp.installed_solvers() if _knows_cones(name)]


def _knows_cones(name: str) -> bool:
    return name in SOLVER_MAP_CONIC and cp.SOC in list[type](SOLVER_MAP_CONIC[name].SUPPORTED_CONSTRAINTS)


def lifted_variable(squares: Squares) -> tuple[cp.Variable, list[cp.Constraint]]:
    """Variable z whose first entries are r, and the equations that tie the others to r."""
    variable = cp.Variable(squares.factor.shape[1])
    return variable, [] if squares.link is None else [squares.link @ variable == 0]


def restricted_squares(squares: Squares, inside: NDArray[np.bool_]) -> Squares:
    """Squares of a perturbation that is zero outside a support: its other entries leave the program.

    Parameters
    ----------
    squares : Squares
        Of perturbations r of (n,).
    inside : ndarray
        Bool, (n,), True where r may be non-zero.
    """
    kept = np.concatenate([inside, np.ones(squares.factor.shape[1] - len(inside), dtype=bool)])
    link = None if squares.link is None else squares.link[:, kept]
    return Squares(squares.factor[:, kept], squares.lift[kept][:, inside], link)


class BoxLimits:
    """0 <= x + r <= 1 as two parametrised constraints, added to the named ones."""

    def __init__(self, variable: cp.Expression, named: dict[str, Any]) -> None:
        self._low, self._high = cp.Parameter(variable.size), cp.Parameter(variable.size)
        named["high"] = variable <= self._high
        named["low"] = variable >= self._low

    def fill(self, image: Array, length: float) -> None:
        """Set the limits for r / length."""
        self._low.value, self._high.value = -image / length, (1 - image) / length


class Run:
    """One solve of a problem whose parameters are filled in."""

    def __init__(self, problem: cp.Problem, solver: str, options: dict[str, Any] | None) -> None:
        if not _knows_cones(solver) or solver not in cp.installed_solvers():
            raise ValueError(
                f"solver {solver!r} is not installed or knows no second-order cones; pass one of {cone_solvers()}"
            )
        self.solver = solver
        chosen = {"warm_start": False} | _OPTIONS.get(solver, {}) | (options or {})
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the status says that a solution may be inaccurate
            try:
                # a warm start would make the outcome depend on what was solved before, and saves nothing
                problem.solve(solver=solver, enforce_dpp=True, **chosen)
                self.status = _STATUS.get(problem.status, ConvexStatus.FAILED)
            except cp.SolverError:
                self.status = ConvexStatus.FAILED
        wall = time.perf_counter() - started
        stats = problem.solver_stats if self.status is not ConvexStatus.FAILED else None
        self.solve_seconds = float(stats.solve_time or 0) if stats is not None else wall
        self.compile_seconds = max(wall - self.solve_seconds, 0.0)
        self.num_iterations = int(stats.num_iters or 0) if stats is not None else 0
        data, _, _ = problem.get_problem_data(solver)  # compiled already
        matrices = [data[key] for key in ("A", "P") if data.get(key) is not None]
        self.sizes = Sizes(matrices[0].shape[1], matrices[0].shape[0], sum(matrix.nnz for matrix in matrices))

    def value(self, variable: cp.Expression, length: float) -> Array | None:
        """The variable times length; None where the solver returned none."""
        if self.status in (ConvexStatus.INFEASIBLE, ConvexStatus.UNBOUNDED, ConvexStatus.FAILED):
            return None
        return None if variable.value is None else np.asarray(variable.value) * length

    def dual(self, constraint: cp.Constraint) -> Array:
        """Multipliers of an inequality, flat."""
        return np.atleast_1d(np.asarray(constraint.dual_value, dtype=np.float64)).ravel()


class ImageData:
    """One checked image in float64 with what every program needs of it; arrays hold the pixels of the support."""

    def __init__(
        self,
        images: Tensor,
        window: Window,
        coupling: str,
        components: str,
        floor: float,
        support: Tensor | None = None,
    ) -> None:
        images = as_images(images)
        if len(images) != 1:
            raise ValueError(f"images have shape {tuple(images.shape)}; pass one image, images[i : i + 1]")
        if not floor >= 0:
            raise ValueError(f"floor {floor} is not at least 0; pass e.g. floor=1e-3")
        self.images = images.detach().double().cpu()
        planes = check_support(support, tuple(images.shape))
        everywhere = torch.ones_like(images, dtype=torch.bool) if planes is None else planes
        self.inside: NDArray[np.bool_] = everywhere.expand_as(images).cpu().numpy().ravel()
        self.flat: Array = self.images.numpy().ravel()[self.inside]
        self.number = self.flat.size
        self.window, self.floor = window, floor
        self.ball = SSIMBall(self.images, 0.5, window=window, coupling=coupling, components=components)
        weight = self.ball.luminance_weight + self.ball.contrast_weight
        # scale of A, for conditioning
        self.diagonal: Array = window.adjoint(weight).numpy().ravel()[self.inside] / self.inside.size

    def squares(self) -> Squares:
        """Q of the image's SSIM ball."""
        return restricted_squares(ssim_squares(self.ball, floor=self.floor), self.inside)

    def flatten(self, values: Tensor, name: str) -> Array:
        """A gradient on the support as (n,), checked."""
        if values.shape != self.images.shape:
            raise ValueError(f"{name} has shape {tuple(values.shape)}; pass {tuple(self.images.shape)}")
        flat = values.detach().double().cpu().numpy().ravel()
        if not np.isfinite(flat).all():
            raise ValueError(f"{name} has NaN or infinite entries; check the classifier's output on this image")
        flat = flat[self.inside]
        if not flat.any():
            raise ValueError(f"{name} is zero, every perturbation is optimal; pass the gradient of loss='margin'")
        return flat

    def unflatten(self, values: Array) -> Tensor:
        return torch.from_numpy(self._spread(values)).view(self.images.shape)

    def _spread(self, values: Array) -> Array:
        """Values of the support among zeros."""
        whole = np.zeros(self.inside.size)
        whole[self.inside] = values
        return whole

    def solution(
        self,
        run: Run,
        point: Array,
        objective: float,
        judged: Optimality,
        excess: float,
        multipliers: dict[str, Array],
    ) -> ConvexSolution:
        """The record of a run that returned a point."""
        perturbation = self.unflatten(point)
        image = self.images + perturbation
        outside = 0.0
        if "high" in multipliers:
            outside = float(torch.maximum(-image, image - 1).max())
            multipliers = multipliers | {name: self._spread(multipliers[name]) for name in ("high", "low")}
        return ConvexSolution(
            perturbation=perturbation,
            objective=objective,
            status=run.status,
            primal_residual=judged.primal_residual,
            dual_residual=judged.dual_residual,
            gap=judged.gap,
            violation=max(excess, outside, 0.0),
            distance=float(self.ball.reference.distance(perturbation)),
            mean_ssim=float(
                self.window.inside(1 - self.ball.reference.loss_map(image - self.images)).mean(dim=(1, 2, 3))
            ),
            multipliers=multipliers,
            solve_seconds=run.solve_seconds,
            compile_seconds=run.compile_seconds,
            solver=run.solver,
            num_iterations=run.num_iterations,
            sizes=run.sizes,
        )

    def without_point(self, run: Run) -> ConvexSolution:
        """The record of a run that returned none."""
        nan = float("nan")
        return ConvexSolution(
            perturbation=torch.full_like(self.images, nan),
            objective=nan,
            status=run.status,
            primal_residual=nan,
            dual_residual=nan,
            gap=nan,
            violation=nan,
            distance=nan,
            mean_ssim=nan,
            multipliers={},
            solve_seconds=run.solve_seconds,
            compile_seconds=run.compile_seconds,
            solver=run.solver,
            num_iterations=run.num_iterations,
            sizes=run.sizes,
        )
