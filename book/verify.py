"""Checks of the built book: its pages, their markup and links, runs, captions and alt texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import markup
import nbformat
import yaml
from links import built, internal_problems, repository_problems


def problems(source: Path, html: Path) -> list[str]:
    """Return what is wrong with the book built from `source` into `html`, one sentence each."""
    toc = yaml.safe_load((source / "_toc.yml").read_text())
    documents = list(_documents(toc))
    found = [f"{name}: the page is missing" for name in documents if not (html / f"{name}.html").is_file()]
    notebooks = sorted(source.rglob("*.ipynb"))
    for path in notebooks:
        document = path.relative_to(source).with_suffix("").as_posix()
        if document not in documents:
            found.append(f"{document}: not in book/_toc.yml")
        found += [f"{document}: {problem}" for problem in notebook_problems(path)]
    pages = built(html)
    for name, page in pages.items():
        found += [f"{name}: {problem}" for problem in markup.problems(page)]
    found += internal_problems(pages, html)
    config = yaml.safe_load((source / "_config.yml").read_text())
    found += repository_problems(pages, config["repository"]["url"])
    for path in sorted(html.rglob("*.css")):
        found += [f"{path.relative_to(html)}: loads {address}" for address in markup.css_foreign(path.read_text())]
    return found


def _documents(entry: Any) -> Iterator[str]:
    """Yield each page that the table of contents names."""
    if isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        entry = list(entry.values())
    if isinstance(entry, list):
        for part in entry:
            yield from _documents(part)


def notebook_problems(path: Path) -> list[str]:
    """Return what an executed notebook lacks: cells not run, errors, figures without caption or alt text."""
    found = []
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells, start=1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if cell.execution_count is None:
            found.append(f"cell {number} was not run")
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"cell {number} ended with an error")
        shows_image = any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))
        described = cell.metadata.get("mystnb", {})
        if shows_image and not described.get("image", {}).get("alt"):
            found.append(f"cell {number} shows a figure without alt text; write it into the cell's metadata, "
                         '"mystnb": {"image": {"alt": ...}}')  # fmt: skip
        if shows_image and not described.get("figure", {}).get("caption"):
            found.append(f"cell {number} shows a figure without caption; write it into the cell's metadata, "
                         '"mystnb": {"figure": {"caption": ..., "name": ...}}')  # fmt: skip
    return found
