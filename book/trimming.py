"""Take out of the built book what every reader would load and no page uses.

The theme brings two thousand icons, of which pages show twenty; the search index comes with every page, though only
the search page searches; and formulas are drawn on pages that have none.
"""

from __future__ import annotations

import re
from pathlib import Path

_ICON = re.compile(r'(?:"(?P<quoted>[a-z0-9-]+)"|(?P<plain>[a-z0-9]+)):\[\d+,\d+,\[(?P<more>[^\]]*)\],"[0-9a-f]+",'
                   r'(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?')  # fmt: skip
_ICON_RULE = re.compile(r'((?:\.fa-[a-z0-9-]+:before,?)+)\{content:"[^"]*"\}')
_USED = re.compile(r"\bfa-([a-z0-9-]+)")
_SEARCH = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
_MATHJAX = re.compile(r"\s*<script>window\.MathJax = .*?</script>|\s*<script[^>]*/tex-chtml-full\.js[^>]*></script>")
_NO_SEARCH = "DOCUMENTATION_OPTIONS.search_as_you_type = false;"
# Of the theme: for its developers, and for browsers that are older than its style sheets allow.
_UNUSED = ("*.map", "*.ttf")


def trim(html: Path) -> None:
    """Make a built book lighter; it looks and does the same.

    Parameters
    ----------
    html
        Folder of the built book.
    """
    pages = [path for path in html.rglob("*.html") if "_static" not in path.parts]
    for path in pages:
        path.write_text(trimmed_page(path.read_text(encoding="utf-8")), encoding="utf-8")
    theme = html / "_static"
    scripts = [*(theme / "scripts").glob("*.js"), *theme.glob("*.js")]
    showing = [path for path in [*pages, *scripts] if path.name != "fontawesome.js"]
    used = {name for path in showing for name in _USED.findall(path.read_text(encoding="utf-8"))}
    for path, trimmed in ((theme / "scripts" / "fontawesome.js", trimmed_icons),
                          (theme / "styles" / "pydata-sphinx-theme.css", trimmed_rules)):  # fmt: skip
        path.write_text(trimmed(path.read_text(encoding="utf-8"), used), encoding="utf-8")
    for pattern in _UNUSED:
        for name in ("scripts", "styles", "vendor"):
            for path in (theme / name).rglob(pattern):
                path.unlink()


def trimmed_page(page: str) -> str:
    """Return a page without the scripts that it has no use for."""
    if _NO_SEARCH in page and 'id="search-results"' not in page:
        page = _SEARCH.sub("", page)
    return page if 'class="math' in page else _MATHJAX.sub("", page)


def trimmed_icons(script: str, used: set[str]) -> str:
    """Return Font Awesome's script with the icons that are used, by any of their names."""

    def kept(match: re.Match[str]) -> str:
        names = {match["quoted"] or match["plain"], *re.findall(r'"([^"]+)"', match["more"])}
        return match[0] if names & used else ""

    return _ICON.sub(kept, script)


def trimmed_rules(style: str, used: set[str]) -> str:
    """Return a style sheet with the rules of the icons that are used: they are shown where there is no JavaScript."""
    return _ICON_RULE.sub(lambda match: match[0] if used & {*_USED.findall(match[1])} else "", style)
