"""Print the built book into one PDF: title page, contents with page numbers, bookmarks, links that work.

python book/pdf.py writes build/html/perceptlib.pdf and links it from the book's first page. It holds the pages that
one reads; those of the library and the commands are for looking up, and stay on the screen. build/html/report.pdf is
the reproducibility report alone, on one sheet, linked from its page.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml
from browser import chromium, served
from pikepdf import Array, Dictionary, ObjectStreamMode, OutlineItem, Pdf
from verify import listed

ROOT = Path(__file__).resolve().parent.parent
HTML = Path("build/html")
NAMES = {"book": "perceptlib.pdf", "report": "report.pdf"}
REPORT = "book/report"
STAGE = "book/method.html"  # a page with formulas: it has loaded what draws them
ON_SCREEN = ("book/api", "book/commands")  # what the pages that are not printed begin with
WIDTH = round((210 - 2 * 17) / 25.4 * 96)  # A4 between the margins of pdf.css, at 96 pixels an inch
# Of photographs and maps: 170 dots an inch, and of JPEG's quality from 0 to 1 what keeps small pictures clean.
DOTS_PER_PIXEL, QUALITY = 170 / 96, 0.88
# In book/intro.md and book/report.md: no link stands there until there is something to link to.
MARKS = {what: f"<!-- pdf of the {what} -->" for what in NAMES}


def parts(toc: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of the book, each with its caption and its chapters, sections of a chapter after it."""
    found = [("", [toc["root"]]), *((part["caption"], listed(part["chapters"])) for part in toc["parts"])]
    return [
        {"caption": caption, "chapters": [name for name in chapters if not name.startswith(ON_SCREEN)]}
        for caption, chapters in found
    ]


def add_bookmarks(printed: Pdf, outline: list[Any]) -> None:
    """Give a PDF its bookmarks: [title, name of the place, those below] each. Chromium's own double the titles."""

    def item(title: str, place: str, below: Any = ()) -> OutlineItem:
        made = OutlineItem(title, Array(printed.Root.Dests[f"/{place}"]))
        made.is_closed = True
        made.children.extend(item(*entry) for entry in below)
        return made

    with printed.open_outline() as bookmarks:
        bookmarks.root.extend(item(*entry) for entry in outline)


def page_numbers(printed: Pdf) -> dict[str, int]:
    """Return the page, from 1, of each place that something links to."""
    places = printed.Root.get("/Dests", Dictionary())
    return {name.removeprefix("/"): printed.pages.index(Array(there)[0]) + 1 for name, there in places.items()}


def print_pages(browser: Any, site: str, config: dict[str, Any], toc: dict[str, Any] | None = None) -> Pdf:
    """Return the PDF of the book, or without `toc` of the report; a RuntimeError says what is wider than the paper."""
    tab = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
    tab.set_default_timeout(300_000)
    tab.goto(f"{site}/{STAGE}", wait_until="networkidle")
    tab.add_style_tag(path=ROOT / "book" / "pdf.css")
    tab.emulate_media(media="print")
    tab.evaluate(f"window.book = {(ROOT / 'book' / 'pdf.js').read_text(encoding='utf-8')}; undefined")
    facts = {"title": config["title"], "lines": [config["author"], config["repository"]["url"]]}
    chosen = parts(toc) if toc else [{"caption": "", "chapters": [REPORT]}]
    settings = {"site": site, "parts": chosen, "facts": toc and facts, "publicUrl": config["html"]["baseurl"]}
    outline = tab.evaluate("settings => book.assemble(settings)", settings)
    tab.evaluate("settings => book.shrink(...settings)", [DOTS_PER_PIXEL, QUALITY])
    if wide := tab.evaluate("book.fit()"):
        raise RuntimeError("wider than the paper:\n" + "\n".join(wide))
    options = {"prefer_css_page_size": True, "print_background": True, "tagged": True}
    # Printed twice: where the chapters come to stand is known only then. The numbers take no place of their own.
    with Pdf.open(BytesIO(tab.pdf(**options))) as first:
        tab.evaluate("pages => book.number(pages)", page_numbers(first))
    printed = Pdf.open(BytesIO(tab.pdf(**options)))
    tab.close()
    add_bookmarks(printed, outline)
    printed.docinfo["/Title"], printed.docinfo["/Author"] = config["title"], config["author"]
    printed.Root.ViewerPreferences = Dictionary(DisplayDocTitle=True)
    return printed


def main() -> None:
    os.chdir(ROOT)
    if not (HTML / "index.html").exists():
        raise SystemExit("there is no book to print; run `make book`")
    config, toc = (yaml.safe_load(Path(name).read_text()) for name in ("_config.yml", "_toc.yml"))
    try:
        with served(HTML) as site, chromium() as browser:
            for what, page in (("report", REPORT), ("book", toc["root"])):
                printed = print_pages(browser, site, config, toc if what == "book" else None)
                path, num_pages = HTML / NAMES[what], len(printed.pages)
                if what == "report" and num_pages > 1:
                    raise RuntimeError(f"{REPORT}.md takes {num_pages} pages of A4; shorten it to one")
                # The tags, for those who listen to the book, are half of it unless they are packed.
                printed.save(path, object_stream_mode=ObjectStreamMode.generate)
                linking, anchor = HTML / f"{page}.html", f'<a href="../{NAMES[what]}">This {what} as a PDF</a>'
                text = linking.read_text(encoding="utf-8").replace(MARKS[what], f'<p class="pdf-link">{anchor}</p>')
                linking.write_text(text, encoding="utf-8")
                print(f"pdf: {path}, pages: {num_pages}, {path.stat().st_size / 1e6:.1f} MB")
    except (FileNotFoundError, RuntimeError) as error:
        raise SystemExit(f"the PDF was not made: {error}") from error


if __name__ == "__main__":
    main()
