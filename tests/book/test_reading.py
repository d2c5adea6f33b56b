"""The book's main pages as a reader finds them: how much there is to read, and how wide, in light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.pages

ROOT = Path(__file__).resolve().parents[2]
MAIN = [chapter["file"] for chapter in yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"][0]["chapters"]]
MOST_WORDS, MOST_WORDS_OF_ALL = 1300, 9000  # that are seen before anything is unfolded
MOST_ROWS = 8  # of a table that is seen
MOST_NUMBERS = 6  # of a paragraph, as far as they are quoted from runs
READ = """() => {
  const article = document.querySelector("article.bd-article");
  const seen = selector => [...article.querySelectorAll(selector)].filter(found => found.checkVisibility());
  const tables = seen("table").map(table => ({
    rows: table.tBodies[0].rows.length,
    section: [...article.querySelectorAll("section")].findLastIndex(section => section.contains(table)),
    tooWide: Math.max(0, Math.round(table.getBoundingClientRect().right - article.getBoundingClientRect().right)),
  }));
  const numbers = seen("p").map(p => p.querySelectorAll(".quoted-number").length);
  const mute = seen("figure:has(img)").filter(figure => !figure.querySelector("figcaption")?.checkVisibility()).length;
  return {words: article.innerText.match(/\\S+/g).length, tables, numbers: Math.max(0, ...numbers), mute};
}"""
GROUND = """() => [...document.querySelectorAll("article figure img, article .cell_output img")]
  .filter(img => img.checkVisibility()).map(img => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2, 2];
    const drawn = canvas.getContext("2d");
    drawn.drawImage(img, 0, 0, img.naturalWidth, img.naturalHeight, 0, 0, img.width, img.height);
    return [img.src, ...drawn.getImageData(0, 0, 1, 1).data];
  })"""


def read(browser: Any, site: str, page: str) -> dict[str, Any]:
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    try:
        tab.goto(f"{site}/{page}.html", wait_until="networkidle")
        found: dict[str, Any] = tab.evaluate(READ)
        return found
    finally:
        tab.close()


def test_main_pages_are_nine_and_short(browser: Any, site: str) -> None:
    words = {page: read(browser, site, page)["words"] for page in MAIN}
    print(words, sum(words.values()))
    assert len(words) == 9 and max(words.values()) <= MOST_WORDS and sum(words.values()) <= MOST_WORDS_OF_ALL, words


@pytest.mark.parametrize("page", MAIN)
def test_a_section_shows_one_small_table_and_a_paragraph_few_numbers(browser: Any, site: str, page: str) -> None:
    found = read(browser, site, page)
    assert all(table["rows"] <= MOST_ROWS and not table["tooWide"] for table in found["tables"]), found["tables"]
    sections = [table["section"] for table in found["tables"]]
    assert len({*sections}) == len(sections), found["tables"]
    assert found["numbers"] <= MOST_NUMBERS and not found["mute"]  # figures whose caption is not seen


@pytest.mark.parametrize("page", MAIN)
def test_dark_mode_shows_dark_figures(browser: Any, site: str, page: str) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    try:
        tab.goto(f"{site}/{page}.html", wait_until="networkidle")
        for image in tab.query_selector_all("article figure img:visible, article .cell_output img:visible"):
            image.scroll_into_view_if_needed()
        tab.wait_for_load_state("networkidle")
        corners = tab.evaluate(GROUND)
    finally:
        tab.close()
    assert corners or page == "book/explorer"  # which draws its own
    assert all(max(corner[1:4]) < 60 for corner in corners), corners
