"""An HTML page of an executed notebook, in one file that asks no other host for anything."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perceptlib.records import replacing
from perceptlib.runs.parameters import read_notebook

# nbconvert's page loads require.js, MathJax and Mermaid from other hosts, each in a block of its own.
_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
{%- if resources.mathjax_script -%}
<script>
MathJax = {
  tex: {inlineMath: [['$', '$'], ['\\\\(', '\\\\)']], tags: 'ams'},
  options: {enableMenu: false},
  startup: {elements: ['.jp-MarkdownOutput']}
};
</script>
<script>{{ resources.mathjax_script }}</script>
{%- endif -%}
{%- endblock -%}
"""
_LABEL = re.compile(r"^\([\w:-]+\)=\n", re.MULTILINE)
_BOX = re.compile(r"^:::\{admonition\} (.+)\n(?::\w+: .+\n)*([\s\S]*?)^:::$", re.MULTILINE)
_NUMBER = re.compile(r"\{num\}`(?P<run>[\w-]+)\.(?P<key>[\w.-]+?)(?::(?P<format>[^`]+))?`")
_CITED = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
_FIGURE = re.compile(r"\{numref\}`[^`]+`")
_LINK = re.compile(r"\[([^\]]*)\]\(#[\w:-]+\)")  # to a label of the book
_MATHS = re.compile(r"\$|\\\(|\\\[|\\begin\{")


def write_page(notebook: str | Path, page: str | Path, *, title: str, numbers: Mapping[str, Any] = {}) -> None:
    """Write an HTML page of an executed notebook, in which `numbers` stand where the text quotes those of `title`.

    Formulas are set by MathJax, copied into the page (2 MB) where there is one and ``sphinx-mathjax-offline`` is
    installed (extra ``book``); else they stay as TeX.
    """
    from nbconvert import HTMLExporter

    content = read_notebook(Path(notebook))
    content.metadata["title"] = title
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = plain_text(cell.source, title, numbers)
    has_maths = any(cell.cell_type == "markdown" and _MATHS.search(cell.source) for cell in content.cells)
    resources = {"mathjax_script": _mathjax_script() if has_maths else ""}
    body, _ = HTMLExporter(raw_template=_TEMPLATE).from_notebook_node(content, resources=resources)
    with replacing(Path(page)) as temporary:
        temporary.write_text(body, encoding="utf-8")


def plain_text(source: str, run: str, numbers: Mapping[str, Any]) -> str:
    """Text of a notebook with the `numbers` that it quotes of `run`, and without what the book alone can resolve."""

    def quoted(match: re.Match[str]) -> str:
        value: Any = numbers if match["run"] == run else None
        for key in match["key"].split("."):
            if not isinstance(value, Mapping) or key not in value:
                return "(in the book)"
            value = value[key]
        return "undefined" if value is None else format(value, match["format"] or "")

    source = _BOX.sub(r"**\1.**\n\n\2", _LABEL.sub("", source))
    source = _NUMBER.sub(quoted, source)
    source = _CITED.sub(r"(\1)", source)
    source = _FIGURE.sub("the figure", source)
    return _LINK.sub(lambda match: match[1] or "the book", source)


def _mathjax_script() -> str:
    """MathJax in one script with SVG output, the only one that needs no font files; empty if not installed."""
    # The package's name is no Python identifier, so it can be found but not imported by a statement.
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        return ""
    return (Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js").read_text(encoding="utf-8")
