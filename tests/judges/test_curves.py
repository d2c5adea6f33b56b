"""Insertion and deletion curves against a loop in NumPy, and against the curve of a linear network on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch import nn

from perceptlib.judges.curves import area, curves, empty_pictures

SIDE, STEPS = 16, 4
CLOSE = 1e-12


class Linear(nn.Module):
    """Two logits, 0 and the weighted sum of all pixels, so that the probability of class 1 is its sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 5

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        value = (images * self.weights).sum((1, 2, 3))
        return torch.stack([torch.zeros_like(value), value], 1)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def labels(value: int = 1) -> torch.Tensor:
    return torch.full((3,), value)


@pytest.mark.parametrize("empty", ["blur", "mean"])
def test_curves_of_a_linear_network_are_those_of_sums(images: torch.Tensor, empty: str) -> None:
    network = Linear()
    maps = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    insertion, deletion = curves(network, images, labels(), maps, empty=empty, steps=STEPS, batch_size=3)
    others = empty_pictures(images, empty).numpy()
    for place, (image, other, values) in enumerate(zip(images.numpy(), others, maps.numpy(), strict=True)):
        shares = (network.weights.numpy() * (image - other)).sum(0).ravel()[np.argsort(-values.ravel())]
        start = (network.weights.numpy() * other).sum()
        for step in range(STEPS + 1):
            inserted = shares[: step * SIDE**2 // STEPS].sum()
            for curve, value in ((insertion, start + inserted), (deletion, start + shares.sum() - inserted)):
                assert float(curve[place, step]) == pytest.approx(1 / (1 + np.exp(-value)), abs=CLOSE)
    assert torch.equal(insertion[:, 0], deletion[:, -1]) and torch.equal(insertion[:, -1], deletion[:, 0])


def test_empty_pictures_are_the_channel_mean_and_the_blur_of_the_authors(images: torch.Tensor) -> None:
    mean, blur = (empty_pictures(images, kind).numpy() for kind in ("mean", "blur"))
    assert np.allclose(mean, images.numpy().mean((2, 3), keepdims=True) * np.ones((SIDE, SIDE)))
    bell = np.exp(-0.5 * (np.arange(-5, 6) / 5) ** 2)
    bell /= bell.sum()
    expected = correlate1d(correlate1d(images.numpy(), bell, axis=2, mode="reflect"), bell, axis=3, mode="reflect")
    assert np.allclose(blur, expected, atol=CLOSE)
    assert empty_pictures(images[..., :8, :8], "blur").shape == (3, 3, 8, 8)


def test_best_order_of_a_linear_network_has_the_largest_insertion_and_the_smallest_deletion(
    images: torch.Tensor,
) -> None:
    network = Linear()
    shares = (network.weights * (images - empty_pictures(images, "mean"))).sum(1)
    best = curves(network, images, labels(), shares - shares.min(), empty="mean", steps=16)
    for seed in range(5):
        other = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
        worse = curves(network, images, labels(), other, empty="mean", steps=16)
        assert bool((area(best[0]) > area(worse[0])).all()) and bool((area(best[1]) < area(worse[1])).all())


def test_area_is_the_trapezoid_rule() -> None:
    values = torch.rand(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert area(values).tolist() == pytest.approx(np.trapezoid(values.numpy(), dx=1 / 8, axis=1).tolist())
    assert float(area(torch.ones(1, 5))) == 1


def test_only_the_order_counts_and_ties_are_scattered(images: torch.Tensor) -> None:
    network = Linear()
    maps = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)).double()
    first = curves(network, images, labels(), maps, steps=STEPS)
    assert torch.equal(torch.cat(first), torch.cat(curves(network, images, labels(), 7 * maps**3, steps=STEPS)))
    # of a constant map half of the pixels are moved, half of them in the upper half of the picture
    shares: list[float] = []

    def watching(pictures: torch.Tensor) -> torch.Tensor:
        is_own = (pictures == images[:1])[:, 0, : SIDE // 2]
        shares.extend(is_own.double().mean((1, 2)).tolist())
        return network(pictures)

    curves(watching, images[:1], labels()[:1], torch.ones(1, SIDE, SIDE), empty="mean", steps=2)
    assert shares[:3] == [1, 0, 1]  # a look at the picture; then the empty one and the whole one
    assert shares[3] == pytest.approx(0.5, abs=0.1) and shares[4] == pytest.approx(1 - shares[3])


def test_curves_do_not_depend_on_batches_or_mode() -> None:
    torch.manual_seed(0)
    filters, head = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), nn.Linear(8, 4)
    classifier = nn.Sequential(filters, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    images, maps = torch.rand(2, 3, SIDE, SIDE), torch.rand(2, SIDE, SIDE)
    found = classifier(images).argmax(1)
    classifier.train()
    whole = curves(classifier, images, found, maps, steps=3, batch_size=6)
    assert classifier.training
    classifier.eval()
    alone = curves(classifier, images[1:], found[1:], maps[1:].numpy(), steps=3, batch_size=1)
    for both, one in zip(whole, alone, strict=True):
        assert torch.allclose(both[1:], one, atol=1e-5)
    probability = classifier(images).double().softmax(1).gather(1, found[:, None])[:, 0]
    assert torch.allclose(whole[0][:, -1], probability, atol=1e-5)


def test_bad_input_is_refused(images: torch.Tensor) -> None:
    network, maps = Linear(), torch.rand(3, SIDE, SIDE)
    with pytest.raises(ValueError, match=r"the maps have shape \(3, 8, 16\) for images of shape \(3, 3, 16, 16\)"):
        curves(network, images, labels(), maps[:, :8])
    with pytest.raises(ValueError, match="there is no empty picture 'black'; blur, mean are"):
        curves(network, images, labels(), maps, empty="black")
    with pytest.raises(ValueError, match="the map holds values down to -1; 0 or more is allowed"):
        curves(network, images, labels(), -torch.ones(3, SIDE, SIDE))
    with pytest.raises(ValueError, match="steps is 0; pass a whole number, 1 or more"):
        curves(network, images, labels(), maps, steps=0)
    with pytest.raises(ValueError, match="batch_size is 0; pass a whole number, 1 or more"):
        curves(network, images, labels(), maps, batch_size=0)
    with pytest.raises(ValueError, match="labels hold class 2; 0 to 1 are allowed"):
        curves(network, images, labels(2), maps)
