"""How many pictures at once fit in memory, told from the size of what a network keeps for its gradient."""

from __future__ import annotations

import psutil
import torch
from torch import nn

from perceptlib.networks import Classifier

MOST = {"cpu": 32, "cuda": 256}  # beyond these a batch gains nothing
SHARE = 0.5  # of the free memory: other programs and the allocator's own pieces need the rest
MAPS = 80  # planes of double precision, of a picture's size, that measuring and scoring hold at once for a channel


def bytes_of_gradient(classifier: Classifier, side: int) -> int:
    """Memory that one picture of ``side`` x ``side`` pixels takes while its gradient is computed, in bytes.

    Every module's output is counted twice, for itself and for its gradient, and the attack's own maps are added.
    """
    total = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += 2 * output.numel() * output.element_size()

    leaves = [module for module in classifier.modules() if not any(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    try:
        with torch.no_grad():
            classifier(torch.zeros(1, 3, side, side, device=classifier.mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    return total + 3 * MAPS * 8 * side * side


def free_memory(device: str) -> int:
    """Bytes that are free on "cpu" or a CUDA device."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return int(psutil.virtual_memory().available)


def fitting_batch_size(classifier: Classifier, side: int, *, device: str = "cpu", workers: int = 1) -> int:
    """The largest power of two of pictures whose gradients fit in half of the free memory.

    Parameters
    ----------
    classifier
        The network, on any device.
    side
        Side of the pictures in pixels.
    device
        Where the batches will run.
    workers
        Processes that share the memory, 1 or more.

    Returns
    -------
    int
        1 to 32 on a CPU, 1 to 256 on a CUDA device.
    """
    room = SHARE * free_memory(device) / workers / bytes_of_gradient(classifier, side)
    most = MOST[torch.device(device).type]
    return 2 ** (min(max(int(room), 1), most).bit_length() - 1)
