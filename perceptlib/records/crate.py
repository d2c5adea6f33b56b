"""The recorded runs as an RO-Crate, for archives that read JSON-LD: which run of which software made which file.

``data/recorded/ro-crate-metadata.json`` follows RO-Crate 1.1 and its profile for runs, Process Run Crate 0.5. It
repeats what ``data/manifest.json``, the provenance in the files and ``CITATION.cff`` say: the same content gives the
same bytes. ``make manifest`` renews it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from perceptlib.records.files import write_json
from perceptlib.records.manifest import entries, read_verified
from perceptlib.records.package import ROOT, data_dir
from perceptlib.records.provenance import told_in

NAME = "ro-crate-metadata.json"
_SPECIFICATION = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_FORMATS = {
    ".csv": "text/csv",
    ".ipynb": "application/x-ipynb+json",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
}
# Of these folders the provenance is dated when a run begins; of the others, when it has ended.
_DATED_AT_START = ("studies", "sensitivity", "opponents")

Entity = dict[str, Any]


class _Graph(dict[str, Entity]):
    """Entities by their identifier, each once."""

    def add(self, identifier: str, kind: str, **about: Any) -> Entity:
        """Keep an entity, without what is None or empty and with single values as such; return a reference to it."""
        self[identifier] = {"@id": identifier, "@type": kind}
        for name, value in about.items():
            if value not in (None, "", []):
                self[identifier][name] = value[0] if isinstance(value, list) and len(value) == 1 else value
        return {"@id": identifier}


def crate(citation: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-LD of the crate whose root is ``data/recorded``; `citation` is what ``CITATION.cff`` holds.

    Raises
    ------
    ValueError
        A file with provenance is not as the manifest says.
    """
    listed = {name: entry for name, entry in entries().items() if name.startswith("recorded/")}
    files = {name.removeprefix("recorded/"): entry for name, entry in listed.items()}
    graph = _Graph()
    graph.add(NAME, "CreativeWork", about={"@id": "./"}, conformsTo={"@id": _SPECIFICATION})
    graph.add("./", "Dataset")  # its place, the second; what it holds is known at the end
    url = citation["url"]
    authors = [_author(graph, author, number, url) for number, author in enumerate(citation["authors"], start=1)]
    licences = {text: _licence(graph, text) for text in [citation["license"], *(e["licence"] for e in files.values())]}
    parts = [
        graph.add(
            quote(name),
            "File",
            name=PurePosixPath(name).name,
            description=f"made by: {entry['source']}",
            contentSize=str(entry["bytes"]),
            encodingFormat=_FORMATS.get(PurePosixPath(name).suffix),
            sha256=entry["sha256"],
            license=licences[entry["licence"]],
        )
        for name, entry in files.items()
    ]
    tells = [name for name in files if name.endswith(".json") and PurePosixPath(name).name != "config.json"]
    told = {name: told_in(json.loads(read_verified(data_dir() / "recorded" / name))) for name in tells}
    told = {name: runs for name, runs in told.items() if runs}
    actions = [
        _action(graph, name, number, run, results=_results(name, files, told), agent=authors, citation=citation)
        for name, runs in told.items()
        for number, run in enumerate(runs, start=1)
    ]
    numbers = [
        (each["value"].removeprefix("arXiv:"), paper["title"])
        for paper in citation.get("references", [])
        for each in paper.get("identifiers", [])
        if each["value"].startswith("arXiv:")
    ]
    papers = [graph.add(f"https://arxiv.org/abs/{number}", "ScholarlyArticle", name=title) for number, title in numbers]
    graph.add(
        "./",
        "Dataset",
        conformsTo=graph.add(_PROFILE, "CreativeWork", name="Process Run Crate", version="0.5"),
        name=f"Recorded runs of {citation['title']}",
        description=citation["abstract"].strip(),
        datePublished=max(run["date"] for runs in told.values() for run in runs)[:10],
        version=citation["version"],
        license=licences[citation["license"]],
        author=authors,
        url=url,
        keywords=", ".join(citation["keywords"]),
        citation=papers,
        hasPart=parts,
        mentions=actions,
    )
    context = [f"{_SPECIFICATION}/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
    return {"@context": context, "@graph": list(graph.values())}


def renew(citation: Mapping[str, Any]) -> bool:
    """Write the crate's metadata; return whether it changed."""
    path, content = data_dir() / "recorded" / NAME, crate(citation)
    if path.is_file() and json.loads(path.read_bytes()) == content:
        return False
    write_json(path, content)
    return True


def citation_file(folder: Path = ROOT) -> dict[str, Any]:
    """What ``CITATION.cff`` of the clone holds."""
    import yaml

    return dict(yaml.safe_load((folder / "CITATION.cff").read_text(encoding="utf-8")))


def _results(name: str, files: Mapping[str, Any], told: Mapping[str, Any]) -> list[Entity]:
    """Files that a run made whose provenance the file `name` holds: those beside it, but for what tells of itself.

    A file of another name tells of those that differ from it in their ending alone.
    """
    path = PurePosixPath(name)
    others = map(PurePosixPath, {*files} - {*told})
    beside = [other for other in others if other.parent == path.parent]
    made = [other for other in beside if _stands_for_others(path) or other.stem == path.stem]
    names = [name, *(str(other) for other in made if other.name != "config.json")]
    return [{"@id": quote(other)} for other in sorted(names)]


def _stands_for_others(path: PurePosixPath) -> bool:
    return path.stem.endswith("provenance") or path.name == "numbers.json"


def _author(graph: _Graph, author: Mapping[str, str], number: int, url: str) -> Entity:
    if "name" in author:
        return graph.add(f"#author-{number}", "Organization", name=author["name"], url=author.get("website", url))
    names = " ".join(author[part] for part in ("given-names", "family-names") if part in author)
    return graph.add(author.get("orcid", f"#author-{number}"), "Person", name=names)


def _licence(graph: _Graph, text: str) -> Entity:
    """The licence that one word of SPDX names, or that a text of the manifest describes."""
    identifier = f"https://spdx.org/licenses/{text}" if " " not in text else f"#licence-{_short(text)}"
    return graph.add(identifier, "CreativeWork", name=text)


def _action(
    graph: _Graph,
    name: str,
    number: int,
    run: Mapping[str, Any],
    *,
    results: list[Entity],
    agent: list[Entity],
    citation: Mapping[str, Any],
) -> Entity:
    """A run as it is told of in the file `name`, with the software that ran and what it was given."""
    path = PurePosixPath(name)
    folder, label = path.parent, path.parent if _stands_for_others(path) else path.with_suffix("")
    began = run["date"] if folder.parts[0] in _DATED_AT_START else None
    ended = None if began else run["date"]
    if began and "seconds" in run:
        ended = (datetime.fromisoformat(began) + timedelta(seconds=run["seconds"])).isoformat(timespec="seconds")
    given = [{"@id": config}] if (config := quote(f"{folder}/config.json")) in graph else []
    weights = run.get("weights") or {}
    for each in [weights] if "sha256" in weights else weights.values():
        about = {"name": f"weights of {each['name']}", "description": each["source"], "sha256": each["sha256"]}
        given.append(graph.add(f"#weights-{str(each['sha256'])[:16]}", "CreativeWork", **about))
    if pictures := run.get("pictures"):
        about = {"name": f"{pictures['number']} pictures, preset {run.get('preset')}", "sha256": pictures["sha256"]}
        given.append(graph.add(f"#pictures-{pictures['sha256'][:16]}", "CreativeWork", **about))
    words = [run.get(name) for name in ("command", "machine", "device")]
    words += [f"seed {run['seed']}"] if "seed" in run else []
    return graph.add(
        f"#{quote(str(label))}-{number}",
        "CreateAction",
        name=f"{label}, run {number}",
        description="; ".join(filter(None, words)),
        agent=agent,
        instrument=_software(graph, run, citation),
        object=given,
        result=results,
        startTime=began,
        endTime=ended,
    )


def _software(graph: _Graph, run: Mapping[str, Any], citation: Mapping[str, Any]) -> Entity:
    """This library as it was at a run: version, commit, and the packages that it used."""
    versions = {package: version for package, version in run.get("versions", {}).items() if version}
    version, commit = versions.pop("perceptlib", None), run.get("commit")
    about = {
        "name": "perceptlib",
        "softwareVersion": ", commit ".join(filter(None, [version, commit])),
        "softwareRequirements": [f"Python {run['python']}", *(" ".join(pair) for pair in sorted(versions.items()))],
        "url": citation["repository-code"],
    }
    return graph.add(f"#perceptlib-{_short(json.dumps(about))}", "SoftwareApplication", **about)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


if __name__ == "__main__":
    print(f"{NAME}: {'changed' if renew(citation_file()) else 'right as it is'}")
