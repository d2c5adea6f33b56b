"""Import torchvision, also beside a CPU-only torch: ``from perceptlib.data._torchvision import torchvision``.

The package index's torchvision is compiled for the CUDA build of torch. Beside a CPU-only torch its operators do not
load, and its import ends with ``operator torchvision::nms does not exist``, because it describes two operators that
are not there. Nothing here calls them, so giving their schemas is enough. grad-cam imports torchvision too: import
this module before it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DESCRIBED_AT_IMPORT = ("nms", "qnms")

# Definitions live as long as this object.
_library = torch.library.Library("torchvision", "FRAGMENT")


def _forget_failed_import() -> None:
    """Drop the submodules that a failed import of torchvision leaves behind; a second import trips over them."""
    if "torchvision" not in sys.modules:
        for name in [name for name in sys.modules if name.startswith("torchvision.")]:
            del sys.modules[name]


def _import_torchvision() -> ModuleType:
    """Import torchvision; only where its operators did not load, define the missing schemas and import again."""
    _forget_failed_import()
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        missing = [name for name in _DESCRIBED_AT_IMPORT if not hasattr(torch.ops.torchvision, name)]
        if not missing or "torchvision::" not in str(error):
            raise
    for name in missing:
        _library.define(name + _SCHEMA)
    _forget_failed_import()
    return importlib.import_module("torchvision")


torchvision = _import_torchvision()
