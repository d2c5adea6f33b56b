"""The crate of the recorded runs: up to date, complete by the rules of RO-Crate 1.1, and true to its sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from perceptlib.records import crate, data_dir, manifest, write_json

FOLDER = data_dir() / "recorded"
CONTENT = json.loads((FOLDER / crate.NAME).read_text(encoding="utf-8"))
ENTITIES: dict[str, dict[str, Any]] = {entity["@id"]: entity for entity in CONTENT["@graph"]}
CITATION = {
    "title": "a study",
    "abstract": "what it is\n",
    "version": "1.0",
    "license": "MIT",
    "repository-code": "https://example.org/code",
    "url": "https://example.org",
    "keywords": ["one", "two"],
    "authors": [{"given-names": "Ada", "family-names": "B", "orcid": "https://orcid.org/0"}, {"family-names": "C"}],
    "references": [{"title": "a paper", "identifiers": [{"value": "arXiv:1.2"}, {"value": "ISBN 3"}]}, {"title": "b"}],
}
VERSIONS = {"perceptlib": "0.1.0", "torch": "2.13.0", "cvvdp": None}
RUN = {"date": "2026-01-02T03:04:05+00:00", "python": "3.11.7", "versions": VERSIONS, "seed": 0, "command": "a command"}
WEIGHTS = {"name": "net", "source": "a file", "sha256": "ab" * 32}


def of_type(kind: str) -> list[dict[str, Any]]:
    return [entity for entity in CONTENT["@graph"] if entity["@type"] == kind]


def references(value: Any) -> Iterator[str]:
    """Identifiers of the entities that a value refers to."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            yield each["@id"]


def test_crate_is_up_to_date() -> None:
    assert crate.crate(crate.citation_file()) == CONTENT, "run `make manifest`"


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / crate.NAME, crate.crate(crate.citation_file()))
    assert (tmp_path / crate.NAME).read_bytes() == (FOLDER / crate.NAME).read_bytes()


def test_crate_has_a_descriptor_and_a_root_with_what_they_must_have() -> None:
    assert CONTENT["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    descriptor = ENTITIES["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = ENTITIES["./"]
    assert root["@type"] == "Dataset" and root["name"] and root["description"] and root["author"]
    assert datetime.fromisoformat(root["datePublished"])
    assert ENTITIES[root["license"]["@id"]]["name"] == "MIT"


def test_entities_are_there_once_and_every_reference_leads_to_one() -> None:
    assert len(ENTITIES) == len(CONTENT["@graph"])
    used = {name for entity in CONTENT["@graph"] for value in entity.values() for name in references(value)}
    assert used - {"https://w3id.org/ro/crate/1.1"} <= ENTITIES.keys()
    assert ENTITIES.keys() - used == {"ro-crate-metadata.json"}


def test_every_listed_file_is_there_with_its_size_checksum_and_licence() -> None:
    files = of_type("File")
    assert {each["@id"] for each in files} == {*references(ENTITIES["./"]["hasPart"])}
    names = {f"recorded/{unquote(each['@id'])}" for each in files}
    assert names == {name for name in manifest.entries() if name.startswith("recorded/")}
    for each in files:
        content = (FOLDER / unquote(each["@id"])).read_bytes()
        assert each["contentSize"] == str(len(content))
        assert each["sha256"] == hashlib.sha256(content).hexdigest()
        assert each["encodingFormat"] and ENTITIES[each["license"]["@id"]]["name"]


def test_every_file_but_configurations_is_the_result_of_a_run() -> None:
    actions = of_type("CreateAction")
    assert {each["@id"] for each in actions} == {*references(ENTITIES["./"]["mentions"])}
    made = {name for action in actions for name in references(action["result"])}
    assert {each["@id"] for each in of_type("File")} - made == {
        each["@id"] for each in of_type("File") if each["name"] == "config.json"
    }
    for action in actions:
        [software] = references(action["instrument"])
        assert ENTITIES[software]["@type"] == "SoftwareApplication" and ENTITIES[software]["softwareRequirements"]
        times = [datetime.fromisoformat(action[key]) for key in ("startTime", "endTime") if key in action]
        assert times and times == sorted(times)


def test_each_recorded_study_says_with_what_it_was_made() -> None:
    folders = sorted(path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.glob("studies/*/*/study.parquet"))
    for folder in folders:
        action = ENTITIES[f"#{folder}-1"]
        assert {"@id": f"{folder}/config.json"} in action["object"]
        assert {"@id": f"{folder}/study.parquet"} in action["result"]
        assert any(name.startswith("#weights-") for name in references(action["object"]))
        [software] = references(action["instrument"])
        assert ", commit " in ENTITIES[software]["softwareVersion"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a study, a table and a file that tells of itself."""
    recorded = tmp_path / "recorded"
    (recorded / "studies" / "a b").mkdir(parents=True)
    study = recorded / "studies" / "a b"
    (study / "study.parquet").write_bytes(b"rows")
    write_json(study / "config.json", {"seed": 0})
    write_json(study / "provenance.json", {"runs": [RUN, RUN | {"seconds": 55.2, "commit": "0123"}]})
    (recorded / "table").mkdir()
    (recorded / "table" / "rows.csv").write_text("a\n1\n")
    several = {"one": WEIGHTS, "two": WEIGHTS | {"name": "other", "sha256": "cd" * 32}}
    pictures = {"number": 5, "sha256": "ef" * 32}
    provenance = RUN | {"weights": several, "pictures": pictures, "preset": "photos"}
    write_json(recorded / "table" / "numbers.json", {"numbers": {}, "provenance": provenance})
    write_json(recorded / "table" / "bench.json", {"machine": {"date": "2026-01-01", "python": "3.12", "torch": "2"}})
    (tmp_path / "manifest.json").write_text('{"files": {}, "pictures": {}}')
    for module in (manifest, crate):
        monkeypatch.setattr(module, "data_dir", lambda: tmp_path)
    manifest.renew(manifest.shipped_files(), licence="MIT; and more", source="a test")
    return tmp_path


def made(data: Path) -> dict[str, dict[str, Any]]:
    return {entity["@id"]: entity for entity in crate.crate(CITATION)["@graph"]}


def test_run_is_described_by_its_provenance(data: Path) -> None:
    found = made(data)
    table = found["#table-1"]
    assert table["endTime"] == RUN["date"] and "startTime" not in table
    assert [*references(table["result"])] == ["table/numbers.json", "table/rows.csv"]  # bench.json tells of itself
    given = [found[name]["name"] for name in references(table["object"])]
    assert given == ["weights of net", "weights of other", "5 pictures, preset photos"]
    assert table["description"] == "a command; seed 0"
    [software] = references(table["instrument"])
    assert found[software]["softwareVersion"] == "0.1.0"
    assert found[software]["softwareRequirements"] == ["Python 3.11.7", "torch 2.13.0"]
    assert [*references(found["#table/bench-1"]["result"])] == ["table/bench.json"]


def test_study_is_dated_when_it_began_and_ends_where_its_seconds_are_known(data: Path) -> None:
    found = made(data)
    first, second = found["#studies/a%20b-1"], found["#studies/a%20b-2"]
    assert first["startTime"] == RUN["date"] and "endTime" not in first
    assert second["endTime"] == "2026-01-02T03:05:00+00:00"
    assert first["object"] == {"@id": "studies/a%20b/config.json"}
    assert first["instrument"] != second["instrument"]  # another commit
    assert found["./"]["datePublished"] == "2026-01-02"


def test_authors_licences_and_papers_are_those_of_the_citation(data: Path) -> None:
    found = made(data)
    people = [found[name] for name in references(found["./"]["author"])]
    assert [(each["@id"], each["@type"], each["name"]) for each in people] == [
        ("https://orcid.org/0", "Person", "Ada B"),
        ("#author-2", "Person", "C"),
    ]
    assert [*references(found["./"]["citation"])] == ["https://arxiv.org/abs/1.2"]
    assert found["./"]["license"] == {"@id": "https://spdx.org/licenses/MIT"}
    [licence] = references(found["table/rows.csv"]["license"])
    assert found[licence]["name"] == "MIT; and more"


def test_crate_is_written_where_something_changed(data: Path) -> None:
    assert crate.renew(CITATION)
    assert not crate.renew(CITATION)
    assert crate.renew(CITATION | {"version": "1.1"})
    assert manifest.renew(manifest.shipped_files()) == []  # a listing itself, and listed nowhere


def test_file_that_the_manifest_does_not_know_is_told(data: Path) -> None:
    (data / "recorded" / "table" / "numbers.json").write_text("{}")
    with pytest.raises(ValueError, match=r"table/numbers\.json is not as it was recorded: .*run `make manifest`"):
        crate.crate(CITATION)


def test_citation_file_is_that_of_the_clone(tmp_path: Path) -> None:
    (tmp_path / "CITATION.cff").write_text("title: a\n")
    assert crate.citation_file(tmp_path) == {"title": "a"}
    assert crate.citation_file()["license"] == "MIT"
