"""Checksums of what ships under ``data/``: each file is verified where it is read, so that a changed byte is told.

``data/manifest.json`` also holds the digest of each picture that comes with scikit-image and scikit-learn. Files
elsewhere, such as a user's runs, are read as they are. ``make manifest`` renews the entries of all files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceptlib.records.files import write_json
from perceptlib.records.package import data_dir

# The two listings themselves, and texts.
_UNLISTED = ("manifest.json", "ro-crate-metadata.json", "README.md")


def read_verified(path: str | Path) -> bytes:
    """Content of a file, read once; ValueError where it ships and is not as the manifest says."""
    content = Path(path).read_bytes()
    name = _shipped_name(Path(path))
    entry = None if name is None else _content()["files"].get(name)
    digest = hashlib.sha256(content).hexdigest()
    if entry is not None and entry["sha256"] != digest:
        raise ValueError(
            f"data/{name} is not as it was recorded: it has {len(content)} bytes with sha256 {digest[:12]}, and "
            f"data/manifest.json says {entry['bytes']} with {entry['sha256'][:12]}; fetch it again with "
            f"`git checkout data/{name}`, or run `make manifest` if it was recorded anew"
        )
    return content


def verify_pixels(name: str, pixels: NDArray[Any]) -> None:
    """Compare a picture of another package, as ``skimage.data.camera`` gives it, with the one of the records.

    One without an entry passes: what a JPEG gives depends on its decoder.
    """
    entry = _content()["pictures"].get(name)
    if entry is not None and entry["sha256"] != pixel_digest(pixels):
        package = name.partition(".")[0]
        raise ValueError(
            f"{name} gives another picture than the one that the numbers of this project were made with; "
            f"install the version of {package} that .requirements/lock.txt pins"
        )


def pixel_digest(pixels: NDArray[Any]) -> str:
    """sha256 of an array's shape and values as 8-bit numbers."""
    values = np.ascontiguousarray(pixels, dtype=np.uint8)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def shipped_files() -> list[Path]:
    """Files under ``data/`` that the manifest must list, sorted."""
    return sorted(path for path in data_dir().rglob("*") if path.is_file() and path.name not in _UNLISTED)


def entries() -> dict[str, dict[str, Any]]:
    """Path under ``data/`` -> size, sha256, licence and source, as the manifest has them."""
    files: dict[str, dict[str, Any]] = _content()["files"]
    return files


def renew(paths: Iterable[str | Path], *, licence: str | None = None, source: str | None = None) -> list[str]:
    """Write the entries of some files anew, after they were recorded; returns a line for every entry that changed.

    The entry of a file that is gone is dropped. `licence` and `source` of a new file are by default those of a listed
    one in the same folder.
    """
    content = _content()
    files: dict[str, dict[str, Any]] = content["files"]
    told = []
    for path in map(Path, paths):
        name = _shipped_name(path)
        if name is None:
            raise ValueError(f"{path} is not under data/, where the files are that ship; leave it out")
        if not path.is_file():
            told += [f"dropped {name}"] if files.pop(name, None) else []
            continue
        before = files.get(name)
        like = before or next((files[other] for other in files if Path(other).parent == Path(name).parent), {})
        entry = {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "licence": licence or like.get("licence"),
            "source": source or like.get("source"),
        }
        if not (entry["licence"] and entry["source"]):
            raise ValueError(
                f"data/{name} is new in its folder; write "
                f"perceptlib.records.manifest.renew(['data/{name}'], licence='MIT', source='the command that made it')"
            )
        if entry != before:
            files[name] = entry
            told.append(f"{'changed' if before else 'added'} {name}")
    if told:
        write_json(data_dir() / "manifest.json", content | {"files": dict(sorted(files.items()))})
    return told


def _shipped_name(path: Path) -> str | None:
    """Path under ``data/``, with slashes; None for a file elsewhere."""
    try:
        return path.resolve().relative_to(data_dir().resolve()).as_posix()
    except (FileNotFoundError, ValueError):  # without the repository nothing ships
        return None


def _content() -> dict[str, Any]:
    try:
        path, again = data_dir() / "manifest.json", "fetch it again with `git checkout data/manifest.json`"
    except FileNotFoundError:  # a copy of the package alone
        return {"files": {}, "pictures": {}}
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; {again}")
    try:
        content = json.loads(path.read_bytes())
        return {"files": dict(content["files"]), "pictures": dict(content["pictures"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"data/manifest.json is damaged ({type(error).__name__}: {error}); {again}") from error


if __name__ == "__main__":
    listed = [data_dir() / name for name in _content()["files"]]
    print(*(renew([*listed, *shipped_files()]) or ["the manifest is right as it is"]), sep="\n")
