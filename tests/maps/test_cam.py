"""Class activation maps: exact where theory says so, equal to grad-cam's, and leaving the network as it was."""

from __future__ import annotations

import copy
import gc
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from reference_maps import bilinear, classic_map
from small_networks import random_classifier
from torch import nn
from torch.nn import functional

from perceptlib import data
from perceptlib.maps import class_activation_map
from perceptlib.maps.cam import METHODS
from perceptlib.networks import load, wrap

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
    import pytorch_grad_cam
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
    layer = "features.3" if method == "score-cam" else ""  # of 32 channels, each of which costs a pass
    together = class_activation_map(precise, IMAGES, CLASSES, method=method, layer=layer)
    alone = [class_activation_map(precise, IMAGES[[i]], CLASSES[[i]], method=method, layer=layer) for i in (2, 0, 1)]
    torch.testing.assert_close(torch.cat(alone), together[[2, 0, 1]], **ROUNDING)


@pytest.mark.parametrize("method", METHODS)
def test_one_class_stands_for_all_images(classifier, method):
    torch.testing.assert_close(
        class_activation_map(classifier, IMAGES[:2], 3, method=method),
        class_activation_map(classifier, IMAGES[:2], torch.tensor([3, 3]), method=method),
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
    classifier.network.train()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    class_activation_map(classifier, images, CLASSES, method=method)
    assert hooks_of(classifier) == []
    assert images.grad is None
    assert images.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in classifier.parameters())
    assert all(module.training for module in classifier.network.modules())
    classifier.network.eval()


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
    expected = class_activation_map(classifier, IMAGES[:1], CLASSES[:1], method=method)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            maps = class_activation_map(classifier, IMAGES[:1].clone(), CLASSES[:1].clone(), method=method)
        assert torch.equal(maps, expected) and not maps.is_inference() and not maps.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_maps_do_not_depend_on_form_and_context(classifier, method):
    layer = "" if method == "cam" else "features.2"
    expected = class_activation_map(classifier, IMAGES[:1], 3, method=method, layer=layer)
    turned = IMAGES[:1].permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for images, label in ((turned, np.int64(3)), (IMAGES[:1].numpy(), np.array([3])), (turned, torch.tensor([3]))):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(class_activation_map(classifier, images, label, method=method, layer=layer), expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_maps_leave_nothing_in_memory(classifier, method):
    def tensors():
        gc.collect()
        return sum(type(entry) is torch.Tensor for entry in gc.get_objects())

    layer = "" if method == "cam" else "features.2"
    for _ in range(2):
        class_activation_map(classifier, IMAGES[:1], 3, method=method, layer=layer)
    before = tensors()
    for _ in range(3):
        class_activation_map(classifier, IMAGES[:1], 3, method=method, layer=layer)
    assert tensors() == before


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
    return load("resnet18", weights="random")


def test_classic_map_needs_a_linear_layer_after_the_average():
    classifier = load("squeezenet1_1", weights="random")
    with pytest.raises(ValueError, match=r"needs a network whose logits are linear .* pass method='grad-cam'"):
        class_activation_map(classifier, IMAGES, 5)
    assert class_activation_map(classifier, IMAGES, 5, method="grad-cam").shape == (3, 64, 64)


@pytest.mark.parametrize("method", METHODS)
def test_threads_that_share_a_classifier_get_their_own_maps(classifier, method):
    """They ran into each other's hooks once, in silence."""
    classifier.network.train()
    layer = "features.3" if method == "score-cam" else ""

    def map_of(i):
        return class_activation_map(classifier, IMAGES[[i]], CLASSES[[i]], method=method, layer=layer)

    expected, order = [map_of(i) for i in range(3)], [0, 1, 2] * 4
    with ThreadPoolExecutor(4) as pool:
        maps = list(pool.map(map_of, order))
    assert all(torch.equal(got, expected[i]) for got, i in zip(maps, order, strict=True))
    assert hooks_of(classifier) == [] and all(module.training for module in classifier.network.modules())
    classifier.network.eval()


def test_maps_of_many_images_run_in_parts(precise, monkeypatch):
    expected = class_activation_map(precise, IMAGES, CLASSES)
    sizes = []
    hook = precise.network.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr("perceptlib.maps.cam._BATCH", 2)
    torch.testing.assert_close(class_activation_map(precise, IMAGES, CLASSES), expected, **ROUNDING)
    hook.remove()
    assert sizes == [2, 1]


SCENES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class Own(nn.Module):
    """A network as people write one; `head` makes its output, `end` comes before it."""

    def __init__(self, head=lambda logits: logits, *, num_logits=4, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
            self.linear = nn.Linear(8, num_logits)
        self.drop = nn.Dropout(0.5)
        self.head = head

    def forward(self, images):
        return self.head(self.linear(self.drop(self.features(images).mean((2, 3)))))


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize(
    "head",
    [
        lambda z: (z, None),
        lambda z: {"logits": z},
        lambda z: z[..., None, None],
        lambda z: z.half(),
        lambda z: z.bfloat16(),
    ],
    ids=["tuple", "dict", "(N, K, 1, 1)", "float16", "bfloat16"],
)
def test_maps_of_any_network_with_a_layer_named(method, head):
    network, plain = Own(head).train(), Own().eval()
    statistics = network.features[1].running_mean.clone()
    maps = class_activation_map(network, SCENES, 1, method=method, layer="features")
    expected = class_activation_map(plain, SCENES, 1, method=method, layer=plain.features)
    torch.testing.assert_close(maps, expected, rtol=2e-2, atol=2e-2 * expected.max().item())  # bfloat16 has 8 bits
    assert network.training and network.drop.training and torch.equal(network.features[1].running_mean, statistics)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("head", [lambda z: z, lambda z: z[:, 0]], ids=["(N, 1)", "(N,)"])
def test_one_logit_has_maps_for_and_against(method, head):
    network = Own(head, num_logits=1)
    classifier = wrap(network, mean=0, std=1, input_size=32)
    channels = network.eval().features(SCENES).detach()
    for label in (0, 1):
        maps = class_activation_map(classifier, SCENES, label, method=method)
        if method == "cam":
            weight = network.linear.weight[0].detach() * (label - 0.5)
            expected = torch.einsum("d,ndhw->nhw", weight, channels).clamp(min=0)[:, None]
            expected = functional.interpolate(expected, (32, 32), mode="bilinear")[:, 0]
            torch.testing.assert_close(maps, expected, **ROUNDING)


@pytest.mark.parametrize(
    "around", [nn.DataParallel, partial(torch.compile, backend="eager")], ids=["parallel", "compiled"]
)
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_network_within_another(around, method):
    plain = Own().eval()
    expected = class_activation_map(wrap(plain, mean=0.5, std=0.5), SCENES, 1, method=method)
    classifier = wrap(around(plain), mean=0.5, std=0.5)
    classifier(SCENES)
    assert classifier.cam_layer is plain.features and classifier.linear_layer is plain.linear
    torch.testing.assert_close(class_activation_map(classifier, SCENES, 1, method=method), expected, **ROUNDING)


def test_maps_of_a_network_with_compiled_parts():
    network = Own().eval()
    expected = class_activation_map(network, SCENES, 1, method="grad-cam", layer="features.0")
    network.compile(backend="eager")
    network(SCENES)
    got = class_activation_map(network, SCENES, 1, method="grad-cam", layer="features.0")
    torch.testing.assert_close(got, expected, **ROUNDING)


class Turned(nn.Module):
    """Features with their channels last in between, as Swin and ConvNeXt have them."""

    def __init__(self, channels=16):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, channels, 4, 4)
            self.last = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels))
            self.act = nn.GELU()
            self.linear = nn.Linear(channels, 5)

    def forward(self, images):
        return self.linear(self.act(self.last(self.first(images).permute(0, 2, 3, 1))).mean((1, 2)))


@pytest.mark.parametrize("channels", [16, 8])
@pytest.mark.parametrize("layer", ["last", "last.0", "last.1"])
def test_channels_last_are_recognised(layer, channels):
    network = Turned(channels).eval()
    if (layer, channels) == ("last", 8):  # (N, 8, 8, 8)
        with pytest.raises(
            ValueError, match=r"gives shape \(2, 8, 8, 8\), in which channels cannot be told from places"
        ):
            class_activation_map(network, SCENES, 1, method="grad-cam", layer=layer)
        return
    maps = class_activation_map(network, SCENES, 1, method="grad-cam", layer=layer)
    given = class_activation_map(
        network, SCENES, 1, method="grad-cam", layer=layer, reshape_transform=lambda x: x.permute(0, 3, 1, 2)
    )
    assert torch.equal(maps, given)
    assert maps.max() > 0


def test_channels_last_of_pictures_that_are_not_square_are_recognised():
    network, images = Turned(8).eval(), torch.rand(1, 3, 32, 64)
    maps = class_activation_map(network, images, 1, method="grad-cam", layer="act")
    given = class_activation_map(
        network, images, 1, method="grad-cam", layer="act", reshape_transform=lambda x: x.permute(0, 3, 1, 2)
    )
    assert torch.equal(maps, given)


def test_reshape_transform_must_give_maps():
    with pytest.raises(ValueError, match=r"reshape_transform gives shape \(2, 8, 256\) for 2 pictures; \(N, D, h, w\)"):
        class_activation_map(
            Own().eval(), SCENES, 1, method="grad-cam", layer="features", reshape_transform=lambda x: x.flatten(2)
        )


class Tokens(nn.Module):
    """A vision transformer of one attention, with a class token before those of the 4x4 places."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.norm = nn.LayerNorm(12)
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.linear = nn.Linear(12, 3)

    def forward(self, images):
        tokens = torch.cat([self.token.expand(len(images), -1, -1), self.patches(images).flatten(2).mT], dim=1)
        tokens = self.norm(tokens)
        return self.linear((tokens + self.attention(tokens, tokens, tokens)[0])[:, 0])


@pytest.mark.parametrize("method", METHODS[1:])
def test_tokens_of_places_are_recognised(method):
    network = Tokens().eval()
    classifier = wrap(network, mean=0, std=1, input_size=32)
    assert classifier.cam_layer is network.norm and classifier.linear_layer is None
    maps = class_activation_map(classifier, SCENES, 1, method=method)
    given = class_activation_map(
        network, SCENES, 1, method=method, layer="norm", reshape_transform=lambda x: x[:, 1:].mT.unflatten(2, (4, 4))
    )
    torch.testing.assert_close(maps, given, **ROUNDING)
    with pytest.raises(
        ValueError, match=r"needs a network whose logits are linear in the average .* method='grad-cam'"
    ):
        class_activation_map(classifier, SCENES, 1)


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++"])
@pytest.mark.parametrize("layer", ["features", "unused"])
def test_layer_that_no_gradient_reaches_is_refused(method, layer):
    network = Own(lambda logits: logits.detach()) if layer == "features" else Own()
    if layer == "unused":
        network.unused = nn.Conv2d(3, 2, 3)
        network.register_forward_hook(lambda module, inputs, output: (module.unused(inputs[0]), output)[1])
    with pytest.raises(ValueError, match=r"no gradient of the logits reaches the layer: .* or method='score-cam'"):
        class_activation_map(network, SCENES, 1, method=method, layer=layer)
    assert class_activation_map(network, SCENES, 1, method="eigen-cam", layer=layer).shape == (2, 32, 32)


def test_network_without_a_layer_is_asked_for_one():
    with pytest.raises(
        ValueError, match=r"no layer of this network is known .*; pass layer=NAME, of named_modules\(\)"
    ):
        class_activation_map(Own(), SCENES, 1, method="grad-cam")
    flat = wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)), mean=0, std=1)
    assert flat.cam_layer is None and flat.linear_layer is None
    with pytest.raises(ValueError, match=r"or make a Classifier with wrap\(network, cam_layer=NAME, ...\)"):
        class_activation_map(flat, SCENES, 1, method="grad-cam")
    with pytest.raises(ValueError, match="the layer, a ReLU, is no part of the network; pass one of its modules"):
        class_activation_map(Own(), SCENES, 1, method="grad-cam", layer=nn.ReLU())
    with pytest.raises(ValueError, match="the layer gives a tuple; pass a layer that gives feature maps"):
        class_activation_map(Tokens(), SCENES, 1, method="grad-cam", layer="attention")
    with pytest.raises(ValueError, match="classes hold class 4; 0 to 3 are allowed"):
        class_activation_map(Own(), SCENES, 4, method="grad-cam", layer="features")


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
