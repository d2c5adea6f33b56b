"""The built book, opened in Chromium. Run by .ci/run after `make book`: pytest -m pages tests/test_book.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.pages

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "build" / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)
# The narrow end of today's phones, and a small desktop; pixels.
WIDTHS = {"phone": 390, "desktop": 1280}
# WCAG 2.1 AA for text of normal size.
LEAST_CONTRAST = 4.5

CONTRAST = """() => {
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const background = element => {
    for (let e = element; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0.99) return c;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll(".bd-article p, .bd-article figcaption, .bd-article td, .bd-article h1")]
    .filter(e => e.innerText.trim() && e.offsetParent)
    .map(e => {
      const [a, b] = [luminance(numbers(getComputedStyle(e).color)), luminance(background(e))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.innerText.slice(0, 60)];
    });
}"""


def test_book_is_built() -> None:
    assert "index.html" in PAGES, "there is no build/html/index.html; run `make book` first"


@pytest.mark.parametrize("page", PAGES)
def test_page_is_quiet_readable_and_fits(browser: Any, site: str, page: str) -> None:
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
        for name, width in WIDTHS.items():
            tab.set_viewport_size({"width": width, "height": 800})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"scrolls sideways: {name}"
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
            faint = [text for contrast, text in tab.evaluate(CONTRAST) if contrast < LEAST_CONTRAST]
            assert faint == [], f"hard to read: {scheme}"
    finally:
        tab.close()
