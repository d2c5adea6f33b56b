"""The parts of the book's PDF that need no browser; the PDF itself is looked at in the tests marked pages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pdf
import pytest
from browser import served
from pikepdf import Array, Dictionary, Name, Pdf


def test_parts_follow_the_table_of_contents() -> None:
    toc = {
        "root": "book/intro",
        "parts": [
            {"caption": "One", "chapters": [{"file": "a", "sections": [{"file": "a/b"}]}, {"file": "c"}]},
            {
                "caption": "Two",
                "chapters": [{"file": "d"}, {"file": "book/api", "sections": [{"file": "book/api_ssim"}]}],
            },
        ],
    }
    assert pdf.parts(toc) == [  # without the library
        {"caption": "", "chapters": ["book/intro"]},
        {"caption": "One", "chapters": ["a", "a/b", "c"]},
        {"caption": "Two", "chapters": ["d"]},
    ]


@pytest.fixture
def printed() -> Pdf:
    """Three pages and two places, as Chromium names them."""
    made = Pdf.new()
    for _ in range(3):
        made.add_blank_page()
    places = {"/intro": 0, "/method": 1, "/method--balls": 2}
    made.Root.Dests = Dictionary(
        {name: Array([made.pages[at].obj, Name.XYZ, 0, 700, 0]) for name, at in places.items()}
    )
    return made


def test_page_numbers_are_those_of_the_named_places(printed: Pdf) -> None:
    assert pdf.page_numbers(printed) == {"intro": 1, "method": 2, "method--balls": 3}


def test_bookmarks_are_parts_chapters_and_sections(printed: Pdf) -> None:
    method = ["Method", "method", [["Balls", "method--balls"]]]
    pdf.add_bookmarks(printed, [["First", "intro", []], ["Ways", "method", [method]]])
    with printed.open_outline() as bookmarks:
        first, ways = bookmarks.root
        assert [first.title, ways.title, ways.children[0].title] == ["First", "Ways", "Method"]
        [balls] = ways.children[0].children
        assert balls.title == "Balls" and balls.destination[0].objgen == printed.pages[2].objgen


def test_pages_have_a_place_for_the_links() -> None:
    for page, what in (("book/intro", "book"), (pdf.REPORT, "report")):
        assert pdf.MARKS[what] in (pdf.ROOT / f"{page}.md").read_text()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built book with the two pages that link a PDF, and no need of a browser."""
    (tmp_path / "book").mkdir()
    (tmp_path / "index.html").touch()
    for page, what in (("book/intro", "book"), (pdf.REPORT, "report")):
        (tmp_path / f"{page}.html").write_text(f"<p>before</p>{pdf.MARKS[what]}<p>after</p>")
    monkeypatch.setattr(pdf, "HTML", tmp_path)
    monkeypatch.setattr(pdf, "chromium", nullcontext)
    return tmp_path


def pages_of(book: int, report: int) -> Callable[..., Pdf]:
    """Stand in for Chromium: as many blank pages."""

    def printed(browser: None, site: str, config: dict[str, Any], toc: dict[str, Any] | None) -> Pdf:
        made = Pdf.new()
        for _ in range(book if toc else report):
            made.add_blank_page()
        return made

    return printed


def test_book_and_report_are_written_and_linked(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "print_pages", pages_of(book=3, report=1))
    for _ in range(2):
        pdf.main()
    for page, what, num_pages in (("book/intro", "book", 3), (pdf.REPORT, "report", 1)):
        name = pdf.NAMES[what]
        link = f'<p class="pdf-link"><a href="../{name}">This {what} as a PDF</a></p>'
        assert (built / f"{page}.html").read_text() == f"<p>before</p>{link}<p>after</p>"
        with Pdf.open(built / name) as printed:
            assert len(printed.pages) == num_pages


def test_report_of_two_sheets_is_refused(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "print_pages", pages_of(book=3, report=2))
    with pytest.raises(SystemExit, match=r"not made: book/report\.md takes 2 pages of A4; shorten it to one"):
        pdf.main()
    assert not [*built.glob("*.pdf")]


def test_pdf_without_a_book_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "HTML", tmp_path / "html")
    with pytest.raises(SystemExit, match="no book to print; run `make book`"):
        pdf.main()


def test_pdf_without_chromium_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.html").write_text("")
    monkeypatch.setattr(pdf, "HTML", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"the PDF was not made: no Chromium.*install it"):
        pdf.main()


def test_folder_is_served_no_longer_where_its_use_fails(tmp_path: Path) -> None:
    before = threading.enumerate()
    with pytest.raises(RuntimeError, match="wider than the paper"), served(tmp_path):
        raise RuntimeError("wider than the paper")
    for thread in set(threading.enumerate()).difference(before):
        thread.join(timeout=10)
        assert not thread.is_alive()
