"""Settings: what they allow, how they are combined, and that a file keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from perceptlib.analysis.tables import read_rows, write_rows
from perceptlib.balls import LumaBall, SSIMBall
from perceptlib.ssim import Window
from perceptlib.study.sensitivity_settings import (
    FIELDS,
    Setting,
    full_grid,
    one_at_a_time,
    setting_of,
    settings_from,
    settings_of,
    window_of,
)


def test_windows_by_their_words() -> None:
    assert window_of("gaussian 11 1.5") == Window()
    assert window_of("gaussian 21 3") == Window(21, 3.0)
    assert (window_of("uniform 7").weights() == 1 / 7).all()


@pytest.mark.parametrize("words", ["", "gaussian", "gaussian 11", "uniform 7 1.5", "uniform seven", "square 7"])
def test_window_of_other_words_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="write 'gaussian SIZE SIGMA' or 'uniform SIZE', in pixels"):
        window_of(words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.0}, "budget is 0.0; a number between 0 and 1 is allowed"),
        ({"q": 1.0}, "q is 1.0; a number between 0 and 1 is allowed"),
        ({"steps": 0}, "steps is 0; 1 or more is allowed"),
        ({"components": "contrast"}, "components is 'contrast'; both, luminance, contrast_structure are allowed"),
        ({"coupling": "half"}, "coupling is 'half'; full, diagonal are allowed"),
        ({"colour": "grey"}, "colour is 'grey'; channels, luma are allowed"),
        ({"cam_method": "lime"}, "cam_method is 'lime'; cam, grad-cam"),
        ({"cam_class": "false"}, "cam_class is 'false'; true, adversarial, random are allowed"),
        ({"window": "uniform 8"}, "window size 8 is not an odd number"),
    ],
)
def test_setting_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Setting(**options)


def test_ball_has_what_the_setting_says() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ball = Setting(window="uniform 7", components="luminance", coupling="diagonal", budget=0.01).ball(images)
    assert isinstance(ball, SSIMBall)
    assert (ball.window, ball.components, ball.coupling, ball.budget) == (
        Window(7, kind="uniform"),
        "luminance",
        "diagonal",
        0.01,
    )
    assert isinstance(Setting(colour="luma").ball(images, cg_steps=3), LumaBall)


def test_one_at_a_time_varies_one_field_each() -> None:
    base = Setting()
    settings = one_at_a_time(base, budget=[0.001, 0.01], coupling=["diagonal"], q=[0.1])
    assert [setting.varied(base) for setting in settings] == [(), ("budget",), ("coupling",), ("q",)]
    assert settings[1].budget == 0.01


def test_full_grid_is_every_combination() -> None:
    settings = full_grid(Setting(), budget=[0.001, 0.01], window=["uniform 7", "uniform 5"])
    assert [(setting.budget, setting.window) for setting in settings] == [
        (0.001, "uniform 7"),
        (0.001, "uniform 5"),
        (0.01, "uniform 7"),
        (0.01, "uniform 5"),
    ]


def test_first_entries_of_lists_are_the_base() -> None:
    tried = {"budget": [0.01, 0.1], "window": ["uniform 7", "uniform 5"], "steps": [1, 3]}
    base, settings = settings_from(tried, grid=("budget", "window"))
    assert base == Setting(budget=0.01, window="uniform 7")
    assert settings[0] == base and len(settings) == len(set(settings)) == 5
    assert settings[-1].varied(base) == ("budget", "window")
    assert len(settings_from(tried)[1]) == 4


def test_lists_refuse() -> None:
    with pytest.raises(ValueError, match="a setting has no field 'size'; budget, window"):
        one_at_a_time(Setting(), size=[1])
    with pytest.raises(ValueError, match="steps has no value to try; pass at least the base's"):
        settings_from({"steps": []})


def test_settings_survive_a_file(tmp_path: Path) -> None:
    settings = one_at_a_time(Setting(budget=1e-5), layer=["features.5"], q=[0.3], steps=[5], window=["uniform 7"])
    rows = [{name: getattr(setting, name) for name in FIELDS} for setting in settings for _ in range(2)]
    again = read_rows(write_rows(rows, tmp_path / "rows.csv"))
    assert settings_of(again) == settings
    assert setting_of(again[0]) == settings[0]
