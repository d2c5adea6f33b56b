"""The smallest ball in which PGD fools, on a linear classifier whose distances are known, and on shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from perceptlib.rivals.bisection import METHODS, PRECISION, smallest_pgd
from perceptlib.study.presets import load_study


class Linear(nn.Module):
    """Two classes whose margin is <w, x> - offset."""

    def __init__(self, weight: Tensor, offset: float) -> None:
        super().__init__()
        self.weight, self.offset = weight, offset

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.weight).flatten(1).sum(1) - self.offset
        return torch.stack([score, torch.zeros_like(score)], 1)


@pytest.mark.parametrize("gap", [1e-3, 0.05, 1.0])
def test_radius_of_a_linear_classifier_is_its_dual_norm(gap: float) -> None:
    generator = torch.Generator().manual_seed(0)
    images = 0.4 + 0.2 * torch.rand(3, 3, 16, 16, generator=generator, dtype=torch.float64)
    weight = torch.randn(1, 3, 16, 16, generator=generator, dtype=torch.float64)
    for place in range(3):
        image = images[[place]]
        classifier = Linear(weight, float((image * weight).sum()) - gap)
        for method, norm, found in (
            ("pgd_l2", float(weight.norm()), "l2"),
            ("pgd_linf", float(weight.abs().sum()), "linf"),
        ):
            result = smallest_pgd(classifier, image, torch.tensor([0]), method, steps=3)
            assert bool(result.is_adversarial)
            assert gap / norm <= float(getattr(result, found)) <= 1.001 * PRECISION * gap / norm


@pytest.mark.parametrize("method", METHODS)
def test_pgd_fools_shapes_and_leaves_wrong_ones(method: str) -> None:
    study = load_study("shapes", num_images=4)
    images, labels = study.pictures.images, study.pictures.labels.clone()
    labels[0] = (labels[0] + 1) % 8
    result = smallest_pgd(study.classifier, images, labels, method, steps=3)
    assert result.status[0] == "misclassified before the attack"
    assert torch.equal(result.adversarial[0], images[0])
    assert result.is_adversarial[1:].all()
    assert (result.distance[1:] > 0).all()
    assert result.gradients[0] < result.gradients[1:].min()


def test_unknown_method_is_refused() -> None:
    study = load_study("shapes", num_images=1)
    with pytest.raises(ValueError, match="there is no method 'l2'; pgd_linf, pgd_l2, pgd_ssim are"):
        smallest_pgd(study.classifier, study.pictures.images, study.pictures.labels, "l2")
