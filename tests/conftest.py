"""Fixtures that several test files share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import perceptlib  # noqa: F401  (before any torchvision, whose import it mends beside a CPU-only torch)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import browser as browsers  # noqa: E402

# Two OpenMP threads that wait for each other on a busy machine are far slower than one.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder with ImageNet weights, labelled photographs and class names, named by PERCEPTLIB_ASSETS."""
    folder = os.environ.get("PERCEPTLIB_ASSETS")
    if not folder:
        pytest.skip("PERCEPTLIB_ASSETS names no folder with ImageNet weights and photographs")
    return Path(folder)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """Folder of torch's download cache, of this test alone."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Address of the built book, served on this machine alone."""
    with browsers.served(ROOT / "build" / "html") as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Playwright's browser: the system's Chromium."""
    with browsers.chromium() as opened:
        yield opened
