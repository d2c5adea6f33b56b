"""The command ``perceptlib``: its commands, and how what goes wrong is told.

Everything heavy is imported inside the commands, so that ``--help`` comes at once.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from perceptlib.cli.attack import attack
from perceptlib.cli.check import check
from perceptlib.cli.notebooks import PairsCommand, run, sweep
from perceptlib.cli.provenance import provenance
from perceptlib.cli.study import study, train

FAILURE, BAD_INPUT, INTERRUPTED = 1, 2, 130

_BAD_INPUT_ERRORS = (ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> None:
    """Run the command line."""
    app(prog_name="perceptlib")


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what the library warns of and raises into a sentence on stderr, and an error into an exit status."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # between packages, such as matplotlib and pyparsing
            warnings.showwarning = lambda message, *where: _tell(str(message))
            yield
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("PERCEPTLIB_DEBUG") == "1":
            raise
        sentence, status = str(error), BAD_INPUT if isinstance(error, _BAD_INPUT_ERRORS) else FAILURE
        if isinstance(error, KeyboardInterrupt):
            sentence, status = sentence or "interrupted; files under their final names are whole", INTERRUPTED
        elif not isinstance(error, (*_BAD_INPUT_ERRORS, OSError, RuntimeError)):
            sentence = f"{type(error).__name__}: {error} (not expected; PERCEPTLIB_DEBUG=1 shows where)"
        _tell(sentence)
        raise typer.Exit(status) from None


def _tell(sentence: str) -> None:
    from perceptlib.records import printable

    typer.echo(printable(f"perceptlib: {sentence}"), err=True)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from perceptlib.records.package import __version__

        typer.echo(f"perceptlib {__version__}")
        raise typer.Exit


@app.callback()
def perceptlib(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Adversarial perturbations inside a ball of structural similarity (SSIM).

    \b
    Examples:
      perceptlib attack cat.jpg --out cat
      perceptlib run 02_attack -p budget 0.02 --out my-run
      perceptlib study --preset shapes --out shapes-study
      perceptlib train --seed 3 --out seed3.safetensors

    Each command has a --help of its own. Exit status: 0 done, 1 failure, 2 bad input, 130 interrupted. Set
    PERCEPTLIB_DEBUG=1 to see the traceback of an error.

    A command holds the folder that it writes into: a second one into the same folder is refused, until the first has
    ended, in whatever way.
    """


for _command in (attack, run, study, sweep, check, provenance, train):
    app.command(cls=PairsCommand if _command in (run, sweep) else None)(_one_sentence()(_command))
