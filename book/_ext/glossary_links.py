"""The first use of each term of the glossary on a page is a link to it.

The terms are read from ``book/glossary.md``; plurals with an s are found as well. Titles, links, code and formulas stay
as they are, and so do the pages of the library, which are made from docstrings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

_GLOSSARY = re.compile(r"^```\{glossary\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Where nothing is linked: what is a link, code, formula or title already, and what the reader does not read as prose.
_APART = (
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.title,
    nodes.raw,
    nodes.comment,
    addnodes.pending_xref,
    addnodes.download_reference,
)


def terms_of(page: str) -> list[str]:
    """Return the terms that a page's glossary explains: its lines that are not indented."""
    found = _GLOSSARY.search(page)
    return [line for line in found[1].splitlines() if line and not line[0].isspace()] if found else []


def pattern_of(terms: list[str]) -> re.Pattern[str]:
    """Return what finds a term, the longest that fits; the first letter of a word may be large."""
    alternatives = []
    for term in sorted(terms, key=len, reverse=True):
        first = re.escape(term[0])
        if term[0].islower():
            first = f"[{first}{re.escape(term[0].upper())}]"
        alternatives.append(f"(?:{first}{re.escape(term[1:])})")
    return re.compile(rf"(?<![\w-])(?P<term>{'|'.join(alternatives)})s?(?![\w-])")


class LinkTerms(SphinxTransform):
    """Make links of the first uses."""

    default_priority = 410  # after the names of the library

    def apply(self, **_: Any) -> None:
        """Wrap the first use of each term in a reference."""
        docname = self.env.docname
        if docname.startswith(self.config.glossary_apart):
            return
        path = Path(self.env.srcdir, f"{self.config.glossary_page}.md")
        self.env.note_dependency(str(path))
        terms = terms_of(path.read_text(encoding="utf-8"))
        if not terms:
            return
        known = {term.casefold(): term for term in terms}
        pattern, linked = pattern_of(terms), set()
        for text in list(self.document.findall(nodes.Text)):
            if any(isinstance(above, _APART) for above in _ancestors(text)):
                continue
            parts: list[nodes.Node] = []
            end = 0
            for match in pattern.finditer(text.astext()):
                term = known[match["term"].casefold()]
                if term in linked:
                    continue
                linked.add(term)
                parts += [nodes.Text(text.astext()[end : match.start()]), self._link(term, match[0])]
                end = match.end()
            if parts:
                rest = nodes.Text(text.astext()[end:])
                text.parent.replace(text, [part for part in (*parts, rest) if part.astext()])

    def _link(self, term: str, shown: str) -> nodes.Node:
        words = nodes.inline("", shown, classes=["std", "std-term"])
        # Sphinx looks terms up as they are written, then in small letters.
        target = {"refdomain": "std", "reftype": "term", "reftarget": term, "refdoc": self.env.docname}
        return addnodes.pending_xref("", words, refexplicit=True, refwarn=True, **target)


def _ancestors(node: nodes.Node) -> list[nodes.Node]:
    found = []
    while node.parent is not None:
        node = node.parent
        found.append(node)
    return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform and its settings."""
    app.add_config_value("glossary_page", "book/glossary", "env")
    app.add_config_value("glossary_apart", ("book/glossary", "book/symbols", "book/api", "book/commands"), "env")
    app.add_transform(LinkTerms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
