"""The commands ``perceptlib study`` and ``perceptlib train``."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option


def study(
    preset: Annotated[
        str | None,
        Option(metavar="NAME", help="A study of the book: shapes, digits, photos or imagenet; default: shapes."),
    ] = None,
    config: Annotated[
        Path | None,
        Option(metavar="FILE", help="Instead of --preset: a TOML or JSON file with the fields that differ."),
    ] = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Folder for the rows; default: NAME-study.")] = None,
    network: Annotated[
        str | None, Option(metavar="NAME", help="As `perceptlib attack` takes it; default: the preset's own.")
    ] = None,
    weights: Annotated[
        str | None, Option(metavar="PATH|torchvision", help="Its weights; default: the network's own.")
    ] = None,
    csv: Annotated[
        str | None, Option(metavar="PATH", help="With --preset imagenet: a list of pictures or a folder of classes.")
    ] = None,
    num_images: Annotated[int | None, Option(min=1, metavar="N", help="Pictures at most.")] = None,
    seed: Annotated[int | None, Option(min=0, metavar="N", help="Of pictures and of all that is drawn.")] = None,
    batch_size: Annotated[int | None, Option(min=0, metavar="N", help="Pictures at once; 0: as many as fit.")] = None,
    workers: Annotated[int | None, Option(min=1, metavar="N", help="Start so many processes on this machine.")] = None,
    scheduler: Annotated[str | None, Option(metavar="ADDRESS", help="Of a dask scheduler: tcp://host:8786.")] = None,
    timeout: Annotated[
        float | None,
        Option(metavar="SECONDS", help="Restart the workers where no task ends for so long; default: wait."),
    ] = None,
    device: Annotated[str | None, Option(metavar="cpu|cuda", help="Default: cuda where there is one.")] = None,
    is_listing: Annotated[bool, Option("--show", help="Print the configuration as JSON, and run nothing.")] = False,
) -> None:
    """Run the study: attacks, searches, maps and controls for every picture, a row for each.

    \b
    Examples:
      perceptlib study --preset shapes --out shapes-study
      perceptlib study --preset imagenet --network efficientnet-lite0 --csv pictures
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
    from perceptlib.study.config import STUDIES, read_config
    from perceptlib.study.runner import run_study, summary

    if config is not None and preset is not None:
        raise ValueError("both --config and --preset are given; a file names its preset itself, so leave one out")
    preset = preset or "shapes"
    if preset not in STUDIES:
        raise ValueError(f"there is no study {preset!r}; {', '.join(STUDIES)} are")
    given: dict[str, Any] = {"network": network, "weights": weights, "csv": csv}
    given |= {"num_images": num_images, "seed": seed, "batch_size": batch_size}
    chosen = replace(
        STUDIES[preset] if config is None else read_config(config),
        **{name: value for name, value in given.items() if value is not None},
    )
    if is_listing:
        typer.echo(json.dumps(chosen.as_dict(), indent=2))
        return
    out = out or Path(f"{preset if config is None else config.stem}-study")
    where: dict[str, Any] = {"workers": workers, "scheduler": scheduler, "timeout": timeout, "device": device}
    rows = run_study(chosen, out, **where, progress=sys.stderr.isatty())
    typer.echo("\n".join([*summary(rows), f"{len(rows)} rows in {out / 'study.parquet'}"]))


def train(
    data: Annotated[str, Option(metavar="shapes|digits", help="What to recognise.")] = "shapes",
    robust: Annotated[
        str | None, Option(metavar="l2|linf", help="Adversarial training: against changes of this norm.")
    ] = None,
    radius: Annotated[
        float | None,
        Option(metavar="R", help="Of --robust, for pixels in [0, 1]; default: 1.0 and 0.02 of shapes, 1.5 and 0.06."),
    ] = None,
    seed: Annotated[int, Option(min=0, metavar="N", help="Of weights, pictures and their order.")] = 0,
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="Weights to write; default: as mobilenet_v2_shapes_l2_seedN.safetensors."),
    ] = None,
    is_overwriting: Annotated[bool, Option("--overwrite", help="Replace FILE where it exists.")] = False,
) -> None:
    """Train the small network for shapes, about 5 minutes on one core, or for digits, seconds.

    \b
    Examples:
      perceptlib train
      perceptlib train --seed 3 --out seed3.safetensors
      perceptlib attack scene.png --weights seed3.safetensors
      perceptlib train --data digits --robust linf --seed 1

    At the end a table shows, for 1500 fresh pictures in each of the four texture conditions, the accuracy; the share
    of the class activation map's energy on the shape, also as a multiple of chance; and how often its maximum is in
    the shape's convex hull. FILE (float16 safetensors, 200 KB) appears when all is done, with the table inside. Of
    digits the table has the accuracy on the 597 pictures that are set apart.

    --robust goes on from the standard network of the same seed, in a few minutes on one core: every picture is
    changed inside the radius so that the network, as it is then, does badly on it (projected gradient descent, Madry et
    al. 2018). The table, of 500 pictures in each condition, has the accuracy under stronger attacks of the same
    radius, on 100 of them or 300 digits, and both for the standard network.
    """
    from perceptlib.training.robustness import RADII, Threat
    from perceptlib.training.small import train_and_save

    if data not in RADII:
        raise ValueError(f"there is no network to train for {data!r}; {' and '.join(RADII)} are")
    if radius is not None and robust is None:
        raise ValueError("--radius is of --robust alone; add --robust l2 or --robust linf, or leave it out")
    threat = None
    if robust is not None:
        threat = Threat(robust, RADII[data].get(robust, 1.0) if radius is None else radius)
    name = "mobilenet_v2_shapes" if data == "shapes" else "small_digits"
    out = out or Path("_".join(filter(None, [name, robust, f"seed{seed}.safetensors"])))
    if out.exists() and not is_overwriting:
        raise FileExistsError(f"{out} exists; pass --overwrite or another --out")
    table = train_and_save(data, seed=seed, out=out, threat=threat, progress=True)
    columns = ["object_texture", "background_texture", "accuracy", "robust_accuracy", "standard_accuracy"]
    columns += ["standard_robust_accuracy", "mask_energy", "mask_over_chance", "hull_pointing"]
    typer.echo(table.filter(columns).to_string(index=False, float_format="{:.3f}".format))
    typer.echo(f"weights in {out}")
