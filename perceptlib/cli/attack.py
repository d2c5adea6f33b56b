"""Attack one picture file and leave a picture, a figure and a record: what `perceptlib attack` does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perceptlib.attacks import AttackResult, Status, maximize_loss, measure, rescale_to_distance, smallest
from perceptlib.balls import Ball, L2Ball, LinfBall, SSIMBall
from perceptlib.cli.options import OUTPUTS, Options, class_index
from perceptlib.data import folders as data
from perceptlib.drawing.panels import attack_panel
from perceptlib.maps import class_activation_map
from perceptlib.networks import Classifier
from perceptlib.records import plain, replacing, write_json, writing_to
from perceptlib.records.provenance import provenance
from perceptlib.ssim import measure as ssim

_NORM_BALLS: dict[str, Callable[[float], Ball]] = {"l2": L2Ball, "linf": LinfBall}


def attack_picture(picture: Path, out: Path, classifier: Classifier, options: Options, *, seed: int) -> dict[str, Any]:
    """Attack a picture and write ``adversarial.png``, ``figure.png`` and ``result.json``.

    Parameters
    ----------
    picture
        File of any size and mode.
    out
        Folder, made if missing; other files in it stay as they are.
    classifier
        The network. The picture is brought to its input size: shorter side resized, centre cut out.
    options
        Ball, size and classes.
    seed
        For the record.

    Returns
    -------
    dict
        The content of ``result.json``. ``is_adversarial`` is that of the saved 8-bit picture, read back.

    Raises
    ------
    FileNotFoundError, ValueError
        The picture cannot be read, or a class is not known.
    OSError
        As `perceptlib.records.provenance.writing_to`.
    """
    images = data.resize_and_crop(data.read_picture(picture), classifier.input_size)
    with torch.no_grad():
        logits = classifier(images)
    label = int(logits.argmax()) if options.label is None else class_index(classifier, options.label)
    labels = torch.tensor([label])
    targets = None if options.target is None else torch.tensor([class_index(classifier, options.target)])
    result = _attack(classifier, images, labels, targets, options)

    picture_path, figure_path, record_path = (out / name for name in OUTPUTS)
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        data.save_picture(result.adversarial, picture_path)
    saved = data.read_picture(picture_path)
    measured = measure(classifier, images, saved, labels, targets=targets)
    top_before, top_after = _top(classifier, images), _top(classifier, saved)

    figure = attack_panel(
        images[0],
        saved[0],
        ssim.change_map(images, saved)[0],
        class_activation_map(classifier, images, labels, method="cam")[0],
        label="{name}, {probability:.2f}".format(**top_before[0]),
        label_after="{name}, {probability:.2f}".format(**top_after[0]),
        cam_label=classifier.class_names[label],
    )
    with writing_to(out), replacing(figure_path) as temporary:
        figure.savefig(temporary, dpi=150)

    record = {
        "image": picture.name,
        "input_size": images.shape[-1],
        "label": _named(classifier, label),
        "target": None if targets is None else _named(classifier, int(targets)),
        "ball": options.ball,
        "budget": options.budget,
        "epsilon": options.epsilon,
        "is_smallest": options.is_smallest,
        "is_adversarial": bool(measured.is_adversarial),
        "status": str(result.status[0]),
        "advice": advice(result, options),
        "saved_8bit": _numbers(measured) | {"top": top_after},
        "float": _numbers(result) | {"top": _top(classifier, result.adversarial)},
        "clean": {"margin": float(result.margin_before), "top": top_before},
        "steps": int(result.steps),
        "gradients": int(result.gradients),
        "seconds": result.seconds,
        "provenance": provenance(
            seed=seed,
            classifier=classifier,
            pictures={"number": 1, "sha256": hashlib.sha256(picture.read_bytes()).hexdigest()},
        ),
    }
    with writing_to(out):
        write_json(record_path, record)
    return record


def advice(result: AttackResult, options: Options) -> str:
    """What to try next after an attack on one image, in words of the command line; empty if there is nothing to try."""
    status = result.status[0]
    if status is Status.FOOLED:
        return ""
    if status is Status.MISCLASSIFIED_BEFORE:
        return "nothing was to be done: the network is already wrong; leave --label out, or name another --target"
    if status is Status.FOOLED_BEFORE_ROUNDING and options.is_smallest:
        larger = f"--budget {10 * float(result.distance):.1g}"
        return f"the smallest perturbation was lost in rounding to 8 bits; leave --smallest out and pass {larger}"
    if options.is_smallest:
        return "pass more --steps, or another --ball"
    return f"pass a larger {'--epsilon' if options.epsilon else '--budget'} or more --steps"


def summary(record: dict[str, Any]) -> list[str]:
    """What a user wants to know of a record of `attack_picture`, in a few lines."""
    before, after = record["clean"]["top"][0], record["saved_8bit"]["top"][0]
    verdict = "fooled" if record["is_adversarial"] else "not fooled"
    rounded, exact = record["saved_8bit"], record["float"]
    lines = [
        f"clean picture: {before['name']} ({before['probability']:.2f})",
        f"adversarial.png: {after['name']} ({after['probability']:.2f}): {verdict}",
        f"SSIM distance {rounded['distance']:.3g} (before rounding to 8 bits {exact['distance']:.3g}), "
        f"linf {rounded['linf']:.3g}, l2 {rounded['l2']:.3g}",
    ]
    return [*lines, f"to try: {record['advice']}"] if record["advice"] else lines


def _attack(
    classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None, options: Options
) -> AttackResult:
    steps: dict[str, Any] = {} if options.steps is None else {"steps": options.steps}
    if options.is_smallest:
        # The radius does not matter here, but a ball has one.
        ball: Ball = SSIMBall(images, 0.01) if options.ball == "ssim" else _NORM_BALLS[options.ball](1.0)
        return smallest(classifier, images, labels, ball, targets=targets, **steps)
    if options.epsilon is not None:
        ball = _NORM_BALLS[options.ball](options.epsilon)
        return maximize_loss(classifier, images, labels, ball, targets=targets, **steps)
    assert options.budget is not None
    if options.ball == "ssim":
        return maximize_loss(classifier, images, labels, SSIMBall(images, options.budget), targets=targets, **steps)
    return _attack_at_distance(classifier, images, labels, targets, options.ball, options.budget, steps)


def _attack_at_distance(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    ball: str,
    budget: float,
    steps: dict[str, Any],
) -> AttackResult:
    """Attack in a norm ball of the radius whose result lies at a given SSIM distance."""
    norm_ball = _NORM_BALLS[ball]

    # A first attack tells which radius has the wanted distance, a second one is made there and brought to it exactly.
    radius = 0.01 if ball == "linf" else 0.01 * images.numel() ** 0.5
    first = maximize_loss(classifier, images, labels, norm_ball(radius), targets=targets, **steps)
    if float(first.distance) == 0:
        return first
    radius *= (budget / float(first.distance)) ** 0.5
    second = maximize_loss(classifier, images, labels, norm_ball(radius), targets=targets, **steps)
    adversarial = rescale_to_distance(images, second.adversarial - images, budget)
    gradients = first.gradients + second.gradients
    rescaled = measure(
        classifier, images, adversarial, labels, targets=targets, steps=second.steps, gradients=gradients
    )
    return replace(rescaled, seconds=first.seconds + second.seconds)


def _numbers(result: AttackResult) -> dict[str, Any]:
    names = ("is_adversarial", "distance", "mean_ssim", "linf", "l2")
    return plain({"margin": result.margin_after} | {name: getattr(result, name) for name in names})


def _top(classifier: Classifier, images: Tensor) -> list[dict[str, Any]]:
    """The five most likely classes of one image."""
    with torch.no_grad():
        probabilities = classifier(images)[0].softmax(0)
    values, indices = probabilities.topk(min(5, classifier.num_classes))
    return [
        _named(classifier, int(index)) | {"probability": float(value)}
        for index, value in zip(indices, values, strict=True)
    ]


def _named(classifier: Classifier, index: int) -> dict[str, Any]:
    return {"index": index, "name": classifier.class_names[index]}
