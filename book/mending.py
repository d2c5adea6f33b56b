"""What the theme and Sphinx write into pages that is no valid or no accessible HTML, put right after the build."""

from __future__ import annotations

import re
from pathlib import Path

# A multi-line signature is a list of definitions without terms, within a term.
_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
_SIGNATURE_PARTS = {"<dl>": '<div class="sig-parts">', "</dl>": "</div>", "<dd>": "<div>", "</dd>": "</div>"}
# The heading for print alone is a second <h1>, and empty on pages without a title; "Contents" comes before it.
_PRINTED = re.compile(r'(<div id="jb-print-docs-body" class="onlyprint">)\s*<h1>(.*?)</h1>', re.DOTALL)
_PRINTED_CONTENTS = re.compile(r'(<div id="jb-print-toc">\s*<div>)\s*<h2> Contents </h2>')
# The arrow that unfolds the pages below one has no name.
_UNFOLD = re.compile(r'(<a class="[^"]*" href="[^"]*">([^<]*)</a><details[^>]*><summary)>')
# The bar at the side is no landmark.
_SIDE = '<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar">'
_SIDE_NAMED = _SIDE.replace(" class", ' role="complementary" aria-label="Search and contents" class')
# Several returned values are a list, which a paragraph cannot hold.
_LIST = re.compile(r'<p>(<ul class="simple">(?:(?!<p><ul).)*?</ul>\s*)</p>', re.DOTALL)
# An entry of a bibliography has a role that is none any more; the bibliography is a list.
_ENTRY = ' role="doc-biblioentry"'
# A cell may be broken before an interval and not within it, or a wide table would hide its last columns; nor within a
# number, whose minus would be taken for a hyphen.
_CELL = re.compile(r"<td>[^<]*(?:\(|\de-\d)[^<]*</td>")
_INTERVAL = re.compile(r"\([^()]{1,30}\)|[\d.]+e-\d+")


def mend(page: str) -> str:
    """Return a page of the book with what is said above put right."""
    page = page.replace("&body=", "&amp;body=")  # in the address under which an issue is opened
    page = _SIGNATURE.sub(_signature, page)
    page = _PRINTED.sub(lambda match: match[1] + (f'<p class="print-title">{match[2]}</p>' if match[2] else ""), page)
    page = _PRINTED_CONTENTS.sub(r'\1<p class="print-title">Contents</p>', page)
    page = _UNFOLD.sub(r'\1 aria-label="Pages below: \2">', page)
    page = page.replace(_SIDE, _SIDE_NAMED)
    page = _LIST.sub(r"\1", page)
    page = _CELL.sub(lambda cell: _INTERVAL.sub(r'<span class="whole">\g<0></span>', cell[0]), page)
    return page.replace(_ENTRY, ' role="listitem"')


def _signature(match: re.Match[str]) -> str:
    signature = match[0]
    for wrong, right in _SIGNATURE_PARTS.items():
        signature = signature.replace(wrong, right)
    return signature


def mend_pages(html: Path) -> None:
    """Mend every page of a built book."""
    for path in html.rglob("*.html"):
        if "_static" not in path.parts:
            path.write_text(mend(path.read_text(encoding="utf-8")), encoding="utf-8")
