"""What other libraries ask of their SSIM, asked of this one: cases after scikit-image, piq, torchmetrics and kornia.

Where they differ from it by design, and why no case is taken:

- sample covariance (scikit-image's default, torchmetrics' never): population statistics here, as in Wang et al. 2004;
- borders: scikit-image repeats the edge as here and leaves the border out of the mean; kornia and torchmetrics mirror
  without it, and torchmetrics means over it; piq leaves out windows that do not fit. All agree where every one fits;
- piq halves pictures above 256 pixels first (``downsample=False`` is the case taken); kornia's loss is (1 - S) / 2;
- another K1, K2 or data range, anisotropic windows, volumes, float16 and data in 0..255: refused or not there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity
from torch import Tensor

from perceptlib.ssim import Window, change_map, components, distance, mean_ssim, ssim_map

CONSTANTS = {"use_sample_covariance": False, "data_range": 1, "channel_axis": 0}
ROUNDING = 1e-10  # float64: sums of some hundred products


def noisy(sigma: float, *, side: int = 64, channels: int = 3, seed: int = 1234) -> tuple[Tensor, Tensor]:
    """A photograph and the same with noise."""
    picture = data.astronaut()[100 : 100 + side, 200 : 200 + side, :channels].transpose(2, 0, 1) / 255
    changed = picture + sigma * np.random.default_rng(seed).standard_normal(picture.shape)
    return torch.from_numpy(picture)[None], torch.from_numpy(changed.clip(0, 1))[None]


def skimage(first: Tensor, second: Tensor, window: Window, **options: Any) -> Any:
    shape: dict[str, Any] = {"gaussian_weights": True, "sigma": window.sigma}  # as wide as 3.5 sigma, rounded
    if window.kind == "uniform":
        shape = {"win_size": window.size}
    return structural_similarity(first[0].numpy(), second[0].numpy(), **shape, **CONSTANTS, **options)


WINDOWS = [Window(2 * int(3.5 * sigma + 0.5) + 1, sigma) for sigma in (0.5, 0.8, 1.0, 1.5, 2.0, 2.5)]
WINDOWS += [Window(size, kind="uniform") for size in (3, 5, 7, 11)]


@pytest.mark.parametrize("sigma", [0.004, 0.1, 0.5])
@pytest.mark.parametrize("window", WINDOWS, ids=lambda w: f"{w.kind}-{w.size}-{w.sigma}")
def test_every_window_agrees_with_scikit_image(window: Window, sigma: float) -> None:
    """After scikit-image's test_structural_similarity_image, and torchmetrics' test_ssim over sigma and kernel size."""
    first, second = noisy(sigma)
    value, full = skimage(first, second, window, full=True)
    assert float(mean_ssim(first, second, window=window)) == pytest.approx(value, abs=ROUNDING)
    assert np.abs(ssim_map(first, second, window=window)[0].numpy() - full).max() < ROUNDING
    assert float(mean_ssim(first.float(), second.float(), window=window)) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("side", [11, 12, 31, 100])
def test_sizes_and_channels_agree_with_scikit_image(channels: int, side: int) -> None:
    """After its test_structural_similarity_multichannel, and piq's and kornia's over shapes."""
    first, second = noisy(0.1, side=side, channels=channels)
    assert float(mean_ssim(first, second)) == pytest.approx(skimage(first, second, Window()), abs=ROUNDING)
    tiled = [image[:, :1].repeat(1, 3, 1, 1) for image in (first, second)]
    assert float(mean_ssim(*tiled)) == pytest.approx(float(mean_ssim(first[:, :1], second[:, :1])), abs=ROUNDING)


def test_mean_of_the_camera_is_that_of_other_implementations() -> None:
    """After scikit-image's comparison with the program of Wang's authors (test_mssim_vs_legacy, ..._mixed_dtype)."""
    camera = data.camera()[128:256, 128:256] / 255
    changed = (camera + 20 / 255 * np.random.default_rng(5).standard_normal(camera.shape)).clip(0, 1)
    first, second = (torch.from_numpy(image)[None, None] for image in (camera, changed))
    for window in (Window(), Window(7, kind="uniform")):
        value = skimage(first, second, window)
        assert float(mean_ssim(first, second, window=window)) == pytest.approx(value, abs=ROUNDING)
    as_8bit = [(255 * image).round().byte() for image in (first, second)]  # theirs takes either
    mixed = structural_similarity(*(image[0, 0].numpy() for image in as_8bit), gaussian_weights=True, **SINGLE_8BIT)
    assert float(mean_ssim(*(image / 255.0 for image in as_8bit))) == pytest.approx(mixed, abs=1e-5)


SINGLE_8BIT = {"use_sample_covariance": False, "data_range": 255}


@pytest.mark.parametrize("function", [mean_ssim, ssim_map, lambda x, y: torch.stack(components(x, y))])
def test_equal_images_have_similarity_one(function: Any) -> None:
    """After piq's test_ssim_measure_is_one_for_equal_tensors and kornia's test_metric_mean... of equal images."""
    for image in (noisy(0.1)[1], torch.zeros(1, 1, 12, 12), torch.ones(1, 1, 12, 12), torch.rand(2, 3, 16, 12)):
        assert torch.equal(function(image, image), torch.ones_like(function(image, image)))
        assert float(distance(image, image).max()) == float(change_map(image, image).max()) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_black_and_white_are_nearly_unlike(dtype: torch.dtype) -> None:
    """After piq's test_ssim_measure_is_less_or_equal_to_one: C1 / (1 + C1) is all that is left."""
    white, black = torch.ones(2, 3, 16, 16, dtype=dtype), torch.zeros(2, 3, 16, 16, dtype=dtype)
    assert mean_ssim(white, black).tolist() == pytest.approx([1e-4 / (1 + 1e-4)] * 2, rel=1e-2)
    assert bool((mean_ssim(torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)) < 0.3).all())


def test_similarity_is_symmetric_falls_with_noise_and_may_be_negative() -> None:
    """After piq's test_ssim_symmetry, torchmetrics' and pytorch-msssim's over rising noise."""
    values = []
    for sigma in (0.01, 0.05, 0.1, 0.2, 0.5):
        first, second = noisy(sigma)
        torch.testing.assert_close(ssim_map(first, second), ssim_map(second, first), rtol=0, atol=ROUNDING)
        values.append(float(mean_ssim(first, second)))
    assert values == sorted(values, reverse=True)
    stripes = (torch.arange(16) % 2).double().expand(1, 1, 16, 16)
    assert float(mean_ssim(stripes, 1 - stripes)) < -0.9


def test_a_batch_is_its_images() -> None:
    """After torchmetrics' test_ssim_batch and piq's test_ssim_reduction."""
    first, second = torch.rand(2, 5, 3, 20, 24, dtype=torch.float64)
    alone = torch.cat([mean_ssim(x[None], y[None]) for x, y in zip(first, second, strict=True)])
    torch.testing.assert_close(mean_ssim(first, second), alone, rtol=0, atol=ROUNDING)


def test_a_descent_on_the_loss_restores_the_picture() -> None:
    """After kornia's and pytorch-msssim's training examples: the gradient of the loss is that of a distance."""
    clean, _ = noisy(0, side=24)
    current = (0.5 + 0 * clean).requires_grad_()
    optimiser = torch.optim.Adam([current], lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        distance(clean, current.clamp(0, 1)).sum().backward()
        optimiser.step()
    assert float(mean_ssim(clean, current.detach().clamp(0, 1))) > 0.95


@pytest.mark.parametrize(
    "change, error, message",
    [
        (lambda x, y: (x, y[..., :-1]), ValueError, "differ in shape; pass equal shapes"),
        (lambda x, y: (x[0], y[0]), ValueError, r"four axes \(N, C, H, W\) are needed; write images\[None\]"),
        (lambda x, y: (x[None], y[None]), ValueError, r"four axes \(N, C, H, W\) are needed"),
        (lambda x, y: (x, y.double()), TypeError, "images are torch.float32 and others torch.float64; convert one"),
        (lambda x, y: (x, 255 * y), ValueError, "write others / 255"),
        (lambda x, y: (255 * x, y), ValueError, "write images / 255"),
        (lambda x, y: (x, -0.9 * y), ValueError, r"write \(others \+ 1\) / 2"),
        (lambda x, y: (x, y / 0), ValueError, "others hold values"),
        (lambda x, y: (x.tolist(), y), TypeError, "images are a list; a torch tensor"),
        (lambda x, y: (x.byte(), y.byte()), TypeError, r"torch.as_tensor\(images\).float\(\) / 255"),
        (lambda x, y: (x[..., :10, :10], y[..., :10, :10]), ValueError, "window size 11 exceeds the image side 10"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "an empty batch"),
    ],
)
def test_what_peers_refuse_is_refused(change: Any, error: type[Exception], message: str) -> None:
    """After the invalid inputs of all four: shapes, dtypes, ranges, windows."""
    first, second = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for function in (mean_ssim, distance, ssim_map, change_map, components):
        with pytest.raises(error, match=message):
            function(*change(first, second))


@pytest.mark.parametrize("name", ["piq", "torchmetrics", "kornia", "pytorch_msssim"])
def test_installed_peers_agree_where_every_window_fits(name: str) -> None:
    package = pytest.importorskip(name if name != "torchmetrics" else "torchmetrics.functional.image")
    first, second = noisy(0.1)
    ours = mean_ssim(first, second)
    if name == "piq":
        theirs = package.ssim(first, second, data_range=1.0, downsample=False, reduction="none")
    elif name == "torchmetrics":
        options = {"data_range": 1.0, "return_full_image": True}
        theirs = Window().inside(package.structural_similarity_index_measure(first, second, **options)[1]).mean()
    elif name == "kornia":
        theirs = package.metrics.ssim(first, second, 11, padding="valid").mean(dim=(1, 2, 3))
    else:
        theirs = package.ssim(first, second, data_range=1, size_average=False)
    torch.testing.assert_close(torch.as_tensor(theirs).flatten().double(), ours, rtol=0, atol=1e-5)
