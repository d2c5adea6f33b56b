"""Checks of the built book: its pages, their markup and links, runs, captions and alt texts.

What a browser tells (contrast, headings, alt texts, what other hosts are asked for) is tested in it by `make pages`.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

import nbformat
import yaml
from tinyhtml5.parser import HTMLParser

# How GitHub, Binder and Colab name a file of the repository.
_FILE = re.compile(r"(?:/(?:blob|edit|tree|raw)/[^/]+/|[?&]urlpath=(?:lab/)?tree/)(?P<path>[^?#]+)")


def problems(source: Path, html: Path) -> list[str]:
    """Return what is wrong with the book built from `source` into `html`, one sentence each."""
    documents = list(listed(yaml.safe_load((source / "_toc.yml").read_text())))
    found = [f"{name}: the page is missing" for name in documents if not (html / f"{name}.html").is_file()]
    for path in sorted(source.rglob("*.ipynb")):
        document = path.relative_to(source).with_suffix("").as_posix()
        if document not in documents:
            found.append(f"{document}: not in _toc.yml")
        found += [f"{document}: {problem}" for problem in notebook_problems(path)]
    pages = {}
    for path in sorted(path for path in html.rglob("*.html") if not path.is_relative_to(html / "_static")):
        name = path.relative_to(html).as_posix()
        pages[name], errors = parse(path.read_text(encoding="utf-8"))
        found += [f"{name}: {problem}" for problem in errors]
    url = yaml.safe_load((source / "_config.yml").read_text())["repository"]["url"]
    return [*found, *link_problems(pages, html, url)]


def listed(entry: Any) -> Iterator[str]:
    """Yield each page that a table of contents names."""
    if isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        entry = list(entry.values())
    for part in entry if isinstance(entry, list) else ():
        yield from listed(part)


def parse(page: str) -> tuple[list[Element], list[str]]:
    """Return a page's elements, and where it breaks the rules of the HTML standard."""
    parser = HTMLParser(namespace_html_elements=False)
    elements = [element for element in parser.parse(page).iter() if isinstance(element.tag, str)]  # no comments
    errors = [f"no valid HTML: line {at[0]}, column {at[1]}: {code}" for at, code, _ in parser.errors]
    counts = Counter(element.get("id") for element in elements)
    return elements, errors + [f"id {name!r} is there twice" for name, count in counts.items() if name and count > 1]


def link_problems(pages: dict[str, list[Element]], html: Path, url: str) -> Iterator[str]:
    """Yield the links of pages, by their paths within `html`, that lead to no file of the book or of the repository."""
    places = {name: {element.get(key) for element in page for key in ("id", "name")} for name, page in pages.items()}
    for name, element in ((name, element) for name, page in pages.items() for element in page):
        if (address := element.get("href", element.get("src"))) is None:
            continue
        target, told = urlsplit(address.strip()), f"{name}: <{element.tag}> leads to {address}"
        if target.scheme or target.netloc:
            match = _FILE.search(unquote(address)) if f"{urlsplit(url).path}/" in address else None
            if match and not Path(match["path"]).is_file():
                yield f"{told}, but the repository has no {match['path']}"
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(target.path) or Path(name).name))
        if not (html / path).is_file():
            yield f"{told}, which is no file of the book"
        elif target.fragment and path in places and unquote(target.fragment) not in places[path]:
            yield f"{told}, but {path} has no such place"


def notebook_problems(path: Path) -> Iterator[str]:
    """Yield what an executed notebook lacks: cells not run, errors, figures without caption or alt text."""
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells, start=1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if cell.execution_count is None:
            yield f"cell {number} was not run"
        if any(output.output_type == "error" for output in cell.outputs):
            yield f"cell {number} ended with an error"
        if any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})):
            for words, part, key in (("alt text", "image", "alt"), ("caption", "figure", "caption")):
                if not cell.metadata.get("mystnb", {}).get(part, {}).get(key):
                    yield f'cell {number} shows a figure without {words}: "mystnb": {{"{part}": {{"{key}": ...}}}}'
