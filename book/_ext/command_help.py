"""The directive ``{command-help}``: what ``perceptlib COMMAND --help`` prints, for every command, one section each."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_WIDTH = 76  # characters; the book's column of text holds as many


def helps(command: Any, name: str, above: Any = None) -> dict[str, str]:
    """Return the help of a typer command and of those below it, by what is typed."""
    # Nothing is asked for, so nothing is missing: without resilient_parsing a required argument would be.
    width = {"terminal_width": _WIDTH, "max_content_width": _WIDTH}
    context = command.make_context(name, [], parent=above, resilient_parsing=True, **width)
    found = {context.command_path: str(command.get_help(context))}
    for below in command.list_commands(context) if hasattr(command, "list_commands") else ():
        part = command.get_command(context, below)
        if not part.hidden:
            found |= helps(part, below, context)
    return found


class CommandHelp(SphinxDirective):
    """Show the help of ``perceptlib`` and of each of its commands."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        import typer

        from perceptlib.cli.main import app

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
