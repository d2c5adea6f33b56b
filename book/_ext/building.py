"""How Sphinx builds the book: on all cores, again only what has changed, with the links and numbers of this folder."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from sphinx.application import ENV_PICKLE_FILENAME, Sphinx

import links
import quoted_numbers


def keep(app: Sphinx, error: Exception | None) -> None:
    """Write the environment again: it has entries of the search's index that Sphinx knows only now."""
    if error is None:
        Path(app.doctreedir, ENV_PICKLE_FILENAME).write_bytes(pickle.dumps(app.env, pickle.HIGHEST_PROTOCOL))


def reflowed(directive: Any, name: str, command: Any, *_: Any) -> dict[str, Any]:
    """Let sphinxcontrib-typer fill the lines of a command's help anew, but for blocks that \\b keeps as they are."""
    parts = (command.help or "").split("\n\n")
    command.help = "\n\n".join(part if part.startswith("\b") else " ".join(part.split()) for part in parts)
    return {}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is in this folder; refuse the repository itself, whose notebooks have no outputs."""
    if (app.srcdir / "pyproject.toml").exists():
        raise SystemExit("build the book with `make book`, which runs the notebooks before it calls jupyter-book")
    app.parallel = os.cpu_count() or 1  # jupyter-book has no option for it
    # Says nothing of itself; all it does is done when every page has been read.
    app.extensions["sphinx_multitoc_numbering"].parallel_read_safe = True
    app.add_transform(links.Links)
    app.add_role("num", quoted_numbers.Quoted())
    app.add_role("verdict", quoted_numbers.Quoted())
    app.add_directive("verdicts", quoted_numbers.Verdicts)
    app.connect("missing-reference", links.resolve)
    app.connect("build-finished", keep)
    # The resolver of DOIs is asked what it knows, not the publisher, who turns programs away.
    app.connect("linkcheck-process-uri", lambda _, uri: uri.replace("//doi.org/", "//doi.org/api/handles/"))
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
