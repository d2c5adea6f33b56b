from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from small_networks import classifier_of, random_classifier
from torch import nn

from perceptlib.maps import class_activation_map
from perceptlib.networks import Classifier, load
from perceptlib.study.localisation import margin_gradient
from perceptlib.study.randomisation import numbers_of_stages, randomise, stages

STAGES = ("classifier", *(f"features.{k}" for k in range(7, -1, -1)))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load("shapes")


def noise_pictures(num: int = 8) -> torch.Tensor:
    return torch.rand(num, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 4),
    )


def changed_weights(one: Classifier, other: Classifier) -> set[str]:
    others = dict(other.network.named_parameters())
    return {name for name, weight in one.network.named_parameters() if not torch.equal(weight, others[name])}


def test_stages_of_a_mobilenet_go_from_the_linear_layer_down(classifier: Classifier) -> None:
    assert stages(classifier) == STAGES


@pytest.mark.parametrize(
    ("name", "first", "last", "num"),
    [
        ("mobilenet_v2", ("classifier", "features.18", "features.17"), "features.0", 20),
        ("resnet50", ("fc", "layer4.2", "layer4.1"), "conv1", 19),
        ("vgg16", ("classifier.6", "classifier.3", "classifier.0"), "features.0", 16),
        ("efficientnet_b0", ("classifier", "features.8", "features.7"), "features.0", 10),
    ],
)
def test_stages_of_torchvision_networks(name: str, first: tuple[str, ...], last: str, num: int) -> None:
    import torchvision

    with torch.device("meta"):
        network = getattr(torchvision.models, name)()
    names = stages(classifier_of(network, network, nn.Linear(1, 1), input_size=16))
    assert (names[:3], names[-1], len(names)) == (first, last, num)
    weights = [id(weight) for part in names for weight in network.get_submodule(part).parameters()]
    assert len(weights) == len(set(weights)) == len(list(network.parameters()))


def test_stages_of_a_sequence_open_one_level() -> None:
    network = small_network()
    assert stages(classifier_of(network, network[3], network[6], input_size=16)) == ("6", "3.1", "3.0", "2", "0")


def test_no_stage_gives_an_equal_copy(classifier: Classifier) -> None:
    copied = randomise(classifier, 0, seed=0)
    assert copied is not classifier
    assert not changed_weights(copied, classifier)
    assert copied.source == classifier.source
    assert torch.equal(copied(noise_pictures()), classifier(noise_pictures()))


@pytest.mark.parametrize("num", [1, 3, 9])
def test_upper_stages_alone_are_drawn(classifier: Classifier, num: int) -> None:
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    drawn = randomise(classifier, num, seed=0)
    expected = {
        name
        for name, _ in classifier.network.named_parameters()
        if name.startswith(tuple(f"{s}." for s in STAGES[:num]))
    }
    assert changed_weights(drawn, classifier) == expected
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name])
    assert f"{num} of 9 stages" in drawn.source and drawn.sha256 == classifier.sha256
    assert not any(weight.requires_grad for weight in drawn.parameters()) and not drawn.training


def test_weights_are_those_of_fresh_modules(classifier: Classifier) -> None:
    drawn = randomise(classifier, 9, seed=4)
    torch.manual_seed(4)
    fresh = nn.Linear(256, 8)
    assert torch.equal(drawn.linear_layer.weight, fresh.weight) and torch.equal(drawn.linear_layer.bias, fresh.bias)
    # nn.Conv2d's own initialisation is uniform within fan_in^-1/2
    weights = [module.weight for module in drawn.network.modules() if isinstance(module, nn.Conv2d)]
    scaled = torch.cat([(weight * weight[0].numel() ** 0.5).flatten() for weight in weights])
    assert float(scaled.abs().max()) <= 1 + 1e-6
    assert float(scaled.std()) == pytest.approx(3**-0.5, rel=0.02)


def test_batch_norm_keeps_its_statistics_alone() -> None:
    classifier = load("shapes")
    drawn = randomise(classifier, 9, seed=0)
    pairs = zip(classifier.network.modules(), drawn.network.modules(), strict=True)
    norms = [(old, new) for old, new in pairs if isinstance(old, nn.BatchNorm2d)]
    assert norms
    for old, new in norms:
        assert torch.equal(old.running_mean, new.running_mean) and torch.equal(old.running_var, new.running_var)
        assert bool((new.weight == 1).all()) and bool((new.bias == 0).all())


def test_one_more_stage_keeps_those_above() -> None:
    classifier = random_classifier()
    cascades = [randomise(classifier, num, seed=3) for num in range(10)]
    for num, (one, other) in enumerate(pairwise(cascades)):
        assert all(name.startswith(f"{STAGES[num]}.") for name in changed_weights(one, other))


def test_draw_depends_on_its_seed_alone(classifier: Classifier) -> None:
    drawn = randomise(classifier, 4, seed=1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert not changed_weights(randomise(classifier, 4, seed=1), drawn)
    assert torch.equal(torch.rand(3), expected)  # the caller's random numbers go on
    assert changed_weights(randomise(classifier, 4, seed=2), drawn)


def test_class_activation_map_is_that_of_the_copy(classifier: Classifier) -> None:
    drawn = randomise(classifier, 2, seed=0)
    images = noise_pictures(2)
    assert drawn.cam_layer is drawn.network.features[-1] and drawn.linear_layer is drawn.network.classifier[-1]
    before = class_activation_map(classifier, images, 0)
    assert not torch.allclose(class_activation_map(drawn, images, 0), before)
    assert torch.equal(class_activation_map(classifier, images, 0), before)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_stay_finite_and_nonzero(classifier: Classifier, seed: int) -> None:
    images, labels = noise_pictures(), torch.arange(8)
    for num in range(10):
        gradient = margin_gradient(randomise(classifier, num, seed=seed), images, labels)
        assert bool(gradient.isfinite().all())
        squares = gradient.square().sum((1, 2, 3))
        assert bool((squares > 1e-12).all())  # float32 squares vanish below 1e-38


def test_batch_norm_without_weights_has_nothing_to_draw() -> None:
    network = small_network()
    classifier = classifier_of(network, network[3], network[6], input_size=16)
    drawn = randomise(classifier, 5, seed=0)
    assert changed_weights(drawn, classifier) == {name for name, _ in network.named_parameters()}


def test_bad_requests_refused(classifier: Classifier) -> None:
    for num in (-1, 10):
        with pytest.raises(ValueError, match=f"num_stages is {num}; 0 to 9 are allowed, as the network has 9"):
            randomise(classifier, num, seed=0)
    with pytest.raises(ValueError, match="seed -1 is negative; pass seed=0 or more"):
        randomise(classifier, 1, seed=-1)


def test_weights_that_cannot_be_drawn_refused() -> None:
    network = small_network()
    classifier = classifier_of(network, network[3], network[6], input_size=16)
    network.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="weight 'scale' lies in no part of the network"):
        stages(classifier)
    del network.scale
    network[2].scale = nn.ParameterList([nn.Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match=r"2\.scale is a ParameterList without reset_parameters"):
        randomise(classifier, 1, seed=0)


def test_numbers_of_stages_are_those_that_the_network_has(classifier: Classifier) -> None:
    assert numbers_of_stages(classifier, [4, -1, 0, 9, 10]) == [0, 4, 9]
    assert numbers_of_stages(classifier, []) == []
