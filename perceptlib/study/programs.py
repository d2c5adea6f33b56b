"""Claim A: random problems solved by cvxpy and by the fast attack; claim B: forms of a step against the exact one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from perceptlib.attacks import margin
from perceptlib.balls import SSIMBall, steepest_in_box
from perceptlib.balls.norms import inner
from perceptlib.convex import LargestLinear
from perceptlib.data import photographs, shapes
from perceptlib.networks import load
from perceptlib.records import data_dir
from perceptlib.records.frames import read_csv
from perceptlib.ssim import Reference, Window
from perceptlib.study.localisation import margin_gradient
from perceptlib.study.presets import Study

KINDS = ("shapes, network", "shapes, white noise", "photograph, white noise", "photograph, smooth noise")
FORMS = {"diagonal": "diagonal", "five": "5 CG steps", "fifteen": "15 CG steps"}  # of the SSIM ball's step


@dataclass(frozen=True)
class Problem:
    """One instance of P1: picture and gradient, each (1, 3, side, side), float64."""

    images: Tensor
    gradient: Tensor
    kind: str


def random_problem(kind: str, *, side: int, seed: int) -> Problem:
    """A random crop of a picture, 11 to 64 pixels a side, with the network's margin gradient there or with noise."""
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
    """Kind of problem that stands for a preset: shapes with the network's gradient, photographs with noise."""
    kinds = {"shapes": KINDS[0], "photos": KINDS[2]}
    if preset not in kinds:
        raise ValueError(f"there is no preset {preset!r} here; pass 'shapes' or 'photos'")
    return kinds[preset]


def recorded_rows() -> pd.DataFrame:
    """Rows of `claim_a_rows` that ship with the project, of pictures up to 32x32."""
    return read_csv(data_dir() / "recorded" / "convex" / "claim_a.csv")


def claim_a_rows(
    *, sides: Sequence[int], budgets: Sequence[float], kinds: Sequence[str] = KINDS, repeats: int = 1, seed: int = 0
) -> pd.DataFrame:
    """Solve every combination of size, kind and budget: P1 with the box, by cvxpy and by the fast attack.

    A row for each, `repeats` of a size and kind. Losses are 1 - value / optimum: of the fast attack, of clipping, and
    of clipping and refilling the budget; ratios are of the optimum without the box.
    """
    rows = []
    for (position, side), kind, repeat in product(enumerate(sides), kinds, range(repeats)):
        picture_seed = seed + position * repeats + repeat
        problem = random_problem(kind, side=side, seed=picture_seed)
        program = LargestLinear(problem.images)
        named = {"side": side, "variables": problem.images.numel(), "kind": kind, "seed": picture_seed}
        rows += [named | _compare(program, problem, budget) for budget in budgets]
    return pd.DataFrame(rows)


def _compare(program: LargestLinear, problem: Problem, budget: float) -> dict[str, Any]:
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
    row = {
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


def claim_b_rows(study: Study, *, batch_size: int = 8) -> pd.DataFrame:
    """One row for each picture and form: its direction against the exact one at the picture's own gradient.

    ``objective`` is <g, r> over the optimum of P1 without the box, ``distance`` the SSIM distance at which the picture
    fools when it moves along the direction, ``exact_distance`` that of the exact direction (conjugate gradients to a
    certified relative gap of 1e-6); infinite where 1e-1 does not fool.
    """
    rows = []
    for pictures in study.pictures.batches(batch_size):
        images, labels = pictures.images, pictures.labels
        gradient = margin_gradient(study.classifier, images, labels)
        exact_ball = SSIMBall(images, 0.01, cg_steps=300, tolerance=1e-6)
        exact = exact_ball.steepest(gradient)
        exact_distance = distance_that_fools(study.classifier, images, labels, exact)
        balls = {
            "diagonal": SSIMBall(images, 0.01, coupling="diagonal"),
            "five": SSIMBall(images, 0.01, cg_steps=5),
            "fifteen": SSIMBall(images, 0.01, cg_steps=15),
        }
        for form, ball in balls.items():
            direction = ball.steepest(gradient)
            along = (gradient * direction).flatten(1).sum(1) / exact_ball.gauge(direction)
            values = {
                "objective": along / (gradient * exact).flatten(1).sum(1),
                "distance": distance_that_fools(study.classifier, images, labels, direction),
                "exact_distance": exact_distance,
            }
            columns = {name: value.double().tolist() for name, value in values.items()}
            rows.append(pd.DataFrame({"image": pictures.ids, "form": form} | columns))
    return pd.concat(rows, ignore_index=True)


@torch.no_grad()
def distance_that_fools(classifier: nn.Module, images: Tensor, labels: Tensor, direction: Tensor) -> Tensor:
    """SSIM distance at which the clipped ray of a direction first fools, (N,), float64; infinite above 0.1.

    Scaled up by 1.3 until it fools, then bisected to 1e-3 in length.
    """
    reference = Reference(images.double())

    def moved(scale: Tensor) -> Tensor:
        return (images + scale.view(-1, 1, 1, 1) * direction).clamp(0, 1)

    def fools(scale: Tensor) -> Tensor:
        return margin(classifier(moved(scale)), labels) < 0

    low, high = torch.zeros(2, len(images), dtype=images.dtype, device=images.device)
    high += 0.003  # a distance of 1e-7 for a direction on the boundary of a ball of 0.01
    is_fooled = fools(high)
    while not bool(is_fooled.all()) and float(high.max()) < 10:
        low = torch.where(is_fooled, low, high)
        high = torch.where(is_fooled, high, 1.3 * high)
        is_fooled = fools(high)
    for _ in range(8):
        middle = (low + high) / 2
        is_lower = fools(middle)
        low, high = torch.where(is_lower, low, middle), torch.where(is_lower, middle, high)
    distance = reference.distance(moved(high).double() - images.double())
    return torch.where(is_fooled & (distance <= 0.1), distance, torch.inf)
