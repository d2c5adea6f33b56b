"""How Sphinx builds the book: on all cores, and again only what has changed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from sphinx.application import ENV_PICKLE_FILENAME, Sphinx


def keep(app: Sphinx, error: Exception | None) -> None:
    """Write the environment again: it has entries of the search's index that Sphinx knows only now."""
    if error is None:
        Path(app.doctreedir, ENV_PICKLE_FILENAME).write_bytes(pickle.dumps(app.env, pickle.HIGHEST_PROTOCOL))


def resolver(app: Sphinx, uri: str) -> str:
    """Ask the resolver of DOIs what it knows, not the publisher, who turns programs away."""
    return uri.replace("https://doi.org/", "https://doi.org/api/handles/")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is above; refuse the repository itself, whose notebooks have no outputs."""
    if (app.srcdir / "pyproject.toml").exists():
        raise SystemExit("build the book with `make book`, which runs the notebooks before it calls jupyter-book")
    app.parallel = os.cpu_count() or 1  # jupyter-book has no option for it
    # Says nothing of itself; all it does is done when every page has been read.
    app.extensions["sphinx_multitoc_numbering"].parallel_read_safe = True
    app.connect("build-finished", keep)
    app.connect("linkcheck-process-uri", resolver)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
