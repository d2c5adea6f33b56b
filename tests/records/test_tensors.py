"""Files of tensors: the two kinds read alike, and every file that cannot be read refused with a sentence."""

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

from perceptlib.records import tensors
from perceptlib.records.tensors import cached_file, read_weights

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
    monkeypatch.setattr(tensors, "SILENT_SECONDS", 0.2)
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
