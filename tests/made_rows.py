"""Rows of a made study, whose rates, distances and scores are known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from perceptlib.analysis.controls import METRICS
from perceptlib.analysis.tables import Row
from perceptlib.study.config import MAPS


def fooling_rows(fooled: Mapping[str, Sequence[Sequence[bool]]], *, budgets: Sequence[float]) -> list[Row]:
    """Attack -> for every budget whether each picture is fooled; no rounded picture fools."""
    return [
        _row("fooling", place, method=method, budget=budget)
        | {"is_adversarial": is_fooled, "is_adversarial_8bit": False, "mean_ssim": 1 - budget}
        for method, by_budget in fooled.items()
        for budget, pictures in zip(budgets, by_budget, strict=True)
        for place, is_fooled in enumerate(pictures)
    ]


def search_rows(distances: Mapping[str, Sequence[float]]) -> list[Row]:
    """Search -> each picture's distance; infinite ones are not fooled. Rounding doubles a distance."""
    return [
        _row("smallest", place, method=method)
        | {"distance": distance, "distance_8bit": 2 * distance, "gradients": 20, "l2": 0.5, "linf": 0.1}
        | {"is_adversarial": np.isfinite(distance), "is_adversarial_8bit": np.isfinite(distance)}
        for method, by_picture in distances.items()
        for place, distance in enumerate(by_picture)
    ]


def agreement_rows(
    num_images: int, values: Mapping[str, float], *, cams: Sequence[str] = ("cam", "another")
) -> list[Row]:
    """Every map's scores: those given for it, 0.2 for others; 0.1 less against another CAM; every score is the same.

    Pictures differ by a spread that all maps share, so that paired differences are exact.
    """
    spread = np.linspace(-0.05, 0.05, num_images)
    rows = []
    for cam in cams:
        for method in MAPS:
            for place in range(num_images):
                value = values.get(method, 0.2) + spread[place] - (0.1 if cam == "another" else 0.0)
                scores = dict.fromkeys((*METRICS, "partial_spearman"), float(value))
                scores["shift_p_value"] = 0.01 if place % 4 == 0 else 0.5
                rows.append(_row("agreement", place, method=method, cam=cam) | {"status": "scored"} | scores)
    return rows


def cascade_rows(num_images: int, by_stage: Mapping[int, float]) -> list[Row]:
    """Stages randomised -> the energy of every picture, up to a spread that all stages share."""
    spread = np.linspace(-0.05, 0.05, num_images)
    return [
        _row("cascade", place, method="ssim", cam="cam", stage=stage)
        | {"status": "scored", "energy_in_top_q": float(value + spread[place])}
        for stage, value in by_stage.items()
        for place in range(num_images)
    ]


def _row(part: str, place: int, **named: object) -> Row:
    return {"part": part, "position": place, "image": f"picture-{place}", "status": "success", **named}
