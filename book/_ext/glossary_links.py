"""The first use of each term of the glossary on a page is a link to it, as the role ``{term}`` would make it.

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
_WITHOUT = ("book/glossary", "book/symbols", "book/api", "book/commands")
# Where nothing is linked: what is a link, code, formula or title already, and what the reader does not read as prose.
_APART = (nodes.reference, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.title, nodes.raw,
          nodes.comment, addnodes.pending_xref, addnodes.download_reference)  # fmt: skip


def pattern_of(page: str) -> re.Pattern[str]:
    """Return what finds a term of a page's glossary, the longest that fits; the first letter may be large."""
    found = _GLOSSARY.search(page)
    terms = [line for line in found[1].splitlines() if line and not line[0].isspace()] if found else ["(?!)"]
    either = [f"(?i:{re.escape(term[0])}){re.escape(term[1:])}" for term in sorted(terms, key=len, reverse=True)]
    return re.compile(rf"(?<![\w-])(?P<term>{'|'.join(either)})s?(?![\w-])")


class LinkTerms(SphinxTransform):
    """Make links of the first uses."""

    default_priority = 410  # after the names of the library

    def apply(self, **_: Any) -> None:
        """Wrap the first use of each term in a reference."""
        path = Path(self.env.srcdir, "book", "glossary.md")
        if self.env.docname.startswith(_WITHOUT) or not path.exists():
            return
        self.env.note_dependency(str(path))
        pattern, linked = pattern_of(path.read_text(encoding="utf-8")), set[str]()
        for text in list(self.document.findall(nodes.Text)):
            if _is_apart(text):
                continue
            parts, words, end = list[nodes.Node](), text.astext(), 0
            for match in pattern.finditer(words):
                if (term := match["term"].casefold()) not in linked:
                    linked.add(term)
                    parts += [nodes.Text(words[end : match.start()]), self._link(term, match[0])]
                    end = match.end()
            text.parent.replace(text, [part for part in (*parts, nodes.Text(words[end:])) if part.astext()])

    def _link(self, term: str, shown: str) -> nodes.Node:
        # Sphinx finds terms in small letters as well.
        target = {"refdomain": "std", "reftype": "term", "reftarget": term, "refdoc": self.env.docname}
        words = nodes.inline("", shown, classes=["std", "std-term"])
        return addnodes.pending_xref("", words, refexplicit=True, refwarn=True, **target)


def _is_apart(node: nodes.Node) -> bool:
    return node.parent is not None and (isinstance(node.parent, _APART) or _is_apart(node.parent))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(LinkTerms)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
