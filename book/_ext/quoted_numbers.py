"""The role ``{num}`run.key:format` ``: one number of ``build/runs/RUN/numbers.json`` in the prose.

A key may go down several levels (``run.group.key``); the format is Python's (``.2f``, ``.0%``). An undefined number
(null) reads "undefined". An unknown run or key, or a format that does not fit, warns, and so fails the strict build.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)
FOLDER = Path("build/runs")  # from the folder in which book/build.py starts jupyter-book


def quote(folder: Path, text: str) -> str:
    """Return the number that `text` names, as it stands in the prose; LookupError or ValueError say what there is."""
    name, _, form = text.partition(":")
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
    if isinstance(value, dict):
        raise LookupError(f"{name!r} is a group of numbers: {', '.join(value)}")
    return "undefined" if value is None else format(value, form)


class NumberRole(SphinxRole):
    """Replace the role by the number, or by question marks with a warning."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the number."""
        try:
            shown = quote(FOLDER, self.text)
        except (LookupError, ValueError) as error:
            logger.warning("num %r: %s", self.text, error.args[0], location=self.get_location())
            shown = "??"
        return [nodes.inline(self.rawtext, shown, classes=["quoted-number"])], []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role."""
    app.add_role("num", NumberRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
