"""torchvision's import beside a CPU-only torch, mended for everyone once `perceptlib` is imported.

The package index's torchvision is compiled for the CUDA build of torch. Beside a CPU-only torch its operators do not
load, and its import ends with ``operator torchvision::nms does not exist``, because it describes operators that are
not there. Nothing here calls them, so giving their schemas is enough.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DESCRIBED_AT_IMPORT = ("nms", "qnms")

# Definitions live as long as this object.
_library = torch.library.Library("torchvision", "FRAGMENT")


class _Loader(SourceFileLoader):
    """Loads torchvision; where its operators did not load, defines the missing schemas and loads again."""

    def exec_module(self, module: ModuleType) -> None:
        _forget_submodules()
        try:
            super().exec_module(module)
        except RuntimeError as error:
            missing = [name for name in _DESCRIBED_AT_IMPORT if not hasattr(torch.ops.torchvision, name)]
            if not missing or "torchvision::" not in str(error):
                raise
            for name in missing:
                _library.define(name + _SCHEMA)
            _forget_submodules()
            super().exec_module(module)


def torchvision_spec() -> ModuleSpec | None:
    """How Python is to load torchvision; None where it is not installed."""
    spec = PathFinder.find_spec("torchvision")
    if spec is not None and isinstance(spec.loader, SourceFileLoader):
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
    return spec


def _forget_submodules() -> None:
    """Drop what a failed import of torchvision leaves behind; a second import trips over it."""
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]
