"""How much memory a convex program will take, said before it starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

from torch import Tensor

from perceptlib.ssim import Window

# Bytes, from peak memory with Clarabel 0.11 at 768, 1728 and 3072 variables (99, 438 and 1341 MB).
_PER_FILL = 450  # entry that elimination fills: pixels of a channel times pixels that are coupled in between
_PER_CONE_ENTRY = 1000  # overlapping windows of the window ball
_PER_PIXEL = 8000
_REACH = 4  # sides of the window over which elimination couples rows of pixels


def memory_needed(images: Tensor, window: Window, *, is_coupled: bool = True, is_window_ball: bool = False) -> int:
    """Bytes that a convex program on one image (1, C, H, W) takes, to a factor of about 2.

    Windows are coupled where they overlap: not by the diagonal coupling, nor where they are disjoint. The window ball
    (P2) has a cone for every window.
    """
    pixels, (height, width) = images.numel(), images.shape[-2:]
    if not is_coupled:
        return pixels * _PER_PIXEL
    coupled = min(height * width, _REACH * window.size * min(height, width))
    cone = window.size**2 * _PER_CONE_ENTRY if is_window_ball else 0
    return pixels * (_PER_PIXEL + _PER_FILL * coupled + cone)


def free_memory() -> int:
    """Bytes of memory that can be had; all of it, or no limit, where the system does not tell."""
    table = Path("/proc/meminfo")  # Linux: counts what its caches would give back
    if table.is_file() and (found := re.search(r"MemAvailable:\s+(\d+) kB", table.read_text())):
        return 1024 * int(found[1])
    for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        if pages in os.sysconf_names:
            return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    return 1 << 62


def check_memory(images: Tensor, window: Window, *, is_coupled: bool = True, is_window_ball: bool = False) -> None:
    """MemoryError, before anything is built, for a program whose `memory_needed` exceeds `free_memory`."""
    needed = memory_needed(images, window, is_coupled=is_coupled, is_window_ball=is_window_ball)
    free = free_memory()
    if needed > free:
        raise MemoryError(
            f"a program of {images.numel()} variables needs about {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free; "
            "use the fast attack with its certificate, SSIMBall.steepest or boxed.steepest_in_box, or a smaller image"
        )
