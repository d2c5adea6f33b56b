"""The command ``perceptlib provenance``: what a file, or the record beside it, says of its making."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

# Records that stand for the other files of their folder, the most particular first.
_BESIDE = ("provenance.json", "result.json", "sweep.json", "numbers.json", "frames.json", "bench.json")
_WORDS = (
    *("command", "date", "seed", "preset", "commit", "python", "machine", "device", "threads"),
    *("weights", "pictures", "versions"),
)
NOT_RECORDED = "not recorded"


def provenance(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that perceptlib wrote, or its folder.")],
) -> None:
    """Say where a file comes from: command, date, seed, commit, versions, machine, weights and pictures.

    \b
    Examples:
      perceptlib provenance my-run/numbers.json
      perceptlib provenance shapes-study
      perceptlib provenance cat-attack/adversarial.png
      perceptlib provenance data/recorded/peers/photos.csv

    A table, picture, notebook or page is told of by the record beside it. A study that was stopped and continued has a
    record for each start. What an earlier version did not keep is called "not recorded".
    """
    from perceptlib.records import printable

    told, records = find_provenance(file)
    head = f"{file}, told by {told}" if told != file else str(file)
    typer.echo(printable("\n".join([head, *shown(records)])))


def find_provenance(path: str | Path) -> tuple[Path, list[dict[str, Any]]]:
    """The file that says where `path` comes from, and a record for each time that something was added to it.

    ValueError: neither the file nor one beside it says so, or the one that should is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; name a file or folder that perceptlib wrote")
    for candidate in _candidates(path):
        if candidate.is_file() and (records := _records(candidate)):
            return candidate, records
    looked = "it and its" if path.is_dir() else "the file and, beside it,"
    raise ValueError(
        f"{path} does not say where it comes from: {looked} {', '.join(_BESIDE)} hold no provenance; name a file that "
        "perceptlib wrote, in the folder where it was written"
    )


def lines_of(record: Mapping[str, Any]) -> list[str]:
    """A record as aligned lines; what it lacks, as records of earlier versions do, is called not recorded."""
    told: dict[str, Any] = {word: record.get(word, NOT_RECORDED) for word in _WORDS}
    pictures, versions = told["pictures"], told["versions"]
    if isinstance(pictures, dict):
        told["pictures"] = f"{pictures.get('number')} (sha256 {pictures.get('sha256')})"
    if isinstance(versions, dict):
        told["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    told["weights"] = _weights(told["weights"])
    told |= {name: value for name, value in record.items() if name not in told and not isinstance(value, dict | list)}
    texts = {name: "none" if value is None else str(value) for name, value in told.items()}
    width = max(map(len, texts))
    # in one line each, whatever a file holds
    return [f"{name:<{width}}  {' '.join(text.split())}" for name, text in texts.items()]


def shown(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of several records, each under its number where there are more than one."""
    if len(records) == 1:
        return lines_of(records[0])
    lines: list[str] = []
    for number, record in enumerate(records, start=1):
        lines += ["", f"run {number} of {len(records)}", *lines_of(record)]
    return lines[1:]


def _candidates(path: Path) -> list[Path]:
    if path.is_dir():
        return [path / name for name in _BESIDE]
    folder = path.parent
    own = sorted(folder.glob("*_provenance.json"), key=lambda found: -len(found.name))
    particular = [found for found in own if path.stem.startswith(found.stem.removesuffix("_provenance"))]
    beside = [folder / name for name in _BESIDE if folder / name != path]
    above = [folder.parent / "provenance.json"] if folder.name == "rows" else []  # of the parts of a study
    return [path, path.with_suffix(".json"), *particular, *beside, *above]


def _records(path: Path) -> list[dict[str, Any]]:
    """Records inside a file; none where its kind holds none."""
    if path.suffix == ".safetensors":
        return _of_weights(path)
    if path.suffix != ".json":
        return []
    from perceptlib.records import read_json
    from perceptlib.records.provenance import told_in

    return told_in(read_json(path))


def _of_weights(path: Path) -> list[dict[str, Any]]:
    from perceptlib.records.tensors import read_weights

    weights = read_weights(path)
    if "date" not in weights.metadata:
        return []
    texts = weights.metadata
    try:
        record, versions = (dict(json.loads(texts.get(name, "{}"))) for name in ("provenance", "versions"))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"the metadata of {path} are damaged ({type(error).__name__}); fetch it again, or name another file"
        ) from error
    earlier = {"seed": texts.get("seed"), "date": texts.get("date"), "versions": versions or None}
    own = {"weights": {"name": path.name, "source": texts.get("source"), "sha256": weights.sha256}}
    return [earlier | record | own]


def _weights(weights: Any) -> Any:
    if not isinstance(weights, dict):
        return weights
    if "sha256" in weights:
        return f"{weights.get('source')} (sha256 {weights['sha256'] or 'none: random weights'})"
    return "; ".join(f"{name}: {_weights(entry)}" for name, entry in weights.items())  # of several presets
