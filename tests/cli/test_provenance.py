"""Where a file comes from: found inside it or beside it, shown line by line, and missed with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from perceptlib.cli.main import app
from perceptlib.cli.provenance import NOT_RECORDED, find_provenance, lines_of, shown
from perceptlib.records import data_dir, write_json
from perceptlib.records.provenance import provenance
from perceptlib.runs.notebook import write_numbers
from perceptlib.training.small import train_and_save

OWN = {"versions": {"torch": "2.13.0"}, "seed": 7}


def seeds(path: Path) -> list[Any]:
    return [record["seed"] for record in find_provenance(path)[1]]


def test_new_provenance_lacks_nothing() -> None:
    lines = lines_of(provenance(seed=3, preset="shapes", pictures={"number": 2, "sha256": "ab"}))
    assert not [line for line in lines if NOT_RECORDED in line]
    assert "seed      3" in lines and "pictures  2 (sha256 ab)" in lines and "weights   none" in lines
    assert any(line.startswith("versions  perceptlib ") for line in lines)


def test_what_an_earlier_version_did_not_keep_is_said() -> None:
    lines = lines_of(OWN | {"num_images": 5, "settings": {"steps": 3}})
    assert lines[0] == f"command     {NOT_RECORDED}"
    assert lines[-1] == "num_images  5"


def test_text_of_a_file_stays_in_its_line() -> None:
    assert lines_of({"command": "a\nb\r\nseed  9", "seed": [1, 2]})[0] == "command   a b seed 9"


@pytest.mark.parametrize("name", ["numbers.json", "", "rows.csv", "02_attack.ipynb", "02_attack.html"])
def test_run_is_told_by_its_numbers(tmp_path: Path, name: str) -> None:
    written = write_numbers(tmp_path, {"a": 1}, preset="shapes", seed=7)
    for other in ("rows.csv", "02_attack.ipynb", "02_attack.html"):
        (tmp_path / other).touch()
    assert find_provenance(tmp_path / name)[0] == written
    assert seeds(tmp_path / name) == [7]


@pytest.mark.parametrize("name", ["", "study.parquet", "rows/part.parquet", "config.json"])
def test_study_is_told_by_every_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows").mkdir()
    for other in ("study.parquet", "rows/part.parquet"):
        (tmp_path / other).touch()
    write_json(tmp_path / "config.json", {"seed": 1})
    write_json(tmp_path / "provenance.json", {"runs": [OWN, OWN | {"seed": 8}]})
    assert seeds(tmp_path / name) == [7, 8]
    lines = shown(find_provenance(tmp_path)[1])
    assert (lines[0], lines[lines.index("") + 1]) == ("run 1 of 2", "run 2 of 2")


def test_record_of_a_name_goes_before_that_of_the_folder(tmp_path: Path) -> None:
    for name in ("factorial.csv", "factorial_network_1.csv", "other.csv"):
        (tmp_path / name).touch()
    write_json(tmp_path / "provenance.json", OWN)
    write_json(tmp_path / "factorial_provenance.json", {"budget": 0.1, "runs": [OWN | {"seed": 1}]})
    assert seeds(tmp_path / "factorial.csv") == seeds(tmp_path / "factorial_network_1.csv") == [1]
    assert seeds(tmp_path / "other.csv") == [7]


def test_attack_and_benchmark_are_told_by_their_records(tmp_path: Path) -> None:
    (tmp_path / "adversarial.png").touch()
    write_json(tmp_path / "result.json", {"provenance": OWN})
    assert seeds(tmp_path / "adversarial.png") == [7]
    write_json(tmp_path / "bench.json", {"tables": {}, "machine": {"torch": "2.13.0", "processor": "x86_64"}})
    [record] = find_provenance(tmp_path / "bench.json")[1]
    assert record == {"versions": {"torch": "2.13.0"}, "machine": "x86_64"}


def test_weights_tell_of_their_training(tmp_path: Path) -> None:
    train_and_save("digits", seed=4, out=tmp_path / "net.safetensors", amount=1)
    [record] = find_provenance(tmp_path / "net.safetensors")[1]
    assert (record["seed"], record["preset"], record["weights"]["name"]) == (4, "digits", "net.safetensors")
    assert len(record["weights"]["sha256"]) == 64
    [older] = find_provenance(data_dir() / "shapes" / "mobilenet_v2_shapes_seed0.safetensors")[1]
    assert older["seed"] == "0" and "torch" in older["versions"]


@pytest.mark.parametrize("name", ["provenance", "versions"])
@pytest.mark.parametrize("content", ["{", "3", "null", "[1]", "[" * 100_000])
def test_damaged_metadata_of_weights_are_told(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"date": "2026", name: content})
    with pytest.raises(ValueError, match=r"the metadata of .*net\.safetensors are damaged \(\w+\); fetch it again"):
        find_provenance(path)


def test_every_recorded_file_is_told_of() -> None:
    for path in sorted(data_dir().rglob("*")):
        if path.is_file() and path.name not in ("README.md", "manifest.json", "ro-crate-metadata.json"):
            assert find_provenance(path)[1], path


@pytest.mark.parametrize("content", ["{", '{"provenance"', "\xff", "[" * 100_000])
def test_damaged_record_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "rows.csv").touch()
    (tmp_path / "numbers.json").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"numbers\.json is damaged \(.*\); make it again, or name another file"):
        find_provenance(tmp_path / "rows.csv")


@pytest.mark.parametrize("content", ["[1]", "3"])
def test_record_that_holds_no_entries_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"a\.json holds a (list|int); entries by name are needed; make it again"):
        find_provenance(tmp_path / "a.json")


@pytest.mark.parametrize("content", ["{}", '{"provenance": 3}', '{"provenance": {}}', '{"runs": [1]}'])
def test_file_without_provenance_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    save_file({"a": torch.ones(1)}, tmp_path / "foreign.safetensors")
    for name in ("a.json", "foreign.safetensors", ""):
        with pytest.raises(ValueError, match=r"does not say where it comes from: .*provenance\.json.*; name a file"):
            find_provenance(tmp_path / name)


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*none\.csv; name a file or folder that"):
        find_provenance(tmp_path / "none.csv")


def test_command_prints_the_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    written = write_numbers(tmp_path, {"a": 1}, preset="shapes", seed=7)
    done = CliRunner().invoke(app, ["provenance", str(tmp_path / "rows.csv")])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == f"{tmp_path / 'rows.csv'}, told by {written}"
    assert "seed      7" in done.stdout.splitlines()
    assert json.loads(written.read_text())["provenance"]["date"] in done.stdout
    (tmp_path / "numbers.json").unlink()
    done = CliRunner().invoke(app, ["provenance", str(tmp_path / "rows.csv")])
    assert done.exit_code == 2
    assert done.stderr.startswith("perceptlib: ") and "does not say where it comes from" in done.stderr
