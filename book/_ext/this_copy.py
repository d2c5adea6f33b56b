"""The directive ``{this-copy}``: from which commit the book was built, and how it is cited, by CITATION.cff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def bibtex(citation: dict[str, Any], year: str, commit: str | None) -> str:
    """Return the entry of a bibliography that a citation file and a commit make."""
    fields = {
        "author": " and ".join(f"{{{author['name']}}}" for author in citation["authors"]),
        "title": citation["title"],
        "year": year,
        "version": str(citation["version"]),
        "url": citation["url"],
    }
    if commit:
        fields["note"] = f"commit {commit[:12]}"
    return "@misc{perceptlib,\n" + ",\n".join(f"  {name} = {{{text}}}" for name, text in fields.items()) + "\n}"


class ThisCopy(SphinxDirective):
    """Say which state of the project the pages show, and give the BibTeX entry for it."""

    def run(self) -> list[nodes.Node]:
        """Return a paragraph and the entry."""
        from perceptlib.records import commit

        now = commit()
        citation = yaml.safe_load(Path("CITATION.cff").read_text(encoding="utf-8"))  # from where book/build.py starts
        text = f"This copy shows version {citation['version']}, built from "
        told = nodes.paragraph("", f"{text}commit " if now else f"{text}files without a history.")
        if now:
            told += [nodes.literal("", now[:12]), nodes.Text(" with changes." if now.endswith("-dirty") else ".")]
        return [told, nodes.literal_block("", bibtex(citation, self.config.copyright, now), language="bibtex")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("this-copy", ThisCopy)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
