"""The command ``perceptlib sweep``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from perceptlib.cli.run import pairs_of


def sweep(
    notebook: Annotated[
        str, typer.Argument(metavar="NOTEBOOK", help="Path of an .ipynb file, or the name of one of the study's.")
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="NAME VALUES", help="Values of a parameter, apart by commas; may be repeated."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the results; default: NOTEBOOK-sweep.")
    ] = None,
    number: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Draw this number; may be repeated. Default: the first three that differ."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Runs at once; default: as many as there are cores.")
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
    from perceptlib.records import claimed, printable, writing_to
    from perceptlib.runs.notebook import find_notebook
    from perceptlib.runs.report import write_report
    from perceptlib.runs.sweep import parse_grid, run_sweep

    path = find_notebook(notebook)
    grid = parse_grid(path, pairs_of(parameter or (), "VALUE,VALUE"))
    out = Path(f"{path.stem}-sweep") if out is None else out
    with writing_to(out), claimed(out):
        rows = run_sweep(path, grid, out, workers=workers, progress=sys.stderr.isatty())
        for left in write_report(path, rows, grid, out, numbers=number or ()):
            typer.echo(printable(str(left)))
    errors = rows.loc[rows["status"] == "failed", "error"]
    if len(errors):
        raise RuntimeError(f"{len(errors)} of {len(rows)} runs failed, the first with: {errors.iloc[0]}")
