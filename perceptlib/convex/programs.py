"""The convex programs P1, P2 and P3 in cvxpy, float64: the truth that the fast attack is held to.

Each has 0 <= x + r <= 1 as well::

    P1  maximise <g, r>   s.t. Q(r) <= budget (SSIM ball)
    P2  maximise <g, r>   s.t. 1 - S1 <= e and 1 - S2 <= e in every window
    P3  minimise Q(r)     s.t. <g_k, r> >= gap_k

With a support r is 0 outside it: those entries leave the program, and the constraints on the others stay.

All are solved in r / sqrt(budget), with an objective near 1, so that the solver's absolute tolerances mean the same at
every budget. Gradient, bounds and budget are parameters: a program is compiled once for an image.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import cvxpy as cp
import numpy as np
import psutil
import torch
from cvxpy.reductions.solvers.defines import SOLVER_MAP_CONIC
from numpy.typing import NDArray
from torch import Tensor

from perceptlib.balls import MultiScaleBall, SSIMBall
from perceptlib.balls.norms import as_radius, check_support
from perceptlib.balls.ssim_ball import FLOOR
from perceptlib.convex import solution as judging
from perceptlib.convex.matrices import (
    Array,
    Squares,
    WindowCones,
    multi_scale_squares,
    restricted_squares,
    ssim_squares,
)
from perceptlib.convex.solution import ConvexSolution, ConvexStatus, Optimality, Sizes
from perceptlib.records.checks import as_images
from perceptlib.ssim import Reference, Window

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


# Bytes of a program, from peak memory with Clarabel 0.11 at 768, 1728 and 3072 variables (99, 438 and 1341 MB).
_PER_FILL = 450  # entry that elimination fills: pixels of a channel times pixels that are coupled in between
_PER_CONE_ENTRY = 1000  # overlapping windows of the window ball
_PER_PIXEL = 8000
_REACH = 4  # sides of the window over which elimination couples rows of pixels


def maximize_linear(
    images: Tensor,
    gradient: Tensor,
    budget: float,
    *,
    solver: str = "CLARABEL",
    solver_options: dict[str, Any] | None = None,
    **options: Any,
) -> ConvexSolution:
    """Solve P1 or P2 once; `LargestLinear` solves again without compiling again.

    Parameters
    ----------
    images, gradient : Tensor
        One clean image, shape (1, C, H, W), range [0, 1], and g of the same shape.
    budget : float
        Bound of Q, or of each window's 1 - SSIM, above 0.
    solver, solver_options
        As of `LargestLinear.solve`.
    options
        ball, window, size, coupling, components, floor, box, support: as of `LargestLinear`.
    """
    return LargestLinear(images, **options).solve(gradient, budget, solver=solver, solver_options=solver_options)


def smallest_linear(
    images: Tensor,
    gradients: Tensor,
    gaps: Tensor,
    *,
    solver: str = "CLARABEL",
    solver_options: dict[str, Any] | None = None,
    **options: Any,
) -> ConvexSolution:
    """Solve P3 once; `SmallestLinear` solves again without compiling again.

    Parameters
    ----------
    images, gradients, gaps : Tensor
        One clean image, shape (1, C, H, W), range [0, 1]; g_k, shape (K, C, H, W); what each <g_k, r> must reach, (K,).
    solver, solver_options
        As of `SmallestLinear.solve`.
    options
        ball, window, coupling, components, floor, box, support: as of `SmallestLinear`.
    """
    program = SmallestLinear(images, num_gradients=len(gradients), **options)
    return program.solve(gradients, gaps, solver=solver, solver_options=solver_options)


class LargestLinear:
    """P1 and P2 for one image: the largest <g, r> in a ball.

    Parameters
    ----------
    images : Tensor
        One clean image, shape (1, C, H, W), range [0, 1], float32 or float64; the program is in float64.
    ball : {"ssim", "window"} or MultiScaleBall
        The SSIM ball Q(r) <= budget (P1), or a budget in every window (P2); or P1 for the form of a ball made for the
        image, which then has its own window and support.
    window : Window
        Window of the SSIM.
    size : int, optional
        Window ball on disjoint uniform squares of this side, as in `perceptlib.balls.WindowBall`. Default: overlapping
        windows, one per pixel.
    coupling : {"full", "diagonal"}
        Of the SSIM ball; see `perceptlib.balls.SSIMBall`.
    components : {"both", "luminance", "contrast_structure"}
        Which SSIM components count. In the window ball both get e = 1 - sqrt(1 - budget), one alone gets the budget.
    floor : float
        Weight of the SSIM ball's other component where one counts alone, at least 0 (the ball's own: 1e-3). With 0,
        and in the window ball with one component, nothing but the box bounds r.
    box : bool
        Keep x + r in [0, 1].
    support : Tensor, optional
        Where r may be non-zero, bool, shape (1, H, W), (1, 1, H, W) or (1, C, H, W): the program has no other entries.

    Raises
    ------
    TypeError
        A support of another dtype than bool.
    ValueError
        An unknown ball, coupling or component, more than one image, a negative floor, a size of an SSIM ball, a
        support that is empty or does not fit.
    MemoryError
        The program is too large for the machine.

    Notes
    -----
    Time grows about as the square of the pixels: 7 s for a 32x32 colour image on one core.
    """

    def __init__(
        self,
        images: Tensor,
        *,
        ball: str | MultiScaleBall = "ssim",
        window: Window = Window(),
        size: int | None = None,
        coupling: str = "full",
        components: str = "both",
        floor: float = FLOOR,
        box: bool = True,
        support: Tensor | None = None,
    ) -> None:
        if not isinstance(ball, MultiScaleBall) and ball not in ("ssim", "window"):
            raise ValueError(f"ball {ball!r} is unknown; pass 'ssim', 'window' or a MultiScaleBall of the image")
        if ball != "window" and size is not None:
            raise ValueError(f"size {size} has no meaning for the SSIM ball; pass ball='window' or leave it out")
        self.image = ImageData(images, window, coupling, components, floor, support, ball)
        is_coupled = coupling == "full" and size is None
        check_memory(
            self.image.images,
            self.image.window,
            is_coupled=is_coupled,
            is_window_ball=ball == "window",
            reach=self.image.reach,
        )
        number = self.image.number
        self._gradient = cp.Parameter(number)
        self.cones = WindowCones(self.image.images, window, size, components) if ball == "window" else None
        if self.cones is None:
            self.squares = self.image.squares()
        else:
            self.squares = restricted_squares(self.cones.squares, self.image.inside)
        variable, constraints = lifted_variable(self.squares)
        self._variable = variable[:number]
        self._named: dict[str, Any] = {}
        if self.cones is None:
            self._named["ball"] = cp.norm(self.squares.factor @ variable) <= 1
        else:
            self._add_cones(variable, self.cones)
        self._box = BoxLimits(self._variable, self._named) if box else None
        self._problem = cp.Problem(
            cp.Maximize(self._gradient @ self._variable), constraints + list(self._named.values())
        )

    def _add_cones(self, variable: cp.Expression, cones: WindowCones) -> None:
        count = cones.num_windows
        self._share = cp.Parameter(nonneg=True)
        self._radii = cp.Parameter(count, nonneg=True)
        self._means = cp.Parameter(count), cp.Parameter(count)
        if cones.has_contrast:
            offset = self.squares.factor @ variable - self._share * cones.centres.ravel()
            by_window = cp.reshape(offset, (cones.centres.shape[1], count), order="F")
            self._named["ball"] = cp.norm(by_window, 2, axis=0) <= self._radii
        if cones.has_luminance:
            mean = variable[self.image.number :]
            self._named["mean_high"] = mean <= self._means[1]
            self._named["mean_low"] = mean >= self._means[0]

    def solve(
        self, gradient: Tensor, budget: float, *, solver: str = "CLARABEL", solver_options: dict[str, Any] | None = None
    ) -> ConvexSolution:
        """Solve for a gradient and a budget.

        Parameters
        ----------
        gradient : Tensor
            g, shape (1, C, H, W), not zero.
        budget : float
            SSIM distance (P1) or largest 1 - S of a window (P2), above 0 and below 1.
        solver : str
            Any installed solver of cvxpy for second-order cones.
        solver_options : dict, optional
            Passed to the solver by cvxpy, such as {"max_iter": 50} for Clarabel.

        Returns
        -------
        ConvexSolution
            Infeasible, unbounded and out of steps are a status, not an exception.

        Raises
        ------
        ValueError
            A gradient of another shape, zero, NaN or infinite; a budget outside (0, 1); a solver that is not installed
            or knows no second-order cones.
        """
        as_radius(budget, "budget")
        if not budget < 1:
            raise ValueError(f"budget {budget} is not below 1; pass an SSIM distance such as 0.01")
        flat = self.image.flatten(gradient, "gradient")
        length = budget**0.5
        if self.cones is None:
            scale = float(np.sqrt((flat**2 / self.image.diagonal).sum()))
        else:
            share, radii, means = self.cones.limits(budget)
            scale = float(np.abs(flat).sum() * radii.mean() / length)
            self._share.value, self._radii.value = share / length, radii / length
            self._means[0].value, self._means[1].value = means[0] / length, means[1] / length
        self._gradient.value = flat / scale
        if self._box is not None:
            self._box.fill(self.image.flat, length)
        run = Run(self._problem, solver, solver_options)
        point = run.value(self._variable, length)
        if point is None:
            return self.image.without_point(run)
        multipliers = {name: run.dual(constraint) * scale for name, constraint in self._named.items()}
        image = self.image.flat
        if self.cones is None:
            judged = judging.check_largest_in_ssim_ball(self.squares, flat, budget, image, point, multipliers)
            excess = self.squares.quadratic(point) - budget
        else:
            centres = share * self.cones.centres
            judged = judging.check_largest_in_window_ball(
                self.squares, flat, centres, radii, means, image, point, multipliers
            )
            excess = self.cones.largest_loss(self.image.unflatten(point)) - budget
        return self.image.solution(run, point, float(flat @ point), judged, excess, multipliers)


class SmallestLinear:
    """P3 for one image: the smallest Q that moves linearised margins by given gaps (the step of DeepFool).

    Parameters
    ----------
    images, ball, window, coupling, components, floor, box, support
        As in `LargestLinear`, but for the window ball.
    num_gradients : int
        Conditions <g_k, r> >= gap_k, all of which must hold; at least 1.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As in `LargestLinear`; a `num_gradients` below 1.
    """

    def __init__(
        self,
        images: Tensor,
        *,
        num_gradients: int = 1,
        ball: str | MultiScaleBall = "ssim",
        window: Window = Window(),
        coupling: str = "full",
        components: str = "both",
        floor: float = FLOOR,
        box: bool = True,
        support: Tensor | None = None,
    ) -> None:
        if num_gradients < 1:
            raise ValueError(f"num_gradients {num_gradients} is below 1; pass one gradient per class to be passed")
        if not isinstance(ball, MultiScaleBall) and ball != "ssim":
            raise ValueError(f"ball {ball!r} has no P3; pass 'ssim' or a MultiScaleBall of the image")
        self.image = ImageData(images, window, coupling, components, floor, support, ball)
        check_memory(self.image.images, self.image.window, is_coupled=coupling == "full", reach=self.image.reach)
        self.squares = self.image.squares()
        variable, constraints = lifted_variable(self.squares)
        self._variable = variable[: self.image.number]
        self._gradients = cp.Parameter((num_gradients, self.image.number))
        self._gaps = cp.Parameter(num_gradients)
        self._named: dict[str, Any] = {"gaps": self._gradients @ self._variable >= self._gaps}
        self._box = BoxLimits(self._variable, self._named) if box else None
        objective = cp.Minimize(cp.sum_squares(self.squares.factor @ variable))
        self._problem = cp.Problem(objective, constraints + list(self._named.values()))

    def solve(
        self, gradients: Tensor, gaps: Tensor, *, solver: str = "CLARABEL", solver_options: dict[str, Any] | None = None
    ) -> ConvexSolution:
        """Solve for gradients and gaps.

        Parameters
        ----------
        gradients : Tensor
            g_k, shape (K, C, H, W) with K = num_gradients, none zero.
        gaps : Tensor
            gap_k = f_y - f_k, shape (K,), at least one above 0.
        solver, solver_options
            As in `LargestLinear.solve`.

        Returns
        -------
        ConvexSolution
            Its objective is Q(r).

        Raises
        ------
        ValueError
            Shapes that do not fit, a zero gradient, NaN or infinite numbers, no gap above 0; a solver as there.
        """
        number = self._gaps.size
        if gradients.shape[0] != number or tuple(gaps.shape) != (number,):
            raise ValueError(
                f"gradients {tuple(gradients.shape)} and gaps {tuple(gaps.shape)} do not fit num_gradients={number}; "
                f"pass ({number}, C, H, W) and ({number},)"
            )
        rows = np.stack([self.image.flatten(gradient[None], "gradient") for gradient in gradients])
        bounds = gaps.detach().cpu().double().numpy()
        if not np.isfinite(bounds).all() or not (bounds > 0).any():
            raise ValueError(f"gaps {bounds.tolist()} hold no finite number above 0; the perturbation 0 meets them")
        scales = np.sqrt((rows**2 / self.image.diagonal).sum(axis=1))
        length = float((bounds / scales).max())
        self._gradients.value = rows / scales[:, None]
        self._gaps.value = bounds / scales / length
        if self._box is not None:
            self._box.fill(self.image.flat, length)
        run = Run(self._problem, solver, solver_options)
        point = run.value(self._variable, length)
        if point is None:
            return self.image.without_point(run)
        multipliers = {name: run.dual(constraint) * length for name, constraint in self._named.items()}
        multipliers["gaps"] = multipliers["gaps"] / scales
        judged = judging.check_smallest_in_ssim_norm(self.squares, rows, bounds, self.image.flat, point, multipliers)
        unmet = float(((bounds - rows @ point) / np.abs(bounds).max()).max())
        return self.image.solution(run, point, self.squares.quadratic(point), judged, unmet, multipliers)


def memory_needed(
    images: Tensor, window: Window, *, is_coupled: bool = True, is_window_ball: bool = False, reach: int = 1
) -> int:
    """Bytes that a program on one image takes, to a factor of about 2; windows are coupled where they overlap.

    The coarsest scale lets them reach so many times further.
    """
    pixels, (height, width) = images.numel(), images.shape[-2:]
    if not is_coupled:
        return pixels * _PER_PIXEL
    coupled = min(height * width, reach * _REACH * window.size * min(height, width))
    cone = window.size**2 * _PER_CONE_ENTRY if is_window_ball else 0
    return pixels * (_PER_PIXEL + _PER_FILL * coupled + cone)


def check_memory(images: Tensor, window: Window, **options: Any) -> None:
    """MemoryError, before anything is built, for a program that needs more than is free; options as above."""
    needed = memory_needed(images, window, **options)
    free = psutil.virtual_memory().available
    if needed > free:
        raise MemoryError(
            f"a program of {images.numel()} variables needs about {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free; "
            "use the fast attack with its certificate, SSIMBall.steepest or boxed.steepest_in_box, or a smaller image"
        )


def cone_solvers() -> list[str]:
    """Installed solvers of cvxpy that know second-order cones."""
    return [name for name in cp.installed_solvers() if _knows_cones(name)]


def _knows_cones(name: str) -> bool:
    return name in SOLVER_MAP_CONIC and cp.SOC in list[type](SOLVER_MAP_CONIC[name].SUPPORTED_CONSTRAINTS)


def lifted_variable(squares: Squares) -> tuple[cp.Variable, list[cp.Constraint]]:
    """Variable z whose first entries are r, and the equations that tie the others to r."""
    variable = cp.Variable(squares.factor.shape[1])
    return variable, [] if squares.link is None else [squares.link @ variable == 0]


class BoxLimits:
    """0 <= x + r <= 1 as two parametrised constraints, added to the named ones; filled for r / length."""

    def __init__(self, variable: cp.Expression, named: dict[str, Any]) -> None:
        self._low, self._high = cp.Parameter(variable.size), cp.Parameter(variable.size)
        named["high"] = variable <= self._high
        named["low"] = variable >= self._low

    def fill(self, image: Array, length: float) -> None:
        self._low.value, self._high.value = -image / length, (1 - image) / length


class Run:
    """One solve of a problem whose parameters are filled in."""

    def __init__(self, problem: cp.Problem, solver: str, options: dict[str, Any] | None) -> None:
        if not _knows_cones(solver) or solver not in cp.installed_solvers():
            raise ValueError(
                f"solver {solver!r} is not installed or knows no second-order cones; pass one of {cone_solvers()}"
            )
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
        solve_seconds = float(stats.solve_time or 0) if stats is not None else wall
        data, _, _ = problem.get_problem_data(solver)  # compiled already
        matrices = [data[key] for key in ("A", "P") if data.get(key) is not None]
        self.facts: dict[str, Any] = {  # of the record
            "status": self.status,
            "solve_seconds": solve_seconds,
            "compile_seconds": max(wall - solve_seconds, 0.0),
            "solver": solver,
            "num_iterations": int(stats.num_iters or 0) if stats is not None else 0,
            "sizes": Sizes(matrices[0].shape[1], matrices[0].shape[0], sum(matrix.nnz for matrix in matrices)),
        }

    def value(self, variable: cp.Expression, length: float) -> Array | None:
        """The variable times length; None where the solver returned none."""
        if self.status in (ConvexStatus.INFEASIBLE, ConvexStatus.UNBOUNDED, ConvexStatus.FAILED):
            return None
        return None if variable.value is None else np.asarray(variable.value) * length

    def dual(self, constraint: cp.Constraint) -> Array:
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
        support: Tensor | None,
        ball: object,
    ) -> None:
        images = as_images(images)
        if len(images) != 1:
            raise ValueError(f"images have shape {tuple(images.shape)}; pass one image, images[i : i + 1]")
        if not floor >= 0:
            raise ValueError(f"floor {floor} is not at least 0; pass e.g. floor=1e-3")
        self.images = images.detach().double().cpu()
        self.ball: SSIMBall | MultiScaleBall
        if isinstance(ball, MultiScaleBall):
            if support is not None or (window, coupling, components, floor) != (Window(), "full", "both", FLOOR):
                raise ValueError("a ball that was made has its own window and support; leave all options of Q out")
            ball.check(images)
            window, support = ball.window, ball.support
            self.ball, self.reach = ball.like(self.images, 0.5), ball.scales[-1]
        else:
            self.ball = SSIMBall(self.images, 0.5, window=window, coupling=coupling, components=components)
            self.reach = 1
        planes = check_support(support, tuple(images.shape))
        everywhere = torch.ones_like(images, dtype=torch.bool) if planes is None else planes
        self.inside: NDArray[np.bool_] = everywhere.expand_as(images).cpu().numpy().ravel()
        self.flat: Array = self.images.numpy().ravel()[self.inside]
        self.number = self.flat.size
        self.window, self.floor = window, floor
        # scale of A, for conditioning
        if isinstance(self.ball, MultiScaleBall):
            weight = self.ball.weight
        else:
            weight = window.filter(self.ball.luminance_weight + self.ball.contrast_weight)
        self.diagonal: Array = weight.numpy().ravel()[self.inside] / self.inside.size

    def squares(self) -> Squares:
        """Q of the image's ball."""
        if isinstance(self.ball, MultiScaleBall):
            squares = multi_scale_squares(self.ball)
        else:
            squares = ssim_squares(self.ball, floor=self.floor)
        return restricted_squares(squares, self.inside)

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
        self, run: Run, point: Array, objective: float, judged: Optimality, excess: float, multipliers: dict[str, Array]
    ) -> ConvexSolution:
        """The record of a run that returned a point."""
        perturbation = self.unflatten(point)
        image = self.images + perturbation
        outside = 0.0
        if "high" in multipliers:
            outside = float(torch.maximum(-image, image - 1).max())
            multipliers = multipliers | {name: self._spread(multipliers[name]) for name in ("high", "low")}
        reference = Reference(self.images, self.window)
        loss = reference.loss_map(image - self.images)
        return ConvexSolution(
            perturbation=perturbation,
            objective=objective,
            violation=max(excess, outside, 0.0),
            distance=float(reference.distance(perturbation)),
            mean_ssim=float(self.window.inside(1 - loss).mean(dim=(1, 2, 3))),
            multipliers=multipliers,
            **vars(judged),
            **run.facts,
        )

    def without_point(self, run: Run) -> ConvexSolution:
        """The record of a run that returned none."""
        undefined = ("objective", "primal_residual", "dual_residual", "gap", "violation", "distance", "mean_ssim")
        numbers: dict[str, Any] = dict.fromkeys(undefined, float("nan"))
        perturbation = torch.full_like(self.images, torch.nan)
        return ConvexSolution(perturbation=perturbation, multipliers={}, **numbers, **run.facts)
