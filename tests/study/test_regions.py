"""Regions: their area to the pixel, their place on maps with a known answer, and their independence of the batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from perceptlib.study.regions import background_region, bottom_region, object_region, random_region, top_region


def cams(count: int = 6, side: int = 32) -> Tensor:
    """Blobs such as class activation maps are: coarse, upsampled, zero on about half of the picture."""
    coarse = torch.randn(count, 1, 5, 5, generator=torch.Generator().manual_seed(count)).double()
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[:, 0].clamp_min(0)


def boundary(masks: Tensor) -> Tensor:
    """Pairs of neighbours of which one is inside, (N,)."""
    return (masks.diff(dim=1) != 0).sum((1, 2)) + (masks.diff(dim=2) != 0).sum((1, 2))


@settings(deadline=None, max_examples=20)
@given(share=st.floats(0.01, 0.99), side=st.integers(8, 40), seed=st.integers(0, 100))
def test_region_has_exactly_its_share(share: float, side: int, seed: int) -> None:
    cam = cams(3, side)
    for region in (top_region(cam, share), bottom_region(cam, share), random_region(cam, share, seed=seed)):
        assert region.dtype == torch.bool and region.shape == cam.shape
        assert region.sum((1, 2)).tolist() == [round(share * side * side)] * 3


def test_top_and_bottom_are_the_ends_of_the_map() -> None:
    cam = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    top, bottom = top_region(cam, 0.25), bottom_region(cam, 0.25)
    for image in range(2):
        assert float(cam[image][top[image]].min()) > float(cam[image][~top[image]].max())
        assert float(cam[image][bottom[image]].max()) < float(cam[image][~bottom[image]].min())
    assert torch.equal(top_region(-cam, 0.25), bottom)


def test_bottom_region_breaks_ties_away_from_the_mass() -> None:
    cam = torch.zeros(1, 20, 20)
    cam[0, 2:6, 2:6] = 1.0
    assert bool(bottom_region(cam, 0.2)[0, -5:, -5:].all())
    assert bool(top_region(cam, 0.1)[0, 2:6, 2:6].all())
    assert torch.equal(top_region(torch.ones(1, 4, 4), 0.25).flatten(), torch.arange(16) < 4)


def test_random_region_is_elsewhere_and_as_smooth() -> None:
    cam = cams(40)
    top = top_region(cam, 0.2)
    lengths, shares = [], []
    for seed in range(5):
        region = random_region(cam, 0.2, seed=seed)
        lengths.append(boundary(region).double().mean())
        shares.append((region & top).sum() / top.sum())
    assert float(torch.stack(shares).mean()) == pytest.approx(0.2, abs=0.04)  # of the top region: chance
    assert 0.7 < float(torch.stack(lengths).mean() / boundary(top).double().mean()) < 1.4
    pixels = torch.rand(cam.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    assert float(boundary(pixels).double().mean()) > 4 * float(boundary(top).double().mean())


def test_random_region_follows_the_width_of_the_map() -> None:
    noise = torch.randn(60, 60, generator=torch.Generator().manual_seed(2)).double().numpy()
    counts = []
    for width in (1.5, 3.0, 6.0):
        cam = torch.from_numpy(ndimage.gaussian_filter(noise, width))[None]
        regions = torch.cat([random_region(cam, 0.3, seed=seed) for seed in range(8)])
        counts.append(float(boundary(regions).double().mean()))
    assert counts[0] > 1.6 * counts[1] > 2.2 * counts[2]  # Rice: contours are as long as one over the width


def test_region_does_not_depend_on_the_batch() -> None:
    cam = cams()
    masks = top_region(cam, 0.2)
    order = torch.tensor([3, 0, 5])
    for make in (lambda maps: top_region(maps, 0.2), lambda maps: random_region(maps, 0.2, seed=4)):
        assert torch.equal(make(cam[order]), make(cam)[order])
    assert torch.equal(background_region(masks[order], seed=4), background_region(masks, seed=4)[order])
    first, again, other = (random_region(cam, 0.2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_random_region_of_a_flat_map_is_a_region() -> None:
    assert random_region(torch.zeros(1, 16, 16), 0.25, seed=0).sum() == 64


def test_object_and_background_regions_are_equal_in_area_and_apart() -> None:
    masks = top_region(cams(), 0.15)
    masks[0] = top_region(cams(), 0.4)[0]
    assert torch.equal(object_region(masks), masks)
    background = background_region(masks, seed=0)
    assert torch.equal(background.sum((1, 2)), masks.sum((1, 2)))
    assert not bool((background & masks).any())


FLAT = torch.ones(1, 8, 8)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: top_region(FLAT, 0.0), "share 0.0 is not between 0 and 1; pass e.g. share=0.2"),
        (lambda: bottom_region(FLAT, 1.0), "share 1.0 is not between 0 and 1"),
        (lambda: random_region(FLAT, -0.1, seed=0), "share -0.1 is not between 0 and 1"),
        (lambda: top_region(FLAT, 1e-3), "share 0.001 of 64 pixels is 0 of them; pass e.g. share=0.2"),
        (lambda: random_region(FLAT, 0.2, seed=-1), "seed -1 is negative; pass seed=0 or more"),
        (lambda: top_region(FLAT[0], 0.2), r"the map has shape \(8, 8\); pass \(N, H, W\)"),
        (lambda: top_region(FLAT * torch.nan, 0.2), "the map has NaN or infinite values; leave those images out"),
        (lambda: object_region(FLAT[0] > 0), r"masks have shape \(8, 8\); pass \(N, H, W\)"),
        (lambda: object_region(FLAT > 1), "mask 0 holds no object; leave that image out"),
        (lambda: background_region(FLAT > 0, seed=0), "the object of mask 0 covers more than half of its picture"),
    ],
)
def test_region_refuses(make: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_object_region_refuses_numbers() -> None:
    with pytest.raises(TypeError, match=r"masks are torch.float32; pass bool, True on the object: masks > 0"):
        object_region(FLAT)
