from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from perceptlib.convex import memory as program_memory
from perceptlib.convex.memory import check_memory, free_memory, memory_needed
from perceptlib.ssim import Window


def picture(side: int) -> torch.Tensor:
    return torch.zeros(1, 3, side, side)


def test_memory_needed_is_within_its_measurements() -> None:
    for side, measured in ((16, 99e6), (24, 438e6), (32, 1341e6)):  # Clarabel 0.11, three channels
        assert measured / 2 < memory_needed(picture(side), Window()) < 2 * measured


def test_memory_needed_grows_with_what_is_coupled() -> None:
    alone = memory_needed(picture(32), Window(), is_coupled=False)
    assert memory_needed(picture(64), Window(), is_coupled=False) == 4 * alone
    coupled = memory_needed(picture(32), Window())
    cones = memory_needed(picture(32), Window(), is_window_ball=True)
    assert alone < coupled < cones
    assert memory_needed(picture(256), Window(5)) < memory_needed(picture(256), Window(11))
    # elimination fills rows of a picture that is much larger than the window: pixels^1.5
    assert memory_needed(picture(512), Window()) / memory_needed(picture(256), Window()) == pytest.approx(8, rel=0.1)


def test_free_memory_is_what_the_system_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    monkeypatch.setattr(Path, "read_text", lambda path: "MemTotal: 9 kB\nMemAvailable:   2048 kB\n")
    assert free_memory() == 2 << 20
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    monkeypatch.setattr(os, "sysconf_names", {"SC_PHYS_PAGES": 1})
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert free_memory() == 3 * 4096
    monkeypatch.setattr(os, "sysconf_names", {})
    assert free_memory() == 1 << 62


def test_a_program_beyond_the_free_memory_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = memory_needed(picture(64), Window())
    monkeypatch.setattr(program_memory, "free_memory", lambda: needed)
    check_memory(picture(64), Window())
    message = (
        rf"a program of 12288 variables needs about {needed / 1e9:.0f} GB, 2 GB are free; use the fast attack with "
        r"its certificate, SSIMBall.steepest or boxed.steepest_in_box, or a smaller image"
    )
    monkeypatch.setattr(program_memory, "free_memory", lambda: 2 * 10**9)
    with pytest.raises(MemoryError, match=message):
        check_memory(picture(64), Window())
    check_memory(picture(64), Window(), is_coupled=False)
