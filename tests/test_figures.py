from __future__ import annotations

import io
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
import torch

from perceptlib.figures import _amplification, attack_panel


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 24, 32, generator=generator)
    adversarial = (image + 0.01 * torch.randn(3, 24, 32, generator=generator)).clamp(0, 1)
    return image, adversarial, torch.rand(24, 32, generator=generator), torch.rand(24, 32, generator=generator)


def words(panel: object) -> str:
    return " | ".join(axes.get_title() + ": " + axes.get_xlabel() for axes in panel.axes)  # type: ignore[attr-defined]


def test_attack_panel_shows_five_pictures(pictures: tuple[torch.Tensor, ...]) -> None:
    panel = attack_panel(*pictures, label="cat, 0.9", label_after="lynx, 0.7", cam_label="cat")
    assert words(panel) == (
        "image: cat, 0.9 | adversarial image: lynx, 0.7 | perturbation: 10 times, grey = unchanged | "
        f"SSIM change map: black = 0, white = {float(pictures[2].max()):.2g} | class activation map: cat"
    )
    shown = [axes.images[0].get_array() for axes in panel.axes]
    assert [array.shape for array in shown] == [(24, 32, 3)] * 3 + [(24, 32)] * 2
    np.testing.assert_array_equal(shown[1], pictures[1].permute(1, 2, 0))
    np.testing.assert_array_equal(shown[4], pictures[3])


@pytest.mark.parametrize("label", ["a $ and $\\frac{ no formula", "x" * 300, "", "máquina ß"])
def test_attack_panel_takes_any_class_name(pictures: tuple[torch.Tensor, ...], label: str) -> None:
    panel = attack_panel(*pictures, label=label, label_after=label, cam_label=label)
    file = io.BytesIO()
    panel.savefig(file, dpi=60)
    file.seek(0)
    assert matplotlib.image.imread(file).shape[0] > 100


def test_attack_panel_of_unchanged_image_is_grey(pictures: tuple[torch.Tensor, ...]) -> None:
    nothing = torch.zeros(24, 32)
    panel = attack_panel(pictures[0], pictures[0], nothing, nothing, label="a", label_after="a", cam_label="a")
    assert (np.asarray(panel.axes[2].images[0].get_array()) == 0.5).all()
    panel.savefig(io.BytesIO())


@pytest.mark.parametrize(
    ("largest", "factor"), [(0.0, 1), (1.0, 1), (0.4, 1), (0.2, 2), (0.09, 5), (0.03, 10), (4e-4, 1000)]
)
def test_amplification_is_round_and_fits(largest: float, factor: float) -> None:
    assert _amplification(torch.full((3, 4, 4), largest)) == factor


def test_figures_leaves_pyplot_alone() -> None:
    code = "import sys, perceptlib.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
