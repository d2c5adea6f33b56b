"""What an attack needs of a ball. Every ball offers, for perturbations of shape (N, C, H, W):

- ``radius``: its budget or epsilon, a float or a tensor of shape (N,);
- ``steepest(gradient)``: the perturbation of the ball that maximises <gradient, r>; zero where the gradient is zero;
- ``gauge(perturbation)``: the factor by which the ball must be scaled to reach r, shape (N,);
- ``project(perturbation)``: the nearest point of the ball in the Euclidean norm;
- ``measure(perturbation)``: the true size of r in the unit of the radius, shape (N,);
- ``pull_back(perturbation)``: r moved along its ray until its true size is within the radius;
- ``select(index)``: the ball of some of the images;
- ``check(images)``: raises ValueError where it was made for other images.

The norm balls and the SSIM ball take a ``support``, pixels outside which r is 0: the steepest direction is that of the
restricted ball, not a direction masked afterwards. They measure a perturbation that leaves it as infinite.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Ball(Protocol):
    """What an attack needs of a ball."""

    @property
    def radius(self) -> float | Tensor: ...
    def steepest(self, gradient: Tensor) -> Tensor: ...
    def gauge(self, perturbation: Tensor) -> Tensor: ...
    def project(self, perturbation: Tensor) -> Tensor: ...
    def measure(self, perturbation: Tensor) -> Tensor: ...
    def pull_back(self, perturbation: Tensor) -> Tensor: ...
    def select(self, index: Tensor) -> Ball: ...
    def check(self, images: Tensor) -> None: ...
