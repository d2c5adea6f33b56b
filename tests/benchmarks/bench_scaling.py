"""Steepest direction of the SSIM ball and one SSIM distance by picture size: time and memory grow with the pixels."""

from __future__ import annotations

import resource
import subprocess
import sys

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
        peaks = [
            float(subprocess.run([sys.executable, __file__, str(size)], check=True, capture_output=True).stdout)
            for size in (32, side)
        ]
        benchmark.extra_info["peak_mib"] = peaks[1] - peaks[0]  # above a process that solves a tiny picture


if __name__ == "__main__":  # a process of its own, whose peak memory is the solve's
    torch.set_num_threads(1)
    solve(int(sys.argv[1]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
