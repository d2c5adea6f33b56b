"""The parts of the book's PDF that need no browser; the PDF itself is looked at in the tests marked pages."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pdf
import pytest
from pypdf import PdfReader, PdfWriter


def test_parts_follow_the_table_of_contents() -> None:
    toc = {
        "root": "book/intro",
        "parts": [
            {"caption": "One", "chapters": [{"file": "a", "sections": [{"file": "a/b"}]}, {"file": "c"}]},
            {"caption": "Two", "chapters": [{"file": "d"}]},
        ],
    }
    assert list(pdf.parts(toc)) == [
        {"caption": "", "chapters": [{"name": "book/intro"}]},
        {"caption": "One", "chapters": [{"name": "a"}, {"name": "a/b"}, {"name": "c"}]},
        {"caption": "Two", "chapters": [{"name": "d"}]},
    ]


def test_page_numbers_are_those_of_the_named_places() -> None:
    writer = PdfWriter()
    for _ in range(3):
        writer.add_blank_page(100, 100)
    for name, page in (("book-intro", 0), ("book-method--balls", 2)):
        writer.add_named_destination(name, page)
    file = BytesIO()
    writer.write(file)
    assert pdf.page_numbers(PdfReader(file)) == {"book-intro": 1, "book-method--balls": 3}


def test_first_page_links_the_pdf_once_it_is_there(tmp_path: Path) -> None:
    page = tmp_path / "intro.html"
    page.write_text(f"<p>before</p>{pdf.MARK}<p>after</p>")
    for _ in range(2):
        pdf.link(page)
        assert page.read_text().count('<a href="../perceptlib.pdf">') == 1


def test_book_has_a_place_for_the_link() -> None:
    assert pdf.MARK in (pdf.ROOT / "book" / "intro.md").read_text()


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
