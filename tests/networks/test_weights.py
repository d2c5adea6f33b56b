"""Weights put into networks, or refused with a sentence; where files of them are."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from perceptlib.networks.weights import MOBILENET_URL, fill, mobilenet_weights
from perceptlib.records.tensors import Weights

TENSORS = {"0.weight": torch.rand(4, 3), "0.bias": torch.rand(4), "1.weight": torch.rand(2, 4), "1.bias": torch.rand(2)}


def small_network():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def weights_of(tmp_path, tensors):
    return Weights(tmp_path / "file.pt", tensors, {}, "")


def test_fill_puts_every_tensor_in_place(tmp_path):
    network = small_network()
    fill(network, weights_of(tmp_path, TENSORS), architecture="it", last_layer="1.")
    assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("prefixes", "told"),
    [
        (["module."], ["names without 'module.'"]),
        (["_orig_mod."], ["names without '_orig_mod.'"]),
        (["model."], ["names without 'model.'"]),
        (["module._orig_mod."], ["names without '_orig_mod.'", "names without 'module.'"]),
        (["_orig_mod.model.net."], ["names without '_orig_mod.'", "names without 'model.net.'"]),
        ([""], []),
    ],
)
def test_fill_leaves_prefixes_off(tmp_path, prefixes, told):
    network = small_network()
    given = weights_of(tmp_path, {prefixes[0] + name: tensor for name, tensor in TENSORS.items()})
    assert fill(network, given, architecture="it", last_layer="1.") == told
    assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in network.state_dict().items())


def test_fill_leaves_the_count_of_averaged_weights_out(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(small_network()).state_dict()
    network = small_network()
    assert fill(network, weights_of(tmp_path, averaged), architecture="it", last_layer="1.") == [
        "names without 'module.'"
    ]


def test_fill_understands_a_part_that_was_compiled(tmp_path):
    tensors = {name.replace("1.", "1._orig_mod."): tensor for name, tensor in TENSORS.items()}
    assert fill(small_network(), weights_of(tmp_path, tensors), architecture="it", last_layer="1.") == [
        "names without '_orig_mod.'"
    ]


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            {f"model.{name}": tensor for name, tensor in TENSORS.items()} | {"loss.weight": torch.rand(1)},
            "has loss.weight",
        ),
        (TENSORS | {f"module.{name}": tensor for name, tensor in TENSORS.items()}, "has module.0.weight"),
        (
            {f"{prefix}{name}": tensor for prefix in ("a.", "b.") for name, tensor in TENSORS.items()},
            "lacks 0.weight; lacks 0.bias",
        ),
    ],
)
def test_fill_refuses_names_that_fit_in_part(tmp_path, tensors, sentence):
    with pytest.raises(ValueError, match=f"does not hold it: {sentence}"):
        fill(small_network(), weights_of(tmp_path, tensors), architecture="it", last_layer="1.")


def test_fill_needs_no_batch_counter(tmp_path):
    network = nn.Sequential(nn.BatchNorm2d(3))
    tensors = {name: torch.rand(3) for name in ["0.weight", "0.bias", "0.running_mean", "0.running_var"]}
    fill(network, weights_of(tmp_path, tensors), architecture="it", last_layer="1.")
    assert torch.equal(network[0].running_var, tensors["0.running_var"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"0.bias": None}, "does not hold the small one: lacks 0.bias; name a file of that architecture"),
        ({"2.bias": torch.rand(1)}, "has 2.bias, which is not in it"),
        ({"0.weight": torch.rand(5, 3)}, r"0.weight is \(5, 3\), \(4, 3\) is needed"),
        ({"0.weight": None, "0.bias": None, "a": torch.rand(1)}, r"lacks 0.bias \(and 1 more differences\)"),
        ({"1.weight": torch.rand(7, 4), "1.bias": torch.rand(7)}, "holds 7 classes; the small one has 2; name a file"),
    ],
)
def test_fill_refuses_other_architectures(tmp_path, change, sentence):
    tensors = {name: tensor for name, tensor in (TENSORS | change).items() if tensor is not None}
    with pytest.raises(ValueError, match=sentence):
        fill(small_network(), weights_of(tmp_path, tensors), architecture="the small one", last_layer="1.")


@pytest.mark.parametrize(
    ("bias", "sentence"),
    [
        (torch.full((4,), torch.nan), "has NaN or infinite entries"),
        (torch.full((4,), 1e300, dtype=torch.float64), "has NaN or infinite entries"),
        (torch.ones(4, dtype=torch.int64), "is of type int64 in place of float32"),
        (torch.ones(4, dtype=torch.complex64), "is of type complex64 in place of float32"),
        (torch.ones(4).to_sparse(), r"is no plain tensor of numbers \(torch.sparse_coo, cpu, float32\)"),
        (torch.ones(4, device="meta"), r"is no plain tensor of numbers \(torch.strided, meta, float32\)"),
    ],
)
def test_fill_refuses_what_are_no_numbers(tmp_path, bias, sentence):
    given = weights_of(tmp_path, TENSORS | {"0.bias": bias})
    with pytest.raises(ValueError, match=rf"file\.pt holds 0\.bias, which {sentence}; train or save the network again"):
        fill(small_network(), given, architecture="it", last_layer="1.")


def test_fill_refuses_negative_variances_and_reads_no_batch_counter(tmp_path):
    network = nn.Sequential(nn.BatchNorm2d(3))
    tensors = network.state_dict() | {"0.num_batches_tracked": torch.tensor(torch.nan)}
    network[0].num_batches_tracked = network[0].num_batches_tracked.float()
    fill(network, weights_of(tmp_path, tensors), architecture="it", last_layer="1.")
    tensors |= {"0.running_var": torch.tensor([1, -1e-9, 1])}
    with pytest.raises(ValueError, match=r"holds 0\.running_var, which has variances below 0; train or save"):
        fill(network, weights_of(tmp_path, tensors), architecture="it", last_layer="1.")


def test_weights_of_mobilenet_are_looked_for_in_turn(tmp_path, monkeypatch, hub):
    for name in ("PERCEPTLIB_WEIGHTS", "PERCEPTLIB_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    assert mobilenet_weights() is None
    cached = hub / "mobilenet_v2-b0353104.pth"
    assets = tmp_path / "assets" / "mobilenet_v2_imagenet_tf.safetensors"
    for path in (cached, assets):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert mobilenet_weights() == cached
    monkeypatch.setenv("PERCEPTLIB_ASSETS", str(assets.parent))
    assert mobilenet_weights() == assets
    monkeypatch.setenv("PERCEPTLIB_WEIGHTS", str(cached))
    assert mobilenet_weights() == cached
    monkeypatch.setenv("PERCEPTLIB_WEIGHTS", "none.pth")
    with pytest.raises(FileNotFoundError, match=r"names none\.pth, which is no file; name one or unset it"):
        mobilenet_weights()


def test_weights_of_mobilenet_are_those_that_torchvision_publishes():
    assert models.MobileNet_V2_Weights.IMAGENET1K_V1.url == MOBILENET_URL
