"""Pictures of the explorer page's files, put together as the page does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image


def read(path: Path) -> NDArray[np.int64]:
    """Levels of a file."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def content(folder: Path) -> Any:
    """What frames.json says."""
    return json.loads((folder / "frames.json").read_text())


def read_frame(folder: Path, picture: str, method: str, budget: float) -> torch.Tensor:
    """One adversarial picture, (1, 3, H, W)."""
    original = read(folder / f"{picture}.webp")
    top = content(folder)["budgets"].index(budget) * len(original)
    added, taken = np.split(read(folder / f"{picture}-{method}.webp")[top : top + len(original)], 2, axis=1)
    return torch.from_numpy(original + added - taken).permute(2, 0, 1)[None].float() / 255
