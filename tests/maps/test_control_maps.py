from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference import window_matrix, window_weights
from scipy import ndimage

from perceptlib.maps.control_maps import centre, control_maps, edges, log_variance, squared_gradient, texture
from perceptlib.ssim import Window

OF_IMAGES = [texture, log_variance, edges, centre]


def pictures(num: int = 3, height: int = 16, width: int = 20) -> torch.Tensor:
    return torch.rand(num, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_texture_and_log_variance_are_those_of_the_windows() -> None:
    images = pictures()
    matrix = window_matrix(16, 20, window_weights())
    planes = images.reshape(3, 3, -1).numpy()
    variance = (planes**2 @ matrix.T - (planes @ matrix.T) ** 2).reshape(images.shape)
    np.testing.assert_allclose(texture(images), (2 * variance + 9e-4).mean(1), rtol=1e-9)
    np.testing.assert_allclose(log_variance(images), np.log(variance + 9e-4).mean(1), rtol=1e-9)


def test_texture_and_log_variance_of_a_flat_picture_are_those_of_c2() -> None:
    grey = torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64)
    assert torch.allclose(texture(grey), torch.tensor(9e-4).double())
    assert torch.allclose(log_variance(grey), torch.tensor(math.log(9e-4)).double())


@pytest.mark.parametrize("control", [texture, log_variance])
def test_window_is_that_asked_for(control) -> None:
    images = pictures()
    assert not torch.allclose(control(images, window=Window(size=7)), control(images))
    maps = control_maps(images, images, window=Window(size=7))
    torch.testing.assert_close(maps["texture"], texture(images, window=Window(size=7)))


def test_edges_are_those_of_the_luma() -> None:
    images = pictures()
    luma = np.einsum("nchw,c->nhw", images.numpy(), [0.2125, 0.7154, 0.0721])
    for got, picture in zip(edges(images), luma, strict=True):
        # scikit-image's kernels sum to 1 on each side, and its magnitude is the root of the mean square
        both = [ndimage.sobel(picture, axis=axis, mode="reflect") / 4 for axis in (0, 1)]
        np.testing.assert_allclose(got, np.hypot(*both) / math.sqrt(2), atol=1e-12)


def test_edges_of_a_step_lie_beside_it() -> None:
    images = torch.zeros(1, 1, 12, 12)
    images[..., 6:] = 1
    assert edges(images).sum(1)[0].nonzero().flatten().tolist() == [5, 6]
    assert torch.allclose(edges(images.expand(-1, 3, -1, -1)), edges(images), atol=1e-6)


def test_centre_is_a_gaussian_of_a_quarter_of_each_side() -> None:
    maps = centre(pictures(2, 17, 33))
    assert maps.shape == (2, 17, 33)
    assert torch.equal(maps[0], maps[1])
    assert maps[0, 8, 16] == 1
    y, x = np.mgrid[-8:9, -16:17]
    np.testing.assert_allclose(maps[0], np.exp(-((y / 17) ** 2 + (x / 33) ** 2) * 8), rtol=1e-12)
    assert torch.equal(maps, maps.flip(1, 2))


def test_squared_gradient_sums_the_channels() -> None:
    gradient = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1).expand(-1, -1, 5, 6)
    assert torch.equal(squared_gradient(gradient), torch.full((1, 5, 6), 25.0))
    with pytest.raises(ValueError, match=r"the gradient has shape \(5, 6\); pass \(N, C, H, W\)"):
        squared_gradient(gradient[0, 0])


def test_control_maps_are_named_and_belong_to_their_picture() -> None:
    images = pictures().float()
    maps = control_maps(images, images - 0.5)
    assert list(maps) == ["squared_gradient", "texture", "edges", "centre"]
    for name, values in maps.items():
        assert values.shape == (3, 16, 20) and values.dtype == images.dtype
        assert (values >= 0).all()
        torch.testing.assert_close(control_maps(images[1:2], images[1:2] - 0.5)[name], values[1:2])


def test_control_maps_refuse_a_gradient_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 16, 20\) and the images \(3, 3, 16, 20\); pass equal shapes"):
        control_maps(pictures(), pictures(1))


@pytest.mark.parametrize("control", OF_IMAGES)
def test_bad_images_refused(control) -> None:
    with pytest.raises(TypeError, match="images have dtype int64"):
        control(pictures().long())
    with pytest.raises(ValueError, match=r"images have shape \(3, 16, 20\)"):
        control(pictures()[0])
    with pytest.raises(ValueError, match=r"images hold values from .* \[0, 1\] is allowed"):
        control(pictures() - 1)


def test_small_images_refused() -> None:
    with pytest.raises(ValueError, match="window size 11 exceeds the image side 8"):
        texture(pictures(1, 8, 8))
