"""torchvision's import, also beside a torch that its operators were not compiled for."""

from __future__ import annotations

import subprocess
import sys

import torch

from perceptlib.data._torchvision import torchvision


def test_torchvision_has_its_networks_and_the_described_operators() -> None:
    assert torchvision.models.mobilenet_v2 is not None
    assert hasattr(torch.ops.torchvision, "nms")  # qnms is of newer versions


def test_torchvision_is_imported_after_a_failed_import_too() -> None:
    program = (
        "try:\n"
        "    import torchvision\n"
        "except RuntimeError as error:\n"
        "    assert 'torchvision::nms' in str(error)\n"
        "from perceptlib.data._torchvision import torchvision\n"
        "import torchvision.models\n"
        "print(torchvision.models.MobileNetV2.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "MobileNetV2", done.stderr
