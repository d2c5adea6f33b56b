"""Checks of the built book: pages, runs, captions and alt texts, and that nothing comes from another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import yaml

# Elements whose address the browser fetches by itself; <a> is followed by the reader alone.
_FETCHED = {
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "link": ("href",), "source": ("src", "srcset"),
    "video": ("src", "poster"), "audio": ("src",), "embed": ("src",), "object": ("data",), "track": ("src",),
}  # fmt: skip
_NOT_FETCHED = {"canonical", "search", "index", "next", "prev", "author", "license"}
_FOREIGN = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
_CSS_FOREIGN = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)


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
    for path in sorted(html.rglob("*.html")):
        if path.is_relative_to(html / "_static" / "your_runs"):
            continue  # a reader's own run, as `perceptlib run` left it
        found += [f"{path.relative_to(html)}: {problem}" for problem in page_problems(path.read_text())]
    for path in sorted(html.rglob("*.css")):
        hosts = set(_CSS_FOREIGN.findall(path.read_text()))
        found += [f"{path.relative_to(html)}: loads {address}" for address in sorted(hosts)]
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


class _Addresses(HTMLParser):
    """Collect what a page fetches, and pictures without alt text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.found += [f"<style> loads {address}" for address in _CSS_FOREIGN.findall(data)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "link" and set(values.get("rel", "").lower().split()) <= _NOT_FETCHED:
            return
        for name in _FETCHED.get(tag, ()):
            value = values.get(name, "")
            # A data: address may hold ",//", so only a list of addresses is taken apart.
            if any(_FOREIGN.match(part) for part in (value.split(",") if name == "srcset" else [value])):
                self.found.append(f"<{tag}> loads {values[name]}")
        if tag == "img" and not values.get("alt", "").strip():
            self.found.append(f"<img> without alt text: {values.get('src', '')}")
        self.found += [f"a style loads {address}" for address in _CSS_FOREIGN.findall(values.get("style", ""))]


def page_problems(page: str) -> list[str]:
    """Return what a page fetches from another host, and its pictures without alt text."""
    parser = _Addresses()
    parser.feed(page)
    return parser.found
