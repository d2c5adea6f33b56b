"""Attacks compared: at equal SSIM distance, at the smallest that fools, with other projects', by what judges see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
from torch import Tensor, nn

from perceptlib.attacks import AttackResult, maximize_loss, smallest
from perceptlib.attacks.maximize import ascend, default_step
from perceptlib.attacks.network import Classifier, entered
from perceptlib.attacks.result import measure, measured
from perceptlib.balls import Ball, L2Ball, LinfBall, MultiScaleBall, SSIMBall
from perceptlib.judges import available, judge, scaled_to_loss
from perceptlib.rivals import baselines
from perceptlib.ssim import Reference
from perceptlib.study.config import StudyConfig
from perceptlib.study.presets import Pictures, Study
from perceptlib.study.rows import Row

METHODS = {"linf": "linf", "l2": "l2", "ssim_diagonal": "SSIM ball, diagonal", "ssim": "SSIM ball"}
BALLS = METHODS | {"multiscale": "multi-scale ball"}
# How ALMA starts; the best counts. Its default is a learning rate of 0.1, its authors took a first step of 1e-4 in SSIM
# distance for photographs.
ALMA_STARTS: tuple[dict[str, float], ...] = (
    *({"learning_rate": rate} for rate in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)),
    *({"first_distance": distance} for distance in (1e-5, 1e-4)),
)
PEERS = {
    "ssim": "SSIM ball",
    "ssim_8bit": "SSIM ball, 8-bit",
    "l2": "l2 ball",
    "l2_8bit": "l2 ball, 8-bit",
    "deepfool": "foolbox DeepFool",
    "carlini_wagner": "foolbox Carlini-Wagner",
    "alma": "adv-lib ALMA (SSIM)",
}

SCALED_BY = "ciede2000"  # the judge of `StudyConfig.judge_losses`: it needs no package beyond the study's own


def ball_of(method: str, images: Tensor, radius: float | Tensor, *, cg_steps: int = 15) -> Ball:
    """The ball of a method of `BALLS`; its radius is the epsilon of a norm or the budget of another, or (N,)."""
    match method:
        case "linf":
            return LinfBall(radius if isinstance(radius, float) else radius.clamp(max=1))
        case "l2":
            return L2Ball(radius)
        case "ssim":
            return SSIMBall(images, radius, cg_steps=cg_steps)
        case "ssim_diagonal":
            return SSIMBall(images, radius, coupling="diagonal")
        case "multiscale":
            return MultiScaleBall(images, radius, cg_steps=cg_steps)
    raise ValueError(f"there is no method {method!r}; {', '.join(BALLS)} are")


def attack_at_distance(
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    method: str,
    budget: float,
    *,
    targets: Tensor | None = None,
    steps: int = 10,
    cg_steps: int = 15,
) -> AttackResult:
    """Attack in a ball of any kind, ending at one SSIM distance: `maximize_loss` for SSIM balls and norms alike.

    Another ball's radius is found image by image: one step tells where the distance lies, a full attack there corrects
    it, a second one is scaled along its ray to the distance, to 1e-3 where [0, 1] leaves room. So the norms and the
    multi-scale ball get twice the gradients of the SSIM ball.
    """
    if method in ("ssim", "ssim_diagonal"):
        ball = ball_of(method, images, budget, cg_steps=cg_steps)
        return maximize_loss(classifier, images, labels, ball, targets=targets, steps=steps)
    with entered(classifier, images, labels, targets, steps=steps) as given:
        reference = Reference(given.images)
        radius: float | Tensor = 0.01 * images[0].numel() ** 0.5 if method == "l2" else 0.01
        power = 1.0 if method == "multiscale" else 0.5  # its radius is a square, as D is
        for num_steps in (1, steps, steps):
            ball, step_size = ball_of(method, given.images, radius), default_step(num_steps)
            perturbation, has_gradient = ascend(
                given.network,
                given.images,
                given.labels,
                ball,
                steps=num_steps,
                step_size=step_size,
                targets=given.targets,
            )
            # D grows about as the square of a norm; an image without gradient keeps its own
            distance = reference.distance(perturbation).clamp_min(1e-12)
            radius = radius * (budget / distance).pow(power).clamp(1e-3, 1e3)
            radius = radius.clamp_max(0.9) if method == "multiscale" else radius
        adversarial = (given.images + reference.reach(perturbation, budget)).clamp(0, 1)
        settings: dict[str, Any] = {"attack": "maximize_loss", "ball": type(ball).__name__}
        settings |= {"num_steps": steps, "step_size": step_size}
        return measured(given, adversarial, ball=None, steps=steps, has_gradient=has_gradient, settings=settings)


def rows_at_distances(
    study: Study, budgets: Sequence[float], *, steps: int = 10, cg_steps: int = 15, batch_size: int = 32
) -> pd.DataFrame:
    """Attack every picture with every method at every budget; a row for each: `AttackResult.rows` and what it is of."""
    rows = []
    for pictures in study.pictures.batches(batch_size):
        for method in METHODS:
            for budget in budgets:
                result = attack_at_distance(
                    study.classifier, pictures.images, pictures.labels, method, budget, steps=steps, cg_steps=cg_steps
                )
                rows += _rows(result, pictures, method=method, budget=budget)
    return pd.DataFrame(rows)


def rows_of_smallest(
    study: Study,
    *,
    methods: Sequence[str] = tuple(METHODS),
    steps: int = 30,
    candidates: int = 5,
    refinements: int = 3,
    eight_bit: bool = False,
    cg_steps: int = 15,
    batch_size: int = 32,
) -> pd.DataFrame:
    """The smallest perturbation of every picture in every ball, by `perceptlib.attacks.smallest`; a row for each."""
    options: dict[str, Any] = {"steps": steps, "candidates": candidates, "refinements": refinements}
    rows = []
    for pictures in study.pictures.batches(batch_size):
        for method in methods:
            ball = ball_of(method, pictures.images, 0.01, cg_steps=cg_steps)  # its radius does not matter
            result = smallest(study.classifier, pictures.images, pictures.labels, ball, eight_bit=eight_bit, **options)
            rows += _rows(result, pictures, method=method)
    return pd.DataFrame(rows)


def rows_of_peers(
    study: Study,
    *,
    peers: Sequence[str] = tuple(PEERS),
    candidates: int = 10,
    cg_steps: int = 15,
    alma_steps: int = 1000,
    batch_size: int = 5,
    on_batch: Callable[[pd.DataFrame], Any] | None = None,
) -> pd.DataFrame:
    """Attack every picture with every peer of `PEERS`; a row for each, and for ALMA one for each of `ALMA_STARTS`.

    `candidates` are of our attacks and of DeepFool; `on_batch` gets all rows so far after each attack on each batch.
    ModuleNotFoundError where foolbox or adv-lib, which a peer needs, is not installed.
    """
    unknown = sorted(set(peers) - set(PEERS))
    if unknown:
        raise ValueError(f"there is no peer {unknown[0]!r}; {', '.join(PEERS)} are")
    rows: list[dict[str, Any]] = []
    for pictures in study.pictures.batches(batch_size):
        for peer in peers:
            for result in _results(study.classifier, pictures, peer, candidates, cg_steps, alma_steps):
                rows += _rows(result, pictures, peer=peer)
                if on_batch is not None:
                    on_batch(pd.DataFrame(rows))
    return pd.DataFrame(rows)


def judged(
    config: StudyConfig, classifier: Classifier, images: Tensor, labels: Tensor, result: AttackResult
) -> Iterator[tuple[AttackResult, list[Row]]]:
    """The result itself, then what its perturbations are and fool at each loss, each with columns of every picture.

    ``judges`` names those whose losses the columns hold, which are all that are installed and take pictures of the
    size, at an equal loss `SCALED_BY` alone.
    """
    names = [name for name in available(min(images.shape[-2:])) if name in config.judges]
    yield result, losses(images, result.adversarial, names)
    for loss in config.judge_losses:
        scaled = scaled_to_loss(_coloured(images), _coloured(result.adversarial), loss, SCALED_BY)
        scaled = scaled[:, : images.shape[1]]
        yield measure(classifier, images, scaled, labels), losses(images, scaled, [SCALED_BY])


def losses(images: Tensor, changed: Tensor, names: list[str]) -> list[Row]:
    """For each picture the loss by each judge, and their names in one text."""
    frame = judge(_coloured(images), _coloured(changed), names)
    return [{**row, "judges": " ".join(names)} for row in frame.to_dict("records")]


def _coloured(images: Tensor) -> Tensor:
    """Three channels of grey pictures: judges look at colours."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _rows(result: AttackResult, pictures: Pictures, **of: Any) -> list[dict[str, Any]]:
    return [{"image": name} | of | row for name, row in zip(pictures.ids, result.rows(), strict=True)]


def _results(
    classifier: Any, pictures: Any, peer: str, candidates: int, cg_steps: int, alma_steps: int
) -> Iterator[AttackResult]:
    images, labels = pictures.images, pictures.labels
    if peer == "deepfool":
        yield baselines.deepfool(classifier, images, labels, candidates=candidates)
    elif peer == "carlini_wagner":
        yield baselines.carlini_wagner(classifier, images, labels)
    elif peer == "alma":
        for start in ALMA_STARTS:
            yield baselines.alma(classifier, images, labels, steps=alma_steps, **start)
    else:
        ball = SSIMBall(images, 0.01, cg_steps=cg_steps) if peer.startswith("ssim") else L2Ball(1.0)
        is_rounded = peer.endswith("_8bit")
        yield smallest(classifier, images, labels, ball, candidates=candidates, eight_bit=is_rounded)
