"""Class activation maps: where in a picture a network finds its class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from perceptlib.networks import Classifier
from perceptlib.networks.layers import bare, check_runs, layer_of, listening, reading
from perceptlib.records.checks import DTYPES, Values, as_images, as_labels, check_labels, own_mode
from perceptlib.records.modules import evaluating, logits_of

Method = Literal["cam", "grad-cam", "grad-cam++", "score-cam", "eigen-cam"]
METHODS: tuple[Method, ...] = ("cam", "grad-cam", "grad-cam++", "score-cam", "eigen-cam")

_BATCH = 128  # images at once, so that any number of them takes the same memory
_MASKED = 16  # masked pictures that Score-CAM runs at once

Array = NDArray[np.floating[Any]]


def class_activation_map(
    classifier: nn.Module,
    images: Values,
    classes: Values | int,
    *,
    method: Method = "cam",
    layer: str | nn.Module = "",
    reshape_transform: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Evidence for a class at each pixel.

    With A_k the channels of `classifier.cam_layer` and w_kc the weights of the linear layer after their average,
    the classic map is ``max(0, sum_k w_kc A_k)`` (Zhou et al. 2016, equation 2). Where there is such a linear layer it
    is exact: the mean of the sum over all places, plus the bias, is the logit of c.

    Parameters
    ----------
    classifier
        A `Classifier`, as `load` and `wrap` make it; or any network from images in [0, 1] to logits, with a `layer` and
        another method than "cam". Left as it was: no hook stays, also after an exception, no gradient is stored, and
        every part keeps its mode; threads may share it.
    images
        (N, C, H, W) in [0, 1], a tensor or array. Neither the caller's autograd mode nor autocast changes a map.
    classes
        (N,) int64, or one class for all images.
    method
        "cam" (classic, one forward pass), "grad-cam" (Selvaraju et al. 2017), "grad-cam++" (Chattopadhay et al. 2018),
        "score-cam" (Wang et al. 2020), "eigen-cam" (Muhammad and Yeasin 2020; knows no class). "cam" needs
        `classifier.linear_layer`, the others any network.
    layer
        Whose output is looked at: a part of the network, or its name in ``classifier.network.named_modules()``, such
        as "features.13" or "layer3"; "" is `classifier.cam_layer`, the only one for "cam". Maps with their channels
        last (Swin) and tokens of places (vision transformers) are recognised.
    reshape_transform
        From what the layer gives to (N, D, h, w), where it is not recognised.

    Returns
    -------
    Tensor
        (N, H, W), 0 or more, not normalised, each method in its own unit; bilinear from the map's own grid
        (8x8 or 7x7, more in earlier layers). All zero where nothing speaks for the class.

    Raises
    ------
    TypeError
        As `checks.check_images` and `checks.check_labels` say.
    ValueError
        As `checks.check_images` and `checks.check_labels` say, an unknown method or layer, no layer, "cam" of another
        layer than the last or of a network without a linear layer after the average; a layer that runs not just once
        in a pass, gives no maps, or that no gradient reaches.

    Notes
    -----
    A map does not depend on the other images of the batch. The package grad-cam would stretch each map to [0, 1], which
    takes its least value away; the maps here are those from before that. Where "cam" can be had Grad-CAM of the
    last layer is the classic map divided by the number of places. Grad-CAM++ adds 1e-6, as that package does, to a
    denominator of squared gradients, which is not small against them; Eigen-CAM takes the first principal component of
    the *centred* channels, signed so that its largest magnitude is positive. Score-CAM costs a forward pass per channel
    (64 to 2048) and image.
    """
    images = as_images(images).detach()
    if isinstance(classes, int | np.integer):
        classes = torch.full((len(images),), int(classes), device=images.device)
    num_classes = classifier.num_classes if isinstance(classifier, Classifier) else torch.iinfo(torch.int64).max
    classes = as_labels(classes, images, num_classes, name="classes")
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; {', '.join(map(repr, METHODS))} are")
    looking = _Looking(classifier, layer, reshape_transform)
    if method == "cam":
        if not isinstance(classifier, Classifier) or classifier.linear_layer is None:
            raise ValueError(
                "the classic map, method 'cam', needs a network whose logits are linear in the average of its last "
                "feature maps, and this one's are not, or not known to be; pass method='grad-cam'"
            )
        if looking.layer is not classifier.cam_layer:
            raise ValueError("the classic map, method 'cam', is of the last layer; pass layer='' or method='grad-cam'")
    with own_mode():
        parts = zip(images.split(_BATCH), classes.split(_BATCH), strict=True)
        maps = torch.cat([looking.maps(method, some, of) for some, of in parts])
        maps = maps.to(images).clamp(min=0)[:, None]
        return functional.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


class _Looking:
    """A network, and the layer of it whose output is read as maps."""

    def __init__(
        self, classifier: nn.Module, layer: str | nn.Module, reshape_transform: Callable[[Tensor], Tensor] | None
    ) -> None:
        self.classifier = classifier if isinstance(classifier, Classifier) else None
        self.network = bare(classifier if self.classifier is None else self.classifier.network)
        self.reshape_transform = reshape_transform
        known = None if self.classifier is None else self.classifier.cam_layer
        if layer == "" and known is None:
            raise ValueError(
                "no layer of this network is known whose output is maps of places; pass layer=NAME, of "
                "named_modules(), or make a Classifier with wrap(network, cam_layer=NAME, ...)"
            )
        self.layer = cast(nn.Module, known) if layer == "" else layer_of(self.network, layer)

    def maps(self, method: Method, images: Tensor, classes: Tensor) -> Tensor:
        """(N, h, w), of any sign."""
        if method in ("grad-cam", "grad-cam++"):
            from pytorch_grad_cam import GradCAM, GradCAMPlusPlus  # its import takes seconds

            activations, gradients = self._gradients(images, classes)
            theirs = GradCAM if method == "grad-cam" else GradCAMPlusPlus
            # Its objects hook the network, which threads may share; the weights themselves need no object.
            weights = theirs.get_cam_weights(None, None, None, None, activations, gradients)
            return _weighted(weights, activations)
        logits, output = self._listen(images, cut=False)
        check_labels(classes, *logits.shape, name="classes")
        channels = self._read(output, output, images)
        if method == "cam":
            assert self.classifier is not None and self.classifier.linear_layer is not None
            weight = self.classifier.linear_layer.weight
            weight = weight if len(weight) > 1 else torch.cat([-weight, weight]) / 2  # one logit z: (-z / 2, z / 2)
            return torch.einsum("nd,ndhw->nhw", weight[classes], channels)
        if method == "eigen-cam":
            from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction as projected

            return torch.from_numpy(projected(_array(channels)))  # the largest magnitude positive
        return _weighted(self._scores(images, classes, channels), _array(channels))

    def _run(self, images: Tensor) -> Tensor:
        """Logits, (N, K)."""
        if self.classifier is not None:
            return self.classifier.run(self.network, images)
        with evaluating(self.network):
            return logits_of(self.network(images), len(images))

    def _listen(self, images: Tensor, *, cut: bool) -> tuple[Tensor, Tensor]:
        """Logits, and what the layer gave."""
        with listening(self.network, self.layer, cut=cut) as kept:
            logits = self._run(images)
        check_runs(kept)
        return logits, kept[0]

    def _read(self, values: Tensor, output: Tensor, images: Tensor) -> Tensor:
        """The layer's output or its gradient as (N, D, h, w)."""
        if self.reshape_transform is None:
            return reading(self.network, self.layer, output, images)(values)
        maps = self.reshape_transform(values)
        if maps.ndim != 4 or len(maps) != len(images):
            raise ValueError(
                f"reshape_transform gives shape {tuple(maps.shape)} for {len(images)} pictures; (N, D, h, w) is needed"
            )
        return maps

    def _gradients(self, images: Tensor, classes: Tensor) -> tuple[Array, Array]:
        """Activations and their gradients of the class's logit, both (N, D, h, w)."""
        with torch.enable_grad():
            logits, output = self._listen(images, cut=True)
            check_labels(classes, *logits.shape, name="classes")
            score = logits.gather(1, classes[:, None]).sum()
            gradient = torch.autograd.grad(score, output, allow_unused=True)[0] if score.requires_grad else None
        if gradient is None:
            raise ValueError(
                "no gradient of the logits reaches the layer: what follows it is detached, runs without a graph, or "
                "does not use it; pass another layer, or method='score-cam' or 'eigen-cam'"
            )
        return _array(self._read(output, output, images)), _array(self._read(gradient, output, images))

    def _scores(self, images: Tensor, classes: Tensor, channels: Tensor) -> Array:
        """Softmax over the channels of the class's logit on the picture masked by each, (N, D)."""
        scores = []
        for image, label, planes in zip(images, classes.tolist(), channels, strict=True):
            for part in planes.split(_MASKED):
                # align_corners as in the package grad-cam, so that the numbers agree.
                masks = functional.interpolate(part[None], images.shape[-2:], mode="bilinear", align_corners=True)[0]
                low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
                masks = (masks - low) / (high - low + 1e-8)
                scores.append(self._run(image * masks[:, None])[:, label])
        return _array(torch.cat(scores).view(len(images), -1).softmax(1))


def _weighted(weights: Array, channels: Array) -> Tensor:
    return torch.from_numpy((weights[:, :, None, None] * channels).sum(axis=1))


def _array(values: Tensor) -> Array:
    values = values.detach().cpu()
    array: Array = (values if values.dtype in DTYPES else values.float()).numpy()
    return array
