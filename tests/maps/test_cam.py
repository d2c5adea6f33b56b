"""Class activation maps: exact where theory says so, equal to grad-cam's, and leaving the network as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from reference_maps import bilinear, classic_map
from small_networks import random_classifier
from torch import nn

from perceptlib.data import folders as data
from perceptlib.maps import class_activation_map
from perceptlib.maps.cam import METHODS
from perceptlib.networks import load

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 3, 7])
# Sums of 256 float32 products in another order.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def classifier():
    return random_classifier()


@pytest.fixture(scope="module")
def precise():
    """In float64: a random network enlarges float32's rounding to the fourth digit."""
    return random_classifier().double()


def channels_of(classifier, images):
    return classifier.network.features((images - classifier.mean) / classifier.std)


def stretched(maps):
    """Each map brought to [0, 1], as grad-cam returns it."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def test_classic_map_equals_loops(classifier):
    images = IMAGES[:2, :, :40, :]
    maps = class_activation_map(classifier, images, CLASSES[:2])
    channels, weight = channels_of(classifier, images).double().numpy(), classifier.linear_layer.weight.double()
    assert channels.shape[2:] == (5, 8)
    for i in range(2):
        expected = bilinear(classic_map(channels[i], weight[CLASSES[i]].numpy()), 40, 64)
        assert expected.max() > 1
        np.testing.assert_allclose(maps[i], expected, **ROUNDING)


def test_classic_map_averages_to_the_logit(classifier):
    """What makes it exact: without the ReLU, mean over places plus bias is the logit."""
    channels, linear = channels_of(classifier, IMAGES), classifier.linear_layer
    evidence = torch.einsum("kd,ndhw->nkhw", linear.weight, channels)
    torch.testing.assert_close(evidence.mean((2, 3)) + linear.bias, classifier(IMAGES), **ROUNDING)


def test_grad_cam_is_the_classic_map_over_the_number_of_places(classifier):
    classic = class_activation_map(classifier, IMAGES, CLASSES)
    torch.testing.assert_close(
        class_activation_map(classifier, IMAGES, CLASSES, method="grad-cam") * 64, classic, **ROUNDING
    )


@pytest.mark.parametrize(
    ("method", "theirs"), [("grad-cam", "GradCAM"), ("grad-cam++", "GradCAMPlusPlus"), ("score-cam", "ScoreCAM")]
)
def test_maps_equal_grad_cams_own_once_stretched(classifier, method, theirs):
    import pytorch_grad_cam  # here: it imports torchvision, which perceptlib must have mended by then
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    images = IMAGES.clone().requires_grad_()
    with getattr(pytorch_grad_cam, theirs)(classifier, [classifier.cam_layer]) as cam:
        expected = cam(images, [ClassifierOutputTarget(int(label)) for label in CLASSES])
    maps = class_activation_map(classifier, IMAGES, CLASSES, method=method)
    # grad-cam adds 1e-7 to a map's maximum, which matters where the maximum is small.
    np.testing.assert_allclose(stretched(maps), expected, atol=1e-3)


def test_eigen_cam_is_the_first_principal_component(classifier):
    maps = class_activation_map(classifier, IMAGES, CLASSES, method="eigen-cam")
    for channels, got in zip(channels_of(classifier, IMAGES).double(), maps, strict=True):
        places = channels.flatten(1).T
        places = places - places.mean(0)
        axis = torch.linalg.eigh(places.T @ places).eigenvectors[:, -1]
        component = (places @ axis).view(8, 8)
        component = component * (1 if component.max() >= -component.min() else -1)
        np.testing.assert_allclose(got, bilinear(component.clamp(min=0).numpy(), 64, 64), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_the_images_form(classifier, method):
    maps = class_activation_map(classifier, IMAGES[:, :, :32, :48].double(), CLASSES, method=method)
    assert (maps.shape, maps.dtype, maps.requires_grad) == ((3, 32, 48), torch.float64, False)
    assert maps.min() >= 0
    assert maps.isfinite().all()
    assert (maps.amax((1, 2)) > 0).any()


@pytest.mark.parametrize("method", METHODS)
def test_maps_do_not_depend_on_the_batch(precise, method):
    together = class_activation_map(precise, IMAGES, CLASSES, method=method)
    alone = [class_activation_map(precise, IMAGES[[i]], CLASSES[[i]], method=method) for i in (2, 0, 1)]
    torch.testing.assert_close(torch.cat(alone), together[[2, 0, 1]], **ROUNDING)


@pytest.mark.parametrize("method", METHODS)
def test_one_class_stands_for_all_images(classifier, method):
    torch.testing.assert_close(
        class_activation_map(classifier, IMAGES, 3, method=method),
        class_activation_map(classifier, IMAGES, torch.tensor([3, 3, 3]), method=method),
    )


@pytest.mark.parametrize("method", METHODS)
def test_map_without_evidence_stays_zero(method):
    classifier = random_classifier()
    nn.init.constant_(classifier.linear_layer.weight, -1)
    last_norm = classifier.cam_layer[1]
    if method in ("score-cam", "eigen-cam"):  # their maps do not look at the linear layer's sign
        nn.init.zeros_(last_norm.weight)
        nn.init.zeros_(last_norm.bias)
    assert class_activation_map(classifier, IMAGES, 0, method=method).tolist() == torch.zeros(3, 64, 64).tolist()


def hooks_of(classifier):
    return [
        (module, list(module._forward_hooks), list(module._backward_hooks), list(module._forward_pre_hooks))
        for module in classifier.modules()
        if module._forward_hooks or module._backward_hooks or module._forward_pre_hooks
    ]


@pytest.mark.parametrize("method", METHODS)
def test_classifier_left_as_it_was(classifier, method):
    images = IMAGES.clone().requires_grad_()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    class_activation_map(classifier, images, CLASSES, method=method)
    assert hooks_of(classifier) == []
    assert images.grad is None
    assert images.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in classifier.parameters())
    assert not any(module.training for module in classifier.modules())


@pytest.mark.parametrize("error", [RuntimeError, IndexError])
@pytest.mark.parametrize("method", METHODS)
def test_hooks_removed_after_an_exception(classifier, monkeypatch, method, error):
    def fail(*args):
        raise error("on purpose")

    monkeypatch.setattr(classifier.network.classifier[-1], "forward", fail)
    with pytest.raises(error, match="on purpose"):
        class_activation_map(classifier, IMAGES, CLASSES, method=method)
    assert hooks_of(classifier) == []


@pytest.mark.parametrize("method", METHODS)
def test_maps_work_where_gradients_are_off(classifier, method):
    expected = class_activation_map(classifier, IMAGES, CLASSES, method=method)
    with torch.no_grad():
        assert torch.equal(class_activation_map(classifier, IMAGES, CLASSES, method=method), expected)


def test_score_cam_prints_nothing(classifier, capsys):
    class_activation_map(classifier, IMAGES[:1], 0, method="score-cam")
    assert capsys.readouterr() == ("", "")


def test_maps_refuse_bad_input(classifier):
    with pytest.raises(ValueError, match=r"there is no method 'lime'; 'cam', 'grad-cam', .* are"):
        class_activation_map(classifier, IMAGES, CLASSES, method="lime")
    with pytest.raises(ValueError, match="classes hold class 8; 0 to 7 are allowed"):
        class_activation_map(classifier, IMAGES, 8)
    with pytest.raises(TypeError, match="classes have dtype int32; int64"):
        class_activation_map(classifier, IMAGES, CLASSES.int())
    with pytest.raises(ValueError, match="an empty batch"):
        class_activation_map(classifier, IMAGES[:0], CLASSES[:0])


def test_layer_by_name_is_the_layer(classifier):
    expected = class_activation_map(classifier, IMAGES, CLASSES)
    last = len(classifier.network.features) - 1
    assert torch.equal(class_activation_map(classifier, IMAGES, CLASSES, layer=f"features.{last}"), expected)


@pytest.mark.parametrize("name", ["features.3", "features.3.conv.0.1"])
def test_grad_cam_of_a_layer_equals_autograd(precise, name):
    """The second is batch norm before a ReLU6 that writes to its memory."""
    images = (IMAGES.double() - precise.mean) / precise.std
    network, kept = copy.deepcopy(precise.network), []
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    network.get_submodule(name).register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = network(images.requires_grad_()).gather(1, CLASSES[:, None]).sum()
    (gradient,) = torch.autograd.grad(logits, kept)
    expected = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).clamp(min=0).detach()
    maps = class_activation_map(precise, IMAGES.double(), CLASSES, method="grad-cam", layer=name)
    assert expected.max() > 0
    for i in range(3):
        np.testing.assert_allclose(maps[i], bilinear(expected[i].numpy(), 64, 64), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS[1:])
def test_every_grad_cam_method_takes_a_layer(classifier, method):
    maps = class_activation_map(classifier, IMAGES[:1], 0, method=method, layer="features.2.conv.2")
    assert maps.shape == (1, 64, 64) and maps.isfinite().all() and maps.max() > 0
    assert hooks_of(classifier) == []


def test_layers_that_give_no_map_are_refused(classifier):
    with pytest.raises(ValueError, match=r"no layer 'feature.3'; pass a name such as 'features.3'"):
        class_activation_map(classifier, IMAGES, CLASSES, method="grad-cam", layer="feature.3")
    with pytest.raises(ValueError, match=r"is of the last layer; pass layer='' or method='grad-cam'"):
        class_activation_map(classifier, IMAGES, CLASSES, layer="features.3")
    with pytest.raises(ValueError, match=r"the layer gives shape \(3, 8\); pass a layer that gives feature maps"):
        class_activation_map(classifier, IMAGES, CLASSES, method="grad-cam", layer="classifier.1")
    assert hooks_of(classifier) == []


def test_layer_that_runs_twice_is_refused(resnet):
    with pytest.raises(ValueError, match="the layer runs 2 times for an image; pass one that runs once"):
        class_activation_map(resnet, IMAGES[:1], 0, method="grad-cam", layer="layer4.0.relu")
    resnet.network.fc.register_module("unused", nn.ReLU())
    with pytest.raises(ValueError, match="the layer runs 0 times for an image"):
        class_activation_map(resnet, IMAGES[:1], 0, method="grad-cam", layer="fc.unused")


@pytest.fixture
def resnet():
    return load("imagenet", weights="random", architecture="resnet18")


def test_classic_map_needs_a_linear_layer_after_the_average():
    classifier = load("imagenet", weights="random", architecture="squeezenet1_1")
    with pytest.raises(ValueError, match=r"needs a network whose logits are linear .* pass method='grad-cam'"):
        class_activation_map(classifier, IMAGES, 5)
    assert class_activation_map(classifier, IMAGES, 5, method="grad-cam").shape == (3, 64, 64)


def test_swin_maps_are_of_the_layer_that_puts_channels_first():
    classifier = load("imagenet", weights="random", architecture="swin_t")
    images = IMAGES[:1]
    classic = class_activation_map(classifier, images, 3)
    torch.testing.assert_close(
        class_activation_map(classifier, images, 3, method="grad-cam", layer="permute") * 4, classic, **ROUNDING
    )
    with pytest.raises(ValueError, match=r"'features.7' of a Swin network has its channels last; pass layer=''"):
        class_activation_map(classifier, images, 3, method="grad-cam", layer="features.7")


def test_digits_map_is_exact_too():
    classifier, images = load("digits"), data.digits(3).images
    classic = class_activation_map(classifier, images, 4)
    torch.testing.assert_close(class_activation_map(classifier, images, 4, method="grad-cam") * 64, classic, **ROUNDING)


def test_imagenet_map_is_exact_too(assets):
    classifier = load("imagenet", weights=assets / "mobilenet_v2_imagenet_tf.safetensors")
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([3, 900])
    classic = class_activation_map(classifier, images, classes)
    assert classic.shape == (2, 224, 224)
    torch.testing.assert_close(
        class_activation_map(classifier, images, classes, method="grad-cam") * 49, classic, **ROUNDING
    )
