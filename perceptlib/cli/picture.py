"""One picture attacked: what a user asks of `perceptlib attack`, the attack, and the files that it leaves."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from perceptlib import data
from perceptlib.attacks import AttackResult, Status, maximize_loss, measure, smallest
from perceptlib.data.scenes import CLASSES
from perceptlib.drawing.panels import attack_panel
from perceptlib.judges import JUDGES, judge
from perceptlib.maps import class_activation_map
from perceptlib.networks import Classifier, load
from perceptlib.records import claimed, plain, replacing, write_json, writing_to
from perceptlib.records.provenance import provenance
from perceptlib.records.tensors import read_weights
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import attack_at_distance, ball_of

OUTPUTS = ("adversarial.png", "result.json", "figure.png")  # in the order in which they are written


# Of a judge, the first that is installed: up to the first loss nothing is to be seen, up to the second something on a
# close look. ColorVideoVDP's loss of 1 is one that three of four people see; a CIEDE2000 of 1 is just to be seen.
VISIBLE = {"jod": (0.1, 0.5), "ciede2000_99": (1.0, 2.0)}


@dataclass(frozen=True)
class Options:
    """What `attack_picture` is to do, in the words of the command line; ValueError for sizes out of range, or two.

    Without any size the attack goes as far as it must. `budget` is an SSIM distance whatever the ball. Without a ball
    it is the multi-scale ball, and for a budget the SSIM ball. `label` and `target` are names or
    indices: None for what the network says, and for any other class.
    """

    ball: str | None = None
    budget: float | None = None
    epsilon: float | None = None
    steps: int | None = None
    label: str | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and self.epsilon is not None:
            raise ValueError("--budget and --epsilon both say how far to go; pass one of them")
        if self.epsilon is not None and self.ball not in ("l2", "linf"):
            raise ValueError("--epsilon is the radius of a norm ball; pass --budget, or --ball l2 or linf")
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise ValueError(f"--epsilon {self.epsilon} is not a finite number above 0; pass one such as 4/255")
        if self.epsilon is not None and self.epsilon > 1 and self.ball == "linf":
            raise ValueError(f"--epsilon {self.epsilon:g} is above 1, the range of a pixel; pass {self.epsilon:g}/255")
        if self.budget is not None and not 0 < self.budget < 1:
            raise ValueError(f"--budget {self.budget} is not between 0 and 1; pass an SSIM distance such as 0.01")
        if self.ball is None:
            object.__setattr__(self, "ball", "multiscale" if self.budget is None else "ssim")

    @property
    def is_smallest(self) -> bool:
        """Whether the attack goes only as far as it must."""
        return self.budget is None and self.epsilon is None


def parse_radius(text: str) -> float:
    """Read a radius written as a number or a fraction, such as 0.02 or 4/255; anything else raises ValueError."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"--epsilon {text!r} is not a number; write one such as 0.02 or 4/255") from None


def check_outputs(picture: Path, out: Path, *, is_overwriting: bool) -> None:
    """Refuse to overwrite results of another attack unless told, the picture itself always, and a file as `out`."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; pass the name of a folder")
    if picture.resolve() in [(out / name).resolve() for name in OUTPUTS]:
        raise ValueError(f"{picture} itself would be overwritten; pass another --out")
    existing = [name for name in OUTPUTS if (out / name).exists()]
    if existing and not is_overwriting:
        raise FileExistsError(f"{out} already holds {', '.join(existing)}; pass --overwrite or another --out")


def load_classifier(network: str | None, *, weights: str | None, labels: Path | None) -> Classifier:
    """The network that a command line names; without a name that of a weights file, or the one for ImageNet."""
    if weights is not None and weights not in ("torchvision", "random") and not Path(weights).is_file():
        if weights in ("shapes", "digits"):
            raise ValueError(f"--weights takes a file; write --network {weights}-0 in place of --weights {weights}")
        raise FileNotFoundError(f"no weights file {weights}; pass a path or `torchvision`, and --network NAME")
    if network is None and weights is not None and Path(weights).is_file():
        # Told by the number of classes; what else does not fit is refused where the file is loaded.
        sizes = {name: len(tensor) for name, tensor in read_weights(weights).tensors.items() if tensor.ndim == 1}
        is_small = {"shapes": sizes.get("classifier.1.bias") == len(CLASSES), "digits": "linear.bias" in sizes}
        network = next((name for name, is_it in is_small.items() if is_it), None)
    return load(network or "imagenet", weights=weights, labels=labels)


def class_index(classifier: Classifier, text: str) -> int:
    """Find a class by its index, or by its name in any case; what is not there, or twice, raises ValueError."""
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


def attack_picture(
    picture: Path, out: Path, classifier: Classifier, options: Options, *, is_overwriting: bool = True
) -> dict[str, Any]:
    """Attack a picture file, leave `OUTPUTS` in the folder `out` and return the content of ``result.json``.

    Nothing is written before picture and classes are known to be good. RuntimeError: the figure cannot be drawn; the
    other two files are kept.
    """
    images = data.resize_and_crop(data.read_picture(picture), classifier.input_size)
    top_before = _top(classifier, images)
    label = top_before[0]["index"] if options.label is None else class_index(classifier, options.label)
    labels = torch.tensor([label])
    targets = None if options.target is None else torch.tensor([class_index(classifier, options.target)])

    picture_path, record_path, figure_path = (out / name for name in OUTPUTS)
    with writing_to(out), claimed(out):
        check_outputs(picture, out, is_overwriting=is_overwriting)  # again, now that no other attack can write here
        with _progress(classifier):
            result = _attack(classifier, images, labels, targets, options)
        data.save_picture(result.adversarial, picture_path)
        for path in (record_path, figure_path):
            path.unlink(missing_ok=True)  # of an earlier attack: never beside the picture of this one
        saved = data.read_picture(picture_path)
        measured = measure(classifier, images, saved, labels, targets=targets)
        top_after = _top(classifier, saved)
        record = {
            "image": picture.name,
            "network": classifier.name,
            "input_size": images.shape[-1],
            "label": _named(classifier, label),
            "target": None if targets is None else _named(classifier, int(targets)),
            **{name: getattr(options, name) for name in ("ball", "budget", "epsilon", "is_smallest")},
            "is_adversarial": bool(measured.is_adversarial),
            "status": str(result.status[0]),
            "advice": advice(result, options),
            "saved_8bit": _numbers(measured) | {"top": top_after},
            "visibility": visibility(images, saved),
            "float": _numbers(result) | {"top": _top(classifier, result.adversarial)},
            "clean": {"margin": float(result.margin_before), "top": top_before},
            "steps": int(result.steps),
            "gradients": int(result.gradients),
            "seconds": result.seconds,
            "provenance": provenance(
                seed=0,
                classifier=classifier,
                pictures={"number": 1, "sha256": hashlib.sha256(picture.read_bytes()).hexdigest()},
            ),
        }
        write_json(record_path, record)
        has_classic_map = classifier.linear_layer is not None
        try:
            figure = attack_panel(
                images[0],
                saved[0],
                ssim.change_map(images, saved)[0],
                class_activation_map(classifier, images, labels, method="cam" if has_classic_map else "grad-cam")[0],
                label="{name}, {probability:.2f}".format(**top_before[0]),
                label_after="{name}, {probability:.2f}".format(**top_after[0]),
                cam_label=classifier.class_names[label],
            )
            with replacing(figure_path) as temporary:
                figure.savefig(temporary, dpi=150)
        except OSError:
            raise
        except Exception as error:  # the attack is done, whatever is wrong with its drawing
            raise RuntimeError(
                f"{figure_path} could not be drawn ({type(error).__name__}: {error}); {picture_path.name} and "
                f"{record_path.name} are kept"
            ) from error
    return record


def advice(result: AttackResult, options: Options) -> str:
    """What to try next, in words of the command line; empty if there is nothing to try."""
    status = result.status[0]
    if status is Status.FOOLED:
        return ""
    if status is Status.MISCLASSIFIED_BEFORE:
        return "nothing was to be done: the network is already wrong; leave --label out, or name another --target"
    if options.is_smallest:
        return "pass more --steps, another --ball, or a --budget"
    return f"pass a larger {'--epsilon' if options.epsilon else '--budget'} or more --steps"


def summary(record: dict[str, Any]) -> list[str]:
    """What a user wants to know of a record of `attack_picture`, in a few lines."""
    rounded, exact = record["saved_8bit"], record["float"]
    before, after = record["clean"]["top"][0], rounded["top"][0]
    verdict = "fooled" if record["is_adversarial"] else "not fooled"
    lines = [
        f"clean picture: {before['name']} ({before['probability']:.2f})",
        f"adversarial.png: {after['name']} ({after['probability']:.2f}): {verdict}",
        f"SSIM distance {rounded['distance']:.3g} (before rounding to 8 bits {exact['distance']:.3g}), "
        f"linf {rounded['linf']:.3g}, l2 {rounded['l2']:.3g}",
        f"visibility: {record['visibility']['words']} ({'; '.join(_losses(record['visibility']['losses']))})",
    ]
    return [*lines, f"to try: {record['advice']}"] if record["advice"] else lines


def visibility(images: Tensor, changed: Tensor) -> dict[str, Any]:
    """What judges say of the change of one picture: their losses, and in words what one of `VISIBLE` sees."""
    names = ["ciede2000", "ciede2000_99", *(["jod", "jod_10"] if JUDGES["jod"].is_installed else [])]
    losses = {name: float(loss) for name, loss in judge(images, changed, names).loc[0].items()}
    name = next(name for name in VISIBLE if name in losses)
    nothing, little = VISIBLE[name]
    words = "no change to be seen" if losses[name] < nothing else "a change to be seen"
    if nothing <= losses[name] < little:
        words += " on a close look, side by side"
    return {"words": words, "judge": name, "losses": losses}


def _losses(losses: dict[str, float]) -> list[str]:
    return [f"{JUDGES[name].words} {loss:.3g}" for name, loss in losses.items()]


@contextmanager
def _progress(classifier: Classifier) -> Iterator[None]:
    """A count, on a terminal, of how often the network has looked at the picture: how often it must is not known."""
    with tqdm(desc="searching", unit=" looks", disable=None, leave=False) as bar:
        counting = classifier.register_forward_hook(lambda *_: bar.update() and None)
        try:
            yield
        finally:
            counting.remove()


def _attack(
    classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None, options: Options
) -> AttackResult:
    steps: dict[str, Any] = {"targets": targets} | ({} if options.steps is None else {"steps": options.steps})
    assert options.ball is not None
    if options.budget is not None:
        return attack_at_distance(classifier, images, labels, options.ball, options.budget, **steps)
    ball = ball_of(options.ball, images, options.epsilon or 0.01)
    if options.is_smallest:  # the radius does not matter here, but a ball has one
        return smallest(classifier, images, labels, ball, eight_bit=True, **steps)
    return maximize_loss(classifier, images, labels, ball, **steps)


def _numbers(result: AttackResult) -> dict[str, Any]:
    names = ("is_adversarial", "distance", "mean_ssim", "linf", "l2")
    return plain({"margin": result.margin_after} | {name: getattr(result, name) for name in names})


@torch.no_grad()
def _top(classifier: Classifier, images: Tensor) -> list[dict[str, Any]]:
    """The five most likely classes of one image."""
    logits = classifier(images)[0]
    probabilities = logits.softmax(0).tolist()
    best = logits.topk(min(5, classifier.num_classes)).indices.tolist()
    return [_named(classifier, index) | {"probability": probabilities[index]} for index in best]


def _named(classifier: Classifier, index: int) -> dict[str, Any]:
    return {"index": index, "name": classifier.class_names[index]}
