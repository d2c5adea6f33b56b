"""Networks of one's own: normalised, judged, looked into, and left as they were."""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from perceptlib import SSIMBall, agreement, class_activation_map, maximize_loss, wrap
from perceptlib.networks import load

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def small(num_classes=4, channels=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
        return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (0, 1),
        ([0, 0, 0], [1, 1, 1]),
        (0.4, (0.2, 0.3, 0.5)),
        (np.array([0.4, 0.5, 0.6]), torch.tensor(0.25)),
        ([0.5], [0.5]),
        (0, 1 / 255),
    ],
)
def test_mean_and_deviation_in_any_form(mean, std):
    network = small().eval()
    shape = (-1, 1, 1)
    as_tensor = [torch.as_tensor(value, dtype=torch.float32).reshape(shape) for value in (mean, std)]
    expected = network((IMAGES - as_tensor[0]) / as_tensor[1])
    torch.testing.assert_close(wrap(network, mean=mean, std=std)(IMAGES), expected)


@pytest.mark.parametrize(
    ("mean", "std", "error", "sentence"),
    [
        ([0.5, 0.5], 1, ValueError, "mean holds 2 numbers; 1 is needed, or 3, one for each channel"),
        (0.5, [0.2] * 4, ValueError, "std holds 4 numbers; 1 is needed, or 3"),
        ([], 1, ValueError, "mean holds 0 numbers"),
        (0.5, 0, ValueError, r"std is \[0.0\]; numbers above 0 are needed; write 1 for no change of scale"),
        (0.5, [0.2, -0.2, 0.2], ValueError, "numbers above 0 are needed"),
        ([123.7, 116.3, 103.5], [58.4, 57.1, 57.4], ValueError, "as for values up to 255; .* divide both by 255"),
        (0, 255, ValueError, r"mean is \[0.0\] and std \[255.0\], as for values up to 255"),
        (float("nan"), 1, ValueError, r"mean is \[nan\]; finite numbers are needed"),
        (0.5, float("inf"), ValueError, r"std is \[inf\]; finite numbers"),
        ("imagenet", 1, TypeError, "mean is 'imagenet'; a number is needed, or one for each channel"),
        (0.5, None, TypeError, "std is None; a number is needed"),
    ],
)
def test_means_and_deviations_that_cannot_be_meant(mean, std, error, sentence):
    with pytest.raises(error, match=sentence):
        wrap(small(), mean=mean, std=std)


def test_wrapped_network_is_left_as_it_was():
    network = small().train()
    network[0][0].weight.requires_grad_(False)
    network[0][1].eval()
    grads = [parameter.requires_grad for parameter in network.parameters()]
    modes = [part.training for part in network.modules()]
    before = copy.deepcopy(network.state_dict())
    classifier = wrap(network, mean=0.5, std=0.5)
    expected = copy.deepcopy(network).eval()((IMAGES - 0.5) / 0.5)
    assert torch.equal(classifier(IMAGES), expected)
    classifier.eval().train()
    result = maximize_loss(classifier, IMAGES, expected.argmax(1), SSIMBall(IMAGES, 0.05))
    class_activation_map(classifier, result.adversarial, 1, method="grad-cam")
    assert [parameter.requires_grad for parameter in network.parameters()] == grads
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(part._forward_hooks for part in network.modules())


def test_wrapped_network_says_what_it_is():
    network = small()
    classifier = wrap(network, mean=0, std=1, class_names=["a", "b", "c", "d"], input_size=32)
    assert (classifier.name, classifier.source) == ("Sequential", "torch.nn.modules.container.Sequential, wrapped")
    assert (classifier.class_names, classifier.num_classes, classifier.input_size) == (("a", "b", "c", "d"), 4, 32)
    assert classifier.cam_layer is network[0] and classifier.linear_layer is network[3]
    before = classifier.sha256
    assert len(before) == len(hashlib.sha256().hexdigest()) and before == wrap(small(), mean=0, std=1).sha256
    with torch.no_grad():
        network[3].bias += 1
    assert classifier.sha256 != before
    assert wrap(network, mean=0, std=1).class_names == ("0", "1", "2", "3")


def test_class_names_come_from_a_file_too(tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    assert wrap(small(), mean=0, std=1, class_names=tmp_path / "names.txt").class_names == ("a", "b", "c", "d")
    with pytest.raises(ValueError, match="class_names holds 2 names; the network has 4 classes, name each"):
        wrap(small(), mean=0, std=1, class_names=["cat", "dog"])
    assert wrap(small(), mean=0, std=1, class_names=range(4)).class_names == ("0", "1", "2", "3")
    with pytest.raises(TypeError, match="class_names are a dict; a list is needed, in the order of the classes"):
        wrap(small(), mean=0, std=1, class_names=dict(enumerate("abcd")))


def test_another_default_device_or_type_changes_nothing():
    network = small()
    expected = wrap(network, mean=0.5, std=0.5)(IMAGES)
    with torch.device("meta"):
        classifier = wrap(network, mean=0.5, std=0.5)
        assert classifier.linear_layer is network[3]
        assert torch.equal(classifier(IMAGES), expected)


def test_network_follows_its_owner():
    network = small()
    classifier = wrap(network, mean=0.5, std=0.5)
    network.double()
    assert classifier(IMAGES).dtype == torch.float64
    network.bfloat16()
    images = IMAGES.clone().requires_grad_()
    logits = classifier(images)
    logits.sum().backward()
    assert (logits.dtype, images.grad.dtype) == (torch.float32, torch.float32)


def test_grey_networks_take_grey_pictures():
    classifier = wrap(small(channels=1), mean=0.13, std=[0.31])
    grey = IMAGES[:, :1]
    assert classifier(grey).shape == (2, 4)
    assert class_activation_map(classifier, grey, 1).shape == (2, 32, 32)
    with pytest.raises(ValueError, match="images have 3 channels; 1 are needed"):
        classifier(IMAGES)


def test_input_size_is_tried_or_asked_for():
    def fixed(side):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 5))

    assert wrap(fixed(28), mean=0, std=1).input_size == 28
    assert wrap(fixed(40), mean=0, std=1, input_size=40).input_size == 40
    with pytest.raises(ValueError, match=r"3 channels and 224x224 pixels or of other usual sizes \(RuntimeError: mat1"):
        wrap(fixed(40), mean=0, std=1)
    with pytest.raises(ValueError, match=r"and 20x20 pixels \(RuntimeError: .*\); pass the input_size that it is made"):
        wrap(fixed(40), mean=0, std=1, input_size=20)


def test_networks_that_cannot_be_wrapped():
    with pytest.raises(TypeError, match=r"the network is a function; a torch\.nn.Module is needed; attacks alone take"):
        wrap(lambda images: images, mean=0, std=1)
    with pytest.raises(ValueError, match=r"returns shape \(1, 8, 222, 222\) for 1 picture; \(N, K\)"):
        wrap(nn.Conv2d(3, 8, 3), mean=0, std=1)
    with torch.inference_mode():
        network = small()
    with pytest.raises(ValueError, match=r"made inside torch.inference_mode, so no gradient can pass it; make or load"):
        wrap(network, mean=0, std=1)


def test_classifiers_made_under_inference_mode_pass_gradients():
    with torch.inference_mode():
        classifiers = load("digits"), load("resnet18", weights="random")
    wrapped = small()
    with torch.inference_mode():
        classifiers += (wrap(wrapped, mean=0.5, std=0.5),)
    for classifier in classifiers:
        images = IMAGES.clone().requires_grad_()
        classifier(images).sum().backward()
        assert images.grad.abs().max() > 0


@pytest.mark.parametrize("layer", ["0.3", 3])
def test_cam_layer_is_named_or_handed_over(layer):
    network = small()
    classifier = wrap(network, mean=0, std=1, cam_layer=layer if isinstance(layer, str) else network[0][layer])
    assert classifier.cam_layer is network[0][3] and classifier.linear_layer is network[3]
    assert wrap(network, mean=0, std=1, cam_layer="0.2").linear_layer is None


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("0.9", r"the network has no layer '0.9'; pass a name such as '0"),
        ("", r"the network has no layer ''"),
        ("3", r"the layer gives shape \(1, 4\); pass a layer that gives feature maps, \(N, D, h, w\), or a reshape"),
        ("twice", r"the layer runs 2 times for an image; pass one that runs once"),
        ("never", r"the layer runs 0 times for an image"),
        (["0.3"], "the layer is a list; pass the module itself or its name, one alone"),
    ],
)
def test_cam_layers_that_cannot_be(layer, sentence):
    network = small()
    network.never = nn.ReLU()
    network.twice = network[0][2]
    network[0].append(network.twice)
    network.forward = lambda images: network[3](network[0](images).mean((2, 3)))
    with pytest.raises((TypeError, ValueError), match=sentence):
        wrap(network, mean=0, std=1, cam_layer=layer)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("compiled", [torch.jit.script, lambda network: torch.jit.trace(network, IMAGES)])
def test_torchscript_is_attacked_and_shows_no_layer(compiled):
    classifier = wrap(compiled(small().eval()), mean=0.5, std=0.5)
    labels = classifier(IMAGES).argmax(1)
    assert (maximize_loss(classifier, IMAGES, labels, SSIMBall(IMAGES, 0.05)).gradients > 0).all()
    assert classifier.cam_layer is None
    with pytest.raises(
        ValueError, match="the layer is TorchScript, which shows nothing of itself; pass the network as"
    ):
        class_activation_map(classifier, IMAGES, 1, method="grad-cam", layer="0")


def test_last_map_is_told_from_its_uses():
    class Two(nn.Module):
        """A side branch that runs last and does not count, and a ReLU in place that changes the last map."""

        def __init__(self):
            super().__init__()
            self.body, self.side = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)
            self.norm, self.pool, self.linear = nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(2), nn.Linear(8, 4)

        def forward(self, images):
            maps = self.norm(self.body(images))
            self.aside = self.side(maps.detach())
            return self.linear(self.pool(maps.relu_()).mean((2, 3)))

    network = Two()
    classifier = wrap(network, mean=0.5, std=0.5)
    assert classifier.cam_layer is network.norm and classifier.linear_layer is None


def made(name, **options):
    return torchvision.models.get_model(name, num_classes=10, **options)


def made_by_timm(name, **options):
    return pytest.importorskip("timm").create_model(name, num_classes=10, **options)


NETWORKS = {
    "resnet18": lambda: made("resnet18"),
    "convnext_tiny": lambda: made("convnext_tiny"),
    "efficientnet_b0": lambda: made("efficientnet_b0"),
    "small vit": lambda: torchvision.models.VisionTransformer(64, 16, 2, 2, 48, 96, num_classes=10),
    "small swin": lambda: torchvision.models.SwinTransformer([4, 4], 24, [1, 1], [2, 2], [4, 4], num_classes=10),
    "vit_b_16": lambda: made("vit_b_16", image_size=64),
    "swin_t": lambda: made("swin_t"),
    "timm resnet18": lambda: made_by_timm("resnet18"),
    "timm convnext": lambda: made_by_timm("convnext_atto"),
    "timm efficientnet": lambda: made_by_timm("efficientnet_b0"),
    "timm vit": lambda: made_by_timm("vit_tiny_patch16_224", img_size=64),
    "timm swin": lambda: made_by_timm("swin_tiny_patch4_window7_224", img_size=64, window_size=2),
}
SLOW = ("vit_b_16", "swin_t", "timm swin")


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NETWORKS])
def network(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = NETWORKS[request.param]()
        for part in drawn.modules():  # some draw a last layer of zeros
            if isinstance(part, nn.Linear) and part.out_features == 10:
                nn.init.normal_(part.weight)
    return drawn


def test_wrapped_random_networks_attack_and_agree(network):
    """As a newcomer would write it: eight lines."""
    classifier = wrap(network, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], input_size=64)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    labels = classifier(images).argmax(1)
    result = maximize_loss(classifier, images, labels, SSIMBall(images, 0.05), steps=2)
    cam = class_activation_map(classifier, images, labels, method="grad-cam")
    change = (result.adversarial - images).abs().sum(1)
    scores = agreement(change, cam)
    assert result.margin_after < result.margin_before
    assert cam.shape == (1, 64, 64) and cam.max() > 0 and 0 < scores["energy_in_top_q"] < 1
