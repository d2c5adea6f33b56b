"""The study of claim A: random problems solved by cvxpy and by the fast attack, and the verdict by its rule."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perceptlib.analysis.tables import Row, Table, read_rows
from perceptlib.balls import SSIMBall, steepest_in_box
from perceptlib.balls.norms import inner
from perceptlib.convex import ConvexStatus, LargestLinear
from perceptlib.data import photographs, shapes
from perceptlib.networks import load
from perceptlib.records import data_dir
from perceptlib.ssim import Window
from perceptlib.study.localisation import margin_gradient

KINDS = ("shapes, network", "shapes, white noise", "photograph, white noise", "photograph, smooth noise")
MAX_GAP = 1e-6  # rule of claim A: relative gap of the solver's end
MAX_RESIDUAL = 1e-4  # of the optimality conditions, relative: an interior point method's own accuracy
MAX_OVERRUN = 1.05  # true distance over the budget
RULE_BUDGET = 0.01  # up to which the rule asks for it
LIMIT_BUDGET = 0.05  # up to which "with limits" must say where it fails
MIN_PROBLEMS = 100


@dataclass(frozen=True)
class Problem:
    """One instance of P1: picture and gradient, each (1, 3, side, side), float64."""

    images: Tensor
    gradient: Tensor
    kind: str


def random_problem(kind: str, *, side: int, seed: int) -> Problem:
    """A random crop of a picture, with the network's margin gradient there or with noise.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    side : int
        Of the crop in pixels, 11 to 64.
    seed : int
        At least 0.

    Raises
    ------
    ValueError
        An unknown kind, or a side that is not allowed.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}; {'; '.join(KINDS)} are")
    if not 11 <= side <= 64:
        raise ValueError(f"side {side} is not in 11 to 64; a window needs 11 pixels, the shapes have 64")
    generator = torch.Generator().manual_seed(seed)
    if kind.startswith("shapes"):
        scenes = shapes(1, seed=seed, object_texture="mixed", background_texture="mixed")
        whole = scenes.images
    else:
        photos = photographs()
        whole = photos.images[seed % len(photos.names)][None]
    top, left = (int(torch.randint(0, limit - side + 1, (), generator=generator)) for limit in whole.shape[-2:])
    crop = (..., slice(top, top + side), slice(left, left + side))
    images = whole[crop].double()
    if kind == "shapes, network":
        gradient = margin_gradient(load("shapes"), whole, scenes.labels)[crop].double()
    else:
        gradient = torch.randn(images.shape, dtype=torch.float64, generator=generator)
    if kind.endswith("smooth noise"):
        gradient = Window().filter(gradient)
    return Problem(images, gradient, kind)


def example_kind(preset: str) -> str:
    """Kind of problem that stands for a preset: shapes with the network's gradient, photographs with noise.

    Raises
    ------
    ValueError
        Another preset than "shapes" and "photos".
    """
    kinds = {"shapes": KINDS[0], "photos": KINDS[2]}
    if preset not in kinds:
        raise ValueError(f"there is no preset {preset!r} here; pass 'shapes' or 'photos'")
    return kinds[preset]


def recorded_rows() -> list[Row]:
    """Rows of `claim_a_rows` that ship with the project, of pictures up to 32x32.

    Raises
    ------
    FileNotFoundError
        The package was copied away from its repository.
    """
    return read_rows(data_dir() / "recorded" / "convex" / "claim_a.csv")


def claim_a_rows(
    *, sides: Sequence[int], budgets: Sequence[float], kinds: Sequence[str] = KINDS, repeats: int = 1, seed: int = 0
) -> Iterator[Row]:
    """Solve every combination of size, kind and budget: P1 with the box, by cvxpy and by the fast attack.

    Parameters
    ----------
    sides : sequence of int
        Sides of the pictures; 3 channels, so 3 side^2 variables.
    budgets : sequence of float
        SSIM distances.
    kinds : sequence of str
        Of `KINDS`.
    repeats : int
        Pictures of each size and kind, at least 1.
    seed : int
        Of the first picture.

    Yields
    ------
    dict
        A row of plain scalars: the solver's status, gap and residuals; the true distance over the budget; losses
        1 - value / optimum of the fast attack, of clipping, and of clipping and refilling the budget; the fast
        attack's certificate; what 5 and 15 conjugate-gradient steps reach of the optimum without the box; seconds.
    """
    for position, side in enumerate(sides):
        for kind in kinds:
            for repeat in range(repeats):
                picture_seed = seed + position * repeats + repeat
                problem = random_problem(kind, side=side, seed=picture_seed)
                program = LargestLinear(problem.images)
                for budget in budgets:
                    yield {"side": side, "variables": problem.images.numel(), "kind": kind, "seed": picture_seed} | (
                        _compare(program, problem, budget)
                    )


def _compare(program: LargestLinear, problem: Problem, budget: float) -> Row:
    images, gradient = problem.images, problem.gradient
    solution = program.solve(gradient, budget)
    ball = SSIMBall(images, budget, cg_steps=500, tolerance=1e-8)
    started = time.perf_counter()
    boxed = steepest_in_box(ball, gradient, tolerance=1e-6)
    fast_seconds = time.perf_counter() - started

    def share(perturbation: Tensor) -> float:
        return float(inner(gradient, perturbation)) / solution.objective

    def clipped(perturbation: Tensor) -> Tensor:
        return (images + perturbation).clamp(0, 1) - images

    unboxed = ball.steepest(gradient)
    cut = clipped(unboxed)
    refilled = clipped(cut / float(ball.gauge(cut)))
    row: Row = {
        "budget": budget,
        "status": str(solution.status),
        "gap": solution.gap,
        "primal_residual": solution.primal_residual,
        "dual_residual": solution.dual_residual,
        "violation": solution.violation,
        "objective": solution.objective,
        "distance_over_budget": solution.distance / budget,
        "iterations": solution.num_iterations,
        "solve_seconds": solution.solve_seconds,
        "fast_loss": 1 - share(boxed.perturbation),
        "fast_gap_certified": float(boxed.gap),
        "fast_rounds": boxed.rounds,
        "fast_seconds": fast_seconds,
        "held_pixels": float(((images + boxed.perturbation <= 0) | (images + boxed.perturbation >= 1)).double().mean()),
        "clipped_loss": 1 - share(cut),
        "refilled_loss": 1 - share(refilled / max(float(ball.gauge(refilled)), 1.0)),
    }
    for steps in (5, 15):
        rough = SSIMBall(images, budget, cg_steps=steps).steepest(gradient)
        row[f"cg{steps}_ratio"] = float(inner(gradient, rough) / inner(gradient, unboxed))
    return row


def claim_a_verdict(rows: Sequence[Row]) -> dict[str, str | int | float]:
    """The verdict on claim A by the rule that was stated before the study.

    Supported: at least 100 problems at budgets up to 0.01, each ended optimal with relative gap <= 1e-6, residuals of
    the optimality conditions <= 1e-4, and a true distance <= 1.05 budgets. With limits: optimal throughout, but the
    distance is beyond that at some budget <= 0.05. Not supported: a problem that is not solved.

    Parameters
    ----------
    rows : sequence of dict
        Of `claim_a_rows`.

    Returns
    -------
    dict
        ``verdict`` ("supported", "supported with limits", "not supported", or "too few problems"), and the numbers
        that decided it: counts, the worst gap, residual and distance over the budget, and the smallest budget at
        which the distance is beyond the rule (NaN if none).
    """
    inside = [row for row in rows if row["budget"] <= RULE_BUDGET]
    is_solved = all(
        row["status"] == ConvexStatus.OPTIMAL
        and row["gap"] <= MAX_GAP
        and max(row["primal_residual"], row["dual_residual"]) <= MAX_RESIDUAL
        for row in rows
    )
    beyond = [row["budget"] for row in rows if row["distance_over_budget"] > MAX_OVERRUN]
    if len(inside) < MIN_PROBLEMS:
        verdict = "too few problems"
    elif not is_solved:
        verdict = "not supported"
    else:
        verdict = "supported" if not beyond or min(beyond) > LIMIT_BUDGET else "supported with limits"
    return {
        "verdict": verdict,
        "problems": len(rows),
        "problems_in_rule": len(inside),
        "solved": sum(row["status"] == ConvexStatus.OPTIMAL for row in rows),
        "worst_gap": max(row["gap"] for row in rows),
        "worst_primal_residual": max(row["primal_residual"] for row in rows),
        "worst_dual_residual": max(row["dual_residual"] for row in rows),
        "worst_distance_over_budget": max((row["distance_over_budget"] for row in inside), default=float("nan")),
        "largest_distance_over_budget_anywhere": max(row["distance_over_budget"] for row in rows),
        "smallest_budget_beyond": min(beyond, default=float("nan")),
        "worst_fast_difference": max(abs(row["fast_loss"]) for row in rows),
    }


def verdict_table(verdicts: dict[str, dict[str, str | int | float]]) -> Table:
    """Verdicts side by side, with the numbers that decided them; columns are the keys."""
    names = {
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

    def words(value: str | int | float) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = tuple((text, *(words(verdict[key]) for verdict in verdicts.values())) for key, text in names.items())
    return Table(("rule", *verdicts), lines)
