"""The command ``perceptlib``: attack a picture, run a notebook or the study, train the shapes network.

Everything heavy is imported inside the commands, so that ``--help`` comes at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from perceptlib.cli.check import check
from perceptlib.cli.provenance import provenance
from perceptlib.cli.study import study
from perceptlib.cli.sweep import sweep
from perceptlib.records import printable

FAILURE, BAD_INPUT, INTERRUPTED = 1, 2, 130

_BAD_INPUT_ERRORS = (ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


BallName = StrEnum("BallName", ["ssim", "l2", "linf"])


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


def main() -> None:
    """Run the command line."""
    app(prog_name="perceptlib")


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what the library warns of and raises into a sentence on stderr, and an error into an exit status."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # between packages, such as matplotlib and pyparsing
            warnings.showwarning = lambda message, *where: typer.echo(printable(f"perceptlib: {message}"), err=True)
            yield
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("PERCEPTLIB_DEBUG") == "1":
            raise
        if isinstance(error, KeyboardInterrupt):
            sentence, status = str(error) or "interrupted; files under their final names are whole", INTERRUPTED
        elif isinstance(error, _BAD_INPUT_ERRORS):
            sentence, status = str(error), BAD_INPUT
        elif isinstance(error, OSError | RuntimeError):
            sentence, status = str(error), FAILURE
        else:
            sentence = f"{type(error).__name__}: {error} (not expected; PERCEPTLIB_DEBUG=1 shows where)"
            status = FAILURE
        typer.echo(printable(f"perceptlib: {sentence}"), err=True)
        raise typer.Exit(status) from None


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
    """


@app.command()
@_one_sentence()
def attack(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture of any size and mode.")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="torchvision|shapes|PATH",
            help="Network: torchvision's MobileNetV2 for ImageNet (14 MB, fetched once), the small network for "
            "shapes that ships, or a file (safetensors or state_dict) for either of the two. Default: the file that "
            "the environment variable PERCEPTLIB_WEIGHTS names, or that in the folder PERCEPTLIB_ASSETS, else "
            "torchvision.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class names, one per line; default: those of the network.")
    ] = None,
    ball: Annotated[BallName, typer.Option(help="What bounds the perturbation.")] = BallName.ssim,
    budget: Annotated[
        float | None,
        typer.Option(metavar="DISTANCE", help="SSIM distance to go to, in (0, 1), whatever the ball; default: 0.01."),
    ] = None,
    epsilon: Annotated[
        str | None,
        typer.Option(metavar="RADIUS", help="Instead of --budget: radius of the l2 or linf ball, such as 4/255."),
    ] = None,
    is_smallest: Annotated[
        bool, typer.Option("--smallest", help="Instead of --budget: the smallest perturbation that fools.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Gradient steps; default: 10, with --smallest at most 30."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_INDEX", help="True class; default: what the network says."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_INDEX", help="Class that the network is to say; default: any other."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Which of the shipped networks, with --weights shapes.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the results; default: IMAGE-attack.")
    ] = None,
    is_overwriting: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results of an earlier attack in DIR.")
    ] = False,
) -> None:
    """Attack one picture: change it so that a network names it wrongly and a person sees as little as possible.

    \b
    Examples:
      perceptlib attack cat.jpg --out cat
      perceptlib attack cat.jpg --budget 0.05 --target "tabby" --out cat-tabby
      perceptlib attack cat.jpg --ball linf --epsilon 4/255 --out cat-linf
      perceptlib attack cat.jpg --smallest --out cat-smallest
      perceptlib attack scene.png --weights shapes --out scene

    The picture is turned as its EXIF entry says, made RGB, its shorter side resized to the network's input (224
    pixels for ImageNet, 64 for shapes) and its centre cut out: the adversarial picture has that size.

    The size of the perturbation is its SSIM distance from the clean picture (0: equal; 0.01: seen on a close look).
    With --ball l2 or linf the attack runs in that ball and its perturbation is scaled to the same distance, so that
    balls can be compared; --epsilon gives the norm's own radius instead, in units of the range [0, 1].

    \b
    DIR receives
      adversarial.png  the picture, 8 bits a channel
      figure.png       both pictures, perturbation, change map, CAM
      result.json      classes, margins, distances, provenance

    Whether the network is fooled is told of adversarial.png as read back from the disk. The exit status is 0 for every
    attack that ran to its end, fooled or not.
    """
    from perceptlib.cli.attack import attack_picture, summary
    from perceptlib.cli.options import Options, check_outputs, load_classifier, parse_radius

    out = Path(f"{image.stem}-attack") if out is None else out
    radius = None if epsilon is None else parse_radius(epsilon)
    options = Options(ball, budget, radius, is_smallest, steps, label, target)
    check_outputs(image, out, is_overwriting=is_overwriting)
    record = attack_picture(image, out, load_classifier(weights, seed=seed, labels=labels), options, seed=seed)
    for line in summary(record):
        typer.echo(line)
    typer.echo(f"results in {out}")


@app.command(cls=PairsCommand)
@_one_sentence()
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

    If a cell fails, the notebook as far as it came is kept as NOTEBOOK.failed.ipynb. The notebook runs in the
    current folder, with as many threads as OMP_NUM_THREADS says (1 is best where other programs run).
    """
    from perceptlib.runs.notebook import execute, find_notebook
    from perceptlib.runs.parameters import listing, parse_parameters

    path = find_notebook(notebook)
    if is_listing:
        typer.echo(listing(path))
        return
    pairs = []
    for text in parameter or []:
        name, is_pair, value = text.partition("=")
        if not is_pair:
            raise ValueError(f"-p {name} has no value; write -p {name} VALUE")
        pairs.append((name, value))
    out = Path(f"{path.stem}-run") if out is None else out
    done = execute(path, parse_parameters(path, pairs), out, progress=sys.stderr.isatty())
    for left in (done.notebook, done.page, done.numbers):
        if left is not None:
            typer.echo(left)


@app.command()
@_one_sentence()
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
    from perceptlib.study.training import accuracy_table, train_and_save

    out = Path(f"mobilenet_v2_shapes_seed{seed}.safetensors") if out is None else out
    if out.exists() and not is_overwriting:
        raise FileExistsError(f"{out} exists; pass --overwrite or another --out")
    typer.echo(repr(accuracy_table(train_and_save(seed=seed, out=out, progress=True))))
    typer.echo(f"weights in {out}")


app.command()(_one_sentence()(provenance))
app.command()(_one_sentence()(study))
app.command()(_one_sentence()(check))
app.command(cls=PairsCommand)(_one_sentence()(sweep))
