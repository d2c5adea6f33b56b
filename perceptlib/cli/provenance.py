"""The command ``perceptlib provenance``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def provenance(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that perceptlib wrote, or its folder.")],
) -> None:
    """Say where a file comes from: command, date, seed, commit, versions, machine, weights and pictures.

    \b
    Examples:
      perceptlib provenance my-run/numbers.json
      perceptlib provenance shapes-study
      perceptlib provenance cat-attack/adversarial.png
      perceptlib provenance data/recorded/peers/photos.csv

    A table, picture, notebook or page is told of by the record beside it. A study that was stopped and continued has a
    record for each start. What an earlier version did not keep is called "not recorded".
    """
    from perceptlib.cli.provenance_files import find_provenance, shown

    told, records = find_provenance(file)
    typer.echo(f"{file}, told by {told}" if told != file else str(file))
    for line in shown(records):
        typer.echo(line)
