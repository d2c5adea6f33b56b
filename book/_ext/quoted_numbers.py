"""The role ``{num}`run.key:format` ``: one number of ``build/runs/RUN/numbers.json`` in the prose.

A key may go down several levels (``run.group.key``); the format is Python's (``.2f``, ``.0%``). An undefined number
(null) reads "undefined". An unknown run or key, or a format that does not fit, warns, and so fails the strict build.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)
_TEXT = re.compile(r"(?P<run>[\w-]+)\.(?P<key>[\w.-]+?)(:(?P<format>.+))?")


def quote(folder: Path, text: str) -> str:
    """Return the number that `text` names, as it stands in the prose; LookupError or ValueError say what there is."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError("write {num}`RUN.KEY` or {num}`RUN.KEY:FORMAT`")
    path = folder / match["run"] / "numbers.json"
    if not path.is_file():
        runs = ", ".join(sorted(found.parent.name for found in folder.glob("*/numbers.json")))
        raise LookupError(f"no run {match['run']!r}; there are: {runs or 'none'}")
    value: Any = json.loads(path.read_text())["numbers"]
    for key in match["key"].split("."):
        known = value if isinstance(value, dict) else {"no further level": None}
        if key not in known:
            raise LookupError(f"run {match['run']!r} has no number {match['key']!r} (at {key!r}: {', '.join(known)})")
        value = known[key]
    if isinstance(value, dict):
        raise LookupError(f"{match['key']!r} is a group of numbers: {', '.join(value)}")
    return "undefined" if value is None else format(value, match["format"] or "")


class NumberRole(SphinxRole):
    """Replace the role by the number, or by question marks with a warning."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the number."""
        try:
            shown = quote(Path(self.config.quoted_numbers_dir).resolve(), self.text)
        except (LookupError, ValueError) as error:
            logger.warning("num %r: %s", self.text, error.args[0], location=self.get_location())
            shown = "??"
        return [nodes.inline(self.rawtext, shown, classes=["quoted-number"])], []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register role and setting."""
    app.add_config_value("quoted_numbers_dir", "build/runs", "env")
    app.add_role("num", NumberRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
