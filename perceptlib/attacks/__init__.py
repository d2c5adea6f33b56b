"""Attacks on any torch module that maps images in [0, 1] to logits: `maximize_loss` inside a ball, `smallest` to the
nearest image that fools, and one result that measures them and whatever else changes a picture."""

from perceptlib.attacks.maximize import maximize_loss, rescale_to_distance
from perceptlib.attacks.minimal import smallest
from perceptlib.attacks.network import margin
from perceptlib.attacks.result import AttackResult, Status, measure, round_to_8bit

__all__ = [
    "AttackResult",
    "Status",
    "margin",
    "maximize_loss",
    "measure",
    "rescale_to_distance",
    "round_to_8bit",
    "smallest",
]
