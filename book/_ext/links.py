"""Links that nobody has to write: to names of the library, and to the first use of each term of the glossary on a page.

A name in code ticks is a link to what a folder's ``__init__`` offers, under that folder's name. One that does not exist
warns, and so fails the strict build; one that is there and not described stays code. Terms are read from
``book/glossary.md``; plurals with an s are found as well. Titles, links, code and formulas have no links to terms, nor
have the pages of the library, which are made from docstrings.
"""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

_NAME = re.compile(r"(?P<name>perceptlib(\.[A-Za-z]\w*)+)(\(.*\))?")
_WITHOUT = ("book/glossary", "book/symbols", "book/api", "book/commands")
# What is a link, code, formula or title already, and what the reader does not read as prose.
_APART = (nodes.reference, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.title, nodes.raw,
          nodes.comment, addnodes.pending_xref, addnodes.download_reference)  # fmt: skip


def described(name: str) -> str:
    """Return the name under which an object may be described; ImportError or AttributeError where there is none."""
    above, _, last = name.rpartition(".")
    if last in getattr(pkgutil.resolve_name(above), "__dataclass_fields__", {}):
        return name
    thing = pkgutil.resolve_name(name)
    folder = ".".join((getattr(thing, "__module__", None) or "").split(".")[:2])
    return f"{folder}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else name


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node) -> nodes.Node | None:
    """Find a name that is written with another module than the one that offers it."""
    if node.get("refdomain") != "py" or not node["reftarget"].startswith("perceptlib."):
        return None
    try:
        target = described(node["reftarget"])
    except (ImportError, AttributeError):
        return None
    return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content) or content


class Links(SphinxTransform):
    """Make links of the names of the library, then of the first uses of terms, as the role ``{term}`` would."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            match = _NAME.fullmatch(literal.astext())
            if match and not isinstance(literal.parent, nodes.reference | addnodes.pending_xref):
                target = {"refdomain": "py", "reftype": "obj", "reftarget": match["name"], "refwarn": True}
                link = addnodes.pending_xref("", refdoc=self.env.docname, **target)
                literal.replace_self(link)
                link += literal
        if self.env.docname.startswith(_WITHOUT):
            return
        path, linked = Path(self.env.srcdir, "book", "glossary.md"), set[str]()
        self.env.note_dependency(str(path))
        [glossary] = re.findall(r"(?ms)^```\{glossary\}\n(.*?)^```$", path.read_text(encoding="utf-8"))
        terms = [line for line in glossary.splitlines() if line and not line[0].isspace()]
        # The longest that fits; the first letter may be large, and there may be an s.
        either = [f"(?i:{re.escape(term[0])}){re.escape(term[1:])}" for term in sorted(terms, key=len, reverse=True)]
        pattern = re.compile(rf"(?<![\w-])(?P<term>{'|'.join(either)})s?(?![\w-])")
        for text in list(self.document.findall(nodes.Text)):
            if _is_apart(text):
                continue
            parts, words, end = list[nodes.Node](), text.astext(), 0
            for match in pattern.finditer(words):
                if (term := match["term"].casefold()) not in linked:  # Sphinx finds terms in small letters as well
                    linked.add(term)
                    target = {"refdomain": "std", "reftype": "term", "reftarget": term, "refdoc": self.env.docname}
                    shown = nodes.inline("", match[0], classes=["std", "std-term"])
                    link = addnodes.pending_xref("", shown, refexplicit=True, refwarn=True, **target)
                    parts += [nodes.Text(words[end : match.start()]), link]
                    end = match.end()
            text.parent.replace(text, [part for part in (*parts, nodes.Text(words[end:])) if part.astext()])


def _is_apart(node: nodes.Node) -> bool:
    return node.parent is not None and (isinstance(node.parent, _APART) or _is_apart(node.parent))
