"""The built book is made lighter, and keeps what its pages use."""

from __future__ import annotations

from pathlib import Path

import pytest
import trimming

ICONS = (
    'var a={"angle-left":[320,512,[8249],"f104","M41 "],sun:[512,512,[9728],"f185",["M1","M2"]],'
    '"pencil":[512,512,[9999,"pencil-alt"],"f303","M3"]};'
)
RULES = '.a{b:c}.fa-sun:before{content:"\\f185"}.fa-pencil-alt:before,.fa-pencil:before{content:"\\f303"}.d{e:f}'
SEARCH = '<script src="../_static/searchtools.js"></script>\n<script src="../searchindex.js"></script>'
NO_SEARCH = "<script>DOCUMENTATION_OPTIONS.search_as_you_type = false;</script>"
MATHJAX = (
    '<script>window.MathJax = {"a": 1}</script>\n<script defer src="../_static/mathjax/tex-chtml-full.js?v=9"></script>'
)


def test_icons_that_are_used_stay_by_any_of_their_names() -> None:
    kept = trimming.trimmed_icons(ICONS, {"pencil-alt", "solid"})
    assert kept == 'var a={"pencil":[512,512,[9999,"pencil-alt"],"f303","M3"]};'
    assert trimming.trimmed_icons(ICONS, {"angle-left", "sun", "pencil"}) == ICONS
    assert trimming.trimmed_rules(RULES, {"pencil-alt"}) == RULES.replace('.fa-sun:before{content:"\\f185"}', "")


@pytest.mark.parametrize(
    ("page", "kept"),
    [
        (NO_SEARCH + SEARCH, NO_SEARCH),
        (SEARCH, SEARCH),  # searched while one types
        (NO_SEARCH + SEARCH + '<div id="search-results">', NO_SEARCH + SEARCH + '<div id="search-results">'),
        (f"<p>a</p>{MATHJAX}", "<p>a</p>"),
        (f'<span class="math notranslate">a</span>{MATHJAX}', f'<span class="math notranslate">a</span>{MATHJAX}'),
    ],
)
def test_page_keeps_the_scripts_that_it_uses(page: str, kept: str) -> None:
    assert trimming.trimmed_page(page) == kept


def test_book_is_trimmed_where_it_lies(tmp_path: Path) -> None:
    for name, text in {
        "a.html": '<i class="fa-solid fa-sun"></i>',
        "_static/mine.html": MATHJAX,
        "_static/scripts/fontawesome.js": ICONS,
        "_static/scripts/theme.js": 'classList="fa-solid fa-angle-left"',
        "_static/scripts/theme.js.map": "{}",
        "_static/styles/pydata-sphinx-theme.css": RULES,
        "_static/vendor/fonts/a.ttf": "",
        "_static/vendor/fonts/a.woff2": "",
        "_downloads/b.map": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    trimming.trim(tmp_path)
    icons = (tmp_path / "_static/scripts/fontawesome.js").read_text()
    assert "sun" in icons and "angle-left" in icons and "pencil" not in icons
    assert "pencil" not in (tmp_path / "_static/styles/pydata-sphinx-theme.css").read_text()
    assert (tmp_path / "_static/mine.html").read_text() == MATHJAX
    left = {path.name for path in tmp_path.rglob("*") if path.suffix in (".map", ".ttf", ".woff2")}
    assert left == {"a.woff2", "b.map"}
