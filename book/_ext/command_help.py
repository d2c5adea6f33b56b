"""The directive ``{command-help}``: what ``perceptlib COMMAND --help`` prints, for every command, one section each."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_WIDTH = 88  # characters; the book's column of text holds as many


def helps(command: Any, words: str) -> dict[str, str]:
    """Return the help of a typer command and of those below it, by what is typed."""
    # Nothing is asked for, so nothing is missing: without resilient_parsing a required argument would be.
    context = command.make_context(words, [], resilient_parsing=True, terminal_width=_WIDTH, max_content_width=_WIDTH)
    found = {words: str(command.get_help(context))}
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        below = command.get_command(context, name)
        if not below.hidden:
            found |= helps(below, f"{words} {name}")
    return found


class CommandHelp(SphinxDirective):
    """Show the help of ``perceptlib`` and of each of its commands."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        import typer

        from perceptlib.cli import app

        sections: list[nodes.Node] = []
        for words, told in helps(typer.main.get_command(app), "perceptlib").items():
            section = nodes.section("", nodes.title("", words), ids=[f"help-{words.replace(' ', '-')}"])
            section += nodes.literal_block(told, told, language="none")
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
