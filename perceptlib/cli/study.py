"""The command ``perceptlib study``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def study(
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A study of the book: shapes, digits, photos or imagenet; default: shapes."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Instead of --preset: a TOML or JSON file with the fields that differ."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the rows; default: NAME-study.")] = None,
    num_images: Annotated[int | None, typer.Option(min=1, metavar="N", help="Pictures at most.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of pictures, directions, regions and randomised weights.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Pictures at once; 0: what half of the free memory holds."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Start so many processes on this machine.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Use the workers of a dask scheduler, such as tcp://host:8786."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Restart the workers where no task ends for so long; default: wait."),
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda", help="Default: cuda where there is one.")] = None,
    is_listing: Annotated[
        bool, typer.Option("--show", help="Print the configuration as JSON, and run nothing.")
    ] = False,
) -> None:
    """Run the study: attacks, searches, maps and controls for every picture, a row for each.

    \b
    Examples:
      perceptlib study --preset shapes --out shapes-study
      perceptlib study --config own.toml --workers 8 --out own-study
      perceptlib study --preset imagenet --scheduler tcp://host:8786

    It may be stopped at any moment: start it again with the same folder, and it goes on where it was. The table at the
    end is the same as without a stop, and the same for any number of workers. A picture that cannot be read or attacked
    is a row whose status says why.

    \b
    DIR receives
      rows/            one Parquet file for each finished task
      study.parquet    at the end: all rows in a fixed order
      config.json      what was asked
      provenance.json  versions, machine, seed and weights of every start

    On a cluster of Slurm or Kubernetes start a dask scheduler with dask-jobqueue or dask-kubernetes and name its
    address; its workers need this package and, under the same names, the files of weights and pictures.
    """
    import json

    from perceptlib.study.config import STUDIES, read_config
    from perceptlib.study.runner import run_study, summary

    if config is not None and preset is not None:
        raise ValueError("both --config and --preset are given; a file names its preset itself, so leave one out")
    preset = preset or "shapes"
    if preset not in STUDIES:
        raise ValueError(f"there is no study {preset!r}; {', '.join(STUDIES)} are")
    chosen = STUDIES[preset] if config is None else read_config(config)
    if num_images is not None:
        chosen = replace(chosen, num_images=num_images)
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    if batch_size is not None:
        chosen = replace(chosen, batch_size=batch_size)
    if is_listing:
        typer.echo(json.dumps(chosen.as_dict(), indent=2))
        return
    out = Path(f"{preset if config is None else config.stem}-study") if out is None else out
    rows = run_study(
        chosen,
        out,
        workers=workers,
        scheduler=scheduler,
        timeout=timeout,
        device=device,
        progress=sys.stderr.isatty(),
    )
    for line in summary(rows):
        typer.echo(line)
    typer.echo(f"{len(rows)} rows in {out / 'study.parquet'}")
