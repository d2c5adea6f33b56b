"""Quantities that a check computes again: data, SSIM, balls, convex programs. They need no network."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from perceptlib.balls import Ball, L2Ball, LinfBall, LumaBall, SSIMBall, WindowBall, maximize_exactly, steepest_in_box
from perceptlib.convex import programs as convex
from perceptlib.data import folders as data
from perceptlib.data.handwritten import split_sha256
from perceptlib.data.sketches import draw
from perceptlib.pages.ssim import identity_deviations
from perceptlib.records import data_dir
from perceptlib.ssim import Window
from perceptlib.ssim import measure as ssim

Quantities = dict[str, float | str]
BORDER = 5  # pixels of the 11 x 11 window's rim, whose rule is a quantity of its own


@dataclass(frozen=True)
class Setting:
    """What may differ between two runs of a check.

    Attributes
    ----------
    seed
        Of pictures, noise and random directions.
    batch_size
        Pictures that are attacked at once.
    """

    seed: int = 0
    batch_size: int = 8


def fingerprint(name: str, values: Tensor) -> Quantities:
    """Mean, and a weighted sum in which every entry counts differently: a change of any one moves it.

    The weights lie in [-1, 1] and come from integers alone, so that they are the same everywhere.
    """
    flat = values.detach().double().flatten()
    mixed = (torch.arange(1, len(flat) + 1, dtype=torch.int64) * 2654435761) % 2**32
    weights = mixed.double() / 2**31 - 1
    return {f"{name} mean": float(flat.mean()), f"{name} weighted": float((weights * flat).sum() / len(flat) ** 0.5)}


def data_quantities(setting: Setting) -> Quantities:
    """Pictures and labels of the embedded presets, and the files of their networks."""
    scenes = data.shapes(8, seed=setting.seed, object_texture="mixed", background_texture="mixed")
    digits = data.digits(16, seed=setting.seed)
    found: Quantities = {
        "labels of shapes": _words(scenes.labels),
        "labels of digits": _words(digits.labels),
        "split of digits": split_sha256()[:16],
        "labels of 1000 shapes": short_sha256(_words(draw(1000, seed=setting.seed).labels)),
        "labels of all digits": short_sha256(_words(data.digits(seed=setting.seed).labels)),
        "share of shapes' objects": float(scenes.masks.double().mean()),
    }
    found |= fingerprint("shapes", scenes.images) | fingerprint("digits", digits.images)
    photographs = data.photographs(size=64)
    found["labels of photographs"] = " ".join(str(classes) for classes in photographs.accepted)
    found |= fingerprint("photographs", photographs.images)
    with tempfile.TemporaryDirectory() as folder:
        pixels = torch.arange(1, 1 + 30 * 40 * 4).view(30, 40, 4) * 2654435761 // 2**24 % 256
        Image.fromarray(pixels.byte().numpy(), "RGBA").save(Path(folder, "made.png"))
        found |= fingerprint("picture file", data.read_picture(Path(folder, "made.png"), size=24))
    for path in sorted((*data_dir().glob("shapes/*.safetensors"), *data_dir().glob("digits/*.safetensors"))):
        found[f"file {path.name}"] = short_sha256(path.read_bytes())
    return found


def ssim_quantities(setting: Setting) -> Quantities:
    """Mean SSIM, its two factors, its map inside and at the border, for both windows."""
    images = _photographs(64)
    others = (images + 0.05 * _noise(images, setting.seed)).clamp(0, 1)
    found: Quantities = {}
    for name, window in {"gaussian": Window(), "uniform": Window(size=7, kind="uniform")}.items():
        reference = ssim.Reference(images, window=window)
        change = reference.change_map(others - images)
        luminance, contrast = ssim.components(images, others, window=window)
        inner = change[..., BORDER:-BORDER, BORDER:-BORDER]
        found |= {
            f"{name} mean SSIM": float(ssim.mean_ssim(images, others, window=window).mean()),
            f"{name} luminance": float(luminance.mean()),
            f"{name} contrast and structure": float(contrast.mean()),
            f"{name} change at the border": float((change.sum() - inner.sum()) / (change.numel() - inner.numel())),
            f"{name} change inside": float(inner.mean()),
            f"{name} reach": float(reference.reach(others - images, 0.01).abs().mean()),
        }
        found |= fingerprint(f"{name} change map", change)
    dark = 0.02 * images  # where C1 and C2 weigh most
    found["mean SSIM of dark pictures"] = float(ssim.mean_ssim(dark, 0.02 * others).mean())
    found |= {f"off scikit-image, {name}": value for name, value in identity_deviations(images, others).items()}
    return found


def ball_quantities(setting: Setting) -> Quantities:
    """Every method of every ball: steepest direction, gauge, measure, projection, pull back."""
    images = _photographs(48)
    gradient, change = _noise(images, setting.seed), 0.1 * _noise(images, setting.seed + 1)
    support = torch.zeros(len(images), 48, 48, dtype=torch.bool)
    support[:, 8:32, 8:40] = True
    balls: Mapping[str, Ball] = {
        "linf": LinfBall(0.03),
        "l2": L2Ball(2.0),
        "ssim": SSIMBall(images, 0.01),
        "ssim diagonal": SSIMBall(images, 0.01, coupling="diagonal"),
        "ssim contrast and structure": SSIMBall(images, 0.01, components="contrast_structure"),
        "ssim luminance": SSIMBall(images, 0.01, components="luminance"),
        "ssim uniform": SSIMBall(images, 0.01, window=Window(size=7, kind="uniform")),
        "ssim support": SSIMBall(images, 0.01, support=support),
        "window": WindowBall(images, 0.01),
        "luma": LumaBall(images, 0.01),
    }
    found: Quantities = {}
    for name, ball in balls.items():
        inside = ball.steepest(gradient)
        found |= fingerprint(f"{name} steepest", inside)
        found[f"{name} gauge"] = float(ball.gauge(0.5 * inside + 1e-3 * inside.roll(1, -1) * (inside != 0)).mean())
        given = change * support[:, None] if name == "ssim support" else change
        found[f"{name} measure"] = float(ball.measure(given).mean())
        found |= fingerprint(f"{name} projection", ball.project(given))
        found |= fingerprint(f"{name} pulled back", ball.pull_back(given))
    return found


def convex_quantities(setting: Setting) -> Quantities:
    """Optima of the three programs on one small crop, and of the fast forms on the same."""
    images = _photographs(96)[:1, :, 40:52, 40:52]
    gradient = _noise(images, setting.seed)
    gradients = torch.stack([gradient, _noise(images, setting.seed + 1)], dim=1)[0]
    ball = SSIMBall(images, 0.01, cg_steps=200, tolerance=1e-10)
    found: Quantities = {}
    for name, is_boxed in {"P1": False, "P1 in the box": True}.items():
        solution = convex.maximize_linear(images, gradient, 0.01, box=is_boxed)
        found[f"{name} objective"] = solution.objective
        found[f"{name} distance"] = solution.distance
    found["P2 objective"] = convex.maximize_linear(images, gradient, 0.01, ball="window", size=4).objective
    gaps = torch.tensor([0.2, 0.4], dtype=torch.float64)
    found["P3 objective"] = convex.smallest_linear(images, gradients, gaps).objective
    found["fast P1 objective"] = float((gradient * ball.steepest(gradient)).sum())
    boxed = steepest_in_box(ball, gradient, tolerance=1e-8)
    found["fast P1 in the box objective"] = float((gradient * boxed.perturbation).sum())
    found["gain of freezing anew"] = float(maximize_exactly(images, gradient, 0.01, steps=3).gain.mean())
    return found


def _photographs(side: int) -> Tensor:
    """Two photographs in float64: one with flat sky, one textured; and a constant grey one, where only C2 is left."""
    pictures = data.photographs(size=96)
    middle = slice(48 - side // 2, 48 - side // 2 + side)
    chosen = pictures.images[:2, :, middle, middle].double()
    return torch.cat([chosen, torch.full_like(chosen[:1], 0.5)])


def _noise(like: Tensor, seed: int) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)


def short_sha256(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


def _words(labels: Any) -> str:
    return " ".join(str(label) for label in labels.tolist())
