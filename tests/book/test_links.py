"""Links of a built book: what leads nowhere is found, within it, in the repository and on other hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import links
import markup
import pytest

URL = "https://github.com/someone/book"


@pytest.fixture
def book(tmp_path: Path) -> Callable[[str], dict[str, markup.Markup]]:
    """A book of two pages and a file; write the first page's content, and parse it."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "data.csv").write_text("a\n1\n")
    (tmp_path / "deep" / "two.html").write_text("<!DOCTYPE html><title>2</title><h1 id='here we are'>Two</h1>")

    def write(content: str) -> dict[str, markup.Markup]:
        (tmp_path / "one.html").write_text(f"<!DOCTYPE html><title>1</title><h1 id='top'>One</h1>{content}")
        return links.built(tmp_path)

    return write


@pytest.mark.parametrize(
    "address", ["#top", "", "#", "one.html#top", "./deep/../data.csv", "deep/two.html#here%20we%20are", "mailto:a@b.c",
                "https://example.org/none", "//example.org", "data.csv?v=1", "data:image/png;base64,AA"]
)  # fmt: skip
def test_link_that_leads_somewhere_passes(book, tmp_path: Path, address: str) -> None:  # type: ignore[no-untyped-def]
    assert list(links.internal_problems(book(f"<a href='{address}'>a</a>"), tmp_path)) == []


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("<a href='three.html'>a</a>", "one.html: <a> leads to three.html, which is no file of the book"),
        ("<a href='deep'>a</a>", "one.html: <a> leads to deep, which is no file"),
        ("<a href='../one.html'>a</a>", "one.html: <a> leads to ../one.html, which is no file"),
        ("<a href='#there'>a</a>", "one.html: <a> leads to #there, but one.html has no such place"),
        ("<a href='deep/two.html#top'>a</a>", "one.html: <a> leads to deep/two.html#top, but deep/two.html has no"),
        ("<img alt='a' src='a.png'>", "one.html: <img> leads to a.png, which is no file"),
        ("<script src='a.js'></script>", "one.html: <script> leads to a.js, which is no file"),
        ("<link rel='stylesheet' href='a.css'>", "one.html: <link> leads to a.css, which is no file"),
    ],
)
def test_link_that_leads_nowhere_is_found(book, tmp_path: Path, element: str, message: str) -> None:  # type: ignore[no-untyped-def]
    [found] = links.internal_problems(book(element), tmp_path)
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("address", "is_there"),
    [
        (f"{URL}/edit/main/notes/a%20b.md", True),
        (f"{URL}/edit/main/notes/c.md", False),
        (f"{URL}/blob/main/notes/c.md?plain=1#L3", False),
        ("https://mybinder.org/v2/gh/someone/book/main?urlpath=lab/tree/notes/a%20b.md", True),
        ("https://mybinder.org/v2/gh/someone/book/main?urlpath=lab/tree/notes/c.md", False),
        ("https://colab.research.google.com/github/someone/book/blob/main/notes/c.md", False),
        (f"{URL}/issues/new?title=Issue", True),
        ("https://github.com/another/book/blob/main/notes/c.md", True),
    ],
)
def test_links_to_files_of_the_repository_are_checked(book, tmp_path: Path, address: str, is_there: bool) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a b.md").write_text("")
    found = list(links.repository_problems(book(f'<a href="{address}">a</a>'), URL, tmp_path))
    assert found == [] if is_there else "but the repository has no notes/c.md" in found[0]


def test_external_links_are_those_of_other_hosts_once_each(book) -> None:  # type: ignore[no-untyped-def]
    pages = book(
        f"<a href='https://example.org/a#b'>a</a><a href='https://example.org/a#c'>a</a><a href='{URL}/edit/x'>a</a>"
        "<a href='deep/two.html'>a</a><link rel='canonical' href='https://example.org/one.html'>"
    )
    assert links.external(pages, (URL,)) == {"https://example.org/a": "one.html"}


class _Host(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = {"/here": 200, "/moved": 302}.get(self.path, 404)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/gone")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Host) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_other_host_that_has_no_such_page_is_told(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {f"{host}/{name}": "one.html" for name in ("here", "gone", "moved")}
    assert links.external_problems(wanted) == [
        f"{host}/gone, of one.html: 404 Not Found",
        f"{host}/moved, of one.html: 404 Not Found",
    ]
    # Of a resolver of DOIs it is enough that it knows where to go.
    monkeypatch.setattr(links, "_RESOLVERS", ("127.0.0.1",))
    assert links.answer(f"{host}/moved") == ""
    assert links.answer(f"{host}/gone") == "404 Not Found"


def test_host_that_does_not_answer_is_told(host: str) -> None:
    assert links.answer("http://127.0.0.1:9") == "no answer (ConnectionError)"


def test_host_that_answers_the_second_time_passes() -> None:
    answers = iter(["503 Busy", ""])
    assert links.external_problems({"https://example.org": "one.html"}, lambda _: next(answers)) == []


def test_links_without_a_book_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "HTML", tmp_path / "html")
    with pytest.raises(SystemExit, match="run `make book`"):
        links.main()
