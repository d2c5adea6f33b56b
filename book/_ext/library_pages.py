"""Pages of the library from its docstrings, and links to them from everywhere else.

``{library-modules}`` documents the modules that its lines name, one section each. Elsewhere in the book a name in code
ticks, `` `perceptlib.balls.protocol.Ball` ``, links to its description, also with arguments behind it; a name that does not
exist or is not described warns, and so fails the strict build.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from enum import Enum
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
_TOGETHER = re.compile(r"^:(ivar|vartype) (\w+(?:, \w+)+):(.*\n(?: +.*\n)*)", re.MULTILINE)
_NAME = re.compile(r"(?P<name>perceptlib(\.[A-Za-z]\w*)+)(\(.*\))?")


class LibraryModules(SphinxDirective):
    """One section for each module that the content names."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return [self._section(f"perceptlib.{line.strip()}") for line in self.content if line.strip()]

    def _section(self, module: str) -> nodes.section:
        section = nodes.section("", nodes.title("", module), ids=[f"module-{module.replace('.', '-')}-page"])
        lines = ["```{eval-rst}", f".. automodule:: {module}", "```"]
        self.state.nested_parse(StringList(lines, module), self.content_offset, section)
        return section


class LinkNames(SphinxTransform):
    """Make links of the names in code ticks."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Wrap each literal that is a name of the library."""
        for literal in list(self.document.findall(nodes.literal)):
            match = _NAME.fullmatch(literal.astext())
            if match is None or isinstance(literal.parent, nodes.reference | addnodes.pending_xref):
                continue
            try:
                kind, target = described(match["name"])
            except LookupError as error:
                logger.warning("%s", error.args[0], location=literal)
                continue
            if kind:
                link = addnodes.pending_xref(
                    "", refdomain="py", reftype=kind, reftarget=target, refdoc=self.env.docname, refwarn=True
                )
                literal.replace_self(link)
                link += literal


def described(name: str) -> tuple[str, str]:
    """Return the role and the full name under which the library's pages describe what a name stands for.

    Parameters
    ----------
    name
        Such as ``perceptlib.balls.protocol.SSIMBall``, wherever a module has the object from.

    Returns
    -------
    str, str
        ``mod`` or ``obj``, and the name of the object's own module and itself; both empty for what is not described:
        a constant, or what begins with an underscore.

    Raises
    ------
    LookupError
        The library has nothing of that name.
    """
    words = name.split(".")
    thing: Any = importlib.import_module(words[0])
    for place, word in enumerate(words[1:], start=2):
        if inspect.ismodule(thing):
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(".".join(words[:place]))
        try:
            thing = getattr(thing, word)
        except AttributeError:
            fields = getattr(thing, "__dataclass_fields__", {})
            if word in fields:
                return "", ""
            raise LookupError(f"the library has no {name}; {'.'.join(words[: place - 1])} has no {word}") from None
    if inspect.ismodule(thing):
        return "mod", thing.__name__
    home, own = getattr(thing, "__module__", None) or "", getattr(thing, "__qualname__", "")
    is_described = (inspect.isclass(thing) or inspect.isroutine(thing)) and bool(thing.__doc__)
    if not is_described or not home.startswith("perceptlib.") or "._" in f"{home}.{own}":
        return "", ""
    return "obj", f"{home}.{own}"


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node) -> nodes.Node | None:
    """Find a name of the library that is written with another module than its own; constants stay as they are."""
    if node.get("refdomain") != "py" or not node["reftarget"].startswith("perceptlib."):
        return None
    try:
        kind, target = described(node["reftarget"])
    except LookupError:
        return None
    if not kind:
        return content
    python = env.get_domain("py")
    return python.resolve_xref(env, node["refdoc"], app.builder, kind, target, node, content)


def escape_bars(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Let bars in docstrings be absolute values: reStructuredText would take them for substitutions."""
    for place, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        lines[place] = "".join(part if part.startswith("``") else part.replace("|", "\\|") for part in parts)


def split_variables(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Describe variables one by one: of ``:ivar mean, variance:`` Sphinx would take the first for a type."""
    text = "".join(f"{line}\n" for line in lines)
    text = _TOGETHER.sub(lambda field: "".join(f":{field[1]} {word}:{field[3]}" for word in field[2].split(", ")), text)
    lines[:] = text.splitlines()


def no_signature(app: Sphinx, what: str, name: str, thing: Any, options: Any, *_: Any) -> tuple[str, None] | None:
    """Leave out how an enumeration is made: nobody makes one."""
    return ("", None) if what == "class" and issubclass(thing, Enum) else None


def skip_foreign(app: Sphinx, what: str, name: str, thing: Any, is_skipped: bool, options: Any) -> bool | None:
    """Leave out methods that another library writes into our classes."""
    home = getattr(thing, "__module__", None)
    return True if inspect.isroutine(thing) and home and not home.startswith("perceptlib") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register directive and transform."""
    app.add_directive("library-modules", LibraryModules)
    app.add_transform(LinkNames)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("autodoc-process-docstring", split_variables, priority=600)  # after napoleon
    app.connect("autodoc-process-signature", no_signature)
    app.connect("autodoc-skip-member", skip_foreign)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
