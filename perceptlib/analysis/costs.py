"""Claim B, a fast form like PGD: what a step costs, how near the optimum it points, how far it must go to fool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from perceptlib.analysis.tables import Row, Table, column
from perceptlib.attacks.network import attack_margin
from perceptlib.balls import SSIMBall
from perceptlib.records import data_dir, read_verified
from perceptlib.ssim import Reference
from perceptlib.study.presets import Study

FORMS = {"diagonal": "diagonal", "five": "5 CG steps", "fifteen": "15 CG steps"}
_STEPS = {"five": 5, "fifteen": 15}
STEP_ROWS = {"diagonal": "ssim diagonal", "five": "ssim full, 5 CG steps", "fifteen": "ssim full, 15 CG steps"}
# The rule of claim B: (bound, and what "missed by less than half again" still allows).
MAX_STEP, MIN_MEDIAN, MIN_WORST, MAX_DISTANCE = 1.3, 0.99, 0.95, 1.1


def recorded_benchmark(name: str = "bench") -> dict[str, Any]:
    """Tables of `make bench` that ship with the project, with machine, versions and date.

    "workers" has those of ``tests/benchmarks/bench_workers.py``, which takes long; "bench" has the others.
    """
    return json.loads(read_verified(data_dir() / "recorded" / "bench" / f"{name}.json"))


def worker_numbers(benchmark: Mapping[str, Any]) -> dict[str, float]:
    """``speed_up``: time of a study with one worker over that with two; ``overhead``: its share beyond no scheduler."""
    (lines,) = benchmark["tables"].values()
    seconds = {line["row"]: line["seconds"] for line in lines}
    return {
        "speed_up": seconds["one worker"] / seconds["two workers"],
        "overhead": seconds["one worker"] / seconds["in this process, no scheduler"] - 1,
    }


def recorded_study_time() -> dict[str, Any]:
    """Minutes of the study of ImageNet photographs that was run for its time, its machine, and what was in it."""
    folder = data_dir() / "recorded" / "bench" / "study"
    config = json.loads(read_verified(folder / "config.json"))
    (run,) = json.loads(read_verified(folder / "provenance.json"))["runs"]
    return {
        "minutes": run["seconds"] / 60,
        "workers": run["workers"],
        "tasks": run["tasks"],
        "device": run["device"],
        "machine": run["machine"],
        "date": run["date"][:10],
        "pictures": config["num_images"],
        "methods": len(config["attacks"]) + len(config["searches"]),
        "maps": len(config["maps"]),
        "steps": config["steps"],
    }


def benchmark_table(benchmark: Mapping[str, Any], start: str) -> Table:
    """The one table of a benchmark whose title starts with some words.

    Raises
    ------
    ValueError
        No such table.
    """
    for title, lines in benchmark["tables"].items():
        if title.startswith(start):
            rows = [_cells(line) for line in lines]
            headings = (title, "median seconds", "ratio to the first", "peak MiB")
            kept = [place for place in range(4) if any(row[place] for row in rows)]  # not all benchmarks take memory
            return Table(
                tuple(headings[place] for place in kept), tuple(tuple(row[place] for place in kept) for row in rows)
            )
    raise ValueError(f"no table starts with {start!r}; {', '.join(benchmark['tables'])} are there")


def step_ratios(benchmark: Mapping[str, Any]) -> dict[str, float]:
    """Time of an attack with each form over that with the l2 ball, by the keys of `FORMS`."""
    (lines,) = (table for title, table in benchmark["tables"].items() if title.startswith("maximize_loss"))
    return {form: line["ratio"] for form, row in STEP_ROWS.items() for line in lines if line["row"] == row}


def claim_b_rows(study: Study, *, batch_size: int = 8) -> list[Row]:
    """One row for each picture and form: its direction against the exact one at the picture's own gradient.

    ``objective`` is <g, r> over the optimum of P1 without the box, ``distance`` the SSIM distance at which the picture
    fools when it moves along the direction, ``exact_distance`` that of the exact direction (conjugate gradients to a
    certified relative gap of 1e-6); infinite where 1e-1 does not fool.
    """
    rows: list[Row] = []
    for pictures in study.pictures.batches(batch_size):
        images, labels = pictures.images, pictures.labels
        gradient = _gradient(study.classifier, images, labels)
        exact_ball = SSIMBall(images, 0.01, cg_steps=300, tolerance=1e-6)
        exact = exact_ball.steepest(gradient)
        exact_distance = distance_that_fools(study.classifier, images, labels, exact)
        for form in FORMS:
            if form == "diagonal":
                ball = SSIMBall(images, 0.01, coupling="diagonal")
            else:
                ball = SSIMBall(images, 0.01, cg_steps=_STEPS[form])
            direction = ball.steepest(gradient)
            along = (gradient * direction).flatten(1).sum(1) / exact_ball.gauge(direction)
            objective = along / (gradient * exact).flatten(1).sum(1)
            distance = distance_that_fools(study.classifier, images, labels, direction)
            for index, name in enumerate(pictures.ids):
                row = {"image": name, "form": form, "objective": float(objective[index])}
                rows.append(row | {"distance": float(distance[index]), "exact_distance": float(exact_distance[index])})
    return rows


@torch.no_grad()
def distance_that_fools(classifier: nn.Module, images: Tensor, labels: Tensor, direction: Tensor) -> Tensor:
    """SSIM distance at which the clipped ray of a direction first fools, (N,), float64; infinite above 0.1.

    Scaled up by 1.3 until it fools, then bisected to 1e-3 in length.
    """
    reference = Reference(images.double())

    def moved(scale: Tensor) -> Tensor:
        return (images + scale.view(-1, 1, 1, 1) * direction).clamp(0, 1)

    def fools(scale: Tensor) -> Tensor:
        return attack_margin(classifier(moved(scale)), labels, None) < 0

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


def claim_b_summary(rows: Sequence[Row], steps: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Form -> the numbers of claim B's rule and its verdict, "supported", "supported with limits", "not supported".

    Supported: one step costs <= 1.3 of the l2 loop; the objective is >= 0.99 of the optimum in the median and >= 0.95
    at worst; the median distance that fools is <= 1.1 of the exact direction's. With limits: one of the three is
    missed by less than half again.
    """
    summary = {}
    for form in FORMS:
        objective = np.array(column(rows, "objective", form=form))
        distance, exact = (np.array(column(rows, name, form=form)) for name in ("distance", "exact_distance"))
        both = np.isfinite(distance) & np.isfinite(exact)
        entry: dict[str, Any] = {
            "step_ratio": steps[form],
            "objective_median": float(np.median(objective)),
            "objective_worst": float(objective.min()),
            "distance_ratio": float(np.median(distance[both] / exact[both])),
            "num_images": len(objective),
            "num_not_fooled": int((~both).sum()),
        }
        misses = [  # 0 within the rule, 1 at half again its slack
            (entry["step_ratio"] - MAX_STEP) / (0.5 * (MAX_STEP - 1)),
            max(
                (MIN_MEDIAN - entry["objective_median"]) / (0.5 * (1 - MIN_MEDIAN)),
                (MIN_WORST - entry["objective_worst"]) / (0.5 * (1 - MIN_WORST)),
            ),
            (entry["distance_ratio"] - MAX_DISTANCE) / (0.5 * (MAX_DISTANCE - 1)),
        ]
        missed = [miss for miss in misses if miss > 0]
        is_limited = len(missed) == 1 and missed[0] < 1
        verdict = "not supported" if missed and not is_limited else "supported with limits" if missed else "supported"
        summary[form] = entry | {"verdict": verdict}
    return summary


def claim_b_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """The rule of claim B by form."""
    names = {
        "step_ratio": "time of the attack over the l2 ball's (rule: 1.3)",
        "objective_median": "objective over the optimum, median (rule: 0.99)",
        "objective_worst": "objective over the optimum, worst (rule: 0.95)",
        "distance_ratio": "distance that fools over the exact direction's, median (rule: 1.1)",
        "num_not_fooled": "pictures that a direction does not fool up to 0.1",
        "num_images": "pictures",
        "verdict": "claim B",
    }

    def words(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = tuple((text, *(words(entry[key]) for entry in summary.values())) for key, text in names.items())
    return Table(("rule", *(FORMS[form] for form in summary)), lines)


def _gradient(classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Of the label's margin, negated: where to go to lose it."""
    current = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(-attack_margin(classifier(current), labels, None).sum(), current)
    return gradient


def _cells(line: Mapping[str, Any]) -> tuple[str, ...]:
    if "seconds" not in line:
        return (line["row"].replace("peak_mib", "memory"), f"{line['value']:.2f}", "", "")
    ratio = "" if line["ratio"] is None else format(line["ratio"], ".0f" if line["ratio"] > 100 else ".3g")
    peak = f"{line['peak_mib']:.0f}" if "peak_mib" in line else ""
    return (line["row"], f"{line['seconds']:.3g}", ratio, peak)
