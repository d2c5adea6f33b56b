"""A step of `maximize_loss`, by ball: time and peak memory over the l2 loop's, and the floor; and the measuring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from perceptlib.attacks import maximize_loss
from perceptlib.attacks.result import Yardstick, round_to_8bit
from perceptlib.balls import Ball, L2Ball, MultiScaleBall, SSIMBall

MEASURED = ["one gradient", "l2", "ssim full, 5 CG steps", "multi-scale, 5 CG steps"]
STEPS, BATCH, SIDE = 10, 8, 224
FLOOR = "network's gradient alone"
BALLS = {
    "l2": lambda images: L2Ball(2.0),
    "ssim diagonal": lambda images: SSIMBall(images, 0.01, coupling="diagonal"),
    "ssim full, 5 CG steps": lambda images: SSIMBall(images, 0.01, cg_steps=5),
    "ssim full, 15 CG steps": lambda images: SSIMBall(images, 0.01, cg_steps=15),
    "multi-scale, 5 CG steps": lambda images: MultiScaleBall(images, 0.01, cg_steps=5),
}
# Of the time over the l2 loop's.
BOUNDS = {
    "ssim diagonal": "at most 1.03",
    "ssim full, 5 CG steps": "at most 1.10",
    "ssim full, 15 CG steps": "at most 1.3",
    "multi-scale, 5 CG steps": "at most 1.6",
}


class Network(torch.nn.Module):
    """MobileNetV2 with random weights: speed does not depend on them."""

    def __init__(self) -> None:
        super().__init__()
        import torchvision  # after perceptlib, which mends its import beside a CPU-only torch

        torch.manual_seed(0)
        self.network = torchvision.models.mobilenet_v2().eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images - 0.45) / 0.23)


def pictures() -> torch.Tensor:
    return torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def attack(name: str) -> None:
    images = pictures()
    if name == FLOOR:
        for _ in range(STEPS):
            gradient()
        return
    ball: Ball = BALLS[name](images)
    maximize_loss(NETWORK, images, torch.zeros(BATCH, dtype=torch.int64), ball, steps=STEPS)


NETWORK = Network()


@pytest.mark.parametrize("name", [*BALLS, FLOOR])
@pytest.mark.parametrize("repeat", range(5))
def bench_step(benchmark, name: str, repeat: int) -> None:
    table = f"maximize_loss: {STEPS} steps, {BATCH} images of {SIDE}x{SIDE}, MobileNetV2"
    benchmark.extra_info.update(table=table, row=name, repeat=repeat)
    if name in BOUNDS:
        benchmark.extra_info["bound"] = BOUNDS[name]
    benchmark.pedantic(attack, args=(name,), rounds=1, warmup_rounds=1 if repeat == 0 else 0)
    if repeat == 0:
        command = [sys.executable, __file__, name]
        peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        benchmark.extra_info["peak_mib"] = float(peak)


def gradient() -> None:
    current = pictures().requires_grad_(True)
    torch.autograd.grad(NETWORK(current).logsumexp(1).sum(), current)


def attacked(name: str) -> tuple[tuple[torch.Tensor, Ball, torch.Tensor], dict]:
    """A ball that has measured nothing yet, and a perturbation of its boundary."""
    images = pictures()
    ball: Ball = BALLS[name](images)
    return (images, ball, ball.steepest(images - 0.5)), {}


@torch.no_grad()
def measuring(images: torch.Tensor, ball: Ball, perturbation: torch.Tensor) -> None:
    """What `maximize_loss` does after its last step but for the network's two passes: images and their rounding."""
    yardstick = Yardstick(images, ball)
    adversarial = (images + ball.pull_back(perturbation)).clamp(0, 1)
    yardstick.compare(adversarial)
    assert yardstick.reference is not None
    yardstick.reference.distance(round_to_8bit(adversarial).double() - yardstick.images)


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("repeat", range(5))
def bench_measuring(benchmark, name: str, repeat: int) -> None:
    table = f"Pulling back and measuring {BATCH} images of {SIDE}x{SIDE} after the last step"
    benchmark.extra_info.update(table=table, row=name, repeat=repeat)
    if name == MEASURED[0]:
        benchmark.pedantic(gradient, rounds=3, warmup_rounds=1)
    else:
        benchmark.extra_info["bound"] = "at most 0.5"
        benchmark.pedantic(measuring, setup=lambda: attacked(name), rounds=3)


if __name__ == "__main__":  # a process of its own, whose peak memory is the attack's
    from bench_scaling import resident

    Path("/proc/self/clear_refs").write_text("5")  # a new process starts with its parent's high-water mark
    attack(sys.argv[1])
    print(resident("VmHWM"))
