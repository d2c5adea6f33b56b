"""The modules whose tests are themselves tested, and the files of those tests: whole folders of the core."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ssim", "balls", "attacks", "maps")
# Compared with another library instead: maps of grad-cam.
_WITHOUT = ("maps.cam",)


def source(module: str) -> Path:
    """Path of a module: "ssim.window" is perceptlib/ssim/window.py."""
    return ROOT.joinpath("perceptlib", *module.split(".")).with_suffix(".py")


def module_of(path: str | Path) -> str:
    """The name of a module by its path."""
    return ".".join(Path(path).relative_to(ROOT / "perceptlib").with_suffix("").parts)


_FOUND = [module_of(path) for folder in FOLDERS for path in sorted((ROOT / "perceptlib" / folder).glob("[!_]*.py"))]
MODULES = (*(module for module in _FOUND if module not in _WITHOUT), "analysis.statistics")
TESTS = tuple(
    path
    for folder in (*FOLDERS, "analysis")
    for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
    if folder != "analysis" or path.stem in ("test_statistics", "test_resampling")
)
