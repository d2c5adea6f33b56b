"""P1 and P2 of `perceptlib.convex.programs` in cvxpy: the largest linear gain inside a ball."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
from torch import Tensor

from perceptlib.balls.norms import as_radius
from perceptlib.balls.ssim_ball import FLOOR
from perceptlib.convex import optimality
from perceptlib.convex.memory import check_memory
from perceptlib.convex.run import BoxLimits, ImageData, Run, lifted_variable, restricted_squares
from perceptlib.convex.solution import ConvexSolution
from perceptlib.convex.window_cones import WindowCones
from perceptlib.ssim import Window


class LargestLinear:
    """P1 and P2 for one image: the largest <g, r> in a ball.

    Parameters
    ----------
    images : Tensor
        One clean image, shape (1, C, H, W), range [0, 1], float32 or float64; the program is in float64.
    ball : {"ssim", "window"}
        The SSIM ball Q(r) <= budget (P1), or a budget in every window (P2).
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
        ball: str = "ssim",
        window: Window = Window(),
        size: int | None = None,
        coupling: str = "full",
        components: str = "both",
        floor: float = FLOOR,
        box: bool = True,
        support: Tensor | None = None,
    ) -> None:
        if ball not in ("ssim", "window"):
            raise ValueError(f"ball {ball!r} is unknown; pass 'ssim' or 'window'")
        if ball == "ssim" and size is not None:
            raise ValueError(f"size {size} has no meaning for the SSIM ball; pass ball='window' or leave it out")
        self.image = ImageData(images, window, coupling, components, floor, support)
        is_coupled = coupling == "full" and size is None
        check_memory(self.image.images, window, is_coupled=is_coupled, is_window_ball=ball == "window")
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
        self,
        gradient: Tensor,
        budget: float,
        *,
        solver: str = "CLARABEL",
        solver_options: dict[str, Any] | None = None,
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
            A gradient of another shape, zero, NaN or infinite; a budget outside (0, 1); a solver that is not
            installed or does not know second-order cones.
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
        multipliers = {} if point is None else {name: run.dual(c) * scale for name, c in self._named.items()}

        if point is None:
            return self.image.without_point(run)
        image = self.image.flat
        if self.cones is None:
            judged = optimality.check_largest_in_ssim_ball(self.squares, flat, budget, image, point, multipliers)
            excess = self.squares.quadratic(point) - budget
        else:
            centres = share * self.cones.centres
            judged = optimality.check_largest_in_window_ball(
                self.squares, flat, centres, radii, means, image, point, multipliers
            )
            excess = self.cones.largest_loss(self.image.unflatten(point)) - budget
        return self.image.solution(run, point, float(flat @ point), judged, excess, multipliers)
