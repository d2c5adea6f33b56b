"""torchvision's import, also beside a torch that its operators were not compiled for."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchvision


def test_torchvision_has_its_networks_and_the_described_operators() -> None:
    assert torchvision.models.mobilenet_v2 is not None
    assert hasattr(torch.ops.torchvision, "nms")  # qnms is of newer versions


FIRST_ALONE = (
    "try:\n    import torchvision\nexcept RuntimeError as error:\n    assert 'torchvision::nms' in str(error)\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "from perceptlib import wrap\n", FIRST_ALONE], ids=["alone", "wrap", "failed"])
def test_torchvision_is_imported_once_perceptlib_is(before: str) -> None:
    program = (
        f"{before}import sys, perceptlib\n"
        "assert 'torch' not in sys.modules or sys.argv[1]\n"
        "import torchvision.models, torchvision\n"
        "print(torchvision.models.resnet18.__name__, torchvision.__spec__.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, before], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "resnet18 torchvision", done.stderr


@pytest.mark.slow
def test_python_without_torchvision_is_told_so_by_python() -> None:
    program = (
        "import sys, perceptlib\n"
        "sys.path = [path for path in sys.path if 'site-packages' not in path]\n"
        "print(__import__('importlib.util').util.find_spec('torchvision'))\n"
    )
    blocked = f"import sys; import torch; {program}"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None", done.stderr
