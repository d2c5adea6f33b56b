from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from perceptlib.runs import html as pages
from perceptlib.runs.html import plain_text, write_page

SCRIPT = "</script><script>alert(1)</script>"


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def page_of(prose: str, printed: str = "", title: str = "01_ssim") -> str:
        code = new_code_cell(f"text = {printed!r}", execution_count=1)
        code.outputs = [new_output("stream", name="stdout", text=printed)]
        path = tmp_path / "01_ssim.ipynb"
        nbformat.write(new_notebook(cells=[new_markdown_cell(prose), code]), path)
        write_page(path, tmp_path / "01_ssim.html", title=title)
        return (tmp_path / "01_ssim.html").read_text(encoding="utf-8")

    return page_of


def test_write_page_loads_nothing_from_another_host(write) -> None:  # type: ignore[no-untyped-def]
    page = write("# Question\n\nprose only")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", page)
    assert not re.findall(r"import\s*\(|@import|url\(\s*[\"']?(?:https?:)?//", page)
    assert "<title>01_ssim</title>" in page
    assert "prose only" in page


def test_write_page_copies_mathjax_for_formulas_alone(write) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("sphinx-mathjax-offline")
    assert "MathJax" not in write("prose only")
    page = write(r"$\mu_x$ and prose")
    assert "startup: {elements: ['.jp-MarkdownOutput']}" in page
    assert r"inlineMath: [['$', '$'], ['\\(', '\\)']]" in page
    assert len(page) > 2e6
    assert not re.findall(r"""<script[^>]*\bsrc\s*=""", page)


def test_write_page_without_mathjax_keeps_tex(write, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(pages.importlib.util, "find_spec", lambda name: None)
    page = write(r"$\mu_x$ and prose")
    assert r"$\mu_x$" in page
    assert "MathJax" not in page


def test_write_page_escapes_title_source_and_output(write) -> None:  # type: ignore[no-untyped-def]
    page = write("prose", printed=SCRIPT, title=SCRIPT)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 2


def test_write_page_of_missing_notebook_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no notebook"):
        write_page(tmp_path / "a.ipynb", tmp_path / "a.html", title="a")


def test_plain_text_has_the_numbers_of_its_run() -> None:
    source = (
        "(label)=\n# Title\n\n{num}`01_ssim.pair.distance:.2f` of {num}`01_ssim.num`, {num}`01_ssim.none:.2f`, "
        "{num}`11_claims.a.verdict`, {num}`01_ssim.pair.none.deeper`; as {cite}`wang2004image` says "
        "in {numref}`fig-one` "
        "([Method](#method-page), [](#eq-ssim), [there](https://example.org))."
    )
    numbers = {"pair": {"distance": 0.123}, "num": 32, "none": None}
    assert plain_text(source, "01_ssim", numbers) == (
        "# Title\n\n0.12 of 32, undefined, (in the book), (in the book); as (wang2004image) says in the figure "
        "(Method, the book, [there](https://example.org))."
    )


def test_plain_text_opens_boxes() -> None:
    source = "Before.\n\n:::{admonition} Try it\n:class: tip\nRun it.\nTwice.\n:::\n\nAfter."
    assert plain_text(source, "a", {}) == "Before.\n\n**Try it.**\n\nRun it.\nTwice.\n\n\nAfter."


def test_write_page_quotes_the_numbers_of_the_run(tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_markdown_cell("It is {num}`a.share:.0%`.")])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    write_page(tmp_path / "a.ipynb", tmp_path / "a.html", title="a", numbers={"share": 0.25})
    assert "It is 25%." in (tmp_path / "a.html").read_text(encoding="utf-8")
