"""Damaged files of every kind that a user may hand over, and what a reader made of them.

    python tests/fuzzing.py SECONDS    try damages until the time is over, and count the outcomes by kind

A reader succeeds or raises one of the library's errors with the file's name in a sentence. Anything else is a fault:
another exception, more than one warning, or more than `MOST_SECONDS`. The file that is being read is kept as
build/fuzz/KIND, so that it is there after a crash of the whole process; those that showed a fault are
build/fuzz/KIND-SEED.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file

from perceptlib.cli.provenance import find_provenance, shown
from perceptlib.data import image_folder, read_picture
from perceptlib.data.class_names import read_class_names
from perceptlib.records import write_json
from perceptlib.records.frames import read_csv, write_csv
from perceptlib.records.provenance import provenance
from perceptlib.records.tensors import read_weights
from perceptlib.runs.notebook import write_numbers
from perceptlib.runs.parameters import listing, parse_parameters
from perceptlib.runs.sweep import read_cell, read_plan
from perceptlib.study import rows as study_rows
from perceptlib.study.config import StudyConfig, read_config
from perceptlib.study.rows import read_part, table_of, write_part

MOST_SECONDS = 20  # for any file, on a busy machine
CLEAR = (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError, study_rows.StudyError)
# What a damage may put into a file: values of another kind, lies about sizes, words with a meaning elsewhere.
SNIPPETS = (
    *(b"null", b"NaN", b"-1", b"1e999", b"1" * 400, b"9" * 5000, b"[]", b"{}", b'""', b"true", b"[" * 3000),
    *(b"{" * 3000, b'{"a":' * 2000, b"((" * 500, b"\x00", b"\xff\xfe", b"\xf0\x9f\x92\xa5", b'"', b"'", b"\\", b"\n"),
    *(b"../../../etc/passwd", b"/etc/passwd", b"~", b"a" * 5000, b"<script>alert(1)</script>", b"\\ud800", b"\x1b[2J"),
    *(struct.pack("<I", 0xFFFFFFFF), struct.pack("<Q", 2**63 - 1), struct.pack(">I", 0x7FFFFFFF), bytes(64)),
)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    name
        Of the file.
    write
        Makes a valid one.
    read
        What a user has read it with.
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]


def _picture(suffix: str, **options: Any) -> Kind:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    return Kind(f"picture.{suffix}", lambda path: Image.fromarray(pixels).save(path, **options), read_picture)


def _tensors() -> dict[str, torch.Tensor]:
    return {"0.weight": torch.arange(12.0).view(4, 3), "0.bias": torch.ones(4, dtype=torch.float16)}


def _write_csv(path: Path) -> None:
    lines = ["file,label"]
    for index in range(3):
        Image.new("RGB", (4, 4)).save(path.parent / f"{index}.png")
        lines.append(f"{index}.png,{index}")
    path.write_text("\n".join(lines) + "\n")


_ROWS = [
    {"part": "fooling", "position": place, "image": f"{place}", "method": "l2", "budget": 0.01, "distance": 0.1 * place}
    for place in range(20)
]
_CONFIG = StudyConfig(num_images=3, limits={"regions": 2})
_TOML = """preset = "shapes"
num_images = 3  # few
budgets = [0.001, 1e-2]
searches = ["l2", "ssim"]
seed = 1
[limits]
regions = 2
"""


def _write_notebook(path: Path) -> None:
    v4 = nbformat.v4
    parameters = 'preset = "shapes"  # which\nbudget = 0.01  # distance\nballs = ["l2", "ssim"]\nn = {"a": (1, True)}'
    cells = [v4.new_markdown_cell("# Title"), v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    nbformat.write(v4.new_notebook(cells=cells), path)


def _read_notebook(path: Path) -> None:
    listing(path)
    parse_parameters(path, [("budget", "0.5"), ("balls", "['l2']")])


def _write_study_file(path: Path) -> None:
    write_json(path, _CONFIG.as_dict() if path.name == "config.json" else {"runs": [provenance(seed=0)]})


def _read_study_config(path: Path) -> None:
    study_rows.kept_config(path.parent)


KINDS = (
    *(_picture("png"), _picture("jpg"), _picture("gif"), _picture("bmp"), _picture("webp")),
    *(_picture("tiff"), _picture("ppm")),
    Kind("lzw.tiff", lambda path: Image.new("CMYK", (20, 24)).save(path, compression="tiff_lzw"), read_picture),
    Kind("palette.png", lambda path: Image.new("P", (20, 24)).save(path, transparency=0), read_picture),
    Kind("net.pt", lambda path: torch.save(_tensors(), path), read_weights),
    Kind("old.pt", lambda path: torch.save(_tensors(), path, _use_new_zipfile_serialization=False), read_weights),
    Kind("net.safetensors", lambda path: save_file(_tensors(), path, metadata={"padding": "torch"}), read_weights),
    Kind("names.txt", lambda path: path.write_text("cat\ndog\n"), lambda path: read_class_names(path, 2)),
    Kind("list.csv", _write_csv, image_folder),
    Kind("rows.csv", lambda path: write_csv(pd.DataFrame(_ROWS), path), read_csv),
    Kind("part.parquet", lambda path: write_part(table_of(_ROWS), path), read_part),
    Kind("own.toml", lambda path: path.write_text(_TOML), read_config),
    Kind("own.json", lambda path: path.write_text(json.dumps(_CONFIG.as_dict())), read_config),
    Kind("config.json", _write_study_file, _read_study_config),
    Kind("provenance.json", _write_study_file, lambda path: study_rows.recorded_starts(path.parent)),
    Kind(
        "numbers.json",
        lambda path: write_numbers(path.parent, {"a": {"b": 1.5}}, preset="shapes", seed=0),
        lambda path: shown(find_provenance(path)[1]),
    ),
    Kind("05_book.ipynb", _write_notebook, _read_notebook),
    Kind(
        "sweep.json",
        lambda path: write_json(path, {"notebook": "a", "grid": {"b": [1, 2]}}),
        read_plan,
    ),
    Kind(
        "cell.json",
        lambda path: write_json(path, {"key": "k", "status": "done", "error": "", "seconds": 1.0}),
        read_cell,
    ),
)


@cache
def _valid(kind: Kind) -> tuple[Path, bytes]:
    """A folder with a valid file, and its content."""
    folder = Path(tempfile.mkdtemp(prefix="fuzzing-"))
    kind.write(folder / kind.name)
    return folder, (folder / kind.name).read_bytes()


def damaged(content: bytes, seed: int) -> bytes:
    """The content after one to four damages at random places."""
    draw = random.Random(seed)
    made = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4))):
        start = draw.randrange(len(made) + 1)
        stop = min(len(made), start + draw.choice((1, 1, 1, 2, 4, 8, 32, 200)))
        match draw.randrange(9):
            case 0 | 1:
                for place in range(start, stop):
                    made[place] ^= 1 << draw.randrange(8)
            case 2:
                del made[start:]
            case 3:
                made[start:stop] = bytes(stop - start)
            case 4:
                del made[start:stop]
            case 5:
                made[start:start] = draw.randbytes(stop - start)
            case 6:
                made[start:start] = made[start:stop]
            case 7:
                made[start:start] = draw.choice(SNIPPETS)
            case 8:
                _replace_value(made, draw)
    return bytes(made)


def _replace_value(made: bytearray, draw: random.Random) -> None:
    """Put a snippet in the place of a value behind a colon, an equals sign or a comma."""
    places = [place for place, letter in enumerate(made) if letter in b":=,["]
    if places:
        start = draw.choice(places) + 1
        stop = min((place for place in range(start, len(made)) if made[place] in b",]}\n"), default=len(made))
        made[start:stop] = draw.choice(SNIPPETS)


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(kind: Kind, seed: int, *, keep: Path | None = None) -> str:
    """Damage a file of a kind and read it.

    Parameters
    ----------
    kind, seed
        What is damaged, and how.
    keep
        Folder that receives the damaged file before it is read.

    Returns
    -------
    str
        "read", or the name of the library's error.

    Raises
    ------
    AssertionError
        The reader did what no reader may.
    """
    folder, content = _valid(kind)
    path = folder / kind.name
    made = damaged(content, seed)
    path.write_bytes(made)
    if keep is not None:
        (keep / kind.name).write_bytes(made)
    told, what = "", "read"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            with _at_most(MOST_SECONDS):
                kind.read(path)
        except CLEAR as error:
            told, what = str(error), type(error).__name__
        except Exception as error:
            raise AssertionError(f"{kind.name}, seed {seed}: {type(error).__name__}: {error}") from error
    is_named = kind.name in told or f"{folder} holds" in told or (what == "ParameterError" and path.stem in told)
    assert what == "read" or is_named, f"{kind.name}, seed {seed}: the message does not name the file: {told}"
    assert len(told) < 1500, f"{kind.name}, seed {seed}: {len(told)} letters of message"
    assert len(warned) <= 1, f"{kind.name}, seed {seed}: {[str(warning.message) for warning in warned]}"
    return what


def main(seconds: float) -> int:
    """Try damages of all kinds in turn; the number of faults."""
    keep = Path("build/fuzz")
    keep.mkdir(parents=True, exist_ok=True)
    counts: dict[str, Counter[str]] = {kind.name: Counter() for kind in KINDS}
    first = int.from_bytes(os.urandom(6), "little")
    print(f"seeds from {first}", flush=True)
    started, seed, faults = time.monotonic(), first, 0
    while time.monotonic() - started < seconds:
        for kind in KINDS:
            try:
                counts[kind.name][outcome(kind, seed, keep=keep)] += 1
            except AssertionError as error:
                faults += 1
                counts[kind.name]["FAULT"] += 1
                (keep / f"{kind.name}-{seed}").write_bytes((keep / kind.name).read_bytes())
                print(str(error)[:400], flush=True)
        seed += 1
    for name, count in counts.items():
        told = ", ".join(f"{what} {number}" for what, number in sorted(count.items()))
        print(f"{name:<18} {count.total():>7}  {told}")
    print(f"{sum(count.total() for count in counts.values())} damaged files, {faults} faults")
    return faults


if __name__ == "__main__":
    sys.exit(min(1, main(float(sys.argv[1]))))
