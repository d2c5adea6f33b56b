"""Class activation maps: where in a picture a network finds its class."""

from __future__ import annotations

import difflib
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from perceptlib.networks import Classifier
from perceptlib.records import check_images, check_labels

Method = Literal["cam", "grad-cam", "grad-cam++", "score-cam", "eigen-cam"]
METHODS: tuple[Method, ...] = ("cam", "grad-cam", "grad-cam++", "score-cam", "eigen-cam")


def class_activation_map(
    classifier: Classifier,
    images: torch.Tensor,
    classes: torch.Tensor | int,
    *,
    method: Method = "cam",
    layer: str = "",
) -> torch.Tensor:
    """Evidence for a class at each pixel.

    With A_k the channels of `classifier.cam_layer` and w_kc the weights of the linear layer after their average,
    the classic map is ``max(0, sum_k w_kc A_k)`` (Zhou et al. 2016, equation 2). Where there is such a linear layer it
    is exact: the mean of the sum over all places, plus the bias, is the logit of c.

    Parameters
    ----------
    classifier
        Left as it was: no hook stays, also after an exception, and no gradient is stored.
    images
        (N, 3, H, W) in [0, 1].
    classes
        (N,) int64, or one class for all images.
    method
        "cam" (classic, by hand, one forward pass); through the package grad-cam "grad-cam" (Selvaraju et al.
        2017), "grad-cam++" (Chattopadhay et al. 2018), "score-cam" (Wang et al. 2020), "eigen-cam" (Muhammad and
        Yeasin 2020; knows no class). "cam" needs `classifier.linear_layer`, the others any network.
    layer
        Whose output is looked at, by its name in ``classifier.network.named_modules()``, such as "features.13" or
        "layer3"; "" is `classifier.cam_layer`, the only one for "cam".

    Returns
    -------
    torch.Tensor
        (N, H, W), 0 or more, not normalised, each method in its own unit; bilinear from the map's own grid
        (8x8 or 7x7, more in earlier layers). All zero where nothing speaks for the class.

    Raises
    ------
    TypeError
        As `checks.check_images` and `checks.check_labels` say.
    ValueError
        As `checks.check_images` and `checks.check_labels` say, an unknown method or layer, "cam" of another layer than
        the last or of a network without a linear layer after the average, or a layer that gives no single map.

    Notes
    -----
    A map does not depend on the other images of the batch. grad-cam itself would stretch each map to [0, 1], which
    takes its least value away; here the maps come from grad-cam before that. Where "cam" can be had Grad-CAM of the
    last layer is the classic map divided by the number of places. Grad-CAM++ as in grad-cam adds 1e-6 to a denominator
    of squared gradients, which is not small against them; Eigen-CAM takes the first principal component of the
    *centred* channels, signed so that its largest magnitude is positive. Score-CAM costs a forward pass per channel (64
    to 2048) and image.
    """
    check_images(images)
    if isinstance(classes, int):
        classes = torch.full((len(images),), classes, device=images.device)
    check_labels(classes, len(images), classifier.num_classes, name="classes")
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; {', '.join(map(repr, METHODS))} are")
    module = _layer(classifier, layer)
    if method == "cam":
        maps = _classic_map(classifier, module, images, classes)
    else:
        from perceptlib.maps._grad_cam import grad_cam_map  # its import takes seconds

        maps = grad_cam_map(classifier, images, classes, method=method, layer=module)
    maps = maps.to(images).clamp(min=0)[:, None]
    return functional.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _layer(classifier: Classifier, name: str) -> nn.Module:
    if not name:
        return classifier.cam_layer
    layers: dict[str, nn.Module] = dict(classifier.network.named_modules())
    if name not in layers:
        close = difflib.get_close_matches(name, [known for known in layers if known], n=5, cutoff=0)
        raise ValueError(f"the network has no layer {name!r}; pass a name such as {', '.join(map(repr, close))}")
    if type(classifier.network).__name__ == "SwinTransformer" and name != "permute":
        raise ValueError(f"layer {name!r} of a Swin network has its channels last; pass layer='' or 'permute'")
    return layers[name]


def _classic_map(classifier: Classifier, layer: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """(N, h, w), before the ReLU."""
    linear = classifier.linear_layer
    if linear is None:
        raise ValueError(
            "the classic map, method 'cam', needs a network whose logits are linear in the average of its last "
            "feature maps, and this one's are not; pass method='grad-cam'"
        )
    if layer is not classifier.cam_layer:
        raise ValueError("the classic map, method 'cam', is of the last layer; pass layer='' or method='grad-cam'")
    outputs: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        with torch.no_grad():
            classifier(images)
    finally:
        hook.remove()
    return torch.einsum("nd,ndhw->nhw", linear.weight[classes], outputs[0])
