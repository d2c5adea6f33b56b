"""Threats, the pictures that adversarial training shows, and robust accuracy, against a classifier whose margins are
linear in the picture: it withstands a ball just where the dual norm of its gradient says so."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from perceptlib.attacks import margin
from perceptlib.training.robustness import RADII, Threat, hardest, withstands

SIDE, NUM_IMAGES = 12, 40


class Linear(nn.Module):
    """Two classes; the lead of the first one is linear in the picture. In training mode it says nothing."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(3 * SIDE * SIDE, generator=generator).double())

    def forward(self, images: Tensor) -> Tensor:
        lead = (images.double() - 0.5).flatten(1) @ self.weight
        return torch.stack([lead, torch.zeros_like(lead)], dim=1) * (not self.training)


def pictures() -> Tensor:
    """Far from black and white, so that no threat here is clipped."""
    generator = torch.Generator().manual_seed(4)
    return 0.5 + 0.05 * torch.randn(NUM_IMAGES, 3, SIDE, SIDE, generator=generator).double()


def reach(network: Linear, threat: Threat) -> float:
    """By how much the margin falls at most: the dual norm of its gradient."""
    order = 2 if threat.norm == "l2" else 1
    return threat.radius * float(torch.linalg.vector_norm(network.weight.detach(), order))


@pytest.mark.parametrize("threat", [Threat("l2", 0.05), Threat("linf", 0.003)], ids=lambda threat: threat.norm)
def test_withstands_is_the_dual_norms_answer(threat: Threat) -> None:
    network, images = Linear().eval(), pictures()
    lead = network(images)[:, 0].detach()
    labels = torch.zeros(NUM_IMAGES, dtype=torch.int64)
    expected = lead > reach(network, threat)
    assert 0 < int(expected.sum()) < int((lead > 0).sum()) < NUM_IMAGES  # of each kind some
    assert torch.equal(withstands(network, images, labels, threat), expected)


def test_nothing_is_attacked_where_all_is_wrong() -> None:
    images, labels = pictures(), torch.zeros(NUM_IMAGES, dtype=torch.int64)
    network = Linear().eval()
    wrong = network(images).argmax(1) != labels
    assert not withstands(network, images[wrong], labels[wrong], Threat("l2", 1e-6)).any()


@pytest.mark.parametrize("threat", [Threat("l2", 0.05), Threat("linf", 0.003)], ids=lambda threat: threat.norm)
def test_hardest_pictures_are_the_best_of_the_ball(threat: Threat) -> None:
    network, images, labels = Linear(), pictures(), torch.arange(NUM_IMAGES) % 2
    state = torch.get_rng_state()

    def found(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return hardest(network, network, images, labels, threat, steps=3, generator=generator)

    met = found(0)
    assert network.training and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(met, found(0)) and not torch.equal(met, found(1))
    norm = torch.linalg.vector_norm((met - images).flatten(1), 2 if threat.norm == "l2" else math.inf, dim=1)
    assert bool((norm <= threat.radius * (1 + 1e-6)).all())
    assert met.min() >= 0 and met.max() <= 1
    network.eval()
    fall = margin(network(images), labels) - margin(network(met), labels)
    # Three steps forget a random start in l2; in linf pulling back shrinks every entry, and a part of it stays.
    best = reach(network, threat)
    assert bool((fall <= best * (1 + 1e-6)).all() and (fall >= best * (0.95 if threat.norm == "l2" else 0.8)).all())


@pytest.mark.parametrize(
    ("norm", "radius", "message"),
    [
        ("l1", 1.0, "there is no robust training against 'l1'; l2 and linf are allowed"),
        ("l2", 0.0, "radius 0.0 is not a finite number above 0"),
        ("l2", math.inf, "radius inf is not a finite number above 0"),
        ("linf", -1.0, "radius -1.0 is not a finite number above 0"),
        ("linf", 8.0, r"radius 8.0 is above 1, the range of a pixel; write 0\.0314"),
    ],
)
def test_threats_are_refused(norm: str, radius: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Threat(norm, radius)


def test_radii_of_all_are_threats() -> None:
    assert {data: set(radii) for data, radii in RADII.items()} == {data: {"l2", "linf"} for data in RADII}
    for radii in RADII.values():
        for norm, radius in radii.items():
            assert Threat(norm, radius).ball.radius == radius
