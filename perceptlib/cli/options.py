"""What a user asks of `perceptlib attack`: the size of the perturbation, the network, the classes, the folder."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from perceptlib.data.scenes import CLASSES
from perceptlib.networks import Classifier, load
from perceptlib.networks.weights import mobilenet_weights, read_weights

OUTPUTS = ("adversarial.png", "figure.png", "result.json")


@dataclass(frozen=True)
class Options:
    """What `attack_picture` is to do.

    Attributes
    ----------
    ball
        "ssim", "l2" or "linf".
    budget
        SSIM distance of the adversarial picture, above 0 and below 1, for every ball. Default 0.01.
    epsilon
        Radius of the l2 or linf ball in [0, 1] pixel units, above 0, instead of a budget.
    is_smallest
        The smallest perturbation that fools, instead of a budget.
    steps
        Gradient steps, or linearisations for the smallest; at least 1. None: the attack's own default.
    label, target
        Class name or index. Label None: what the network says; target None: any other class.

    Raises
    ------
    ValueError
        Two of budget, epsilon and is_smallest, an epsilon for the SSIM ball, or a size out of its range.
    """

    ball: str = "ssim"
    budget: float | None = None
    epsilon: float | None = None
    is_smallest: bool = False
    steps: int | None = None
    label: str | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        if (self.budget is not None) + (self.epsilon is not None) + self.is_smallest > 1:
            raise ValueError("--budget, --epsilon and --smallest each say how far to go; pass one of them")
        if self.epsilon is not None and self.ball == "ssim":
            raise ValueError("--epsilon is the radius of a norm ball; pass --budget, or --ball l2 or linf")
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise ValueError(f"--epsilon {self.epsilon} is not a finite number above 0; pass one such as 4/255")
        if self.budget is not None and not 0 < self.budget < 1:
            raise ValueError(f"--budget {self.budget} is not between 0 and 1; pass an SSIM distance such as 0.01")
        if self.budget is None and self.epsilon is None and not self.is_smallest:
            object.__setattr__(self, "budget", 0.01)


def parse_radius(text: str) -> float:
    """Read a radius written as a number or a fraction, such as 0.02 or 4/255.

    Raises
    ------
    ValueError
        Neither of them.
    """
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"--epsilon {text!r} is not a number; write one such as 0.02 or 4/255") from None


def check_outputs(picture: Path, out: Path, *, is_overwriting: bool) -> None:
    """Refuse to overwrite, before any work is done.

    Parameters
    ----------
    picture
        The input.
    out
        Output folder, which need not exist.
    is_overwriting
        Allow files of an earlier attack to be replaced.

    Raises
    ------
    FileExistsError
        The folder holds one of the outputs.
    NotADirectoryError
        There is a file of the folder's name.
    ValueError
        The input would be overwritten.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; pass the name of a folder")
    if picture.resolve() in [(out / name).resolve() for name in OUTPUTS]:
        raise ValueError(f"{picture} itself would be overwritten; pass another --out")
    existing = [name for name in OUTPUTS if (out / name).exists()]
    if existing and not is_overwriting:
        raise FileExistsError(f"{out} already holds {', '.join(existing)}; pass --overwrite or another --out")


def load_classifier(weights: str | None, *, seed: int, labels: Path | None) -> Classifier:
    """Load the network that a command line names.

    Parameters
    ----------
    weights
        "torchvision", "shapes", or the path of a weights file for either network; None for MobileNetV2 with the
        weights that notebooks use: `perceptlib.networks.weights.mobilenet_weights`.
    seed
        Shipped training run of the shapes network.
    labels
        Text file with one class name per line.

    Returns
    -------
    Classifier
        On the CPU.

    Raises
    ------
    FileNotFoundError, ValueError, ConnectionError
        As `perceptlib.networks.classifier.load`.
    """
    if weights is None:
        weights = mobilenet_weights()
        if weights != "torchvision" and not Path(weights).is_file():
            raise FileNotFoundError(f"PERCEPTLIB_WEIGHTS names {weights}, which is no file; name one or unset it")
    if weights == "torchvision":
        return load("imagenet", labels=labels)
    if weights == "shapes":
        return load("shapes", seed=seed, labels=labels)
    if not Path(weights).is_file():
        raise FileNotFoundError(f"no weights file {weights}; pass a path, `shapes` or `torchvision`")
    # Told by the number of classes; what else does not fit is refused where the file is loaded.
    last_layer = read_weights(weights).tensors.get("classifier.1.bias")
    is_shapes = last_layer is not None and last_layer.shape == (len(CLASSES),)
    return load("shapes" if is_shapes else "imagenet", weights=weights, labels=labels)


def class_index(classifier: Classifier, text: str) -> int:
    """Find a class by index or by name.

    Parameters
    ----------
    classifier
        Its ``class_names`` are searched.
    text
        An index, or a name in any case.

    Returns
    -------
    int
        0 to ``num_classes - 1``.

    Raises
    ------
    ValueError
        No such class, or a name that several classes share; the message names the nearest, or the indices.
    """
    names = classifier.class_names
    if text.lstrip("-").isdecimal():
        if not 0 <= int(text) < len(names):
            raise ValueError(f"class {text} is outside 0 to {len(names) - 1}, which the network knows")
        return int(text)
    indices = [index for index, name in enumerate(names) if name.casefold() == text.casefold()]
    if len(indices) > 1:
        raise ValueError(f"classes {', '.join(map(str, indices))} are all named {text!r}; pass one index")
    if not indices:
        contained = [name for name in names if text.casefold() in name.casefold()]
        close = (contained or difflib.get_close_matches(text, names, n=5, cutoff=0.5) or list(names))[:5]
        raise ValueError(f"the network knows no class {text!r}; among its names are: {', '.join(close)}")
    return indices[0]
