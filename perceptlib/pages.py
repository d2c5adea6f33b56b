"""An HTML page of an executed notebook, in one file that asks no other host for anything."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from perceptlib.parameters import read_notebook
from perceptlib.provenance import replacing

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
_MATHS = re.compile(r"\$|\\\(|\\\[|\\begin\{")


def write_page(notebook: str | Path, page: str | Path, *, title: str) -> None:
    """Write an HTML page of a notebook.

    Parameters
    ----------
    notebook
        Path of an executed ``.ipynb`` file.
    page
        Path of the ``.html`` file; replaced where it exists.
    title
        Title of the page.

    Raises
    ------
    FileNotFoundError
        No such notebook.

    Notes
    -----
    Formulas are set by MathJax, which is copied into the page (2 MB) when a text cell holds one and the package
    ``sphinx-mathjax-offline`` is installed (it comes with the extra ``book``). Otherwise they stay as TeX.
    """
    from nbconvert import HTMLExporter

    content = read_notebook(Path(notebook))
    content.metadata["title"] = title
    has_maths = any(cell.cell_type == "markdown" and _MATHS.search(cell.source) for cell in content.cells)
    resources = {"mathjax_script": _mathjax_script() if has_maths else ""}
    body, _ = HTMLExporter(raw_template=_TEMPLATE).from_notebook_node(content, resources=resources)
    with replacing(Path(page)) as temporary:
        temporary.write_text(body, encoding="utf-8")


def _mathjax_script() -> str:
    """MathJax in one script with SVG output, the only one that needs no font files; empty if not installed."""
    # The package's name is no Python identifier, so it can be found but not imported by a statement.
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        return ""
    return (Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js").read_text(encoding="utf-8")
