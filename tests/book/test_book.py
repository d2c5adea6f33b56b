"""The built book, opened in Chromium. Run by .ci/run after `make book`: pytest -m pages tests/test_book.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pdf
import pytest
import yaml

pytestmark = pytest.mark.pages

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "build" / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)
# The narrow end of today's phones, and a small desktop; pixels.
WIDTHS = {"phone": 390, "desktop": 1280}
# Bytes. What a reader's first visit loads, the pictures below the first screen among it; and all the files together.
MOST_OF_FIRST_VISIT = 1.5e6
MOST_OF_SITE = 40e6
MOST_OF_FIRST_PAGE = 700  # words


def test_book_is_built() -> None:
    assert "index.html" in PAGES, "there is no build/html/index.html; run `make book` first"


@pytest.mark.parametrize("page", PAGES)
def test_page_is_quiet_and_fits_in_light_and_dark(browser: Any, site: str, page: str) -> None:
    tab = browser.new_page()
    try:
        said: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("response", lambda answer: None if answer.ok else said.append(f"{answer.status} {answer.url}"))
        tab.goto(f"{site}/{page}", wait_until="networkidle")

        assert not said
        assert [url for url in asked if not url.startswith((site, "data:", "blob:"))] == []
        assert tab.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)") == []
        assert tab.locator("mjx-merror").count() == 0
        assert tab.locator("i[class*='fa-'], svg.svg-inline--fa:not(:has(> path))").count() == 0, "an icon is missing"
        for name, width in WIDTHS.items():
            tab.set_viewport_size({"width": width, "height": 800})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"scrolls sideways: {name}"
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
    finally:
        tab.close()


def test_search_finds_a_term_of_the_field(browser: Any, site: str) -> None:
    tab = browser.new_page()
    tab.goto(f"{site}/search.html", wait_until="networkidle")
    tab.locator("form.bd-search input[name=q]").last.fill("quasi-convex")
    tab.keyboard.press("Enter")
    found = tab.locator("#search-results .search a")
    tab.locator("#search-results .search a[href*='method.html']").first.wait_for()  # results come one by one
    found.first.click()
    tab.wait_for_load_state("networkidle")
    assert "quasi-convex" in tab.inner_text("article")
    tab.close()


def test_first_visit_is_light(browser: Any, site: str) -> None:
    context = browser.new_context()  # with nothing in its cache
    tab = context.new_page()
    loaded: dict[str, int] = {}
    tab.on("requestfinished", lambda request: loaded.update({request.url: request.sizes()["responseBodySize"]}))
    tab.goto(site, wait_until="networkidle")
    tab.mouse.wheel(0, 100_000)  # pictures that wait to be seen
    tab.wait_for_load_state("networkidle")
    heaviest = sorted(loaded.items(), key=lambda item: -item[1])[:5]
    print(f"first visit: {sum(loaded.values()) / 1e6:.2f} MB, most of it {heaviest}")
    assert sum(loaded.values()) <= MOST_OF_FIRST_VISIT, heaviest
    context.close()


def test_site_is_no_larger_than_it_may_be() -> None:
    sizes = {path.relative_to(HTML).as_posix(): path.stat().st_size for path in HTML.rglob("*") if path.is_file()}
    for name in ("perceptlib.pdf", "report.pdf"):  # of `make pdf`, and not published with the site
        sizes.pop(name, None)
    heaviest = sorted(sizes.items(), key=lambda item: -item[1])[:10]
    print(f"site: {sum(sizes.values()) / 1e6:.1f} MB in {len(sizes)} files")
    assert sum(sizes.values()) <= MOST_OF_SITE, heaviest


def test_first_screen_holds_the_answer_and_the_first_page_is_short(browser: Any, site: str) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    tab.goto(f"{site}/book/intro.html", wait_until="networkidle")
    assert tab.evaluate("document.querySelector('.first-screen').getBoundingClientRect().bottom") <= 800
    assert 4 <= tab.locator(".first-screen .verdict").count() <= 7
    assert tab.locator(".first-screen .sd-btn").count() == 3
    words = [word for word in tab.inner_text("article").split() if any(map(str.isalnum, word))]
    print(f"first page: {len(words)} words")
    assert len(words) <= MOST_OF_FIRST_PAGE
    tab.close()


def test_report_fits_one_sheet(browser: Any, site: str) -> None:
    tab = browser.new_page()
    tab.goto(f"{site}/{pdf.REPORT}.html", wait_until="networkidle")
    words = [word for word in tab.inner_text("article").split() if any(map(str.isalnum, word))]
    print(f"report: {len(words)} words")
    assert 350 <= len(words) <= 450
    tab.close()
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    with pdf.print_pages(browser, site, config) as report:
        assert len(report.pages) == 1
