"""The role ``{num}`run.key:format` ``: one number of ``build/runs/RUN/numbers.json`` in the prose.

A key may go down several levels (``run.group.key``); the format is Python's (``.2f``, ``.0%``). An undefined number
(null) reads "undefined". An unknown run or key, or a format that does not fit, warns, and so fails the strict build.
The role ``{verdict}`run.key` `` is the same for the words of a verdict, as a badge. The directive
``{verdicts} run.key`` lists badges: each entry there has ``where``, ``verdict`` and ``note``, which may be empty.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)
# Where book/build.py starts jupyter-book. A page is read again when the numbers that it quotes change.
FOLDER = Path("build/runs").absolute()


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
        runs = ", ".join(sorted(found.parent.name for found in folder.glob("*/numbers.json"))) or "none"
        raise LookupError(f"no run and number {name!r}: write {{num}}`RUN.KEY:FORMAT`; there are the runs {runs}")
    value: Any = json.loads(path.read_text())["numbers"]
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            known = ", ".join(value) if isinstance(value, dict) else "no further level"
            raise LookupError(f"run {run!r} has no number {name!r} (at {key!r}: {known})")
        value = value[key]
    return value


def badge(words: str) -> nodes.inline:
    """Return a verdict's words; book.css gives each verdict a colour and a sign of its own."""
    return nodes.inline("", words, classes=["verdict", f"verdict-{nodes.make_id(words)}"])


class Quoted(SphinxRole):
    """Replace the role by the number or the badge, or by question marks with a warning."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        self.env.note_dependency(str(FOLDER / self.text.partition(".")[0] / "numbers.json"))
        try:
            shown = quote(FOLDER, self.text)
        except (LookupError, ValueError) as error:
            logger.warning("%s %r: %s", self.name, self.text, error.args[0], location=self.get_location())
            shown = "??"
        is_badge = self.name == "verdict"
        return [badge(shown) if is_badge else nodes.inline(self.rawtext, shown, classes=["quoted-number"])], []


class Verdicts(SphinxDirective):
    """A list of what was judged, each with its verdict."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        found = nodes.bullet_list(classes=["verdicts"])
        self.env.note_dependency(str(FOLDER / self.arguments[0].partition(".")[0] / "numbers.json"))
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
