"""Checks of one built page: valid markup, headings, pictures with alt text, nothing from another host."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tinyhtml5.parser import HTMLParser

# Elements whose address the browser fetches by itself; <a> is followed by the reader alone.
_FETCHED = {
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "link": ("href",), "source": ("src", "srcset"),
    "video": ("src", "poster"), "audio": ("src",), "embed": ("src",), "object": ("data",), "track": ("src",),
}  # fmt: skip
_NOT_FETCHED = {"canonical", "search", "index", "next", "prev", "author", "license"}
_FOREIGN = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
_CSS_FOREIGN = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
_HEADING = re.compile("h[1-6]")


@dataclass(frozen=True)
class Markup:
    """A page, parsed as a browser does.

    Attributes
    ----------
    elements
        In the page's order.
    errors
        What the parser had to put right, with line and column.
    """

    elements: list[Element]
    errors: list[str]

    @property
    def ids(self) -> list[str]:
        """What a link's fragment can name."""
        return [name for element in self.elements for name in (element.get("id"), element.get("name")) if name]

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Yield the elements that point somewhere, and their addresses."""
        for element in self.elements:
            for name in {*_FETCHED.get(element.tag, ()), "href"} - {"srcset"}:
                if (value := element.get(name)) is not None:
                    yield element.tag, value.strip()


def parse(page: str) -> Markup:
    """Parse a page by the rules of the HTML standard."""
    parser = HTMLParser(namespace_html_elements=False)
    tree = parser.parse(page)
    # Comments have a function for a tag.
    elements = [element for element in tree.iter() if isinstance(element.tag, str)]
    return Markup(elements, [f"line {place[0]}, column {place[1]}: {code}" for place, code, _ in parser.errors])


def problems(page: Markup) -> list[str]:
    """Return what is wrong with a page, one sentence each."""
    found = [f"no valid HTML: {error}" for error in page.errors]
    counts = Counter(element.get("id") for element in page.elements)
    found += [f"id {name!r} is there {count} times" for name, count in counts.items() if name and count > 1]
    found += _heading_problems(page.elements)
    for element in page.elements:
        found += _element_problems(element)
    return found


def _heading_problems(elements: list[Element]) -> Iterator[str]:
    """Yield where headings skip a level; a page's own text has one <h1>."""
    headings = [element for element in elements if _HEADING.fullmatch(element.tag)]
    above = 0
    for heading in headings:
        level = int(heading.tag[1])
        if level > above + 1:
            yield f"<{heading.tag}> {' '.join(''.join(heading.itertext()).split())!r} follows <h{above}>"
        above = level
    if headings and sum(heading.tag == "h1" for heading in headings) != 1:
        yield f"{sum(heading.tag == 'h1' for heading in headings)} <h1>, where a page has one"


def _element_problems(element: Element) -> Iterator[str]:
    """Yield what an element fetches from another host, and a picture's lack of alt text."""
    if element.tag == "style":
        yield from (f"<style> loads {address}" for address in css_foreign(element.text or ""))
    if element.tag == "link" and set(element.get("rel", "").lower().split()) <= _NOT_FETCHED:
        return
    for name in _FETCHED.get(element.tag, ()):
        value = element.get(name, "")
        # A data: address may hold ",//", so only a list of addresses is taken apart.
        if any(_FOREIGN.match(part) for part in (value.split(",") if name == "srcset" else [value])):
            yield f"<{element.tag}> loads {value}"
    if element.tag == "img" and not element.get("alt", "").strip():
        yield f"<img> without alt text: {element.get('src', '')}"
    yield from (f"a style loads {address}" for address in css_foreign(element.get("style", "")))


def css_foreign(style: str) -> list[str]:
    """Return what a style sheet loads from another host."""
    return sorted(set(_CSS_FOREIGN.findall(style)))
