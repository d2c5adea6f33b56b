"""torchvision's networks: every family's layers are what they are said to be, and the three that must run do."""

from __future__ import annotations

import re
import typing

import pytest
import safetensors.torch
import torch

from perceptlib.data._torchvision import torchvision
from perceptlib.maps import class_activation_map
from perceptlib.networks import architectures as networks
from perceptlib.networks import load

IMAGES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
ALL = torchvision.models.list_models(module=torchvision.models)
SMALL = {  # one network of each family that is not large
    "densenet121": False,
    "efficientnet_b0": True,
    "googlenet": True,
    "mnasnet0_5": True,
    "mobilenet_v2": True,
    "mobilenet_v3_small": False,
    "regnet_y_400mf": True,
    "resnet18": True,
    "shufflenet_v2_x0_5": True,
    "squeezenet1_1": False,
}


def pass_through(network, images):
    """Output of the CAM layer and the logits."""
    layer, linear = networks.cam_and_linear(network.eval())
    kept = []
    layer.register_forward_hook(lambda module, inputs, output: kept.append(output.clone()))
    logits = network(images)
    assert len(kept) == 1
    return kept[0], linear, logits


@pytest.mark.parametrize("architecture", SMALL)
def test_logits_are_linear_in_the_average_where_a_linear_layer_is_named(architecture):
    network = networks.random_network(architecture, seed=0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # so that a ReLU after it would show
            torch.nn.init.uniform_(module.bias, -1, 0)
    with torch.no_grad():
        maps, linear, logits = pass_through(network, IMAGES)
    assert maps.ndim == 4 and maps.shape[2:] in ((2, 2), (3, 3))
    assert (linear is not None) == SMALL[architecture]
    if linear is not None:
        torch.testing.assert_close(linear(maps.mean((2, 3))), logits)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("alexnet", (256, 6, 6)),
        ("convnext_tiny", (768, 7, 7)),
        ("inception_v3", (2048, 8, 8)),
        ("maxvit_t", (512, 7, 7)),
        ("swin_t", (768, 7, 7)),
        ("vgg11", (512, 7, 7)),
    ],
)
def test_last_maps_have_their_shape(architecture, shape):
    side = networks.published(architecture).input_size
    with torch.device("meta"):
        maps, linear, _ = pass_through(networks.random_network(architecture, seed=0), torch.rand(1, 3, side, side))
    assert maps.shape[1:] == shape
    assert (linear is not None) == (architecture in ("inception_v3", "swin_t"))


def test_every_network_of_torchvision_is_of_a_known_family_or_refused():
    for architecture in ALL:
        family = typing.get_type_hints(torchvision.models.get_model_builder(architecture))["return"].__name__
        if family == "VisionTransformer":
            with pytest.raises(ValueError, match=f"{architecture} has tokens and no feature maps.* such as 'resnet50'"):
                networks.published(architecture)
        else:
            assert family in networks._LAYERS
            assert len(networks.published(architecture).class_names) == 1000


@pytest.mark.parametrize("architecture", ["resnet50", "efficientnet_b0", "vgg16"])
def test_large_networks_find_their_layer_and_run(architecture):
    classifier = load("imagenet", weights="random", architecture=architecture)
    images = IMAGES.clone().requires_grad_()
    logits = classifier(images)
    logits[0, 7].backward()
    assert logits.shape == (1, 1000) and logits.isfinite().all() and images.grad.abs().max() > 0
    maps = class_activation_map(classifier, IMAGES, 7, method="grad-cam")
    assert maps.shape == (1, 64, 64) and maps.isfinite().all() and (maps >= 0).all()
    if architecture == "vgg16":
        assert classifier.linear_layer is None and classifier.cam_layer is classifier.network.features[-1]
    else:
        classic = class_activation_map(classifier, IMAGES, 7)
        torch.testing.assert_close(maps * 4, classic, rtol=1e-4, atol=1e-6 * classic.max().item())


def test_published_weights_tell_size_and_normalisation():
    assert networks.published("mobilenet_v2").name == "MobileNet_V2_Weights.IMAGENET1K_V1"
    assert networks.published("resnet50").name == "ResNet50_Weights.IMAGENET1K_V2"
    large = networks.published("efficientnet_v2_l")
    assert (large.input_size, large.mean, large.std) == (480, (0.5,) * 3, (0.5,) * 3)
    assert large.url.startswith("https://") and large.class_names[281] == "tabby"


def test_unknown_architecture_is_answered_with_close_names():
    with pytest.raises(ValueError, match=r"no classification network 'resnet5'; pass one of its names.*'resnet50'"):
        networks.published("resnet5")
    with pytest.raises(ValueError, match=r"'zzz'; pass one of its names, such as 'mobilenet_v2', 'resnet50', 'vgg16'"):
        networks.published("zzz")


def test_old_names_of_densenet_are_understood(tmp_path):
    network = networks.random_network("densenet121", seed=1)
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
    torch.save({old.sub(r"\1.\2", name): part for name, part in network.state_dict().items()}, tmp_path / "old.pth")
    classifier = load("imagenet", weights=tmp_path / "old.pth", architecture="densenet121")
    state = classifier.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_mnasnet_is_filled_without_the_version_of_its_file(tmp_path):
    network = networks.random_network("mnasnet0_5", seed=1)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(tensors, tmp_path / "it.safetensors")
    classifier = load("imagenet", weights=tmp_path / "it.safetensors", architecture="mnasnet0_5")
    assert torch.equal(classifier.network.classifier[1].weight, network.classifier[1].weight)
