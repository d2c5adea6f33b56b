"""P3 of `perceptlib.convex.programs` in cvxpy: the smallest perturbation that moves linearised margins."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
from torch import Tensor

from perceptlib.balls.ssim_ball import FLOOR
from perceptlib.convex import optimality
from perceptlib.convex.memory import check_memory
from perceptlib.convex.run import BoxLimits, ImageData, Run, lifted_variable
from perceptlib.convex.solution import ConvexSolution
from perceptlib.ssim import Window


class SmallestLinear:
    """P3 for one image: the smallest Q that moves linearised margins by given gaps (the step of DeepFool).

    Parameters
    ----------
    images, window, coupling, components, floor, box, support
        As in `LargestLinear`.
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
        window: Window = Window(),
        coupling: str = "full",
        components: str = "both",
        floor: float = FLOOR,
        box: bool = True,
        support: Tensor | None = None,
    ) -> None:
        if num_gradients < 1:
            raise ValueError(f"num_gradients {num_gradients} is below 1; pass one gradient per class to be passed")
        self.image = ImageData(images, window, coupling, components, floor, support)
        check_memory(self.image.images, window, is_coupled=coupling == "full")
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
        self,
        gradients: Tensor,
        gaps: Tensor,
        *,
        solver: str = "CLARABEL",
        solver_options: dict[str, Any] | None = None,
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
        judged = optimality.check_smallest_in_ssim_norm(self.squares, rows, bounds, self.image.flat, point, multipliers)
        unmet = float(((bounds - rows @ point) / np.abs(bounds).max()).max())
        return self.image.solution(run, point, self.squares.quadratic(point), judged, unmet, multipliers)
