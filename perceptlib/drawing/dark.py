"""Figures for a dark page: the same drawing with light letters on the page's dark ground; photographs and maps stay.

A page shows the one or the other (`book/finishing.py`), so that neither is a glaring slab nor unreadable.
"""

from __future__ import annotations

import colorsys
import io
import re
from collections.abc import Iterable

import numpy as np
from PIL import Image
from skimage.measure import label, regionprops

GROUND, LETTERS = (18, 18, 18), (230, 237, 243)  # the theme's dark ground, and what is black on a light one
_LIGHTNESS = 0.6  # at least, of a colour on the dark ground
_GREY = 0.1  # saturation below which a colour is a grey
_WHITE = 245  # of 255, the least of what counts as paper
# Pixels of the least side of a picture, and the share of its box that it fills at least: letters and lines fill less. A
# bar that explains colours is thin, and full.
_PICTURE, _BAR = (48, 0.35), (12, 0.75)
_LONG = 100  # pixels, the least length of such a bar
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")


def both_drawings(svg: str) -> str:
    """Return an SVG drawing of `perceptlib.drawing.figures` that is also one for a dark page, as FILE.svg#dark."""
    rules = [f"svg:target{{fill:{_hexadecimal(LETTERS)}}}"]  # of letters that name no colour
    for colour in sorted({*_COLOUR.findall(svg)}):
        for what in ("fill", "stroke"):
            rules.append(f'svg:target [style*="{what}: {colour}"]{{{what}:{_dark_colour(colour)}!important}}')
    return re.sub(r"<svg\b([^>]*)>", rf'<svg id="dark"\1><style>{"".join(rules)}</style>', svg, count=1)


def both_pictures(picture: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG figure of photographs and maps as WebP, for a light page and for a dark one.

    For the dark one, what lies between the pictures is turned over.
    """
    light = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(float)
    ground, letters = np.array(GROUND, dtype=float), np.array(LETTERS, dtype=float)
    grey = light.mean(axis=2, keepdims=True)
    dark = letters + grey / 255 * (ground - letters) + (light - grey)
    for top, left, bottom, right in _panels(light):
        dark[top:bottom, left:right] = light[top:bottom, left:right]
    return _webp(light), _webp(dark)


def _webp(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).round().astype(np.uint8)).save(file, "webp", quality=75, method=4)
    return file.getvalue()


def _panels(light: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Boxes (top, left, bottom, right) of the pictures on a figure's paper."""
    found = regionprops(label(light.min(axis=2) < _WHITE, connectivity=2))
    boxes = [(region.bbox, region.extent) for region in found]
    kept = []
    for (top, left, bottom, right), extent in boxes:
        short, long = sorted((bottom - top, right - left))
        least, filled = _BAR if long >= _LONG and short < _PICTURE[0] else _PICTURE
        if short >= least and extent >= filled:
            kept.append((top, left, bottom, right))
    return kept


def _dark_colour(colour: str) -> str:
    """A grey turned over between letters and ground; another colour as it is, lighter if it is dark."""
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    if saturation < _GREY or lightness in (0, 1):
        pairs = zip(GROUND, LETTERS, strict=True)
        return _hexadecimal(light + lightness * (dark - light) for dark, light in pairs)
    turned = colorsys.hls_to_rgb(hue, max(lightness, _LIGHTNESS), saturation)
    return _hexadecimal(255 * value for value in turned)


def _hexadecimal(colour: Iterable[float]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(round(value) for value in colour))
