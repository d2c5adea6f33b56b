from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceptlib.ssim import Window
from perceptlib.ssim.window import BLOCK, DENSE

ROUNDING = 1e-12  # float64 sums of a few hundred products


@pytest.mark.parametrize("height, width", [(11, 11), (13, 40), (70, 33)])
def test_window_filter_is_the_dense_matrix(height: int, width: int) -> None:
    values = np.random.default_rng(0).standard_normal((height, width))
    matrix = reference.window_matrix(height, width, reference.window_weights())
    assert np.array_equal(matrix, matrix.T)  # so that the window is its own adjoint
    got = Window().filter(torch.tensor(values)[None, None])
    assert np.abs(got.numpy().ravel() - matrix @ values.ravel()).max() < ROUNDING


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(11, 90),
    width=st.integers(11, 90),
    size=st.sampled_from([3, 7, 11]),
    kind=st.sampled_from(["gaussian", "uniform"]),
)
def test_window_is_its_own_adjoint(height: int, width: int, size: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(height * 100 + width)
    first, second = torch.randn(2, 2, 3, height, width, dtype=torch.float64, generator=generator)
    window = Window(size=size, kind=kind)
    left, right = (window.filter(first) * second).sum(), (first * window.filter(second)).sum()
    assert abs(float(left - right)) < ROUNDING * first.numel()


def test_window_keeps_constants() -> None:
    ones = torch.ones(1, 1, 20, 31, dtype=torch.float64)
    assert torch.allclose(Window().filter(ones), ones, atol=ROUNDING)


def test_window_uniform_weights_are_equal() -> None:
    assert torch.allclose(Window(size=5, kind="uniform").weights(), torch.full((5,), 0.2, dtype=torch.float64))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 8}, "window size 8 is not an odd number >= 3; pass e.g. size=11"),
        ({"size": 1}, "window size 1 is not"),
        ({"sigma": 0.0}, "window sigma 0.0 is not above 0"),
        ({"sigma": float("nan")}, "window sigma nan is not above 0"),
        ({"kind": "box"}, "window kind 'box' is unknown"),
    ],
)
def test_window_refuses(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Window(**options)


def test_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="window size 11 exceeds the image side 8; pass size <= 8"):
        Window().filter(torch.zeros(1, 1, 8, 20))


def test_window_takes_every_layout_in_memory() -> None:
    values = torch.rand(2, 3, 71, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = Window().filter(values)
    last = values.to(memory_format=torch.channels_last)
    for other in (last, last[:1], values.mT.contiguous().mT, values[:, :1].expand(2, 3, 71, 100)):
        got = Window().filter(other)
        wanted = expected[:, :1].expand_as(other) if other.stride(1) == 0 else expected[: len(other)]
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-15)
    torch.testing.assert_close(
        Window().filter(values[:, :, ::2, ::2]), Window().filter(values[:, :, ::2, ::2].clone()), rtol=0, atol=0
    )
    for part in (values[:1, :1, :12, :12], values[:1, :1, :, :12]):  # in one product, and in blocks
        assert torch.autograd.gradcheck(Window().filter, (part.clone().requires_grad_(True),))


@pytest.mark.parametrize("side", [20, 64, 65, 71])
def test_buffers_take_the_product_and_what_lies_between(side: int) -> None:
    values = torch.rand(2, 3, side, side + 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kept = values.clone()
    buffers = torch.full_like(values, torch.nan), torch.full_like(values, torch.nan)
    product = Window().filter_weight_adjoint(values, kept, buffers)
    assert product.data_ptr() == buffers[1].data_ptr() and not bool(buffers[0].isnan().any())
    assert torch.equal(values, kept)
    torch.testing.assert_close(product, Window().filter(kept * Window().filter(kept)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rest", [-1, 0, 1])
def test_blocks_cover_a_side_that_is_no_multiple_of_them(dtype: torch.dtype, rest: int) -> None:
    side = BLOCK[dtype] * 5 + BLOCK[dtype] // 2 + rest  # the last block takes up to half a block more
    assert side > DENSE
    values = np.random.default_rng(rest + 1).standard_normal((side, DENSE + 1))
    got = Window().filter(torch.tensor(values, dtype=dtype)[None, None])[0, 0].double().numpy()
    weights = reference.window_weights()
    padded = np.pad(values, len(weights) // 2, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape)
    expected = np.einsum("hwij,ij->hw", windows, weights)
    assert np.abs(got - expected).max() < (1e-6 if dtype == torch.float32 else ROUNDING)


def test_window_of_one_pixel_more_than_the_image_is_refused_and_of_its_side_taken() -> None:
    square = torch.ones(1, 1, 5, 5)
    assert torch.allclose(Window(5).filter(square), square)
    with pytest.raises(ValueError, match="window size 7 exceeds the image side 5; pass size <= 5"):
        Window(7).filter(square)


def test_window_gaussian_weights_are_those_of_sigma() -> None:
    weights = Window(size=5, sigma=0.8).weights()
    offsets = np.arange(-2, 3)
    expected = np.exp(-(offsets**2) / (2 * 0.8**2))
    assert np.allclose(weights, expected / expected.sum(), rtol=1e-14)
    assert Window(size=3).border == 1 and Window() == Window(11, 1.5, "gaussian")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_window_keeps_the_dtype(dtype: torch.dtype) -> None:
    assert Window().filter(torch.ones(1, 1, 40, 12, dtype=dtype)).dtype == dtype
