"""Weights files: the two kinds read alike, and every file that cannot be used refused with a sentence."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import socket
import struct
import urllib.error
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from perceptlib.networks import weights
from perceptlib.networks.weights import MOBILENET_URL, Weights, cached_file, fill, mobilenet_weights, read_weights

TENSORS = {"0.weight": torch.rand(4, 3), "0.bias": torch.rand(4), "1.weight": torch.rand(2, 4), "1.bias": torch.rand(2)}


class Code:
    """Pickles to a call that leaves a folder behind when it is run."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def small_network():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def write_safetensors(path):
    save_file(TENSORS, path, metadata={"padding": "tf_same"})


def write_state_dict(path):
    torch.save(TENSORS, path)


def write_old_state_dict(path):
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)


WRITERS = [write_safetensors, write_state_dict, write_old_state_dict]


@pytest.mark.parametrize("write", WRITERS)
def test_weights_read_back_as_written(tmp_path, write):
    path = tmp_path / "weights.any-name"
    write(path)
    weights = read_weights(path)
    assert set(weights.tensors) == set(TENSORS)
    assert all(torch.equal(weights.tensors[name], TENSORS[name]) for name in TENSORS)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.metadata == ({"padding": "tf_same"} if write is write_safetensors else {})


@pytest.mark.parametrize("kept", [0.001, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("write", WRITERS)
def test_truncated_weights_refused(tmp_path, write, kept):
    write(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match=r"cut short or damaged .* copy it again|is not a weights file"):
        read_weights(tmp_path / "cut")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK is no archive", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_other_files_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=rf"\({len(content)} bytes\) is not a weights file; a safetensors file"):
        read_weights(tmp_path / "file")


def test_missing_weights_and_folders_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.pt does not exist; name a safetensors or state_dict"):
        read_weights(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match=r"is a folder; name a safetensors"):
        read_weights(tmp_path)


def write_pickled_code(path, code):
    path.write_bytes(pickle.dumps({"0.weight": code}))


def write_archive_with_code(path, code):
    torch.save({"0.weight": code}, path)


@pytest.mark.parametrize("write", [write_pickled_code, write_archive_with_code])
def test_pickled_code_refused_and_not_run(tmp_path, write):
    write(tmp_path / "evil.pt", Code(tmp_path / "was_run"))
    with pytest.raises(ValueError, match=r"could run code, so it was not read; .*network.state_dict\(\)"):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "was_run").exists()


def test_compressed_archive_refused_before_it_unpacks(tmp_path):
    torch.save({"0.weight": torch.zeros(5_000_000)}, tmp_path / "large.pt")
    with zipfile.ZipFile(tmp_path / "large.pt") as stored, zipfile.ZipFile(tmp_path / "bomb.pt", "w", 8) as packed:
        for entry in stored.namelist():
            packed.writestr(entry, stored.read(entry))
    assert (tmp_path / "bomb.pt").stat().st_size < 40_000  # of 20 MB
    with pytest.raises(ValueError, match=r"bomb\.pt holds compressed entries, .* may unpack to any size, so"):
        read_weights(tmp_path / "bomb.pt")


def header(entries, size=None):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        header({"a": ENTRY}, size=2**63) + bytes(8),
        header({"a": ENTRY}, size=10**9) + bytes(8),
        header({"a": ENTRY}, size=1) + bytes(8),
        header({"a": ENTRY}),
        header({"a": ENTRY | {"data_offsets": [0, 2**62]}}) + bytes(8),
        header({"a": ENTRY | {"data_offsets": [8, 0]}}) + bytes(8),
        header({"a": ENTRY | {"shape": [2**40]}}) + bytes(8),
        header({"a": ENTRY | {"shape": [2**32, 2**32, 2]}}) + bytes(8),
        header({"a": ENTRY | {"shape": [-1]}}) + bytes(8),
        header({"a": ENTRY | {"dtype": "F31"}}) + bytes(8),
        header({"a": ENTRY, "b": ENTRY}) + bytes(8),  # both in the same bytes
        header({"a": ENTRY}) + bytes(12),  # more than the entries say
        header({"a": ENTRY, "__metadata__": {"padding": 3}}) + bytes(8),
        header({"a": ENTRY, "__metadata__": ["padding"]}) + bytes(8),
    ],
)
def test_safetensors_whose_header_lies_refused(tmp_path, content):
    (tmp_path / "lies.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"lies\.safetensors \(\d+ bytes\) is cut short or damaged \(.*\); fetch"):
        read_weights(tmp_path / "lies.safetensors")


def test_whole_network_refused(tmp_path):
    torch.save(small_network(), tmp_path / "network.pt")
    with pytest.raises(ValueError, match="pickled Python objects besides tensors"):
        read_weights(tmp_path / "network.pt")


@pytest.mark.parametrize(
    ("checkpoint", "told"),
    [
        ({"epoch": 3, "state_dict": TENSORS, "optimizer": {"lr": 0.1, "state": {}}}, ("entry 'state_dict'",)),
        ({"model": TENSORS, "model_ema": TENSORS, "args": {"lr": 1}}, ("entry 'model'",)),
        ({"model_state_dict": TENSORS, "loss": 0.5}, ("entry 'model_state_dict'",)),
        ({"ours": TENSORS, "epoch": 1}, ("entry 'ours'",)),
        ({"checkpoint": {"net": TENSORS, "step": 2}}, ("entry 'checkpoint'", "entry 'net'")),
    ],
)
def test_weights_are_taken_from_a_checkpoint(tmp_path, checkpoint, told):
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    weights = read_weights(tmp_path / "checkpoint.pt")
    assert weights.told == told
    assert all(torch.equal(weights.tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize(
    "content", [{"epoch": 3}, {"a": TENSORS, "b": TENSORS}, {"0.weight": TENSORS["0.weight"], "epoch": 3}, [1]]
)
def test_checkpoint_without_weights_refused(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pt")
    kind = type(content).__name__
    with pytest.raises(ValueError, match=rf"holds a {kind} of other things than tensors; a state_dict is needed"):
        read_weights(tmp_path / "checkpoint.pt")


def test_checkpoint_that_holds_itself_refused(tmp_path):
    endless = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="holds a dict of other things than tensors"):
        read_weights(tmp_path / "checkpoint.pt")


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


@pytest.fixture
def hub(tmp_path):
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


URL = "https://example.org/models/net-0123abcd.pth"


def test_cached_file_is_not_fetched_again(hub, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    hub.mkdir()
    (hub / "net-0123abcd.pth").write_bytes(b"")
    assert cached_file(URL) == hub / "net-0123abcd.pth"


def test_file_fetched_into_the_cache_with_its_hash(hub, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *args, **options: calls.append((args, options)))
    path = cached_file(URL)
    assert calls == [((URL, str(path)), {"hash_prefix": "0123abcd"})]


def test_file_of_another_hash_is_not_kept(hub, tmp_path):
    source = tmp_path / "source" / "net-0123abcd.pth"
    source.parent.mkdir()
    source.write_bytes(b"not what was published")
    with pytest.raises(ConnectionError, match=r"net-0123abcd\.pth and could not be fetched \(invalid hash value "):
        cached_file(source.as_uri())
    assert not list(hub.iterdir())
    right = source.with_name(f"net-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.pth")
    source.rename(right)
    assert cached_file(right.as_uri()).read_bytes() == b"not what was published"


def test_server_that_never_answers_is_given_up(hub, monkeypatch):
    monkeypatch.setattr(weights, "SILENT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/net-0123abcd.pth"
        with pytest.raises(ConnectionError, match=r"could not be fetched \(timed out\); name a safetensors"):
            cached_file(address)
    assert socket.getdefaulttimeout() is None
    assert not list(hub.iterdir())


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), RuntimeError("invalid hash value")])
def test_weights_that_cannot_be_fetched_say_how_to_name_a_file(hub, monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ConnectionError, match=r"not be fetched .*: weights=PATH .*_WEIGHTS=PATH .*efficientnet-lite0"):
        cached_file(URL)


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
