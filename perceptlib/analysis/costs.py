"""What things cost: recorded benchmarks; claim B: what a step costs, where it points, how far it must go to fool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.records import data_dir, read_verified

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


def step_ratios(benchmark: Mapping[str, Any]) -> dict[str, float]:
    """Time of an attack with each of `perceptlib.study.programs.FORMS` over that with the l2 ball."""
    (lines,) = (table for title, table in benchmark["tables"].items() if title.startswith("maximize_loss"))
    return {form: line["ratio"] for form, row in STEP_ROWS.items() for line in lines if line["row"] == row}


def claim_b_summary(rows: pd.DataFrame, steps: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Form -> the numbers of claim B's rule and its verdict, "supported", "supported with limits", "not supported".

    Supported: one step costs <= 1.3 of the l2 loop; the objective is >= 0.99 of the optimum in the median and >= 0.95
    at worst; the median distance that fools is <= 1.1 of the exact direction's. With limits: one of the three is
    missed by less than half again.
    """
    summary = {}
    for form, group in rows.groupby("form", sort=False):
        both = np.isfinite(group["distance"]) & np.isfinite(group["exact_distance"])
        entry: dict[str, Any] = {
            "step_ratio": steps[str(form)],
            "objective_median": float(group["objective"].median()),
            "objective_worst": float(group["objective"].min()),
            "distance_ratio": float((group["distance"] / group["exact_distance"])[both].median()),
            "num_images": len(group),
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
        summary[str(form)] = entry | {"verdict": verdict}
    return summary
