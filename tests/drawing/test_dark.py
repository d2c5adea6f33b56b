"""Figures for a dark page: letters turned over, pictures kept."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
from PIL import Image

from perceptlib.drawing.dark import GROUND, LETTERS, both_drawings, both_pictures
from perceptlib.drawing.figures import LOOKS, drawing


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def hexadecimal(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def test_drawing_has_rules_for_a_dark_page_whose_lines_stand_out() -> None:
    figure = drawing(2, pd.DataFrame())
    axes = figure.subplots()
    for place, look in enumerate(LOOKS.values()):
        axes.plot([0, 1], [place, place], color=look.colour)
    axes.set_title("Title")
    light = figure._repr_mimebundle_()["image/svg+xml"]
    assert isinstance(light, str)
    both = both_drawings(light)
    rules = dict(re.findall(r'\[style\*="stroke: (#\w{6})"\]\{stroke:(#\w{6})!important\}', both))
    assert re.sub(' id="dark"|<style>svg:target.*?</style>', "", both) == light  # on a light page it is the same
    assert f'[style*="fill: #ffffff"]{{fill:{hexadecimal(GROUND)}!important}}' in both
    assert f"svg:target{{fill:{hexadecimal(LETTERS)}}}" in both
    drawn = {look.colour for look in LOOKS.values()}
    turned = {rules[colour.lower()] for colour in drawn}
    assert len(turned) == len(drawn)  # no two colours become one
    assert all(contrast(colour, hexadecimal(GROUND)) >= 3 for colour in turned)


def test_pictures_of_a_figure_are_kept_and_its_letters_are_turned_over() -> None:
    page = np.full((200, 300, 3), 255, dtype=np.uint8)
    photograph = np.random.default_rng(0).integers(60, 200, (25, 30, 1)).repeat(3, axis=2)
    page[20:120, 30:150] = photograph.repeat(4, axis=0).repeat(4, axis=1)
    page[150:160, 40:60] = 0  # letters
    page[165:180, 30:150] = np.linspace(0, 200, 120, dtype=np.uint8)[:, None]  # what the colours mean
    file = io.BytesIO()
    Image.fromarray(page).save(file, "jpeg", quality=95)
    light, dark = (
        np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(int) for shown in both_pictures(file.getvalue())
    )
    assert np.abs(light - page).mean() < 3
    assert np.abs(dark[30:110, 40:140] - page[30:110, 40:140]).mean() < 6
    assert np.abs(dark[167:178, 35:145] - page[167:178, 35:145]).mean() < 6
    assert np.abs(dark[180, 250] - GROUND).max() < 4
    assert np.abs(dark[154:156, 48:52] - LETTERS).max() < 12
