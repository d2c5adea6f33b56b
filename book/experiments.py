"""The book's pages that are notebooks: what they are, which are stale, how they are run or taken from a record."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nbformat
import yaml

# All paths are relative to the repository's root, where book/build.py runs: outputs hold no path of a machine.
RUNS = Path("build/runs")
# What renews the record of a page, by what the page needs.
RENEW = {"imagenet": "make record PERCEPTLIB_WEIGHTS=PATH", "photographs": "make record PERCEPTLIB_ASSETS=FOLDER"}


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: parameters is a dict
class Page:
    """A notebook, run with some parameters, as a page of the book."""

    name: str  # of the page, and of its folder under build/runs
    notebook: str  # stem under notebooks/
    parameters: dict[str, Any] = field(default_factory=dict)  # those that differ from the notebook's defaults
    # "imagenet": the run needs MobileNetV2's weights; "photographs": labelled photographs too, and so long that only
    # `make record` runs it.
    needs: str = ""
    title: str = ""  # empty for the notebook's own

    @property
    def document(self) -> str:
        # Where the page stands in the book, as _toc.yml names it, and a recorded run in the repository.
        return f"data/recorded/{self.name}/{self.name}" if self.needs else f"notebooks/{self.name}"

    @property
    def source(self) -> Path:
        return Path("notebooks", f"{self.notebook}.ipynb")  # without outputs

    @property
    def run(self) -> Path:
        return RUNS / self.name  # folder of the run's outputs

    @property
    def executed(self) -> Path:
        return self.run / f"{self.notebook}.ipynb"


def pages() -> list[Page]:
    """Return every notebook with its defaults, then the runs of book/runs.yml; a wrong entry is a ValueError."""
    found = [Page(path.stem, path.stem) for path in sorted(Path("notebooks").glob("*.ipynb"))]
    notebooks = [page.notebook for page in found]
    for entry in yaml.safe_load(Path("book/runs.yml").read_text()) or []:
        name = entry.pop("page")
        try:
            page = Page(name, **entry)
        except TypeError as error:  # an unknown word
            raise ValueError(f"book/runs.yml: page {name}: {error}") from error
        if page.notebook not in notebooks:
            raise ValueError(f"page {name} names notebook {page.notebook}; there are {', '.join(notebooks)}")
        if page.name in {other.name for other in found} or page.needs not in ("", *RENEW):
            raise ValueError(f"page {name} is there twice, or needs neither imagenet nor photographs: {page.needs!r}")
        found.append(page)
    return found


def digest(paths: Iterable[Path], *extra: str) -> str:
    """Return a digest of names and contents: never of times."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    total.update("\0".join(extra).encode())
    return total.hexdigest()


def code_of(path: Path, given: Collection[str] = ()) -> list[str]:
    """Return a notebook's code, however its lines are broken, but for what fetches the project and `given` defaults."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        tags = {*cell.metadata.get("tags", [])}
        if cell.cell_type != "code" or {"injected-parameters", "install"} & tags:
            continue
        try:
            lines = [ast.unparse(statement) for statement in ast.parse(cell.source).body]
        except SyntaxError:  # a command of IPython
            lines = [cell.source]
        unseen = given if "parameters" in tags else ()  # parameters whose defaults count in no run
        found.append("\n".join(line for line in lines if line.partition(" = ")[0] not in unseen))
    return found


def inputs_digest() -> str:
    """Return a digest of what every run depends on: the library, its data, the pinned packages."""
    # Not the records of pages, beside which lie rows that notebooks read; what the manifest lists is digested itself.
    data = (path for path in Path("data").rglob("*") if not (path.parent / f"{path.parent.name}.ipynb").is_file())
    listings = (Path("data/manifest.json"), Path("data/recorded/ro-crate-metadata.json"))
    files = [path for path in data if path.is_file() and path not in listings]
    return digest([*Path("perceptlib").rglob("*.py"), *files, Path(".requirements/lock.txt")])


def bring_up_to_date(wanted: list[Page], *, is_recording: bool = False) -> dict[str, bool]:
    """Run what is stale, or take the record where the weights are missing or the run is too long for a build.

    Return, by a page's name, whether its record is shown. What fails is a SystemExit or a ValueError with a sentence.
    """
    from perceptlib.networks.weights import mobilenet_weights  # and with it torch: a second

    weights, library, stale = mobilenet_weights(), inputs_digest(), {}
    is_missing = {"imagenet": weights is None, "photographs": not is_recording}
    is_recorded = {page.name: is_missing.get(page.needs, False) for page in wanted}
    for page in wanted:
        if is_recorded[page.name]:
            _take_record(page)
            continue
        needed = [weights] if page.needs and weights else []
        # Only its code: staging takes the prose from the notebook as it is.
        key = digest(needed, library, json.dumps(page.parameters, sort_keys=True), json.dumps(code_of(page.source)))
        known = page.run / "key"
        if not (page.executed.exists() and known.exists() and known.read_text() == key):
            stale[page] = key
    _run_all(stale)
    return is_recorded


def _run_all(stale: dict[Page, str]) -> None:
    """Run notebooks side by side, one thread each, in folders emptied of earlier runs."""
    from perceptlib.runs.notebook import execute

    if not stale:
        print("notebooks: nothing is stale")
        return
    print(f"notebooks: running {', '.join(page.name for page in stale)}", flush=True)
    failures, runs = [], {}
    with ProcessPoolExecutor(min(len(stale), os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        for page in reversed(stale):  # the last ones take longest: none of them may be alone at the end
            shutil.rmtree(page.run, ignore_errors=True)
            runs[page] = pool.submit(execute, page.source, page.parameters, page.run, html=False)
        for page, run in runs.items():
            try:
                run.result()
                (page.run / "key").write_text(stale[page])
                print(f"notebooks: {page.name} done", flush=True)
            except (ValueError, RuntimeError, OSError) as error:
                failures.append(f"{page.name}: {error}")
    if failures:
        raise SystemExit("\n".join(failures))


def record(wanted: list[Page]) -> None:
    """Keep the runs of book/runs.yml under data/recorded: executed notebook, numbers and rows."""
    from perceptlib.networks.weights import mobilenet_weights
    from perceptlib.records.manifest import renew

    if mobilenet_weights() is None:
        raise SystemExit("no MobileNetV2 weights are at hand; name a file of them: make record PERCEPTLIB_WEIGHTS=PATH")
    wanted = [page for page in wanted if page.needs]
    for page in [page for page in wanted if page.needs == "photographs" and not os.environ.get("PERCEPTLIB_ASSETS")]:
        print(f"kept {Path(page.document).parent}: PERCEPTLIB_ASSETS names no folder with weights and an images.csv")
        wanted.remove(page)
    bring_up_to_date(wanted, is_recording=True)
    kept: set[Path] = set()
    for page in wanted:
        folder = Path(page.document).parent
        kept |= {*folder.glob("*")}  # those that no run leaves any more are dropped from the manifest
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copyfile(page.executed, f"{page.document}.ipynb")
        for path in results(page):
            shutil.copyfile(path, folder / path.name)
        kept |= {*folder.iterdir()}
        print(f"recorded {folder}")
    renew(sorted(kept))


def results(page: Page) -> list[Path]:
    """Return the files of numbers that a run left."""
    return sorted([*page.run.glob("*.csv"), *page.run.glob("numbers.json")])


def _take_record(page: Page) -> None:
    """Put the recorded run where a run would be."""
    from perceptlib.records.manifest import read_verified  # and with it torch: a second, only where a record is shown

    recorded = Path(f"{page.document}.ipynb")
    if not recorded.is_file():
        what = f"page {page.name} needs ImageNet {'weights' if page.needs == 'imagenet' else 'photographs'}"
        raise SystemExit(f"{what}, and no record of it is kept at {recorded}; run `{RENEW[page.needs]}` where they are")
    for path in sorted(recorded.parent.iterdir()):
        read_verified(path)
    reason = "no weights of MobileNetV2 at hand" if page.needs == "imagenet" else "run by `make record` alone"
    print(f"notebooks: {page.name} shows its record ({reason})")
    shutil.rmtree(page.run, ignore_errors=True)
    shutil.copytree(recorded.parent, page.run)
    (page.run / recorded.name).rename(page.executed)
