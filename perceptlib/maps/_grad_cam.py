"""The package grad-cam's methods, up to the map on the layer's own grid: no stretching, no resizing."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

# Before grad-cam, which imports torchvision too.
from perceptlib.data._torchvision import torchvision  # noqa: F401
from perceptlib.networks import Classifier

# isort: split
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction

_BATCH = 16  # masked pictures that Score-CAM runs at once


class _SignedEigenCAM(EigenCAM):  # type: ignore[misc]
    """Eigen-CAM whose sign is settled: grad-cam keeps the one that the decomposition happens to give."""

    def get_cam_image(self, images, layer, targets, activations, gradients, eigen_smooth=False):  # type: ignore[no-untyped-def]
        return get_2d_projection_with_sign_correction(activations)


class _LeanScoreCAM(ScoreCAM):  # type: ignore[misc]
    """Score-CAM of the same numbers, without grad-cam's progress bars and 1.5 GB for an image of 224 pixels."""

    def get_cam_weights(self, images, layer, targets, activations, gradients):  # type: ignore[no-untyped-def]
        self.activations_and_grads.release()  # else the hooks keep the channels of every masked picture
        scores = []
        for image, target, channels in zip(images, targets, torch.from_numpy(activations), strict=True):
            for part in channels.to(images.device).split(_BATCH):
                # align_corners as in grad-cam, so that the numbers agree.
                masks = functional.interpolate(part[None], images.shape[-2:], mode="bilinear", align_corners=True)[0]
                low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
                masks = (masks - low) / (high - low + 1e-8)
                scores.append(target(self.model(image * masks[:, None])))
        return torch.cat(scores).view(len(images), -1).softmax(1).cpu().numpy()


_METHODS = {
    "grad-cam": GradCAM,
    "grad-cam++": GradCAMPlusPlus,
    "score-cam": _LeanScoreCAM,
    "eigen-cam": _SignedEigenCAM,
}


def grad_cam_map(
    classifier: Classifier, images: torch.Tensor, classes: torch.Tensor, *, method: str, layer: nn.Module
) -> torch.Tensor:
    """Map of a method of grad-cam on the layer's own grid.

    Parameters
    ----------
    classifier
        Left as it was.
    images
        (N, 3, H, W) in [0, 1].
    classes
        (N,) int64.
    method
        "grad-cam", "grad-cam++", "score-cam" or "eigen-cam".
    layer
        A part of the classifier, whose output is looked at.

    Returns
    -------
    torch.Tensor
        (N, h, w) on the CPU, of any sign.

    Raises
    ------
    ValueError
        In one pass the layer does not give just one (N, D, h, w).
    """
    targets = [ClassifierOutputTarget(int(label)) for label in classes]
    checking = layer.register_forward_hook(lambda module, inputs, output: _check_maps(output))
    cam = _METHODS[method](classifier, [layer])
    # After grad-cam's hook: what it keeps must not be the memory that a ReLU in place then writes to.
    copying = layer.register_forward_hook(lambda module, inputs, output: output.clone())
    # grad-cam's own `with` hides an IndexError and returns None: release by hand.
    try:
        if cam.uses_gradients:
            # The parameters take no gradient, so the images must, for one to reach the layer.
            with torch.enable_grad():
                logits = cam.activations_and_grads(images.detach().requires_grad_())
                logits.gather(1, classes[:, None]).sum().backward()
        else:
            with torch.no_grad():
                cam.activations_and_grads(images)
        kept = cam.activations_and_grads.activations
        if len(kept) != 1:
            raise ValueError(f"the layer runs {len(kept)} times for an image; pass one that runs once")
        activations = kept[0].numpy()
        gradients: NDArray[np.floating] | None = None
        if cam.uses_gradients:
            gradients = cam.activations_and_grads.gradients[0].numpy()
        with torch.no_grad():
            maps = cam.get_cam_image(images.detach(), layer, targets, activations, gradients)
    finally:
        checking.remove()
        copying.remove()
        cam.activations_and_grads.release()
    return torch.from_numpy(np.asarray(maps))


def _check_maps(output: object) -> None:
    if not isinstance(output, torch.Tensor) or output.ndim != 4:
        got = f"shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
        raise ValueError(f"the layer gives {got}; pass a layer that gives feature maps, (N, D, h, w)")
