"""The small networks for shapes and digits trained, as usual or against attacks, measured and written."""

from perceptlib.training.robustness import RADII, Threat, withstands
from perceptlib.training.small import evaluate, evaluate_digits, train, train_and_save, train_digits

__all__ = ["RADII", "Threat", "evaluate", "evaluate_digits", "train", "train_and_save", "train_digits", "withstands"]
