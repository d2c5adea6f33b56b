"""SSIM-ball adversarial attacks, their agreement with class activation maps, and the controls that test it.

The names below are what most readers need; each folder's ``__init__`` says what else it offers. They are loaded when
they are first used, so that ``import perceptlib`` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perceptlib.attacks import AttackResult, maximize_loss, smallest
    from perceptlib.balls import L2Ball, LinfBall, MultiScaleBall, SSIMBall, WindowBall
    from perceptlib.convex import maximize_linear, smallest_linear
    from perceptlib.data import photographs, shapes
    from perceptlib.maps import agreement, class_activation_map
    from perceptlib.networks import load, wrap
    from perceptlib.records.package import __version__ as __version__

_FOLDERS = {
    **dict.fromkeys(("AttackResult", "maximize_loss", "smallest"), "attacks"),
    **dict.fromkeys(("L2Ball", "LinfBall", "MultiScaleBall", "SSIMBall", "WindowBall"), "balls"),
    **dict.fromkeys(("maximize_linear", "smallest_linear"), "convex"),
    **dict.fromkeys(("photographs", "shapes"), "data"),
    **dict.fromkeys(("agreement", "class_activation_map"), "maps"),
    **dict.fromkeys(("load", "wrap"), "networks"),
    "__version__": "records.package",
}

__all__ = [
    "AttackResult",
    "L2Ball",
    "LinfBall",
    "MultiScaleBall",
    "SSIMBall",
    "WindowBall",
    "agreement",
    "class_activation_map",
    "load",
    "maximize_linear",
    "maximize_loss",
    "photographs",
    "shapes",
    "smallest",
    "smallest_linear",
    "wrap",
]


class _TorchvisionFinder:
    """Mends the import of torchvision beside a CPU-only torch, whoever asks for it."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name != "torchvision":
            return None
        return import_module("perceptlib.records.torchvision_import").torchvision_spec()


if _TorchvisionFinder not in sys.meta_path:
    sys.meta_path.insert(0, _TorchvisionFinder)


def __getattr__(name: str) -> Any:
    if name not in _FOLDERS:
        raise AttributeError(f"module 'perceptlib' has no attribute {name!r}")
    value = getattr(import_module(f"perceptlib.{_FOLDERS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FOLDERS})
