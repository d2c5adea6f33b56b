"""Figures of results: what is computed elsewhere is drawn here, with matplotlib's object interface alone."""

from __future__ import annotations

import math
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

# One colour map for both maps, so that a reader compares them by eye.
_MAP_COLOURS = "magma"


def attack_panel(
    image: Tensor,
    adversarial: Tensor,
    change_map: Tensor,
    cam: Tensor,
    *,
    label: str,
    label_after: str,
    cam_label: str,
) -> Figure:
    """One attacked image: image, adversarial image, amplified perturbation, change map and CAM side by side.

    Parameters
    ----------
    image, adversarial
        (3, H, W), in [0, 1].
    change_map
        1 - SSIM, (H, W).
    cam
        Class activation map of the clean image, (H, W), >= 0.
    label, label_after
        Words below the titles of the two images, such as the class that the network sees and its probability.
    cam_label
        Class of the CAM.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot: nothing to close.
    """
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    axes = figure.subplots(1, 5)
    _picture(axes[0], image, "image", label)
    _picture(axes[1], adversarial, "adversarial image", label_after)
    perturbation = adversarial - image
    factor = _amplification(perturbation)
    _picture(axes[2], (0.5 + factor * perturbation).clamp(0, 1), "perturbation", f"{factor:g} times, grey = unchanged")
    _map(axes[3], change_map, "SSIM change map", f"black = 0, white = {float(change_map.max()):.2g}")
    _map(axes[4], cam, "class activation map", cam_label)
    return figure


def _picture(axes: Axes, image: Tensor, title: str, words: str) -> None:
    axes.imshow(image.detach().cpu().permute(1, 2, 0).numpy(), vmin=0, vmax=1)
    _caption(axes, title, words)


def _map(axes: Axes, values: Tensor, title: str, words: str) -> None:
    axes.imshow(values.detach().cpu().numpy(), cmap=_MAP_COLOURS, vmin=0)
    _caption(axes, title, words)


def _caption(axes: Axes, title: str, words: str) -> None:
    axes.set_title(title, fontsize=11)
    # Class names come from a user's file: a dollar sign in them is no formula.
    axes.set_xlabel(textwrap.fill(words, 28, max_lines=3, placeholder=" …"), fontsize=10, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])


def _amplification(perturbation: Tensor) -> float:
    """Factor 1, 2, 5, 10, ... that brings nearly all changes into plus or minus one half; 1 for none."""
    # The few largest changes may saturate, so that the rest is seen.
    largest = float(perturbation.detach().abs().flatten().quantile(0.995)) if perturbation.numel() else 0.0
    if largest <= 0:
        return 1.0
    room = max(0.5 / largest, 1.0)
    decade = 10.0 ** math.floor(math.log10(room))
    return max(step * decade for step in (1, 2, 5) if step * decade <= room)
