"""The command ``perceptlib attack``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

BallName = StrEnum("BallName", ["multiscale", "ssim", "l2", "linf"])


def attack(
    image: Annotated[Path, Argument(metavar="IMAGE", help="A picture of any size and mode.")],
    network: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="For ImageNet's classes mobilenet_v2, efficientnet-lite0, -lite1 or -lite2, or another of "
            "torchvision's networks; one of timm's, with --weights PATH; shapes-0, digits-0 and others that ship. "
            "Default: mobilenet_v2 where PERCEPTLIB_WEIGHTS names its weights, or PERCEPTLIB_ASSETS or torch's cache "
            "hold them; else efficientnet-lite0, which is installed.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        Option(
            metavar="PATH|torchvision",
            help="Weights of that network: a file (safetensors or state_dict), or torchvision's, fetched once.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, Option(metavar="FILE", help="Class names, one a line; default: the network's.")
    ] = None,
    ball: Annotated[
        BallName | None, Option(help="What measures the perturbation; default: multiscale, with --budget ssim.")
    ] = None,
    budget: Annotated[
        float | None, Option(metavar="DISTANCE", help="Go to this SSIM distance, in (0, 1), for any ball.")
    ] = None,
    epsilon: Annotated[
        str | None, Option(metavar="RADIUS", help="Instead of --budget: radius of the l2 or linf ball, such as 4/255.")
    ] = None,
    steps: Annotated[
        int | None, Option(min=1, metavar="N", help="Gradient steps; default: 30, with a size 10.")
    ] = None,
    label: Annotated[
        str | None, Option(metavar="NAME_OR_INDEX", help="True class; default: as the network says.")
    ] = None,
    target: Annotated[str | None, Option(metavar="NAME_OR_INDEX", help="Class to aim at; default: any other.")] = None,
    device: Annotated[str, Option(metavar="cpu|cuda|mps", help="Where the network runs, such as cuda:1.")] = "cpu",
    out: Annotated[Path | None, Option(metavar="DIR", help="Folder for the results; default: IMAGE-attack.")] = None,
    is_overwriting: Annotated[bool, Option("--overwrite", help="Replace an earlier attack's results in DIR.")] = False,
) -> None:
    """Attack one picture: change it so that a network misclassifies it and a person sees as little as possible.

    \b
    Examples:
      perceptlib attack cat.jpg --out cat
      perceptlib attack cat.jpg --budget 0.05 --target "tabby" --out cat-tabby
      perceptlib attack cat.jpg --ball linf --epsilon 4/255 --out cat-linf
      perceptlib attack cat.jpg --ball l2 --out cat-l2
      perceptlib attack scene.png --network shapes-0 --out scene

    The picture is turned as its EXIF entry says, made RGB, its shorter side resized to the network's input (224
    pixels for MobileNetV2, 64 for shapes) and its centre cut out: the adversarial picture has that size.

    Without a size the attack looks for the smallest perturbation that fools once saved with 8 bits, measured by the
    ball: by default the multi-scale ball in opponent colours, whose changes CIEDE2000 finds less visible than those of
    the others. It takes some seconds; on photographs there is, as a rule, nothing to be seen.

    --budget goes on to an SSIM distance from the clean picture (0: equal; 0.01: seen on a close look), to fool more
    surely. With another ball than ssim the attack runs in that ball and its perturbation is scaled to the distance, so
    that balls can be compared; --epsilon gives a norm's own radius instead, in units of the range [0, 1].

    \b
    DIR receives
      adversarial.png  the picture, 8 bits a channel
      figure.png       both pictures, perturbation, change map, CAM
      result.json      classes, margins, distances, provenance

    Whether the network is fooled, and what judges see (CIEDE2000; ColorVideoVDP's loss in JOD where cvvdp is
    installed), is told of adversarial.png as read back from the disk. The exit status is 0 for every
    attack that ran to its end, fooled or not. Where figure.png cannot be drawn, the other two are kept, and it is 1.
    """
    from perceptlib.cli.picture import Options, attack_picture, check_outputs, load_classifier, parse_radius, summary
    from perceptlib.records import printable
    from perceptlib.records.device import checked_device

    out = out or Path(f"{image.stem}-attack")
    radius = None if epsilon is None else parse_radius(epsilon)
    options = Options(ball, budget, radius, steps, label, target)
    check_outputs(image, out, is_overwriting=is_overwriting)
    classifier = load_classifier(network, weights=weights, labels=labels).to(checked_device(device))
    record = attack_picture(image, out, classifier, options, is_overwriting=is_overwriting)
    hint = "" if network or weights else "; --network NAME takes another"
    first = f"network: {classifier.name}, weights {classifier.source}{hint}"
    typer.echo(printable("\n".join([first, *summary(record), f"results in {out}"])))
