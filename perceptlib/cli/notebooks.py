"""The commands ``perceptlib run`` and ``perceptlib sweep``, and their option ``-p NAME VALUE``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperCommand

_Notebook = Annotated[
    str, Argument(metavar="NOTEBOOK", help="Path of an .ipynb file, or the name of one of the study's.")
]


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
    notebook: _Notebook,
    parameter: Annotated[
        list[str] | None, Option("--parameter", "-p", metavar="NAME VALUE", help="Set a parameter; may be repeated.")
    ] = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Folder for the results; default: NOTEBOOK-run.")] = None,
    device: Annotated[
        str | None, Option(metavar="cpu|cuda|mps", help="Where networks run; default: PERCEPTLIB_DEVICE, else cpu.")
    ] = None,
    is_listing: Annotated[bool, Option("--list", help="Show the parameters with comments, and run nothing.")] = False,
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
    from perceptlib.runs.notebook import execute, find_notebook
    from perceptlib.runs.parameters import listing, parse_parameters

    path = find_notebook(notebook)
    if is_listing:
        typer.echo(listing(path))
        return
    parameters = parse_parameters(path, _pairs(parameter or (), "VALUE"))
    done = execute(path, parameters, out or Path(f"{path.stem}-run"), device=device, progress=sys.stderr.isatty())
    _tell([left for left in (done.notebook, done.page, done.numbers) if left is not None])


def sweep(
    notebook: _Notebook,
    parameter: Annotated[
        list[str] | None,
        Option("--parameter", "-p", metavar="NAME VALUES", help="Its values, apart by commas; may be repeated."),
    ] = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Folder for the results; default: NOTEBOOK-sweep.")] = None,
    number: Annotated[
        list[str] | None, Option(metavar="NAME", help="Draw this number; may be repeated. Default: three that differ.")
    ] = None,
    workers: Annotated[
        int | None, Option(min=1, metavar="N", help="Runs at once; default: a run for each core.")
    ] = None,
) -> None:
    """Run a notebook for every combination of some parameters, and compare the numbers.

    \b
    Examples:
      perceptlib sweep 03_agreement -p budget 0.001,0.003,0.01 -p ball ssim,l2
      perceptlib sweep 03_agreement -p steps 1,9 --number scores.l2.auc.value
      perceptlib sweep 02_attack -p budgets "[0.01],[0.003]" --out runs/rates

    Values are read as by `perceptlib run`, and all are checked before anything runs; commas within brackets or quotes
    belong to a value. Each run has a process and a thread of its own.

    It may be stopped at any moment: start it again with the same folder, and runs that are finished are not repeated.
    They are repeated when notebook or library have changed. A run that fails is a row with its error; the others go
    on, and the exit status is 1. So it is where a figure or the page cannot be made: sweep.csv is kept.

    \b
    DIR receives
      sweep.csv    a row for each run: parameters, status, numbers
      sweep.html   figures and table, complete in itself
      *.svg *.png  the figures
      cells/       what each run left

    Numbers are named as in numbers.json, groups joined by dots. In a clone, sweeps in the folder runs/ are listed on
    the book's page "Your runs" after the next `make book`.
    """
    from perceptlib.records import claimed, writing_to
    from perceptlib.runs.notebook import find_notebook
    from perceptlib.runs.report import write_report
    from perceptlib.runs.sweep import parse_grid, run_sweep

    path = find_notebook(notebook)
    grid = parse_grid(path, _pairs(parameter or (), "VALUE,VALUE"))
    out = out or Path(f"{path.stem}-sweep")
    with writing_to(out), claimed(out):
        rows = run_sweep(path, grid, out, workers=workers, progress=sys.stderr.isatty())
        _tell(write_report(path, rows, grid, out, numbers=number or ()))
    errors = rows.loc[rows["status"] == "failed", "error"]
    if len(errors):
        raise RuntimeError(f"{len(errors)} of {len(rows)} runs failed, the first with: {errors.iloc[0]}")


def _pairs(texts: Iterable[str], values: str) -> list[tuple[str, str]]:
    """Names and values of ``NAME=VALUE``, as `PairsCommand` joins them."""
    pairs = [text.partition("=") for text in texts]
    for name, is_pair, _ in pairs:
        if not is_pair:
            raise ValueError(f"-p {name} has no value; write -p {name} {values}")
    return [(name, value) for name, _, value in pairs]


def _tell(files: Iterable[Path]) -> None:
    from perceptlib.records import printable

    for file in files:
        typer.echo(printable(str(file)))
