"""Built pages, finished: what is no valid or no accessible HTML put right, and what no page uses taken out.

The theme brings two thousand icons, of which pages show twenty; the search index comes with every page, though only
the search page searches; and formulas are drawn on pages that have none.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from perceptlib.drawing import dark
from perceptlib.records import replacing

# A multi-line signature is a list of definitions without terms, within a term.
_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
_SUBSTITUTIONS = [
    # The heading for print alone is a second <h1>, and empty on pages without a title; "Contents" comes before it.
    (r'(<div id="jb-print-docs-body" class="onlyprint">)\s*<h1>((?:(?!</h1>).)+)</h1>',
     r'\1<p class="print-title">\2</p>'),
    (r'(<div id="jb-print-docs-body" class="onlyprint">)\s*<h1></h1>', r"\1"),
    (r'(<div id="jb-print-toc">\s*<div>)\s*<h2> Contents </h2>', r'\1<p class="print-title">Contents</p>'),
    # The arrow that unfolds the pages below one has no name.
    (r'(<a class="[^"]*" href="[^"]*">([^<]*)</a><details[^>]*><summary)>', r'\1 aria-label="Pages below: \2">'),
    # The bar at the side is no landmark.
    (r'(<div id="pst-primary-sidebar") (?=class="bd-sidebar-primary bd-sidebar">)',
     r'\1 role="complementary" aria-label="Search and contents" '),
    # An entry of a bibliography has a role that is none any more; the bibliography is a list.
    (r' role="doc-biblioentry"', ' role="listitem"'),
    # In the address under which an issue is opened.
    (r"&body=", "&amp;body="),
]  # fmt: skip
# A cell may be broken before an interval and not within it, or a wide table would hide its last columns; nor within a
# number, whose minus would be taken for a hyphen.
_CELL = re.compile(r"<td>[^<]*(?:\(|\de-\d)[^<]*</td>")
_NAMED = re.compile(r"<t[dh][^>]*>[^<]*</t[dh]>")
_INTERVAL = re.compile(r"\([^()]{1,30}\)|[\d.]+e-\d+")
_LONG = re.compile(r"(?<![<&/\w.])[\w./-]{24,}")  # a name that may be broken in a cell
_ICON = re.compile(r'(?P<names>"?[a-z0-9-]+"?:\[\d+,\d+,\[[^\]]*\]),"[0-9a-f]+",'
                   r'(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?')  # fmt: skip
_ICON_RULE = re.compile(r'(?P<names>(?:\.fa-[a-z0-9-]+:before,?)+)\{content:"[^"]*"\}')
_USED = re.compile(r"\bfa-([a-z0-9-]+)")
_NAMES = re.compile(r"(?:\.fa-)?([a-z0-9-]+)")
_SEARCH = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
_MATHJAX = re.compile(r"\s*<script>window\.MathJax = .*?</script>|\s*<script[^>]*/tex-chtml-full\.js[^>]*></script>")
_FIGURE = re.compile(r'<img (?P<more>[^>]*?src="(?P<folder>[^"]*_images/)(?P<name>[^"]+\.(?:jpg|svg))"[^>]*?) ?/?>')
_MAKER = Path(dark.__file__).read_bytes()  # other figures when this changes


def mend(page: str) -> str:
    """Return a page of the book with what is said above put right, and without scripts that it has no use for."""
    page = _SIGNATURE.sub(lambda match: re.sub(r"<(/?)d[ld]>", r"<\1div>", match[0]), page)
    for wrong, right in _SUBSTITUTIONS:
        page = re.sub(wrong, right, page, flags=re.DOTALL)
    page = _NAMED.sub(lambda cell: _LONG.sub(lambda name: re.sub(r"([/._])", r"\1<wbr>", name[0]), cell[0]), page)
    page = _CELL.sub(lambda cell: _INTERVAL.sub(r'<span class="whole">\g<0></span>', cell[0]), page)
    page = page if 'id="search-results"' in page else _SEARCH.sub("", page)
    return page if 'class="math' in page else _MATHJAX.sub("", page)


def finish(html: Path, store: Path) -> None:
    """Put a built book right and make it lighter; the figures that this makes stay in `store` for the next time."""
    pages = [path for path in html.rglob("*.html") if "_static" not in path.parts]
    figures = [*html.glob("_images/*.jpg"), *html.glob("_images/*.svg")]
    store.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = zip(figures, pool.map(lambda path: _figure(store, path), figures), strict=True)
        names = {path.name: found for path, found in made}
    for path in store.iterdir():
        if not (html / "_images" / path.name).exists():
            path.unlink()
    for path in pages:
        path.write_text(with_dark_figures(mend(path.read_text(encoding="utf-8")), names), encoding="utf-8")
    theme = html / "_static"
    icons, rules = theme / "scripts" / "fontawesome.js", theme / "styles" / "pydata-sphinx-theme.css"
    showing = [path for path in [*pages, *(theme / "scripts").glob("*.js"), *theme.glob("*.js")] if path != icons]
    used = {name for path in showing for name in _USED.findall(path.read_text(encoding="utf-8"))}
    for path, one in ((icons, _ICON), (rules, _ICON_RULE)):  # the rules: where there is no JavaScript
        text = path.read_text(encoding="utf-8")
        kept = one.sub(lambda icon: icon[0] if used.intersection(_NAMES.findall(icon["names"])) else "", text)
        path.write_text(kept, encoding="utf-8")
    shutil.rmtree(theme / "locales", ignore_errors=True)  # words of the theme in other languages, for its templates
    for end in (".map", ".ttf"):  # for the theme's developers, and for browsers that are too old for its styles
        for path in (path for name in ("scripts", "styles", "vendor") for path in (theme / name).rglob(f"*{end}")):
            path.unlink()


def _figure(store: Path, path: Path) -> tuple[str, str]:
    """Replace a figure by one for light pages and one for dark ones, named by its content; return both addresses."""
    content = path.read_bytes()
    name = hashlib.sha256(content + _MAKER).hexdigest()[:16]
    is_drawing = path.suffix == ".svg"
    files = [f"{name}.svg"] if is_drawing else [f"{name}.webp", f"{name}-dark.webp"]
    if not all((store / file).exists() for file in files):
        made = [dark.both_drawings(content.decode()).encode()] if is_drawing else dark.both_pictures(content)
        for file, picture in zip(files, made, strict=True):
            with replacing(store / file) as temporary:
                temporary.write_bytes(picture)
    for file in files:
        shutil.copyfile(store / file, path.with_name(file))
    path.unlink()
    return files[0], f"{name}.svg#dark" if is_drawing else files[1]


def with_dark_figures(page: str, names: Mapping[str, tuple[str, str]]) -> str:
    """Return a page whose figures have a twin for dark mode; the browser fetches the one that is shown."""

    def both(figure: re.Match[str]) -> str:
        light, night = (figure["more"].replace(figure["name"], name) for name in names[figure["name"]])
        return f'<img class="in-light dark-light" {light}><img loading="lazy" class="in-dark dark-light" {night}>'

    return _FIGURE.sub(both, page)
