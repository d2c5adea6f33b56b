"""The role ``{num}`run.key:format` ``: one number of ``build/runs/RUN/numbers.json`` in the prose.

A key may go down several levels (``run.group.key``); the format is Python's (``.2f``, ``.0%``). An undefined number
(null) reads "undefined". An unknown run or key, or a format that does not fit, warns, and so fails the strict build.

The role ``{verdict}`run.key` `` is the same for the words of a verdict, as a badge. The directive
``{verdicts} run.key`` is a list of badges: every entry of the group has ``where``, ``verdict`` and ``note``, which may
be empty.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)
FOLDER = Path("build/runs")  # from the folder in which book/build.py starts jupyter-book


def quote(folder: Path, text: str) -> str:
    """Return the number that `text` names, as it stands in the prose; LookupError or ValueError say what there is."""
    name, _, form = text.partition(":")
    value = looked_up(folder, name)
    if isinstance(value, dict):
        raise LookupError(f"{name!r} is a group of numbers: {', '.join(value)}")
    return "undefined" if value is None else format(value, form)


def looked_up(folder: Path, name: str) -> Any:
    """Return what stands under a name, a number or a group of them; LookupError says what there is."""
    run, *keys = name.split(".")
    path = folder / run / "numbers.json"
    if not keys or not path.is_file():
        runs = ", ".join(sorted(found.parent.name for found in folder.glob("*/numbers.json")))
        raise LookupError(
            f"no run and number {name!r}: write {{num}}`RUN.KEY:FORMAT`; there are the runs {runs or 'none'}"
        )
    value: Any = json.loads(path.read_text())["numbers"]
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            known = ", ".join(value) if isinstance(value, dict) else "no further level"
            raise LookupError(f"run {run!r} has no number {name!r} (at {key!r}: {known})")
        value = value[key]
    return value


def note_dependency(env: BuildEnvironment, name: str) -> None:
    """Let Sphinx read a page again when the numbers change that it quotes."""
    env.note_dependency(str(Path(FOLDER, name.partition(".")[0], "numbers.json").resolve()))


def badge(words: str) -> nodes.inline:
    """Return a verdict's words; book.css gives each verdict a colour and a sign of its own."""
    return nodes.inline("", words, classes=["verdict", f"verdict-{nodes.make_id(words)}"])


class NumberRole(SphinxRole):
    """Replace the role by the number, or by question marks with a warning."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the number."""
        note_dependency(self.env, self.text)
        try:
            shown = quote(FOLDER, self.text)
        except (LookupError, ValueError) as error:
            logger.warning("num %r: %s", self.text, error.args[0], location=self.get_location())
            shown = "??"
        return [nodes.inline(self.rawtext, shown, classes=["quoted-number"])], []


class VerdictRole(NumberRole):
    """Replace the role by a badge."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the badge."""
        [number], messages = super().run()
        return [badge(number.astext())], messages


class Verdicts(SphinxDirective):
    """A list of what was judged, each with its verdict."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        found = nodes.bullet_list(classes=["verdicts"])
        note_dependency(self.env, self.arguments[0])
        try:
            entries = looked_up(FOLDER, self.arguments[0]).values()
        except (LookupError, AttributeError) as error:
            logger.warning("verdicts %r: %s", self.arguments[0], error.args[0], location=self.get_location())
            return []
        for entry in entries:
            note = [nodes.inline("", f" {entry['note']}", classes=["verdict-note"])] if entry["note"] else []
            words = nodes.inline("", "", nodes.inline("", entry["where"]), *note)
            found += nodes.list_item("", nodes.paragraph("", "", words, nodes.Text(" "), badge(entry["verdict"])))
        return [found]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the roles and the directive."""
    app.add_role("num", NumberRole())
    app.add_role("verdict", VerdictRole())
    app.add_directive("verdicts", Verdicts)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
