"""SSIM change map against other libraries' SSIM: 8 images of 224x224, float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from skimage.metrics import structural_similarity

from perceptlib.ssim import Reference

BATCH, SIDE = 8, 224
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(BATCH, 3, SIDE, SIDE, generator=GENERATOR)
OTHERS = (IMAGES + 0.05 * torch.randn(IMAGES.shape, generator=GENERATOR)).clamp(0, 1)
DIFFERENCE, REFERENCE = OTHERS - IMAGES, Reference(IMAGES)


def kept() -> object:
    return REFERENCE.change_map(DIFFERENCE)


def afresh() -> object:
    return Reference(IMAGES).change_map(DIFFERENCE)


def scikit_image() -> object:
    return [
        structural_similarity(
            *(first, second),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=0,
            full=True,
        )
        for first, second in zip(IMAGES.numpy(), OTHERS.numpy(), strict=True)
    ]


def pytorch_msssim() -> Callable[[], object]:
    module = pytest.importorskip("pytorch_msssim")
    return partial(module.ssim, IMAGES, OTHERS, data_range=1.0, size_average=False)


def kornia() -> Callable[[], object]:
    module = pytest.importorskip("kornia.metrics")
    return partial(module.ssim, IMAGES, OTHERS, window_size=11)


def torchmetrics() -> Callable[[], object]:
    module = pytest.importorskip("torchmetrics.functional.image")
    measure = module.structural_similarity_index_measure
    return partial(measure, IMAGES, OTHERS, data_range=1.0, sigma=1.5, reduction="none")


ROWS: dict[str, Callable[[], Callable[[], object]]] = {
    "change map, clean statistics kept": lambda: kept,
    "change map, from two images": lambda: afresh,
    "scikit-image, map": lambda: scikit_image,
    "pytorch-msssim, value": pytorch_msssim,
    "kornia, map": kornia,
    "torchmetrics, value": torchmetrics,
}


@pytest.mark.parametrize("name", list(ROWS))
@pytest.mark.parametrize("repeat", range(5))
def bench_ssim(benchmark, name: str, repeat: int) -> None:
    call = ROWS[name]()
    benchmark.extra_info.update(table=f"SSIM: {BATCH} images of {SIDE}x{SIDE}, float32", row=name, repeat=repeat)
    with torch.no_grad():
        benchmark.pedantic(call, rounds=5, warmup_rounds=1)
