"""The door of every attack: what it is given is checked once, and the network is called in one way from then on."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perceptlib.balls import Ball
from perceptlib.records.checks import Values, as_images, as_labels, check_labels, own_mode, whole_number
from perceptlib.records.messages import short
from perceptlib.records.modules import evaluating, logits_of, modules_of

Classifier = nn.Module | Callable[[Tensor], Tensor]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label minus the best other logit, below 0 when fooled, (N,), differentiable.

    Logits are (N, K), K at least 2, labels (N,), int64; errors as `perceptlib.records.checks.check_labels`.
    """
    check_labels(labels, *logits.shape)
    return _lead(logits, labels)


def attack_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Below 0 where the attack has succeeded, shape (N,).

    The margin of the label; with targets the best other logit minus the target's.
    """
    return _lead(logits, labels) if targets is None else -_lead(logits, targets)


def _lead(logits: Tensor, classes: Tensor) -> Tensor:
    own = logits.gather(1, classes[:, None])[:, 0]
    return own - logits.scatter(1, classes[:, None], -torch.inf).amax(1)


class Network:
    """A classifier as attacks call it: its output checked, its passes and gradients counted, one number an image."""

    def __init__(self, classifier: Classifier, num_images: int) -> None:
        self.classifier = classifier
        self.forward_passes = torch.zeros(num_images, dtype=torch.int64, device="cpu")
        self.gradients = torch.zeros_like(self.forward_passes)

    def __call__(self, images: Tensor, places: Tensor | None = None) -> Tensor:
        """Logits (N, K), at least float32; counted for the images at some places of the batch."""
        if places is not None:
            self.forward_passes[places.cpu()] += 1
        # a network that works in place changes a copy
        return logits_of(self.classifier(images.clone()), len(images)).to(images.device)

    def gradient(self, objective: Tensor, images: Tensor, places: Tensor) -> Tensor:
        """Gradient of a sum over images, (N, C, H, W), counted."""
        self.gradients[places.cpu()] += 1
        found: Tensor | None = None
        if objective.requires_grad:
            (found,) = torch.autograd.grad(objective, images, allow_unused=True)
        if found is None:
            raise ValueError(
                "the classifier's output has no gradient with respect to its images; it must stay in torch, without "
                "no_grad, inference_mode, detach or argmax on the way"
            )
        return found.contiguous()


def _first_logits(network: Network, images: Tensor) -> Tensor:
    """Logits of the clean images, (N, K), and what they tell of a network that cannot be attacked as it is."""
    random_state = torch.cuda.get_rng_state if images.is_cuda else torch.get_rng_state
    before = random_state()
    try:
        logits = network(images)
    except RuntimeError as error:
        own = next((part for module in modules_of(network.classifier) for part in module.parameters()), images)
        if (own.dtype, own.device) == (images.dtype, images.device) or not own.is_floating_point():
            raise
        raise TypeError(
            f"the network, of {own.dtype} on {own.device}, fails on images of {images.dtype} on {images.device}; "
            f"convert one of them, or pass perceptlib.wrap(network, mean=0, std=1), which does ({error})"
        ) from error
    is_bad = (logits.isnan() | (logits == torch.inf)).any(1)
    if bool(is_bad.any()):
        raise ValueError(
            f"the network returns NaN or infinity for {int(is_bad.sum())} of {len(images)} pictures, first for that at "
            f"{int(is_bad.nonzero()[0])}; check its weights and its normalisation"
        )
    if logits.shape[1] == 2 and bool(((logits[:, 0] == -logits[:, 1]) & (2 * logits[:, 1] - 0.5).abs().le(0.5)).all()):
        with torch.enable_grad():  # one number in [0, 1]: a graph tells whether a sigmoid made it
            network(images[:1].clone().requires_grad_())
    if not torch.equal(before, random_state()):
        warnings.warn(
            "the network draws random numbers in evaluation mode too, as torch.nn.functional.dropout does without "
            "training=self.training, so that what it says of a picture changes from pass to pass",
            stacklevel=5,
        )
    if bool((logits.amin(1) >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all()):
        warnings.warn(
            "the network seems to return probabilities, as of a softmax: margins are in their unit, and attacks are "
            "weaker than on logits; return what goes into the softmax",
            stacklevel=5,
        )
    return logits


@dataclass(frozen=True)
class Given:
    """What an attack was given, checked: contiguous tensors on one device, without a graph.

    The classifier is in evaluation mode; ``before`` are the margins of the clean images, (N,).
    """

    network: Network
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    before: Tensor
    num_classes: int
    started: float


@contextmanager
def entered(
    classifier: Classifier,
    images: Values,
    labels: Values,
    targets: Values | None = None,
    *,
    ball: Ball | None = None,
    steps: int = 1,
) -> Iterator[Given]:
    """Check what an attack is given, and run it apart from the caller's state; errors as of the attacks.

    Within, no autograd mode and no autocast of the caller counts, and every module of the network is in evaluation
    mode; afterwards all are as they were found, also after an error.
    """
    started = time.perf_counter()
    if not callable(classifier) or isinstance(classifier, type):
        raise TypeError(f"the classifier is {short(classifier)}; pass a Module or a function from images to logits")
    if isinstance(ball, type) or not (ball is None or hasattr(ball, "steepest")):
        raise TypeError(f"the ball is {short(ball)}; pass one that was made, such as SSIMBall(images, 0.01)")
    whole_number("steps", steps, least=1)
    with own_mode(), evaluating(classifier):
        images = as_images(images).detach()
        if ball is not None:
            ball.check(images)
        network = Network(classifier, len(images))
        logits = _first_logits(network, images)
        num_classes = logits.shape[1]
        labels = as_labels(labels, images, num_classes)
        if targets is not None:
            targets = as_labels(targets, images, num_classes, name="targets")
            if bool((targets == labels).any()):
                first = int((targets == labels).nonzero()[0])
                raise ValueError(f"target {int(targets[first])} of image {first} is its label; pass another class")
        yield Given(network, images, labels, targets, attack_margin(logits, labels, targets), num_classes, started)
