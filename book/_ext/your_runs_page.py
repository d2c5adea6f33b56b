"""The directive ``{your-runs}``: the reader's runs and sweeps that book/your_runs.py has found.

It makes nodes of the document tree, no text: whatever a parameter or class name holds is shown as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

# Rows of a table that are seen at once; the others are folded.
_MOST_ROWS = 15
# Quotation marks and dashes of what was typed stay as they are.
_AS_TYPED = {"support_smartquotes": False}


class YourRuns(SphinxDirective):
    """List what your_runs.json holds, one section each."""

    def run(self) -> list[nodes.Node]:
        """Return the sections, or a sentence that there are none."""
        path = Path(self.env.srcdir, "your_runs.json")
        self.env.note_dependency(str(path))
        entries = json.loads(path.read_text()) if path.exists() else []
        if not entries:
            return [nodes.paragraph("", "There are none yet.")]
        return [self._section(number, entry) for number, entry in enumerate(entries, start=1)]

    def _section(self, number: int, entry: dict[str, Any]) -> nodes.section:
        section = nodes.section("", nodes.title("", _clean(entry["name"])), ids=[f"your-run-{number}"])
        if problem := entry.get("problem"):
            section += nodes.warning("", nodes.paragraph("", _clean(problem)))
            return section
        section += self._told(entry)
        for note in entry.get("notes", []):
            section += nodes.paragraph("", _clean(note))
        if entry["kind"] == "sweep":
            for figure in entry["figures"]:
                section += nodes.image(uri=figure["address"], alt=_clean(figure["alt"]))
            section += _table(entry["head"], entry["rows"], "Runs of the sweep")
        else:
            section += self._comparison(entry)
        if entry["links"]:
            section += self._links(entry["links"])
        return section

    def _told(self, entry: dict[str, Any]) -> nodes.paragraph:
        what = "Sweep" if entry["kind"] == "sweep" else "Run"
        told = nodes.paragraph("", f"{what} of the notebook ", **_AS_TYPED)
        told += nodes.literal("", _clean(entry["notebook"]))
        if beside := entry.get("beside"):
            told += nodes.Text(", beside the page ")
            told += self._reference(beside)
        told += nodes.Text(f". {_clean(entry['made'])}")
        return told

    def _reference(self, beside: dict[str, str]) -> nodes.Node:
        if beside["document"] not in self.env.found_docs:
            return nodes.literal("", beside["name"])
        target = {"refdomain": "std", "reftype": "doc", "reftarget": f"/{beside['document']}"}
        # The page's own title is shown.
        link = addnodes.pending_xref("", nodes.inline(), refdoc=self.env.docname, refexplicit=False, **target)
        return link

    def _comparison(self, entry: dict[str, Any]) -> list[nodes.Node]:
        made: list[nodes.Node] = []
        head = ["", "in the book", "yours"] if entry.get("beside") else ["", "yours"]
        for title, word in (("Parameters", "parameter"), ("Numbers", "number")):
            rows = entry[f"{word}s"]
            if not entry.get("beside"):
                rows = [[name, yours] for name, _, yours in rows]
            if rows:
                title = f"{title} that differ" if entry.get("beside") else title
                made += _folded([word, *head[1:]], rows, title)
            else:
                made.append(nodes.paragraph("", f"No {word} differs." if entry.get("beside") else f"No {word}s."))
        if entry["num_same"]:
            made.append(nodes.paragraph("", f"Numbers that are the same to four digits: {entry['num_same']}."))
        return made

    def _links(self, links: list[dict[str, str]]) -> nodes.paragraph:
        here = self.env.app.builder.get_target_uri(self.env.docname)
        listed = nodes.paragraph("", "Files: ")
        for number, link in enumerate(links):
            listed += nodes.Text(", " if number else "")
            listed += nodes.reference("", _clean(link["name"]), refuri=relative_uri(here, link["address"]))
        return listed


def _folded(head: list[str], rows: list[list[str]], title: str) -> list[nodes.Node]:
    """Return a table; of a long one the rest below a fold."""
    made: list[nodes.Node] = [_table(head, rows[:_MOST_ROWS], title)]
    if rest := rows[_MOST_ROWS:]:
        words = nodes.title("", f"{len(rest)} more")
        fold = nodes.admonition("", words, _table(head, rest, f"{title}, the rest"), classes=["dropdown"])
        made.append(fold)
    return made


def _table(head: list[str], rows: list[list[str]], title: str) -> nodes.table:
    group = nodes.tgroup("", cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", nodes.title("", title), group, classes=["your-runs"])


def _row(texts: list[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", _clean(text), **_AS_TYPED)) for text in texts))


def _clean(text: str) -> str:
    """Return a text without what no page can hold: NUL, and halves of letters from odd file names."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("your-runs", YourRuns)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
