"""The command ``perceptlib run``, and ``-p NAME VALUE``, which it shares with ``perceptlib sweep``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand


class PairsCommand(TyperCommand):
    """A command whose option ``-p`` takes two words and may be repeated, which typer alone cannot say."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join ``-p NAME VALUE`` into ``-p NAME=VALUE``, which is accepted as well."""
        joined, rest = [], list(args)
        while rest:
            word = rest.pop(0)
            joined.append(word)
            if word in ("-p", "--parameter") and rest:
                pair = rest.pop(0)
                if "=" not in pair and rest:
                    pair += f"={rest.pop(0)}"
                joined.append(pair)
        return super().parse_args(ctx, joined)


def run(
    notebook: Annotated[
        str, typer.Argument(metavar="NOTEBOOK", help="Path of an .ipynb file, or the name of one of the study's.")
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Set a parameter; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the results; default: NOTEBOOK-run.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="cpu|cuda|mps",
            help="Where its networks run; default: what the environment variable PERCEPTLIB_DEVICE says, else cpu.",
        ),
    ] = None,
    is_listing: Annotated[
        bool, typer.Option("--list", help="Show the notebook's parameters with their comments, and run nothing.")
    ] = False,
) -> None:
    """Run a notebook of the study with other parameters.

    \b
    Examples:
      perceptlib run 02_attack --list
      perceptlib run 02_attack -p budget 0.02 --out my-run
      perceptlib run notebooks/03_agreement.ipynb -p seed 1 --out seed-1

    A value is read as the type of the parameter's default: a text as it is, numbers, True or False, and lists such as
    "[0.01, 0.02]" as in Python. An unknown name or another type is refused before anything runs.

    \b
    DIR receives
      NOTEBOOK.ipynb  the executed notebook
      NOTEBOOK.html   a page of it, complete in itself
      numbers.json    the numbers that the book quotes, with provenance
      *.csv           the rows behind its figures

    If a cell fails, the notebook as far as it came is kept as NOTEBOOK.failed.ipynb. If the page cannot be made, all
    else is kept. The exit status is 1 in both cases.

    The notebook runs in the current folder, with as many threads as OMP_NUM_THREADS says (1 is best where other
    programs run). Its cells find the device in PERCEPTLIB_DEVICE, which is where the study's notebooks load networks.
    """
    from perceptlib.records import printable
    from perceptlib.runs.notebook import execute, find_notebook
    from perceptlib.runs.parameters import listing, parse_parameters

    path = find_notebook(notebook)
    if is_listing:
        typer.echo(listing(path))
        return
    parameters = parse_parameters(path, pairs_of(parameter or (), "VALUE"))
    out = Path(f"{path.stem}-run") if out is None else out
    done = execute(path, parameters, out, device=device, progress=sys.stderr.isatty())
    for left in (done.notebook, done.page, done.numbers):
        if left is not None:
            typer.echo(printable(str(left)))


def pairs_of(texts: Iterable[str], values: str) -> list[tuple[str, str]]:
    """Names and values of ``NAME=VALUE``, as `PairsCommand` joins them."""
    pairs = []
    for text in texts:
        name, is_pair, value = text.partition("=")
        if not is_pair:
            raise ValueError(f"-p {name} has no value; write -p {name} {values}")
        pairs.append((name, value))
    return pairs
