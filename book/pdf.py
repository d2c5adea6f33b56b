"""Print the built book into one PDF: title page, contents with page numbers, bookmarks, links that work.

python book/pdf.py             build/html/perceptlib.pdf, linked from the book's first page
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml
from browser import chromium, served
from pypdf import PdfReader, PdfWriter

ROOT = Path(__file__).resolve().parent.parent
HTML = Path("build/html")
NAME = "perceptlib.pdf"
# A page with formulas: it has loaded what draws them.
STAGE = "book/method.html"
# A4 between the margins of pdf.css, at 96 pixels an inch.
WIDTH = round((210 - 2 * 17) / 25.4 * 96)
# In book/intro.md; no link stands there until there is something to link to.
MARK = "<!-- pdf of the book -->"


def parts(toc: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of the book, each with its caption and its chapters, sections of a chapter after it."""
    yield {"caption": "", "chapters": [{"name": toc["root"]}]}
    for part in toc["parts"]:
        yield {"caption": part["caption"], "chapters": list(_chapters(part["chapters"]))}


def _chapters(entries: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for entry in entries:
        yield {"name": entry["file"]}
        yield from _chapters(entry.get("sections", []))


def page_numbers(reader: PdfReader) -> dict[str, int]:
    """Return the page of each place that something links to, from 1."""
    found = {}
    for name, destination in reader.named_destinations.items():
        number = reader.get_destination_page_number(destination)
        if number is not None:
            found[name.removeprefix("/")] = number + 1
    return found


def print_book(browser: Any, site: str, config: dict[str, Any], toc: dict[str, Any]) -> bytes:
    """Return the PDF.

    Raises
    ------
    RuntimeError
        Something is wider than the paper.
    """
    tab = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
    tab.set_default_timeout(300_000)
    tab.goto(f"{site}/{STAGE}", wait_until="networkidle")
    tab.add_style_tag(path=ROOT / "book" / "pdf.css")
    tab.emulate_media(media="print")
    tab.evaluate(f"window.book = {(ROOT / 'book' / 'pdf.js').read_text(encoding='utf-8')}; undefined")
    url = config["repository"]["url"]
    facts = {"title": config["title"], "lines": [config["author"], url]}
    settings = {"site": site, "parts": list(parts(toc)), "facts": facts, "publicUrl": config["html"]["baseurl"]}
    tab.evaluate("settings => book.assemble(settings)", settings)
    if wide := tab.evaluate("book.fit()"):
        raise RuntimeError("wider than the paper:\n" + "\n".join(wide))
    options = {"prefer_css_page_size": True, "print_background": True, "tagged": True, "outline": True}
    # Printed twice: where the chapters come to stand is known only then. The numbers take no place of their own.
    first = tab.pdf(**options)
    tab.evaluate("pages => book.number(pages)", page_numbers(PdfReader(BytesIO(first))))
    printed: bytes = tab.pdf(**options)
    tab.close()
    return printed


def link(first_page: Path) -> None:
    """Put a link to the PDF where the book's first page has a mark for it."""
    text = first_page.read_text(encoding="utf-8")
    first_page.write_text(text.replace(MARK, f'<p><a href="../{NAME}">This book as a PDF</a></p>'), encoding="utf-8")


def main() -> None:
    """Write the PDF.

    Raises
    ------
    SystemExit
        There is no book, or no Chromium.
    """
    os.chdir(ROOT)
    if not (HTML / "index.html").exists():
        raise SystemExit("there is no book to print; run `make book`")
    config = yaml.safe_load(Path("_config.yml").read_text())
    toc = yaml.safe_load(Path("book/_toc.yml").read_text())
    try:
        with served(HTML) as site, chromium() as browser:
            printed = print_book(browser, site, config, toc)
    except FileNotFoundError as error:
        raise SystemExit(f"the PDF was not made: {error}") from error
    writer = PdfWriter(clone_from=BytesIO(printed))
    writer.add_metadata({"/Title": config["title"], "/Author": config["author"]})
    path = HTML / NAME
    writer.write(path)
    link(HTML / f"{toc['root']}.html")
    print(f"pdf: {path}, {len(writer.pages)} pages, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
