"""What the page on the convex programs shows: agreement, speed, the box, the exact distance, the window ball."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from perceptlib.analysis.tables import Row, Table
from perceptlib.balls import SSIMBall, WindowBall, maximize_exactly
from perceptlib.balls.refreeze import Refreezing
from perceptlib.convex import LargestLinear
from perceptlib.convex.window_cones import WindowCones
from perceptlib.drawing.panels import Panel
from perceptlib.ssim import Window, change_map
from perceptlib.study.programs import Problem

SPEED_NAMES = {"l2": "cvxpy with Clarabel", "ssim": "fast attack"}
HISTORY_NAMES = {"l2": "values frozen again", "ssim": "values and gradient"}
WINDOW_NAMES = {
    "ssim": "SSIM ball",
    "overlapping": "window ball, overlapping",
    "disjoint": "window ball, disjoint",
}

Series = dict[str, tuple[list[float], list[float]]]


def agreement_table(rows: Sequence[Row]) -> Table:
    """Solver and fast attack by number of variables: medians over the problems, and the worst.

    Parameters
    ----------
    rows
        Of `perceptlib.study.programs.claim_a_rows`.
    """
    lines = []
    for variables in sorted({row["variables"] for row in rows}):
        group = [row for row in rows if row["variables"] == variables]
        lines.append(
            (
                str(variables),
                str(len(group)),
                f"{sum(row['status'] == 'optimal' for row in group)}",
                f"{max(row['gap'] for row in group):.1e}",
                f"{max(row['dual_residual'] for row in group):.1e}",
                f"{max(abs(row['fast_loss']) for row in group):.1e}",
                f"{statistics.median(row['solve_seconds'] for row in group):.2g}",
                f"{statistics.median(row['fast_seconds'] for row in group):.2g}",
            )
        )
    names = ("variables", "problems", "optimal", "worst gap", "worst residual", "worst difference of the fast attack")
    return Table((*names, "cvxpy, seconds", "fast, seconds"), tuple(lines))


def distance_table(rows: Sequence[Row]) -> Table:
    """How far the true distance of the program's image is from its budget, by budget."""
    lines = []
    for budget in sorted({row["budget"] for row in rows}):
        ratios = sorted(row["distance_over_budget"] for row in rows if row["budget"] == budget)
        beyond = sum(ratio > 1.05 for ratio in ratios)
        middle = statistics.median(ratios)
        words = (f"{budget:g}", f"{ratios[0]:.3f}", f"{middle:.3f}", f"{ratios[-1]:.3f}", f"{beyond} of {len(ratios)}")
        lines.append(words)
    return Table(("budget", "smallest D / budget", "median", "largest", "beyond 1.05"), tuple(lines))


def speed_curves(rows: Sequence[Row]) -> Series:
    """Median seconds over variables, of cvxpy's solver and of the fast attack; keys of `SPEED_NAMES`."""
    sizes = sorted({row["variables"] for row in rows})

    def medians(column: str) -> list[float]:
        return [statistics.median(row[column] for row in rows if row["variables"] == size) for size in sizes]

    places = [float(size) for size in sizes]
    return {"l2": (places, medians("solve_seconds")), "ssim": (places, medians("fast_seconds"))}


def exponent(series: tuple[Sequence[float], Sequence[float]]) -> float:
    """Slope of the line through the logarithms: seconds grow as variables to this power; NaN for one point."""
    if len(series[0]) < 2:
        return math.nan
    return statistics.linear_regression([math.log(x) for x in series[0]], [math.log(y) for y in series[1]]).slope


def speed_summary(curves: Series) -> dict[str, float]:
    """Exponents of `speed_curves`, and how many times faster the fast attack is at the largest size."""
    slow, fast = curves["l2"], curves["ssim"]
    return {
        "cvxpy_exponent": exponent(slow),
        "fast_exponent": exponent(fast),
        "largest": slow[0][-1],
        "ratio_at_largest": slow[1][-1] / fast[1][-1],
    }


def box_summary(rows: Sequence[Row]) -> dict[str, Any]:
    """What the box costs, over the problems in which it holds a pixel: losses are 1 - value / optimum.

    Returns
    -------
    dict
        ``problems``, ``held_median`` (share of the pixels), and median and worst loss of clipping alone
        (``clipped``), of clipping and refilling the budget (``refilled``) and of the active sets (``active_sets``).
    """
    held = [row for row in rows if row["held_pixels"] > 0]
    summary: dict[str, Any] = {"problems": len(held)}
    if not held:
        return summary
    summary["held_median"] = statistics.median(row["held_pixels"] for row in held)
    columns = {"clipped": "clipped_loss", "refilled": "refilled_loss", "active_sets": "fast_loss"}
    for name, column in columns.items():
        losses = [row[column] for row in held]
        summary[name] = {"median": statistics.median(losses), "worst": max(losses)}
    return summary


def box_table(summary: dict[str, Any]) -> Table:
    """`box_summary` as a table."""
    names = {
        "clipped": "clip once",
        "refilled": "clip, scale to the boundary, clip again",
        "active_sets": "active sets",
    }
    lines = tuple(
        (words, f"{summary[key]['median']:.1e}", f"{summary[key]['worst']:.1e}")
        for key, words in names.items()
        if key in summary
    )
    return Table(("way to keep the box", "median loss", "worst loss"), lines)


def steps_summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Share of the optimum without the box that few conjugate-gradient steps reach: ``median`` and ``worst`` by steps.

    Budgets are left out: the share does not depend on them.
    """
    found = {}
    for key, column in (("cg5", "cg5_ratio"), ("cg15", "cg15_ratio")):
        shares = list({(row["side"], row["kind"], row["seed"]): row[column] for row in rows}.values())
        found[key] = {"median": statistics.median(shares), "worst": min(shares)}
    return found


def steps_table(summary: dict[str, dict[str, float]]) -> Table:
    """`steps_summary` as a table."""
    names = {"cg5": "5", "cg15": "15"}
    lines = tuple((names[key], f"{each['median']:.4f}", f"{each['worst']:.4f}") for key, each in summary.items())
    return Table(("conjugate-gradient steps", "median share of the optimum", "worst"), lines)


def exact_histories(problem: Problem, budget: float, *, steps: int = 8) -> dict[str, Refreezing]:
    """Sequential convex programming with and without the gradient of D; keys of `HISTORY_NAMES`."""
    run = {"l2": False, "ssim": True}
    return {
        key: maximize_exactly(problem.images, problem.gradient, budget, steps=steps, is_corrected=flag, box=False)
        for key, flag in run.items()
    }


def history_curves(histories: dict[str, Refreezing]) -> Series:
    """Distance from stationarity (sine of the angle between g and the gradient of D) over programs solved."""
    return {
        key: ([float(step + 1) for step in range(len(history.objective))], history.stationarity[:, 0].tolist())
        for key, history in histories.items()
    }


def exact_rows(problems: Sequence[Problem], budgets: Sequence[float], *, steps: int = 8) -> list[Row]:
    """D over the budget of the plain ball's optimum, and the gain of the exact distance, inside the box.

    Returns
    -------
    list of dict
        ``kind``, ``budget``, ``distance_over_budget``, and the relative gains ``gain_values`` and ``gain_gradient``.
    """
    rows: list[Row] = []
    for problem in problems:
        for budget in budgets:
            runs = {
                name: maximize_exactly(problem.images, problem.gradient, budget, steps=steps, is_corrected=flag)
                for name, flag in (("gain_values", False), ("gain_gradient", True))
            }
            row: Row = {"kind": problem.kind, "budget": budget}
            row["distance_over_budget"] = float(runs["gain_values"].plain_distance)
            rows.append(row | {name: float(run.gain) for name, run in runs.items()})
    return rows


def exact_table(rows: Sequence[Row]) -> Table:
    """`exact_rows` as a table: medians over the problems."""
    lines = []
    for budget in sorted({row["budget"] for row in rows}):
        group = [row for row in rows if row["budget"] == budget]
        middles = {
            key: statistics.median(row[key] for row in group)
            for key in ("distance_over_budget", "gain_values", "gain_gradient")
        }
        words = (
            f"{middles['distance_over_budget']:.3f}",
            f"{middles['gain_values']:.2%}",
            f"{middles['gain_gradient']:.2%}",
        )
        lines.append((f"{budget:g}", *words))
    return Table(
        ("budget", "D of the plain optimum / budget", "gain, values", "gain, values and gradient"), tuple(lines)
    )


def window_perturbations(problem: Problem, budget: float, *, window: Window, size: int) -> dict[str, Tensor]:
    """Best perturbations of three balls, first channel of a problem, no box; keys of `WINDOW_NAMES`.

    Parameters
    ----------
    problem
        Picture and gradient.
    budget
        SSIM distance of the SSIM ball, largest 1 - S of the window balls.
    window
        Of the SSIM ball and of the overlapping window ball.
    size
        Side of the disjoint windows.
    """
    images, gradient = problem.images[:, :1], problem.gradient[:, :1]
    ball = SSIMBall(images, budget, window=window, cg_steps=500, tolerance=1e-9)
    overlapping = LargestLinear(images, ball="window", window=window, box=False).solve(gradient, budget)
    return {
        "ssim": ball.steepest(gradient),
        "overlapping": overlapping.perturbation,
        "disjoint": WindowBall(images, budget, size=size).steepest(gradient),
    }


def window_maps(problem: Problem, perturbations: dict[str, Tensor], *, window: Window, size: int) -> dict[str, Tensor]:
    """Change map 1 - S of each perturbation, (H, W), each by the windows of its own ball."""
    image = problem.images[:, :1]
    maps = {key: change_map(image, image + values, window=window)[0] for key, values in perturbations.items()}
    losses = torch.from_numpy(WindowCones(image, window, size, "both").losses(perturbations["disjoint"]))
    height, width = image.shape[-2:]
    by_window = losses.view(math.ceil(height / size), math.ceil(width / size))
    spread = by_window.repeat_interleave(size, 0).repeat_interleave(size, 1)
    return maps | {"disjoint": spread[:height, :width]}


def flatness(maps: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """How unevenly each ball's perturbation spends its SSIM distance.

    Returns
    -------
    dict
        Key -> ``variation`` (standard deviation over mean of the change map; 0 is flat) and ``top_share`` (share of
        the change in the fifth of the pixels where it is largest; 0.2 is flat).
    """
    found = {}
    for key, values in maps.items():
        top = values.flatten().topk(max(1, values.numel() // 5)).values.sum() / values.sum()
        found[key] = {"variation": float(values.std() / values.mean()), "top_share": float(top)}
    return found


def flatness_table(found: dict[str, dict[str, float]]) -> Table:
    """`flatness` as a table."""
    lines = tuple(
        (WINDOW_NAMES[key], f"{each['variation']:.3f}", f"{each['top_share']:.3f}") for key, each in found.items()
    )
    return Table(("ball", "standard deviation / mean", "share of the top fifth"), lines)


def window_panels(problem: Problem, maps: dict[str, Tensor]) -> list[Panel]:
    """The picture and the change map of each ball, on one scale of which the brightest may be cut off."""
    white = max(float(values.flatten().quantile(0.99)) for values in maps.values())
    picture = Panel(problem.images[0, :1].expand(3, -1, -1), "picture")
    return [picture, *(Panel(values, WINDOW_NAMES[key], white=white) for key, values in maps.items())]


def largest_difference(problem: Problem, budget: float, *, size: int) -> float:
    """Relative difference of the program's optimum and the closed form on disjoint windows; rounding apart, 0."""
    images, gradient = problem.images[:, :1], problem.gradient[:, :1]
    program = LargestLinear(images, ball="window", size=size, box=False).solve(gradient, budget)
    closed = float((gradient * WindowBall(images, budget, size=size).steepest(gradient)).sum())
    return abs(program.objective / closed - 1)
