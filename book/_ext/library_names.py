"""Links from names of the library, in code ticks anywhere in the book, to the pages that describe them.

Described is what a folder's ``__init__`` offers, under that folder's name. A name of the library that does not exist
warns, and so fails the strict build; one that is there and not described stays code.
"""

from __future__ import annotations

import pkgutil
import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

_NAME = re.compile(r"(?P<name>perceptlib(\.[A-Za-z]\w*)+)(\(.*\))?")


class LinkNames(SphinxTransform):
    """Make links of the names in code ticks."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Wrap each literal that is a name of the library."""
        for literal in list(self.document.findall(nodes.literal)):
            match = _NAME.fullmatch(literal.astext())
            if match and not isinstance(literal.parent, nodes.reference | addnodes.pending_xref):
                target = {"refdomain": "py", "reftype": "obj", "reftarget": match["name"], "refwarn": True}
                link = addnodes.pending_xref("", refdoc=self.env.docname, **target)
                literal.replace_self(link)
                link += literal


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


def escape_bars(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Let bars in docstrings be absolute values: reStructuredText would take them for substitutions."""
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda match: match[1] or "\\|", line) for line in lines]


def reflowed(directive: Any, name: str, command: Any, *_: Any) -> dict[str, Any]:
    """Let sphinxcontrib-typer fill the lines of a command's help anew, but for blocks that \\b keeps as they are."""
    parts = (command.help or "").split("\n\n")
    command.help = "\n\n".join(part if part.startswith("\b") else " ".join(part.split()) for part in parts)
    return {}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is above."""
    app.add_transform(LinkNames)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", escape_bars)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
