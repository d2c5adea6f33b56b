"""What judges say of the pictures that a search finds on the 8-bit grid, as found and at an equal loss."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from perceptlib.attacks import AttackResult
from perceptlib.attacks.network import Classifier
from perceptlib.attacks.result import measure
from perceptlib.judges import available, judge, scaled_to_loss
from perceptlib.study.config import StudyConfig
from perceptlib.study.rows import Row

SCALED_BY = "ciede2000"  # the judge of `StudyConfig.judge_losses`: it needs no package beyond the study's own


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
