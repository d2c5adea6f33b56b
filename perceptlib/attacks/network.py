"""The door of every attack: what it is given is checked once, and the network is called in one way from then on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor, nn

from perceptlib.balls import Ball
from perceptlib.records.checks import Values, as_images, as_labels, check_labels, own_mode

Classifier = nn.Module | Callable[[Tensor], Tensor]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label minus the best other logit; below 0 when fooled.

    Parameters
    ----------
    logits
        (N, K), K at least 2.
    labels
        (N,), int64.

    Returns
    -------
    Tensor
        (N,), differentiable.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.records.checks.check_labels` says.
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
        self.classifier, self.keeps_graph = classifier, True
        self.forward_passes = torch.zeros(num_images, dtype=torch.int64, device="cpu")
        self.gradients = torch.zeros_like(self.forward_passes)

    def __call__(self, images: Tensor, places: Tensor | None = None) -> Tensor:
        """Logits (N, K), at least float32; counted for the images at some places of the batch."""
        if places is not None:
            self.forward_passes[places.cpu()] += 1
        # a network that works in place changes a copy
        return _as_logits(self.classifier(images.clone()), len(images), images.device)

    def gradient(self, objective: Tensor, images: Tensor, places: Tensor, *, is_last: bool = True) -> Tensor:
        """Gradient of a sum over images, (N, C, H, W), counted; unless it is the last one the graph is kept."""
        self.gradients[places.cpu()] += 1
        found: Tensor | None = None
        if objective.requires_grad:
            try:
                keeps = self.keeps_graph and not is_last
                (found,) = torch.autograd.grad(objective, images, retain_graph=keeps, allow_unused=True)
            except RuntimeError as error:
                if not keeps or "retain_graph" not in str(error):
                    raise
                self.keeps_graph = False  # a compiled network: one gradient for each forward pass
                (found,) = torch.autograd.grad(objective, images, allow_unused=True)
        if found is None:
            raise ValueError(
                "the classifier's output has no gradient with respect to its images; it must stay in torch, without "
                "no_grad, inference_mode, detach or argmax on the way"
            )
        return found.contiguous()


def _as_logits(output: object, num_images: int, device: torch.device) -> Tensor:
    """Logits (N, K) of what a classifier returned; refused where they could only be guessed."""
    if not isinstance(output, Tensor):
        part = "['logits']" if isinstance(output, Mapping) else "[0]" if isinstance(output, tuple | list) else ".logits"
        raise TypeError(
            f"the classifier returns a {type(output).__name__}; logits (N, K) are needed; "
            f"pass lambda images: network(images){part}"
        )
    shape = tuple(output.shape)
    if output.ndim > 2 and output.shape[2:].numel() == 1:
        output = output.flatten(1)
    if output.numel() == num_images and output.shape[:1] == (num_images,):
        raise ValueError(
            f"the classifier returns one number an image, shape {shape}; the logits of at least 2 classes are needed; "
            "pass lambda images: torch.stack([-z, z], 1) with z = network(images).flatten()"
        )
    if output.ndim != 2 or len(output) != num_images:
        raise ValueError(f"the classifier returns shape {shape} for {num_images} images; logits (N, K) are needed")
    if not output.is_floating_point():
        raise TypeError(f"the classifier returns {output.dtype}; logits are floating-point numbers; leave out argmax")
    return output.to(device, torch.float32 if output.element_size() < 4 else output.dtype)


@dataclass(frozen=True)
class Given:
    """What an attack was given, checked: contiguous tensors on one device, without a graph.

    Attributes
    ----------
    network
        The classifier, in evaluation mode.
    images, labels, targets
        (N, C, H, W); (N,); (N,) or None.
    before
        Margins of the clean images, (N,).
    num_classes
        K.
    """

    network: Network
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    before: Tensor
    num_classes: int


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
    """Check what an attack is given, and run it apart from the caller's state.

    Within, no autograd mode and no autocast of the caller counts, and every module of the network is in evaluation
    mode; afterwards all are as they were found, also after an error.

    Raises
    ------
    TypeError, ValueError
        Images, labels, targets, steps or a network's output that are not what an attack needs; a ball of other images.
    """
    with own_mode(), _evaluating(classifier):
        images = as_images(images).detach()
        if ball is not None:
            ball.check(images)
        network = Network(classifier, len(images))
        logits = network(images)
        num_classes = logits.shape[1]
        labels = as_labels(labels, images, num_classes)
        if targets is not None:
            targets = as_labels(targets, images, num_classes, name="targets")
            if bool((targets == labels).any()):
                first = int((targets == labels).nonzero()[0])
                raise ValueError(f"target {int(targets[first])} of image {first} is its label; pass another class")
        if steps < 1:
            raise ValueError(f"steps {steps} is below 1; pass e.g. steps=10")
        yield Given(network, images, labels, targets, attack_margin(logits, labels, targets), num_classes)


_LOCK = Lock()
_EVALUATED: dict[nn.Module, int] = {}  # modules of training mode, and how many attacks, also in other threads, use them


@contextmanager
def _evaluating(classifier: Classifier) -> Iterator[None]:
    """Every module of a network in evaluation mode; each gets its own mode back, after the last attack on it."""
    with _LOCK:
        modules = {part for network in networks_of(classifier) for part in network.modules()}
        used = [part for part in modules if part.training or part in _EVALUATED]
        for part in used:
            _EVALUATED[part] = _EVALUATED.get(part, 0) + 1
            part.training = False
    try:
        yield
    finally:
        with _LOCK:
            for part in used:
                _EVALUATED[part] -= 1
                if not _EVALUATED[part]:
                    del _EVALUATED[part]
                    part.training = True


def networks_of(classifier: Classifier) -> list[nn.Module]:
    """The module itself, or those that a function, a bound method or an object refers to by name."""
    if isinstance(classifier, nn.Module):
        return [classifier]
    owner = getattr(classifier, "__self__", classifier)
    found = [owner, *getattr(owner, "__dict__", {}).values(), *getattr(owner, "args", ()), getattr(owner, "func", None)]
    if inspect.isfunction(classifier):
        names = inspect.getclosurevars(classifier)
        found += [*names.globals.values(), *names.nonlocals.values()]
    return [value for value in found if isinstance(value, nn.Module)]
