"""Notebook 04: the convex programs with their speed, box, exact distance and windows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from perceptlib.analysis.programs import MAX_OVERRUN
from perceptlib.balls import SSIMBall, WindowBall, maximize_exactly
from perceptlib.balls.refreeze import Refreezing
from perceptlib.convex import LargestLinear
from perceptlib.convex.matrices import WindowCones
from perceptlib.drawing.figures import Drawing, curves
from perceptlib.drawing.panels import Panel, nearly_largest
from perceptlib.drawing.tables import Table, table
from perceptlib.ssim import Reference, Window
from perceptlib.study.programs import Problem

WINDOW_NAMES = {"ssim": "SSIM ball", "overlapping": "window ball, overlapping", "disjoint": "window ball, disjoint"}
_RULES = {
    "verdict": "claim A",
    "problems": "problems",
    "problems_in_rule": "of these at budgets up to 0.01 (rule: at least 100)",
    "solved": "ended optimal (rule: all)",
    "worst_gap": "largest relative gap (rule: 1e-6)",
    "worst_dual_residual": "largest residual of the optimality conditions (rule: 1e-4)",
    "worst_distance_over_budget": "largest D / budget up to 0.01 (rule: 1.05)",
    "largest_distance_over_budget_anywhere": "largest D / budget at any budget",
    "smallest_budget_beyond": "smallest budget with D / budget above 1.05",
}
_WAYS = {"clipped": "clip once", "refilled": "clip, scale to the boundary, clip again", "active_sets": "active sets"}
_GAINS = {"gain_values": "values frozen again", "gain_gradient": "values and gradient"}


def agreement_table(rows: pd.DataFrame) -> Table:
    """Solver and fast attack by number of variables: medians over the problems of `claim_a_rows`, and the worst."""
    columns: dict[str, Any] = {
        "problems": ("status", "size"),
        "optimal": ("status", lambda status: (status == "optimal").sum()),
        "worst gap": ("gap", "max"),
        "worst residual": ("dual_residual", "max"),
        "worst difference of the fast attack": ("fast_loss", lambda loss: loss.abs().max()),
        "cvxpy, seconds": ("solve_seconds", "median"),
        "fast, seconds": ("fast_seconds", "median"),
    }
    found = rows.groupby("variables").agg(**columns)
    return table(found, {name: "{:.1e}" if name.startswith("worst") else "{:.2g}" for name in list(columns)[2:]})


def distance_table(rows: pd.DataFrame) -> Table:
    """How far the true distance of the program's image is from its budget, by budget."""
    found = rows.groupby("budget")["distance_over_budget"].agg(
        **{"smallest D / budget": "min", "median": "median", "largest": "max", "problems": "size"}
    )
    beyond = rows[rows["distance_over_budget"] > MAX_OVERRUN].groupby("budget").size()
    found["beyond 1.05"] = beyond.reindex(found.index, fill_value=0)
    return table(found, {name: "{:.3f}" for name in list(found)[:3]} | {"budget": "{:g}"})


def verdict_table(verdicts: Mapping[str, Mapping[str, Any]]) -> Table:
    """Verdicts of `perceptlib.analysis.programs.claim_a_verdict` side by side, with the numbers that decided them."""
    return table(pd.DataFrame(verdicts, dtype=object).loc[list(_RULES)].rename(_RULES).rename_axis("rule"))


def speed_figure(times: pd.DataFrame) -> Drawing:
    """Seconds for one problem over its variables, from `perceptlib.analysis.programs.solving_times`."""
    names = {"solve_seconds": "cvxpy with Clarabel", "fast_seconds": "fast attack"}
    frame = times.reset_index().melt("variables", var_name="way", value_name="seconds")
    labels = ("variables", "median seconds for one problem")
    return curves(frame, "variables", "seconds", by="way", names=names, labels=labels, is_log_y=True)


def box_table(summary: dict[str, Any]) -> Table:
    """What `perceptlib.analysis.programs.box_summary` says."""
    frame = pd.DataFrame({words: summary[key] for key, words in _WAYS.items() if key in summary}).T
    frame = frame.reindex(columns=["median", "worst"]).rename_axis("way to keep the box").add_suffix(" loss")
    return table(frame, dict.fromkeys(frame, "{:.1e}"))


def steps_table(summary: dict[str, dict[str, float]]) -> Table:
    """What `perceptlib.analysis.programs.steps_summary` says."""
    frame = pd.DataFrame({key.removeprefix("cg"): each for key, each in summary.items()}).T
    frame = frame.rename_axis("conjugate-gradient steps").rename(columns={"median": "median share of the optimum"})
    return table(frame, dict.fromkeys(frame, "{:.4f}"))


def exact_histories(problem: Problem, budget: float, *, steps: int = 8) -> pd.DataFrame:
    """Sequential convex programming with and without the gradient of D, without the box: a row for each program.

    ``stationarity`` is the sine of the angle between g and the gradient of D.
    """
    runs = {name: run.stationarity[:, 0] for name, run in _exact(problem, budget, steps=steps, box=False).items()}
    solved = pd.RangeIndex(1, steps + 2, name="programs")
    return pd.DataFrame(runs, solved).reset_index().melt("programs", var_name="frozen", value_name="stationarity")


def history_figure(histories: pd.DataFrame) -> Drawing:
    """What `exact_histories` found."""
    labels = ("programs solved", "distance from stationarity")
    return curves(histories, "programs", "stationarity", by="frozen", names=_GAINS, labels=labels, is_log_y=True)


def exact_rows(problems: Sequence[Problem], budgets: Sequence[float], *, steps: int = 8) -> pd.DataFrame:
    """D over the budget of the plain ball's optimum, and the relative gains of the exact distance, inside the box."""
    rows = []
    for problem in problems:
        for budget in budgets:
            runs = _exact(problem, budget, steps=steps, box=True)
            distance = float(runs["gain_values"].plain_distance)
            row = {"kind": problem.kind, "budget": budget, "distance_over_budget": distance}
            rows.append(row | {name: float(run.gain) for name, run in runs.items()})
    return pd.DataFrame(rows)


def _exact(problem: Problem, budget: float, *, steps: int, box: bool) -> dict[str, Refreezing]:
    images, gradient = problem.images, problem.gradient
    return {
        name: maximize_exactly(images, gradient, budget, steps=steps, is_corrected=name == "gain_gradient", box=box)
        for name in _GAINS
    }


def exact_table(rows: pd.DataFrame) -> Table:
    """Medians of `exact_rows` over the problems."""
    names = {
        "distance_over_budget": "D of the plain optimum / budget",
        "gain_values": "gain, values",
        "gain_gradient": "gain, values and gradient",
    }
    medians = rows.groupby("budget")[list(names)].median().rename(columns=names)
    return table(medians, dict(zip(medians, ("{:.3f}", "{:.2%}", "{:.2%}"), strict=True)) | {"budget": "{:g}"})


def window_perturbations(problem: Problem, budget: float, *, window: Window, size: int) -> dict[str, Tensor]:
    """Best perturbations of three balls, first channel of a problem, no box; keys of `WINDOW_NAMES`.

    `budget` is the SSIM distance of the SSIM ball, and the largest 1 - S of the window balls; `size` the side of the
    disjoint windows.
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
    clean = Reference(image, window)
    # unboxed, some of these leave [0, 1]
    maps = {key: clean.change_map(image + values - image)[0] for key, values in perturbations.items()}
    losses = torch.from_numpy(WindowCones(image, window, size, "both").losses(perturbations["disjoint"]))
    height, width = image.shape[-2:]
    by_window = losses.view(math.ceil(height / size), math.ceil(width / size))
    spread = by_window.repeat_interleave(size, 0).repeat_interleave(size, 1)
    return maps | {"disjoint": spread[:height, :width]}


def flatness(maps: dict[str, Tensor]) -> pd.DataFrame:
    """How unevenly each ball's perturbation spends its SSIM distance.

    ``variation``: standard deviation over mean of the change map, 0 if flat; ``top_share``: share of the change in the
    fifth of the pixels where it is largest, 0.2 if flat.
    """
    return pd.DataFrame(
        {
            key: {
                "variation": float(values.std() / values.mean()),
                "top_share": float(values.flatten().topk(max(1, values.numel() // 5)).values.sum() / values.sum()),
            }
            for key, values in maps.items()
        }
    ).T


def flatness_table(found: pd.DataFrame) -> Table:
    """What `flatness` found."""
    names = {"variation": "standard deviation / mean", "top_share": "share of the top fifth"}
    shown = found.rename(index=WINDOW_NAMES, columns=names).rename_axis("ball")
    return table(shown, dict.fromkeys(shown, "{:.3f}"))


def window_panels(problem: Problem, maps: dict[str, Tensor]) -> list[Panel]:
    """The picture and the change map of each ball, on one scale of which the brightest may be cut off."""
    white = max(map(nearly_largest, maps.values()))
    picture = Panel(problem.images[0, :1].expand(3, -1, -1), "picture")
    return [picture, *(Panel(values, WINDOW_NAMES[key], white=white) for key, values in maps.items())]


def largest_difference(problem: Problem, budget: float, *, size: int) -> float:
    """Relative difference of the program's optimum and the closed form on disjoint windows; rounding apart, 0."""
    images, gradient = problem.images[:, :1], problem.gradient[:, :1]
    program = LargestLinear(images, ball="window", size=size, box=False).solve(gradient, budget)
    closed = float((gradient * WindowBall(images, budget, size=size).steepest(gradient)).sum())
    return abs(program.objective / closed - 1)
