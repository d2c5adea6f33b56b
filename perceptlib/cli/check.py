"""The command ``perceptlib check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option


def check(
    is_quick: Annotated[bool, Option("--quick", help="The embedded presets alone, half a minute on one core.")] = False,
    seed: Annotated[int, Option(min=0, metavar="N", help="0 as recorded; others: by the spread over seeds.")] = 0,
    layer: Annotated[list[str] | None, Option(metavar="NAME", help="This layer alone; may be repeated.")] = None,
    is_listing: Annotated[
        bool, Option("--all", help="Show all, not only what moved and the nearest of a layer.")
    ] = False,
    json_file: Annotated[Path | None, Option("--json", metavar="FILE", help="Write all verdicts as JSON.")] = None,
    is_updating: Annotated[bool, Option("--update", help="Record anew: show what changes, ask, and write.")] = False,
    is_sure: Annotated[bool, Option("--yes", help="With --update: do not ask.")] = False,
) -> None:
    """Compute what is recorded again, and say what still holds.

    \b
    Examples:
      perceptlib check --quick
      perceptlib check --json check.json
      perceptlib check --quick --layer ssim --layer balls --all
      perceptlib check --quick --seed 7
      perceptlib check --quick --update
      perceptlib check --layer "notebook 05_smallest"
      perceptlib check --update --layer "study of digits/digits-0"

    The layers build on each other: files and their contents, data, ssim, balls, convex, networks, attacks, agreement,
    controls, statistics, claims. Without --quick also the recorded studies, computed again for their first pictures
    with every attack, search and map; that of ImageNet's photographs where PERCEPTLIB_ASSETS names the folder of
    weights and pictures. And the notebooks, run with their defaults as `perceptlib run` does it: every number that they
    write. That takes about half an hour on one core.

    A number holds with the same bits where processor, versions and threads are the record's; elsewhere within 10 times
    the largest deviation recorded between threads, instruction sets and batch sizes, or the arithmetic's own rounding
    where that is more (counts of pictures may differ by one); with --seed within the prediction interval of one more
    seed, 1 false alarm in 1000 checks.

    Exit status: 0 everything holds, 1 something moved or failed, 2 bad input. --update takes minutes for --quick, the
    better part of an hour for the whole on two cores.
    """
    from perceptlib.check import checking as checks
    from perceptlib.records import write_json, writing_to

    level = "quick" if is_quick else "full"
    if is_updating:
        if seed or json_file:
            raise ValueError("--update records all seeds, and shows no verdicts; leave out --seed and --json")
        _update(checks.layers_of(level, only=layer or ()), is_sure=is_sure)
        return
    if json_file is not None and json_file.is_dir():  # told before minutes of work
        raise IsADirectoryError(f"{json_file} is a folder; name a file for --json, such as {json_file / 'check.json'}")
    outcome = checks.check(level, seed=seed, only=layer or (), tell=_tell)
    if json_file is not None:
        with writing_to(json_file):
            json_file.parent.mkdir(parents=True, exist_ok=True)
            write_json(json_file, outcome.as_dict())
    typer.echo(repr(checks.line_table(outcome.lines) if is_listing else outcome.summary()))
    if outcome.bad and not is_listing:
        typer.echo(f"\nWhat moved:\n{checks.line_table(outcome.bad)!r}")
    typer.echo("\n".join(["", *outcome.sentences()]))
    if not outcome.holds:
        raise typer.Exit(1)


def _update(layers: list[str], *, is_sure: bool) -> None:
    from perceptlib.check.checking import QUICK, changes, keep, line_table, new_record, record_path
    from perceptlib.check.record import read_record

    quick = [name for name in layers if name in QUICK]
    chosen = {"quick": quick, "full": [name for name in layers if name not in quick]}
    # all before any is written: the record's commit is to be that of unchanged files
    found = {level: new_record(level, only=only, tell=_tell) for level, only in chosen.items() if only}
    for level, new in found.items():
        path = record_path(level)
        changed = changes(read_record(path) if path.is_file() else None, new)
        if changed:
            typer.echo(repr(line_table(changed)))
        typer.echo(f"{level}: {len(changed)} of {sum(map(len, new.layers.values()))} recorded values change")
        if is_sure or typer.confirm(f"Write {path.name}?"):
            keep(new, level)
            typer.echo(f"recorded in {path.parent.name}/{path.name}")


def _tell(what: str) -> None:
    if sys.stderr.isatty():
        typer.echo(f"... {what}", err=True)
