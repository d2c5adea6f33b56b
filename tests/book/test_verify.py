"""The checks of the built book find what they are for, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
import verify

v4 = nbformat.v4
PAGE = "<!DOCTYPE html><html lang='en'><head><title>A page</title></head><body>{}</body></html>"
URL = "https://github.com/someone/book"


@pytest.mark.parametrize(
    ("content", "is_valid"),
    [
        ("<p>a</div>", False),
        ("<p><ul><li>a</li></ul></p>", False),
        ('<p class="a" class="b">a</p>', False),
        ('<p id="a"></p><p id="a"></p>', False),
        ('<p id="a"></p><p id="b"></p>', True),
    ],
)
def test_fault_of_markup_is_found(content: str, is_valid: bool) -> None:
    assert bool(verify.parse(PAGE.format(content))[1]) != is_valid


@pytest.mark.parametrize(
    ("address", "is_there"),
    [
        ("#top", True),
        ("", True),
        ("./deep/../data.csv?v=1", True),
        ("deep/two.html#here%20we%20are", True),
        ("https://example.org/none", True),
        (f"{URL}/edit/main/notes/a%20b.md", True),
        (f"{URL}/issues/new?title=Issue", True),
        ("https://github.com/another/book/blob/main/notes/c.md", True),
        ("https://mybinder.org/v2/gh/someone/book/main?urlpath=lab/tree/notes/a%20b.md", True),
        ("three.html", False),
        ("deep", False),
        ("../one.html", False),
        ("#there", False),
        ("deep/two.html#top", False),
        (f"{URL}/blob/main/notes/c.md?plain=1#L3", False),
        ("https://colab.research.google.com/github/someone/book/blob/main/notes/c.md", False),
    ],
)
def test_link_that_leads_nowhere_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, is_there: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data.csv", "one.html", "deep/two.html", "notes/a b.md"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    contents = {
        "one.html": f"<h1 id='top'>1</h1><a href='{address}'>a</a>",
        "deep/two.html": "<a id='here we are'>2</a>",
    }
    pages = {name: verify.parse(PAGE.format(content))[0] for name, content in contents.items()}
    assert bool(list(verify.link_problems(pages, tmp_path, URL))) != is_there


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"execution_count": None}, "was not run"),
        ({"metadata": {"mystnb": {"figure": {"caption": "c"}}}}, "without alt text"),
        ({"metadata": {"mystnb": {"image": {"alt": "a"}}}}, "without caption"),
        ({"outputs": [v4.new_output("error", ename="E", evalue="", traceback=[])]}, "ended with an error"),
    ],
)
def test_notebook_is_run_without_error_and_its_figures_are_described(
    tmp_path: Path, change: dict[str, Any], message: str | None
) -> None:
    described = {"mystnb": {"image": {"alt": "a"}, "figure": {"caption": "c", "name": "n"}}}
    picture = v4.new_output("display_data", data={"image/png": "AAAA"})
    cell = v4.new_code_cell("draw()", **({"execution_count": 1, "metadata": described, "outputs": [picture]} | change))
    nbformat.write(v4.new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    found = list(verify.notebook_problems(tmp_path / "n.ipynb"))
    assert [message in problem for problem in found] == ([True] if message else [])


def test_book_without_a_page_of_its_contents_is_found(tmp_path: Path) -> None:
    source, html = tmp_path / "src", tmp_path / "html"
    (html / "book").mkdir(parents=True)
    (source / "notebooks").mkdir(parents=True)
    (html / "book" / "intro.html").write_text("<!DOCTYPE html><title>Here</title><p>here</p>")
    (source / "_config.yml").write_text("repository: {url: 'https://github.com/a/b'}\n")
    chapters = "- file: book/limits\n  sections:\n  - file: book/deep\n"
    (source / "_toc.yml").write_text(f"format: jb-book\nroot: book/intro\nchapters:\n{chapters}")
    nbformat.write(v4.new_notebook(), source / "notebooks" / "01_ssim.ipynb")
    assert verify.problems(source, html) == [
        "book/limits: the page is missing",
        "book/deep: the page is missing",
        "notebooks/01_ssim: not in _toc.yml",
    ]
