"""The command ``perceptlib train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of weights, pictures and their order.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to write; default: mobilenet_v2_shapes_seedN.safetensors."),
    ] = None,
    is_overwriting: Annotated[bool, typer.Option("--overwrite", help="Replace FILE where it exists.")] = False,
) -> None:
    """Train the small network for shapes, about 5 minutes on one core.

    \b
    Examples:
      perceptlib train
      perceptlib train --seed 3 --out seed3.safetensors
      perceptlib attack scene.png --weights seed3.safetensors

    At the end a table shows, for 1500 fresh pictures in each of the four texture conditions, the accuracy; the share
    of the class activation map's energy on the shape, also as a multiple of chance; and how often its maximum is in
    the shape's convex hull. FILE (float16 safetensors, 200 KB) appears when all is done, with the table inside.
    """
    from perceptlib.study.training import train_and_save

    out = Path(f"mobilenet_v2_shapes_seed{seed}.safetensors") if out is None else out
    if out.exists() and not is_overwriting:
        raise FileExistsError(f"{out} exists; pass --overwrite or another --out")
    table = train_and_save(seed=seed, out=out, progress=True)
    columns = ["object_texture", "background_texture", "accuracy", "mask_energy", "mask_over_chance", "hull_pointing"]
    typer.echo(table[columns].to_string(index=False, float_format="{:.3f}".format))
    typer.echo(f"weights in {out}")
