"""The parts of the book's PDF that need no browser; the PDF itself is looked at in the tests marked pages."""

from __future__ import annotations

from pathlib import Path

import pdf
import pytest
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
        {"caption": "", "chapters": [{"name": "book/intro"}]},
        {"caption": "One", "chapters": [{"name": "a"}, {"name": "a/b"}, {"name": "c"}]},
        {"caption": "Two", "chapters": [{"name": "d"}]},
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
