"""Classifiers: pictures in [0, 1] in, logits out, normalisation inside. `load` makes one by a word."""

from perceptlib.networks.classifier import Classifier, load

__all__ = ["Classifier", "load"]
