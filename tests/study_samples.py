"""Rows of invented studies with known answers, for tests of what is computed from rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from perceptlib.analysis.tables import Row

BUDGETS = (1e-5, 1e-4)
MAPS = ("ssim", "linf", "l2", "random", "noise", "squared_gradient", "texture", "edges", "centre")
BASE = {"label": 3, "position": 0, "stage": None, "region": None, "cam": None, "budget": None}


def fooling_rows(rates: dict[str, float], *, num_images: int = 100, rounded: float = 1.0) -> list[Row]:
    """Each attack fools the first pictures, at the larger budget twice as many; of these a share survives rounding."""
    rows = []
    for method, rate in rates.items():
        for factor, budget in zip((1, 2), BUDGETS, strict=True):
            for place in range(num_images):
                is_fooled = place < min(1.0, factor * rate) * num_images
                is_rounded = is_fooled and place < rounded * min(1.0, factor * rate) * num_images
                rows.append(
                    BASE
                    | {
                        "part": "fooling",
                        "image": f"picture {place}",
                        "method": method,
                        "budget": budget,
                        "status": "fooled" if is_fooled else "not fooled",
                        "is_adversarial": is_fooled,
                        "is_adversarial_8bit": is_rounded,
                        "mean_ssim": 1 - budget,
                    }
                )
    return rows


def search_rows(factors: dict[str, float], *, num_images: int = 100, survives: float = 1.0, seed: int = 0) -> list[Row]:
    """Distances scattered around a factor of each method; of all methods a share of pictures survives rounding."""
    generator = np.random.default_rng(seed)
    base = np.exp(generator.normal(size=num_images))
    rows = []
    for method, factor in factors.items():
        scatter = np.exp(0.1 * generator.normal(size=num_images))
        for place in range(num_images):
            distance = float(factor * base[place] * scatter[place])
            is_fooled = math.isfinite(distance)
            rows.append(
                BASE
                | {
                    "part": "smallest",
                    "image": f"picture {place}",
                    "method": method,
                    "status": "fooled" if is_fooled else "not fooled",
                    "is_adversarial": is_fooled,
                    "is_adversarial_8bit": is_fooled and place < survives * num_images,
                    "distance": distance if is_fooled else 0.0,
                    "distance_8bit": 1.1 * distance if is_fooled else 0.0,
                    "gradients": 30,
                    "l2": 1.0,
                    "linf": 0.1,
                }
            )
    return rows


def agreement_rows(
    energies: dict[str, float], *, partial: float = 0.3, num_images: int = 100, cam: str = "cam", seed: int = 0
) -> list[Row]:
    """Energies scattered around a mean of each map."""
    generator = np.random.default_rng(seed)
    rows = []
    for method, energy in energies.items():
        noise = 0.03 * generator.normal(size=num_images)
        for place in range(num_images):
            scores: dict[str, Any] = {
                "energy_in_top_q": energy + float(noise[place]),
                "spearman": energy - 0.2 + float(noise[place]),
                "pointing_hit": float(place < energy * num_images),
                "partial_spearman": partial + float(noise[place]),
            }
            named = {"part": "agreement", "image": f"picture {place}", "method": method, "cam": cam}
            rows.append(BASE | named | scores | {"status": "scored"})
    return rows


def cascade_rows(energies: dict[int, float], *, num_images: int = 100, seed: int = 1) -> list[Row]:
    """Energies by number of randomised stages."""
    generator = np.random.default_rng(seed)
    rows = []
    for stage, energy in energies.items():
        noise = 0.03 * generator.normal(size=num_images)
        for place in range(num_images):
            named = {"part": "cascade", "image": f"picture {place}", "method": "ssim", "cam": "cam", "stage": stage}
            rows.append(BASE | named | {"energy_in_top_q": energy + float(noise[place]), "status": "scored"})
    return rows


def region_rows(factors: dict[str, float], *, num_images: int = 60, seed: int = 2) -> list[Row]:
    """Distances that fool around a factor of each region, and at one budget the pictures whose distance is below."""
    generator = np.random.default_rng(seed)
    base = np.exp(generator.normal(size=num_images))
    rows = []
    for region, factor in factors.items():
        for place in range(num_images):
            distance = float(factor * base[place])
            named = {"part": "regions", "image": f"picture {place}", "method": "ssim", "region": region}
            common = {"distance_8bit": distance, "is_adversarial_8bit": True, "mask_share": 0.2}
            rows.append(BASE | named | common | {"distance": distance, "is_adversarial": True, "status": "fooled"})
            is_fooled = distance < 1
            status = "fooled" if is_fooled else "not fooled"
            rows.append(
                BASE | named | common | {"budget": 1.0, "distance": 1.0, "is_adversarial": is_fooled, "status": status}
            )
    return rows


def unattacked(part: str, method: str, image: str, status: str) -> Row:
    """A row with a status alone, as a study has it for every column it could not fill."""
    names = ("is_adversarial", "is_adversarial_8bit", "distance", "distance_8bit", "energy_in_top_q", "mean_ssim")
    named = {"part": part, "method": method, "image": image, "status": status, "cam": "cam"}
    return BASE | dict.fromkeys(names) | named | ({"budget": BUDGETS[0]} if part == "fooling" else {})
