"""Attacks compared: every ball at equal SSIM distance, and the smallest distance that fools in each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from perceptlib.analysis.statistics import bootstrap_interval
from perceptlib.analysis.tables import Row, Table, column
from perceptlib.attacks import AttackResult, maximize_loss, smallest
from perceptlib.attacks.maximize import ascend, default_step
from perceptlib.attacks.network import entered
from perceptlib.attacks.result import measured
from perceptlib.balls import Ball, L2Ball, LinfBall, SSIMBall
from perceptlib.ssim import Reference
from perceptlib.study.presets import Study

METHODS = {"linf": "linf", "l2": "l2", "ssim_diagonal": "SSIM ball, diagonal", "ssim": "SSIM ball"}


def ball_of(method: str, images: Tensor, radius: float | Tensor, *, cg_steps: int = 15) -> Ball:
    """The ball of a method for some images.

    Parameters
    ----------
    method
        A key of `METHODS`.
    images
        (N, C, H, W), in [0, 1].
    radius
        Epsilon of a norm ball, budget of an SSIM ball; scalar or (N,).
    cg_steps
        Conjugate-gradient steps of "ssim".

    Raises
    ------
    ValueError
        An unknown method, or a radius that the ball refuses.
    """
    match method:
        case "linf":
            return LinfBall(radius)
        case "l2":
            return L2Ball(radius)
        case "ssim":
            return SSIMBall(images, radius, cg_steps=cg_steps)
        case "ssim_diagonal":
            return SSIMBall(images, radius, coupling="diagonal")
    raise ValueError(f"there is no method {method!r}; {', '.join(METHODS)} are")


def attack_at_distance(
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    method: str,
    budget: float,
    *,
    steps: int = 10,
    cg_steps: int = 15,
) -> AttackResult:
    """Attack in a ball of any kind, ending at one SSIM distance: `maximize_loss` for SSIM balls and norms alike.

    A norm ball has a radius and no SSIM distance. Its radius is found image by image: one step tells where the
    distance lies, a full attack there corrects it, a second full attack is scaled along its ray to the distance
    exactly. So l2 and linf get twice the gradients of the SSIM ball.

    Parameters
    ----------
    classifier
        Images in [0, 1] to logits.
    images, labels
        (N, C, H, W) in [0, 1], and (N,) int64.
    method
        A key of `METHODS`.
    budget
        SSIM distance, above 0 and below 1.
    steps, cg_steps
        Gradient steps of an attack; conjugate-gradient steps in each, for "ssim".

    Returns
    -------
    AttackResult
        ``distance`` is the budget, to 1e-3, where [0, 1] leaves room.

    Raises
    ------
    ValueError
        As `ball_of` and `perceptlib.attacks.maximize.maximize_loss`.
    """
    if method in ("ssim", "ssim_diagonal"):
        return maximize_loss(
            classifier, images, labels, ball_of(method, images, budget, cg_steps=cg_steps), steps=steps
        )
    started = time.perf_counter()
    with entered(classifier, images, labels, steps=steps) as given:
        reference = Reference(given.images)
        radius: float | Tensor = 0.01 if method == "linf" else 0.01 * images[0].numel() ** 0.5
        for num_steps in (1, steps, steps):
            ball, step_size = ball_of(method, given.images, radius), default_step(num_steps)
            perturbation, has_gradient = ascend(
                given.network, given.images, given.labels, ball, steps=num_steps, step_size=step_size
            )
            # D grows about as the square of the radius; an image without gradient keeps its own
            distance = reference.distance(perturbation).clamp_min(1e-12)
            radius = radius * (budget / distance).sqrt().clamp(1e-3, 1e3)
        return measured(
            given,
            (given.images + reference.reach(perturbation, budget)).clamp(0, 1),
            ball=None,
            steps=steps,
            has_gradient=has_gradient,
            started=started,
            settings={
                "attack": "maximize_loss",
                "ball": type(ball).__name__,
                "num_steps": steps,
                "step_size": step_size,
            },
        )


def rows_at_distances(
    study: Study, budgets: Sequence[float], *, steps: int = 10, cg_steps: int = 15, batch_size: int = 32
) -> list[Row]:
    """Attack every picture with every method at every budget; a row for each, as `AttackResult.rows` with more.

    The added columns are ``image``, ``method`` and ``budget``. Errors as `attack_at_distance`.
    """
    rows = []
    for pictures in study.pictures.batches(batch_size):
        for method in METHODS:
            for budget in budgets:
                result = attack_at_distance(
                    study.classifier, pictures.images, pictures.labels, method, budget, steps=steps, cg_steps=cg_steps
                )
                rows += _named(result, pictures.ids, {"method": method, "budget": budget})
    return rows


def rows_of_smallest(
    study: Study,
    *,
    methods: Sequence[str] = tuple(METHODS),
    steps: int = 30,
    candidates: int = 5,
    refinements: int = 3,
    eight_bit: bool = False,
    cg_steps: int = 15,
    batch_size: int = 32,
) -> list[Row]:
    """Find the smallest perturbation of every picture in every ball (`perceptlib.attacks.maximize.smallest`); a row for each."""
    rows = []
    for pictures in study.pictures.batches(batch_size):
        for method in methods:
            result = smallest(
                study.classifier,
                pictures.images,
                pictures.labels,
                ball_of(method, pictures.images, 0.01, cg_steps=cg_steps),  # its radius does not matter
                steps=steps,
                candidates=candidates,
                refinements=refinements,
                eight_bit=eight_bit,
            )
            rows += _named(result, pictures.ids, {"method": method})
    return rows


def fooling_rates(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Method -> budget as text -> share of fooled pictures (``rate``), its interval, and after rounding to 8 bits."""
    budgets = list(dict.fromkeys(row["budget"] for row in rows))
    rates: dict[str, dict[str, dict[str, float]]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        rates[method] = {}
        for budget in budgets:
            fooled = bootstrap_interval(column(rows, "is_adversarial", method=method, budget=budget), statistic="mean")
            rounded = column(rows, "is_adversarial_8bit", method=method, budget=budget)
            rates[method][f"{budget:.0e}"] = {
                "budget": budget,
                "rate": fooled.value,
                "low": fooled.low,
                "high": fooled.high,
                "rate_8bit": sum(rounded) / len(rounded),
            }
    return rates


def smallest_distances(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Method -> median distance that fools with its interval, against l2's, norms, and what survives 8 bits.

    A picture that was not fooled counts as infinitely far in the median; ``num_not_fooled`` says how many.
    """
    summary = {}
    reference = _median(_distances(rows, "l2"))
    for method in dict.fromkeys(row["method"] for row in rows):
        distances = _distances(rows, method)
        is_fooled = distances.isfinite()
        interval = bootstrap_interval(distances[is_fooled].tolist())
        ratio = bootstrap_interval((distances / _distances(rows, "l2")).tolist())
        survives = column(rows, "is_adversarial_8bit", method=method)
        summary[method] = {
            "distance": _median(distances),
            "distance_low": interval.low,
            "distance_high": interval.high,
            "ratio_to_l2": _median(distances) / reference,
            "paired_ratio": asdict(ratio),
            "l2": _median(torch.tensor(column(rows, "l2", method=method))),
            "linf": _median(torch.tensor(column(rows, "linf", method=method))),
            "survives_8bit": sum(survives) / len(survives),
            "num_not_fooled": int((~is_fooled).sum()),
        }
    return summary


def rate_curves(
    rates: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """What `perceptlib.drawing.figures.curves` draws of fooling rates: ``series`` and ``intervals``, by method."""

    def values(by_budget: Mapping[str, Mapping[str, float]], word: str) -> list[float]:
        return [entry[word] for entry in by_budget.values()]

    return {
        "series": {method: (values(entry, "budget"), values(entry, "rate")) for method, entry in rates.items()},
        "intervals": {method: (values(entry, "low"), values(entry, "high")) for method, entry in rates.items()},
    }


def share_curves(rows: Sequence[Row]) -> dict[str, tuple[list[float], list[float]]]:
    """Method -> distances in rising order, and the share of pictures fooled up to each, from 0 on."""
    series = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        distances = _distances(rows, method).sort().values
        shares = torch.arange(1, len(distances) + 1) / len(distances)
        is_fooled = distances.isfinite() & (distances > 0)
        reached = distances[is_fooled].tolist()
        series[method] = (reached[:1] + reached, [0.0] * bool(reached) + shares[is_fooled].tolist())
    return series


def fooling_table(rates: dict[str, dict[str, dict[str, float]]]) -> Table:
    """Share fooled at each distance, and in brackets after rounding to 8 bits."""
    budgets = [f"at {entry['budget']:g}" for entry in next(iter(rates.values())).values()]
    rows = [
        (METHODS[method], *(f"{entry['rate']:.0%} ({entry['rate_8bit']:.0%})" for entry in by_budget.values()))
        for method, by_budget in rates.items()
    ]
    return Table(("ball", *budgets), tuple(rows))


def smallest_table(summary: dict[str, dict[str, Any]]) -> Table:
    """Median smallest distance of each ball, against l2's, with norms and survival of rounding to 8 bits."""
    rows = [
        (
            METHODS[method],
            f"{entry['distance']:.2e} ({entry['distance_low']:.1e} to {entry['distance_high']:.1e})",
            f"{entry['ratio_to_l2']:.2f}",
            f"{entry['l2']:.3g}",
            f"{entry['linf']:.3g}",
            f"{entry['survives_8bit']:.0%}",
            str(entry["num_not_fooled"]),
        )
        for method, entry in summary.items()
    ]
    headings = ("median SSIM distance (95 %)", "of l2's", "l2 norm", "linf norm", "fools after 8 bits", "not fooled")
    return Table(("ball", *headings), tuple(rows))


def _distances(rows: Sequence[Row], method: str) -> Tensor:
    """Smallest distances, (N,); infinite where the picture was not fooled."""
    distances = torch.tensor(column(rows, "distance", method=method), dtype=torch.float64)
    return torch.where(torch.tensor(column(rows, "is_adversarial", method=method)), distances, torch.inf)


def _median(values: Tensor) -> float:
    """Of an even number the mean of the two in the middle, which `torch.median` does not take."""
    return float(np.median(values.numpy()))


def _named(result: AttackResult, ids: Sequence[str], names: dict[str, Any]) -> list[Row]:
    return [{"image": name} | names | row for name, row in zip(ids, result.rows(), strict=True)]
