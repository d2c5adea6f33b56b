"""The networks under attack: pictures in [0, 1] in, logits out, everything else kept inside."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from perceptlib.records import check_images
from perceptlib.records.modules import evaluating, logits_of


def digest(network: nn.Module) -> str:
    """sha256 of the names and values of a network's parameters and buffers."""
    total = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


class Classifier(nn.Module):
    """A network for pictures in [0, 1] that owns its normalisation and runs in evaluation mode.

    `load` makes one from weights, `wrap` from a network that exists. Threads may share it.

    Attributes
    ----------
    network
        What it runs; its training mode is given back after each pass.
    name
        A word for tables.
    class_names
        One per class.
    num_classes
        K, the number of logits.
    input_size
        Side in pixels of the pictures that the network was trained on; most take other sizes too.
    cam_layer
        The last layer whose output is maps of places, which class activation maps look at; None where none was found.
    linear_layer
        The only layer after `cam_layer` and its average over places: logits = weight @ average + bias. None where
        more than that stands between (VGG, DenseNet): the classic class activation map needs it.
    source
        Where the weights come from, for a record.
    sha256
        Of the weights file; empty for random weights; of parameters and buffers, as they are, for a network that
        was wrapped.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        class_names: Sequence[str],
        input_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        cam_layer: nn.Module | None = None,
        linear_layer: nn.Linear | None = None,
        source: str = "",
        sha256: str | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.class_names = tuple(class_names)
        self.num_classes = len(self.class_names)
        self.input_size = input_size
        self.source = source
        self._sha256 = sha256
        # Held outside nn.Module's bookkeeping: both are already inside `network`.
        self._cam_and_linear = (cam_layer, linear_layer)
        with torch.inference_mode(False):  # else no gradient could pass them
            place = next((part.device for part in network.parameters()), "cpu")
            self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32, device=place).view(1, -1, 1, 1))
            self.register_buffer("std", torch.tensor(std, dtype=torch.float32, device=place).view(1, -1, 1, 1))
        self.training = False

    @property
    def cam_layer(self) -> nn.Module | None:
        return self._cam_and_linear[0]

    @property
    def linear_layer(self) -> nn.Linear | None:
        return self._cam_and_linear[1]

    @property
    def sha256(self) -> str:
        return digest(self.network) if self._sha256 is None else self._sha256

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of a batch.

        Parameters
        ----------
        images
            (N, C, H, W), float32 or float64, in [0, 1]; C is 3, RGB, unless the network was wrapped with another
            number of means.

        Returns
        -------
        torch.Tensor
            (N, K), where the images are, whatever the network's device, and in its precision, float32 at least; the
            gradient has the images' precision.

        Raises
        ------
        TypeError
            As `checks.check_images` and `modules.logits_of` say.
        ValueError
            As they say, or another number of channels.
        """
        return self.run(self.network, images)

    def run(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """As `forward`, of a network that stands for this one's."""
        check_images(images)
        needed = self.mean.shape[1]
        if images.shape[1] != needed:
            hint = "; write images.expand(-1, 3, -1, -1) for grey pictures" if images.shape[1] == 1 else ""
            hint = "; write images.permute(0, 3, 1, 2) for (N, H, W, C)" if images.shape[3] == needed else hint
            raise ValueError(
                f"images have {images.shape[1]} channels; {needed}{' (RGB)' * (needed == 3)} are needed{hint}"
            )
        with evaluating(network):
            return logits_of(network(self.normalised(images)), len(images)).to(images.device)

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """What the network sees of images, in its dtype and on its device: its owner may have moved it since."""
        own = next((part for part in self.network.parameters() if part.is_floating_point()), self.mean)
        return (images.to(own) - self.mean.to(own)) / self.std.to(own)

    def train(self, mode: bool = True) -> Classifier:
        """Do nothing: a classifier runs in evaluation mode, and leaves its network the mode that it has."""
        return self
