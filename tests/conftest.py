"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# Two OpenMP threads that wait for each other on a busy machine are far slower than one.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder with ImageNet weights, labelled photographs and class names, named by PERCEPTLIB_ASSETS."""
    folder = os.environ.get("PERCEPTLIB_ASSETS")
    if not folder:
        pytest.skip("PERCEPTLIB_ASSETS names no folder with ImageNet weights and photographs")
    return Path(folder)
