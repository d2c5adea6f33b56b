"""Classifiers: pictures in [0, 1] in, logits out, normalisation inside. `load` makes one by a word, `wrap` of a network
that exists."""

from perceptlib.networks.classifier import Classifier
from perceptlib.networks.loading import load
from perceptlib.networks.wrapping import wrap

__all__ = ["Classifier", "load", "wrap"]
