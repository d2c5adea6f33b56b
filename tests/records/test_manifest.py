"""What ships is what was recorded: the manifest is complete, and a changed byte is told where a file is read."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perceptlib.analysis.recorded import study_folder
from perceptlib.records import data_dir, manifest
from perceptlib.records.frames import read_csv
from perceptlib.records.tensors import read_weights
from perceptlib.study.rows import read_part

LISTED = json.loads((data_dir() / "manifest.json").read_text(encoding="utf-8"))["files"]


def test_manifest_is_complete_and_right() -> None:
    there = {path.relative_to(data_dir()).as_posix(): path for path in manifest.shipped_files()}
    assert LISTED.keys() == there.keys(), "run `make manifest`"
    for name, path in there.items():
        content = path.read_bytes()
        assert LISTED[name]["sha256"] == hashlib.sha256(content).hexdigest(), f"{name}: run `make manifest`"
        assert LISTED[name]["bytes"] == len(content)
        assert LISTED[name]["licence"] and LISTED[name]["source"]
    assert list(LISTED) == sorted(LISTED)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a weights file, a table and rows, listed."""
    folder = tmp_path / "data"
    (folder / "recorded").mkdir(parents=True)
    shutil.copyfile(data_dir() / "digits" / "small_digits_seed0.safetensors", folder / "net.safetensors")
    shutil.copyfile(data_dir() / "recorded" / "bench" / "claim_b.csv", folder / "recorded" / "rows.csv")
    shutil.copyfile(study_folder("digits") / "study.parquet", folder / "recorded" / "rows.parquet")
    (folder / "manifest.json").write_text('{"files": {}, "pictures": {}}')
    monkeypatch.setattr(manifest, "data_dir", lambda: folder)
    manifest.renew(manifest.shipped_files(), licence="MIT", source="a test")
    return folder


READERS: dict[str, Callable[[Path], Any]] = {
    "net.safetensors": read_weights,
    "recorded/rows.csv": read_csv,
    "recorded/rows.parquet": read_part,
}


@pytest.mark.parametrize("name", READERS)
def test_changed_byte_is_told_by_the_reader(data: Path, name: str) -> None:
    path = data / name
    READERS[name](path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    told = rf"data/{name} is not as it was recorded: it has {len(content)} bytes .*git checkout data/{name}.*make manif"
    with pytest.raises(ValueError, match=told):
        READERS[name](path)
    with pytest.raises(ValueError, match=told):
        manifest.read_verified(path)
    path.rename(data.parent / "own")
    assert manifest.read_verified(data.parent / "own") == content  # of a user, who may change it


def test_file_is_read_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, paths = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda path: (paths.append(path), read(path))[1])
    for name, reader in READERS.items():
        reader(data / name)
    assert [path.name for path in paths if path.name != "manifest.json"] == [Path(name).name for name in READERS]


def test_recorded_folder_of_a_user_is_read_as_it_is(data: Path) -> None:
    (data / "recorded" / "mine.csv").write_text("a\n1\n")
    assert read_csv(data / "recorded" / "mine.csv")["a"].tolist() == [1]


def test_renew_follows_the_files(data: Path) -> None:
    rows = data / "recorded" / "rows.csv"
    rows.write_text("a\n1\n")
    (data / "net.safetensors").unlink()
    (data / "recorded" / "more.csv").write_text("b\n2\n")
    assert manifest.renew([rows, data / "net.safetensors", data / "recorded" / "more.csv"]) == [
        "changed recorded/rows.csv",
        "dropped net.safetensors",
        "added recorded/more.csv",
    ]
    assert read_csv(rows)["a"].tolist() == [1]
    files = json.loads((data / "manifest.json").read_text())["files"]
    assert list(files) == ["recorded/more.csv", "recorded/rows.csv", "recorded/rows.parquet"]
    assert files["recorded/more.csv"] == {
        "bytes": 4,
        "sha256": hashlib.sha256(b"b\n2\n").hexdigest(),
        "licence": "MIT",
        "source": "a test",
    }
    assert manifest.renew(manifest.shipped_files()) == []


def test_renew_refuses_files_elsewhere_and_of_unknown_licence(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"own\.csv is not under data/, where the files are that ship; leave it out"):
        manifest.renew([tmp_path / "own.csv"])
    (data / "new").mkdir()
    (data / "new" / "a.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match=r"data/new/a.csv is new in its folder; write .*renew\(.*licence='MIT'"):
        manifest.renew([data / "new" / "a.csv"])


@pytest.mark.parametrize("content", ["{", "[1]", '{"files": {}}', '{"files": 3, "pictures": {}}'])
def test_damaged_manifest_is_told(data: Path, content: str) -> None:
    (data / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=r"data/manifest\.json is damaged \(.*\); fetch it again with `git checkout"):
        manifest.read_verified(data / "net.safetensors")


def test_missing_manifest_is_told(data: Path) -> None:
    (data / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*manifest\.json; fetch it again with `git checkout"):
        manifest.read_verified(data / "net.safetensors")


def test_without_the_repository_nothing_ships(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def gone() -> Path:
        raise FileNotFoundError("no folder")

    monkeypatch.setattr(manifest, "data_dir", gone)
    (tmp_path / "a").write_bytes(b"a")
    assert manifest.read_verified(tmp_path / "a") == b"a"
    manifest.verify_pixels("skimage.data.camera", np.zeros((2, 2)))


def test_pixels_of_another_version_are_told() -> None:
    with pytest.raises(ValueError, match=r"skimage\.data\.camera gives another picture .* the version of skimage that"):
        manifest.verify_pixels("skimage.data.camera", np.zeros((512, 512), np.uint8))
    manifest.verify_pixels("skimage.data.rocket", np.zeros((2, 2), np.uint8))  # not listed


def test_pixel_digest_knows_shape_and_values() -> None:
    pixels = np.arange(6, dtype=np.uint8)
    digests = {manifest.pixel_digest(array) for array in (pixels, pixels.reshape(2, 3), pixels[::-1])}
    assert len(digests) == 3
    assert manifest.pixel_digest(pixels[::-1]) == manifest.pixel_digest(np.array([5.0, 4, 3, 2, 1, 0]))
