"""What the page on SSIM shows: identities checked, distances against norms, where the ball allows change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from perceptlib.attacks import rescale_to_distance
from perceptlib.balls import SSIMBall
from perceptlib.drawing.figures import Drawing, curves
from perceptlib.drawing.panels import Panel, perturbation_panel
from perceptlib.drawing.tables import Table, table
from perceptlib.maps import random_direction
from perceptlib.maps.controls import white_noise
from perceptlib.ssim import Window
from perceptlib.ssim import measure as ssim
from perceptlib.study.presets import Pictures

DIRECTIONS = {
    "noise": "noise in the ball's shape",
    "white": "white noise",
    "more_contrast": "more contrast",
    "less_contrast": "less contrast",
}
_COMPARED = {
    "luminance": "1 - S1: identity against textbook",
    "contrast_structure": "1 - S2: identity against textbook",
    "mean_ssim": "mean SSIM: against scikit-image",
}

_MOST_CLIPPED = 20.0  # times the length that a ray without clipping would have


def textbook_losses(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """1 - S1 and 1 - S2, each (N, C, H, W), as first written (Wang et al. 2004, equations 6 and 13)."""
    window = Window()
    mean, other_mean = window.filter(images), window.filter(others)
    variance = window.filter(images**2) - mean**2
    other_variance = window.filter(others**2) - other_mean**2
    covariance = window.filter(images * others) - mean * other_mean
    luminance = (2 * mean * other_mean + ssim.C1) / (mean**2 + other_mean**2 + ssim.C1)
    contrast = (2 * covariance + ssim.C2) / (variance + other_variance + ssim.C2)
    return 1 - luminance, 1 - contrast


def identity_deviations(images: Tensor, others: Tensor) -> dict[str, float]:
    """Largest difference, in float64 and over all windows, between each identity and the textbook; and of mean SSIM.

    Mean SSIM is held against scikit-image's `structural_similarity` with Wang's settings.
    """
    exact, exact_others = images.double(), others.double()
    expected = textbook_losses(exact, exact_others)
    luminance, contrast = ssim.Reference(exact).losses(exact_others - exact)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    skimage = [
        structural_similarity(image.numpy(), other.numpy(), channel_axis=0, **wang)
        for image, other in zip(exact, exact_others, strict=True)
    ]
    return {
        "luminance": float((luminance - expected[0]).abs().max()),
        "contrast_structure": float((contrast - expected[1]).abs().max()),
        "mean_ssim": float((ssim.mean_ssim(exact, exact_others) - torch.tensor(skimage)).abs().max()),
    }


def deviation_table(deviations: dict[str, float]) -> Table:
    """What `identity_deviations` found."""
    frame = pd.DataFrame({"what is compared": _COMPARED, "largest difference": deviations})
    return table(frame, {"largest difference": "{:.1e}"})


def equal_l2(images: Tensor, l2: float, *, seed: int) -> dict[str, Tensor]:
    """The same images made brighter and with white noise, both of one l2 norm."""
    return {
        "brighter": at_l2(images, torch.ones_like(images), l2),
        "white_noise": at_l2(images, white_noise(images, seed=seed), l2),
    }


def noise_of_equal_l2(images: Tensor, l2: float, *, seed: int) -> dict[str, Tensor]:
    """The same images with white noise, and with that noise over the price of each pixel: where there is texture."""
    noise = white_noise(images, seed=seed)
    textured = SSIMBall(images, 0.01, coupling="diagonal").steepest(noise)
    return {"white_noise": at_l2(images, noise, l2), "noise_in_texture": at_l2(images, textured, l2)}


def at_l2(images: Tensor, direction: Tensor, l2: float) -> Tensor:
    """Images on the clipped ray x + t r whose change has a given l2 norm; ValueError where [0, 1] has no room."""
    scale = l2 / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)

    def moved(factor: Tensor) -> tuple[Tensor, Tensor]:
        changed = (images + factor * scale * direction).clamp(0, 1)
        return changed, (changed - images).flatten(1).norm(dim=1).view(-1, 1, 1, 1)

    low, high = torch.ones_like(scale), torch.full_like(scale, _MOST_CLIPPED)
    if bool((moved(high)[1] < l2).any()):
        raise ValueError(f"a change of l2 norm {l2:g} does not fit into [0, 1]; pass a smaller one")
    for _ in range(40):  # the norm grows with the factor; clipping only takes from it
        middle = (low + high) / 2
        is_short = moved(middle)[1] < l2
        low, high = torch.where(is_short, middle, low), torch.where(is_short, high, middle)
    return moved(high)[0]


def equal_distance(images: Tensor, distance: float, *, seed: int) -> dict[str, Tensor]:
    """The same images with white noise and made brighter, both at one SSIM distance."""
    return {
        "white_noise": rescale_to_distance(images, white_noise(images, seed=seed), distance),
        "brighter": rescale_to_distance(images, torch.full_like(images, 0.1), distance),
    }


def pair_panels(picture: Pictures, others: dict[str, Tensor]) -> list[Panel]:
    """A picture with two changed versions, their l2 norm and SSIM distance, and below them their change maps."""
    images = picture.images
    sizes = pair_sizes(picture, others)
    maps = {name: ssim.change_map(images, changed)[0] for name, changed in others.items()}
    white = max(float(values.max()) for values in maps.values())
    panels = [Panel(images[0], picture.ids[0], "unchanged")]
    for name, changed in others.items():
        words = "l2 {l2:.1f}, distance {distance:.2g}".format(**sizes[name])
        panels.append(Panel(changed[0], name.replace("_", " "), words))
    panels.append(Panel(allowed_change(images)[0], "allowed change", "median pixel: 1", is_log=True))
    return [*panels, *(Panel(values, "change map", white=white) for values in maps.values())]


def pair_sizes(picture: Pictures, others: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Name -> ``l2`` and ``distance`` of each changed version of one picture."""
    return {
        name: {
            "l2": float((changed - picture.images).norm()),
            "distance": float(ssim.distance(picture.images.double(), changed.double())),
        }
        for name, changed in others.items()
    }


def allowed_change(images: Tensor) -> Tensor:
    """Where the SSIM ball allows change: 1 / sqrt(W'd2), averaged over channels, relative to its median; (N, H, W).

    The value 2 means: a pixel there may change twice as much as the median pixel for the same cost.
    """
    allowed = SSIMBall(images, 0.01, coupling="diagonal").weight.rsqrt().mean(1)
    return allowed / allowed.flatten(1).median(1).values.view(-1, 1, 1)


def shape_panels(picture: Pictures, *, budget: float, seed: int) -> list[Panel]:
    """Where the ball allows change, and a random direction in it: diagonal coupling, then full; amplified."""
    images = picture.images
    panels = [Panel(allowed_change(images)[0], "allowed change", "median pixel: 1", is_log=True)]
    drawn = {
        title: random_direction(images, SSIMBall(images, budget, coupling=coupling), seed=seed)[0]
        for coupling, title in (("diagonal", "in the diagonal ball"), ("full", "in the SSIM ball"))
    }
    # One scale for both, between the one that suits the small changes of the first and that of the second.
    factor = math.prod(0.2 / float(perturbation.std()) for perturbation in drawn.values()) ** 0.5
    panels += [perturbation_panel(each, title, "random direction", factor=factor) for title, each in drawn.items()]
    return panels


def ratio_rows(pictures: Pictures, budgets: Sequence[float], *, seed: int) -> pd.DataFrame:
    """True distance over Q, in float64, on the boundary Q = budget: how good the ball's expansion is.

    A row for each image, direction (of `DIRECTIONS`) and budget. [0, 1] is not heeded.
    """
    images = pictures.images.double()
    ball = SSIMBall(images, 0.01)
    centred = images - images.mean(dim=(2, 3), keepdim=True)
    directions = {
        "noise": random_direction(images, ball, seed=seed),
        "white": white_noise(images, seed=seed),
        "more_contrast": centred,
        "less_contrast": -centred,
    }
    rows = []
    for direction, perturbation in directions.items():
        unit = perturbation / ball.quadratic(perturbation).sqrt().view(-1, 1, 1, 1)
        for budget in budgets:
            ratio = (ball.measure(budget**0.5 * unit) / budget).numpy()
            rows.append(pd.DataFrame({"image": pictures.ids, "direction": direction, "budget": budget, "ratio": ratio}))
    return pd.concat(rows, ignore_index=True)


def ratio_medians(rows: pd.DataFrame) -> pd.DataFrame:
    """The median ratio of `ratio_rows` for each direction and budget."""
    return rows.groupby(["direction", "budget"], sort=False, as_index=False)["ratio"].median()


def ratio_figure(medians: pd.DataFrame) -> Drawing:
    """What `ratio_medians` found."""
    labels = ("Q(r)", "true distance D / Q(r)")
    return curves(medians, "budget", "ratio", by="direction", names=DIRECTIONS, labels=labels, level=1)


def ratio_numbers(medians: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The same by direction and budget as text, for the prose."""
    return medians.pivot(index="budget", columns="direction", values="ratio").rename("{:.0e}".format).to_dict()
