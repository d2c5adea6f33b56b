"""One step of `maximize_loss`, by ball: time and peak memory against the same loop with the l2 ball, and the floor."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
import torch
import torchvision

from perceptlib.attacks import maximize_loss
from perceptlib.balls import Ball, L2Ball, MultiScaleBall, SSIMBall

STEPS, BATCH, SIDE = 10, 8, 224
FLOOR = "network's gradient alone"
BALLS = {
    "l2": lambda images: L2Ball(2.0),
    "ssim diagonal": lambda images: SSIMBall(images, 0.01, coupling="diagonal"),
    "ssim full, 5 CG steps": lambda images: SSIMBall(images, 0.01, cg_steps=5),
    "ssim full, 15 CG steps": lambda images: SSIMBall(images, 0.01, cg_steps=15),
    "multi-scale, 5 CG steps": lambda images: MultiScaleBall(images, 0.01, cg_steps=5),
}


class Network(torch.nn.Module):
    """MobileNetV2 with random weights: speed does not depend on them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = torchvision.models.mobilenet_v2().eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images - 0.45) / 0.23)


def attack(name: str) -> None:
    images = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    if name == FLOOR:
        for _ in range(STEPS):
            current = images.clone().requires_grad_(True)
            torch.autograd.grad(NETWORK(current).logsumexp(1).sum(), current)
        return
    ball: Ball = BALLS[name](images)
    maximize_loss(NETWORK, images, torch.zeros(BATCH, dtype=torch.int64), ball, steps=STEPS)


NETWORK = Network()


@pytest.mark.parametrize("name", [*BALLS, FLOOR])
@pytest.mark.parametrize("repeat", range(5))
def bench_step(benchmark, name: str, repeat: int) -> None:
    table = f"maximize_loss: {STEPS} steps, {BATCH} images of {SIDE}x{SIDE}, MobileNetV2"
    benchmark.extra_info.update(table=table, row=name, repeat=repeat)
    benchmark.pedantic(attack, args=(name,), rounds=1, warmup_rounds=1 if repeat == 0 else 0)
    if repeat == 0:
        command = [sys.executable, __file__, name]
        peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        benchmark.extra_info["peak_mib"] = float(peak)


if __name__ == "__main__":  # a process of its own, whose peak memory is the attack's
    attack(sys.argv[1])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
