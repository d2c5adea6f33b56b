"""Judges of a change to a picture, each as a loss: 0 where nothing differs, larger where more is seen.

All are computed by others' code: CIEDE2000 by scikit-image, MS-SSIM, GMSD, HaarPSI, VIF, FSIM and MDSI by piq, in
double precision because single hides a loss of 1e-6, FLIP by its authors' flip-evaluator, ColorVideoVDP by its
authors' cvvdp. Losses of different judges have no common unit, and near 0 they differ by powers of ten.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from skimage import color
from torch import Tensor

from perceptlib.attacks.result import round_to_8bit
from perceptlib.records.checks import Values, as_images

DISPLAY = "standard_4k"  # of ColorVideoVDP: 30 inches, 3840 x 2160, 200 cd/m^2, seen from 0.75 m
_CLOSE = 1e-3  # of a loss that is to be reached
_MOST_TRIALS = 40


@dataclass(frozen=True)
class Judge:
    """A loss of a clean and a changed picture, each (1, 3, H, W), float64; what it needs, and what it sees."""

    words: str
    loss: Callable[[Tensor, Tensor], float]
    module: str = "skimage"
    extra: str = ""  # of perceptlib, that installs the module
    least: int = 1  # pixels of a side
    factor: int = 1  # the perturbation is magnified by it beforehand

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


def _lightness_and_colour(clean: Tensor, changed: Tensor) -> NDArray[np.float64]:
    """CIEDE2000 difference of every pixel, of sRGB under D65 and the observer of 2 degrees, (H, W)."""
    first, second = (color.rgb2lab(picture[0].movedim(0, -1).numpy()) for picture in (clean, changed))
    difference: NDArray[np.float64] = color.deltaE_ciede2000(first, second)
    return difference


def _piq(name: str, *, is_similarity: bool) -> Callable[[Tensor, Tensor], float]:
    def loss(clean: Tensor, changed: Tensor) -> float:
        # the second is the reference where the two differ (VIF)
        value = float(getattr(import_module("piq"), name)(changed, clean, data_range=1.0, reduction="none")[0])
        return abs(1 - value) if is_similarity else value  # VIF passes 1 where contrast grows, which is seen as well

    return loss


def _flip(clean: Tensor, changed: Tensor) -> float:
    pictures = (picture[0].movedim(0, -1).float().contiguous().numpy() for picture in (clean, changed))
    return float(import_module("flip_evaluator").evaluate(*pictures, "LDR", applyMagma=False)[1])


@cache
def _colour_video_vdp() -> Any:
    return import_module("pycvvdp").cvvdp(display_name=DISPLAY, quiet=True, device=torch.device("cpu"))


def _jod(clean: Tensor, changed: Tensor) -> float:
    return 10 - float(_colour_video_vdp().predict(changed.float(), clean.float(), dim_order="BCHW")[0])


_PIQ, _VDP = ("piq", "judges"), ("pycvvdp", "cvvdp")
JUDGES: dict[str, Judge] = {
    "ciede2000": Judge("mean CIEDE2000", lambda *both: float(_lightness_and_colour(*both).mean())),
    "ciede2000_99": Judge(
        "the 99 % quantile of CIEDE2000", lambda *both: float(np.quantile(_lightness_and_colour(*both), 0.99))
    ),
    "ms_ssim": Judge("1 - MS-SSIM", _piq("multi_scale_ssim", is_similarity=True), *_PIQ, least=161),
    "gmsd": Judge("GMSD", _piq("gmsd", is_similarity=False), *_PIQ, least=4),
    "haarpsi": Judge("1 - HaarPSI", _piq("haarpsi", is_similarity=True), *_PIQ, least=16),
    "vif": Judge("1 - VIF", _piq("vif_p", is_similarity=True), *_PIQ, least=41),
    "fsim": Judge("1 - FSIM", _piq("fsim", is_similarity=True), *_PIQ, least=4),
    "mdsi": Judge("MDSI", _piq("mdsi", is_similarity=False), *_PIQ, least=4),
    "flip": Judge("FLIP", _flip, "flip_evaluator", "judges"),
    "jod": Judge("JOD loss", _jod, *_VDP, least=16),
    "jod_10": Judge("JOD loss at 10 times", _jod, *_VDP, least=16, factor=10),
    "jod_30": Judge("JOD loss at 30 times", _jod, *_VDP, least=16, factor=30),
}


def available(side: int | None = None) -> tuple[str, ...]:
    """Names of the judges that are installed, and that take pictures whose shorter side has so many pixels."""
    return tuple(name for name, one in JUDGES.items() if one.is_installed and (side is None or side >= one.least))


def judge(clean: Values, changed: Values, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Losses of changed pictures, one row a picture and one column a judge, in the order of the names.

    Parameters
    ----------
    clean, changed : Tensor or ndarray
        Shape (N, 3, H, W), sRGB in [0, 1], float32 or float64, on any device.
    names : sequence of str, optional
        Keys of `JUDGES`; without them all that `available` names, and a warning says which were left out.

    Returns
    -------
    DataFrame
        "ciede2000" and "ciede2000_99": mean and 99 % quantile of the pixels' CIEDE2000 difference (Sharma, Wu and Dalal
        2005), about 1 where it can just be seen side by side. "ms_ssim", "haarpsi", "vif" and "fsim": 1 minus the
        similarity, for VIF (in the pixel domain) its size, as it passes 1 where contrast grows. "gmsd" and "mdsi" as
        they are. "flip": mean error at 67 pixels per degree. "jod": what ColorVideoVDP on the display `DISPLAY` takes
        off its best quality, 10 JOD (1 JOD: three of four people find the changed picture worse); "jod_10" and
        "jod_30": that of the pictures that `magnified` makes, as the loss itself is often 0. NaN where a judge's own
        formula has no value, as HaarPSI's of black pictures.

    Raises
    ------
    TypeError, ValueError
        What `perceptlib.records.checks.check_images` refuses; pictures of other shapes than each other's or without
        three channels; an unknown name; pictures that are too small for a judge that is named.
    ModuleNotFoundError
        A judge that is named is not installed.
    """
    first, second = (
        as_images(given, name=name).detach().cpu().double() for given, name in ((clean, "clean"), (changed, "changed"))
    )
    if first.shape != second.shape or first.shape[1] != 3:
        raise ValueError(
            f"clean pictures have shape {tuple(first.shape)} and changed ones {tuple(second.shape)}; both must be "
            "(N, 3, H, W) of the same size; write images.expand(-1, 3, -1, -1) for grey ones"
        )
    height, width = first.shape[-2:]
    if names is None:
        names = available(min(height, width))
        if left_out := [name for name in JUDGES if name not in names]:
            warnings.warn(f"left out, not installed or too small a picture: {', '.join(left_out)}", stacklevel=2)
    for name in names:
        _check(name, height, width)
    pairs = list(zip(first.split(1), second.split(1), strict=True))
    with torch.random.fork_rng(devices=[]):  # a judge's own initial weights, which its file replaces
        return pd.DataFrame({name: [_loss(JUDGES[name], *pair) for pair in pairs] for name in names}, dtype=float)


def magnified(clean: Tensor, changed: Tensor, factor: float) -> Tensor:
    """Pictures whose perturbation is ``factor`` times as large, clipped to [0, 1] and rounded to 8 bits: (N, C, H, W).

    So a judge that sees nothing of two perturbations can still say which one it would see first.
    """
    return round_to_8bit((clean + factor * (changed - clean)).clamp(0, 1))


def scaled_to_loss(clean: Tensor, changed: Tensor, loss: float, name: str = "ciede2000") -> Tensor:
    """Pictures on the ray through the changed ones, clipped to [0, 1] and not rounded, at one loss of one judge.

    Parameters
    ----------
    clean, changed : Tensor
        As for `judge`; so are the errors.
    loss : float
        Above 0; reached to 0.1 %, unless the ray has left [0, 1] before.
    name : str
        Key of `JUDGES`.

    Returns
    -------
    Tensor
        (N, 3, H, W) in the clean ones' dtype and on their device; where nothing was changed, the clean picture.
    """
    if not loss > 0:
        raise ValueError(f"loss is {loss}; a number above 0 is needed, such as 0.1 for CIEDE2000")
    judge(clean, changed, [name])  # refuses what it cannot judge
    found = []
    pairs = zip(*(given.detach().double().cpu().split(1) for given in (clean, changed)), strict=True)
    for picture, other in pairs:
        low, high, scale = 0.0, float("inf"), 1.0
        scaled = other
        for _ in range(_MOST_TRIALS if bool((picture != other).any()) else 0):
            scaled = (picture + scale * (other - picture)).clamp(0, 1)
            value = _loss(JUDGES[name], picture, scaled)
            if abs(value - loss) <= _CLOSE * loss:
                break
            low, high = (scale, high) if value < loss else (low, scale)
            guess = scale * loss / value if value > 0 else 2 * scale  # losses grow about in proportion
            middle = 2 * scale if high == float("inf") else (low + high) / 2
            scale = guess if low < guess < high else middle
        found.append(scaled)
    return torch.cat(found).to(clean)


def _loss(one: Judge, clean: Tensor, changed: Tensor) -> float:
    with torch.inference_mode():
        value = one.loss(clean, changed if one.factor == 1 else magnified(clean, changed, one.factor))
    return value if np.isfinite(value) else float("nan")


def _check(name: str, height: int, width: int) -> None:
    if name not in JUDGES:
        raise ValueError(f"there is no judge {name!r}; {', '.join(JUDGES)} are")
    one = JUDGES[name]
    if not one.is_installed:
        raise ModuleNotFoundError(
            f"judge {name!r} needs {one.module}, which is not installed; install it with "
            f"`pip install 'perceptlib[{one.extra}]'`",
            name=one.module,
        )
    if min(height, width) < one.least:
        raise ValueError(
            f"judge {name!r} needs pictures of at least {one.least} pixels a side, these have {height}x{width}; "
            "leave it out"
        )
