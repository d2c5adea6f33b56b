"""Where a class is found and where a perturbation acts: class activation maps, scores of their agreement, controls that
know nothing of the network, and spatial tests."""

from perceptlib.maps.cam import class_activation_map
from perceptlib.maps.controls import random_direction
from perceptlib.maps.scores import agreement, energy_in_top_q, spearman

__all__ = ["agreement", "class_activation_map", "energy_in_top_q", "random_direction", "spearman"]
