"""The modules whose tests are themselves tested, and the files of those tests."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MODULES = (
    *("ssim", "window", "balls", "lp_balls", "ssim_ball", "conjugate_gradients", "window_ball", "luma_ball"),
    *("attacks", "deepfool", "eight_bit", "results", "agreement", "controls", "control_maps", "spatial", "statistics"),
)
# lp_balls, ssim_ball and window_ball are tested with balls.
TESTS = (
    *("ssim", "window", "balls", "support", "conjugate_gradients", "luma_ball", "attacks", "attack_steps", "deepfool"),
    *("eight_bit", "results", "agreement", "controls", "control_maps", "spatial", "statistics", "resampling"),
)


def source(module: str) -> Path:
    """Path of a module."""
    return ROOT / "perceptlib" / f"{module}.py"


def file_of_tests(name: str) -> Path:
    """Path of a file of tests."""
    return ROOT / "tests" / f"test_{name}.py"
