"""Rows of invented studies with known answers, a study of seconds, and what fails after some calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.analysis.controls import METRICS
from perceptlib.study.config import StudyConfig
from perceptlib.study.localisation import CONDITIONS
from perceptlib.study.rows import SCHEMA
from perceptlib.study.sensitivity import Setting

# A study of seconds.
QUICK = StudyConfig(
    **{"num_images": 3, "attacks": ("fgsm",), "budgets": (0.01,), "steps": 1, "maps": ("texture",), "batch_size": 2},
    **dict.fromkeys(("searches", "cascade", "curves", "regions"), ()),
)
BUDGETS = (1e-5, 1e-4)
# A study that supports claims C and D.
RATES = {"ssim": 0.4, "l2": 0.1, "linf": 0.05}
FACTORS = {"ssim": 1.0, "ssim_8bit": 1.5, "pgd_l2": 3.0, "pgd_linf": 5.0, "deepfool": 4.0, "carlini_wagner": 3.0}
ENERGIES = {"ssim": 0.4, "l2": 0.3, "linf": 0.15, "random": 0.25, "texture": 0.25, "edges": 0.3, "centre": 0.3}
ENERGIES |= {"squared_gradient": 0.33}


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows with the columns of a study, as `read_study` would give them."""
    return pd.DataFrame([{"position": 0, "status": "fooled", **row} for row in rows]).reindex(columns=SCHEMA.names)


def together(*frames: pd.DataFrame) -> pd.DataFrame:
    return frame_of(row for frame in frames for row in frame.to_dict("records"))


def fooling_rows(rates: Mapping[str, float], *, num_images: int = 100, rounded: float = 1.0) -> pd.DataFrame:
    """Each attack fools the first pictures, at the larger budget twice as many; of these a share survives rounding."""
    return frame_of(
        {
            **{"part": "fooling", "image": f"picture {place}", "method": method, "budget": budget},
            "is_adversarial": place < (share := min(1.0, factor * rate) * num_images),
            "is_adversarial_8bit": place < rounded * share,
            "mean_ssim": 1 - budget,
        }
        for method, rate in rates.items()
        for factor, budget in zip((1, 2), BUDGETS, strict=True)
        for place in range(num_images)
    )


def search_rows(
    factors: Mapping[str, float], *, num_images: int = 100, survives: float = 1.0, scatter: float = 0.1
) -> pd.DataFrame:
    """Distances scattered around a factor of each method; of all methods a share of pictures survives rounding."""
    generator = np.random.default_rng(0)
    base = np.exp(generator.normal(size=num_images))
    rows = []
    for method, factor in factors.items():
        found = factor * base * np.exp(scatter * generator.normal(size=num_images))
        is_fooled = math.isfinite(factor)
        rows += [
            {
                **{"part": "smallest", "image": f"picture {place}", "method": method},
                **{"is_adversarial": is_fooled, "is_adversarial_8bit": is_fooled and place < survives * num_images},
                **{"distance": found[place] if is_fooled else 0.0, "distance_8bit": 1.1 * found[place]},
                **{"gradients": 30, "l2": 1.0, "linf": 0.1},
            }
            for place in range(num_images)
        ]
    return frame_of(rows)


def agreement_rows(
    energies: Mapping[str, float],
    *,
    partial: float = 0.3,
    num_images: int = 100,
    cams: Sequence[str] = ("cam",),
    noise: float = 0.03,
) -> pd.DataFrame:
    """Every score scattered around a mean of each map, by what all maps share and by a noise of its own.

    It is 0.1 less against another picture's CAM. Every fourth picture has a shift's p-value of 0.01.
    """
    generator = np.random.default_rng(0)
    shared = np.linspace(-0.05, 0.05, num_images)
    rows = []
    for cam in cams:
        for method, energy in energies.items():
            scatter = shared + noise * generator.normal(size=num_images)
            for place in range(num_images):
                score = energy + scatter[place] - (0.1 if cam == "another" else 0)
                scores = dict.fromkeys(METRICS, score) | {"partial_spearman": partial + scatter[place]}
                scores["shift_p_value"] = 0.01 if place % 4 == 0 else 0.5
                named = {"part": "agreement", "image": f"picture {place}", "position": place}
                rows.append(named | {"method": method, "cam": cam, "status": "scored"} | scores)
    return frame_of(rows)


def cascade_rows(energies: Mapping[int, float], *, num_images: int = 100, noise: float = 0.03) -> pd.DataFrame:
    """Energies by number of randomised stages."""
    generator = np.random.default_rng(1)
    named = {"part": "cascade", "method": "ssim", "cam": "cam", "status": "scored"}
    rows = [
        named | {"image": f"picture {place}", "position": place, "stage": stage, "energy_in_top_q": energy + error}
        for stage, energy in energies.items()
        for place, error in enumerate(noise * generator.normal(size=num_images))
    ]
    return frame_of(rows)


def region_rows(factors: Mapping[str, float], *, num_images: int = 60) -> pd.DataFrame:
    """Distances that fool around a factor of each region, and at one budget the pictures whose distance is below."""
    base = np.exp(np.random.default_rng(2).normal(size=num_images))
    rows = []
    for region, factor in factors.items():
        for place, distance in enumerate(factor * base):
            named = {"part": "regions", "image": f"picture {place}", "method": "ssim", "region": region}
            named |= {"mask_share": 0.2, "is_adversarial_8bit": True}
            rows.append(named | {"distance": distance, "is_adversarial": math.isfinite(distance)})
            rows.append(named | {"budget": 0.5, "distance": 0.5, "is_adversarial": distance < 0.5})
    return frame_of(rows)


def unattacked(part: str, image: str, status: str) -> pd.DataFrame:
    """A row with a status alone."""
    budget = BUDGETS[0] if part == "fooling" else math.nan
    return frame_of([{"part": part, "method": "ssim", "image": image, "status": status, "budget": budget}])


def scene_rows(shares: Mapping[str, float] | np.ndarray, count: int = 60) -> pd.DataFrame:
    """Scenes whose share over chance in each condition is given, the same for all or (scenes, conditions)."""
    values = np.array([list(shares.values())] * count) if isinstance(shares, Mapping) else shares
    rows = []
    for scene, row in enumerate(values):
        for name, over in zip(CONDITIONS, row, strict=True):
            on_object, behind = name.split("/")
            named = {"scene": scene, "object_texture": on_object, "background_texture": behind, "method": "ssim"}
            rows.append(named | {"is_named_rightly": True, "share": 0.1 * over, "mask_share": 0.1, "over_chance": over})
    return pd.DataFrame(rows)


def setting_rows(energies: dict[Setting, float], *, num_images: int = 30, by_chance: float = 0.25) -> pd.DataFrame:
    """Energies scattered around a value of each setting; the random direction's are the same for all."""
    noise = 0.05 * np.random.default_rng(0).normal(size=(2, num_images))
    parts = [
        pd.DataFrame(
            {
                "image": [f"picture {place}" for place in range(num_images)],
                **asdict(setting),
                **{"energy_in_top_q": energy + noise[0], "spearman": energy - 0.2 + noise[0]},
                **{"random_energy_in_top_q": by_chance + noise[1], "random_spearman": by_chance - 0.2 + noise[1]},
                "is_adversarial": np.arange(num_images) < 6,
            }
        )
        for setting, energy in energies.items()
    ]
    return pd.concat(parts, ignore_index=True)


def problem_rows() -> pd.DataFrame:
    """Convex programs of three sizes at two budgets, of which the box holds pixels in the larger sizes."""
    problem = {"kind": "a", "seed": 0, "status": "optimal", "gap": 1e-9, "primal_residual": 0.0, "dual_residual": 1e-7}
    problem |= {"cg15_ratio": 1.0, "fast_loss": 1e-8, "clipped_loss": 0.03, "refilled_loss": 0.01}
    return pd.DataFrame(
        problem
        | {"variables": size, "side": size, "budget": budget, "distance_over_budget": 1.0 + budget * 10}
        | {"solve_seconds": 1e-6 * size**2, "fast_seconds": 1e-6 * size, "held_pixels": held, "cg5_ratio": 1 - 1 / size}
        for size, held in ((432, 0.0), (768, 0.1), (3072, 0.2))
        for budget in (0.001, 0.01)
    )


def failing(function: Callable[..., Any], error: OSError, *, after: int) -> Callable[..., Any]:
    """A function that raises an error after some calls."""
    left = [after]

    def wrapped(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return function(*arguments, **options)

    return wrapped
