"""Steepest direction of the SSIM ball and one SSIM distance by picture size: time and memory grow with the pixels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from perceptlib.balls import SSIMBall

SIDES = (128, 256, 512, 1024, 2048)


def picture(side: int) -> torch.Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def solve(side: int) -> None:
    images = picture(side)
    ball = SSIMBall(images, 0.01, cg_steps=15)
    ball.pull_back(ball.steepest(images - 0.5))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("repeat", range(3))
def bench_scaling(benchmark, side: int, repeat: int) -> None:
    benchmark.extra_info.update(
        table="SSIM ball: set-up, steepest (15 CG steps), exact budget; one RGB picture",
        row=f"{side}x{side}",
        repeat=repeat,
        size=3.0 * side * side,
    )
    benchmark.pedantic(solve, args=(side,), rounds=max(1, 512 // side), warmup_rounds=1)
    if repeat == 0:
        command = [sys.executable, __file__, str(side)]
        benchmark.extra_info["peak_mib"] = float(subprocess.run(command, check=True, capture_output=True).stdout)


def resident(field: str) -> float:
    """VmRSS or VmHWM (its high-water mark) of this process in MiB; Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


if __name__ == "__main__":  # a process of its own, whose growth of peak memory is the solve's
    torch.set_num_threads(1)
    solve(32)
    Path("/proc/self/clear_refs").write_text("5")  # forget the high-water mark of the imports
    before = resident("VmRSS")
    solve(int(sys.argv[1]))
    print(max(resident("VmHWM") - before, 0.1))
