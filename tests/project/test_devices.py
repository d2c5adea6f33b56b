"""Everything on another device than the processor: emulated anywhere, and on CUDA where there is one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from emulated_device import Emulated, emulated_device

from perceptlib import data
from perceptlib.balls import (
    Ball,
    L2Ball,
    LinfBall,
    LumaBall,
    MultiScaleBall,
    SSIMBall,
    WindowBall,
    maximize_exactly,
    steepest_in_box,
)
from perceptlib.convex import programs as convex
from perceptlib.study import config as study_config
from perceptlib.study import tasks as study_tasks
from perceptlib.study.config import StudyConfig

ROUNDING = 1e-6  # relative: the same operations of the processor, sums perhaps in another order
SCORE = 0.01  # absolute: a map's score on CUDA, whose float32 network rounds otherwise
DISTANCE = 0.05  # relative, of the median over pictures: attacks amplify the rounding of a gradient
FOOLED = 1  # pictures at a decision boundary that may fall to the other side

SMALL = StudyConfig(
    num_images=2,
    attacks=("fgsm", "ssim"),
    budgets=(0.003,),
    steps=2,
    cg_steps=5,
    searches=("linf", "ssim_8bit"),
    candidates=2,
    refinements=1,
    maps=("ssim", "random", "noise", "squared_gradient", "texture"),
    cams=("grad-cam++", "cam", "another"),
    cascade=(0, 2),
    regions=("random", "background"),
    region_budgets=(0.003,),
    batch_size=2,
)


@pytest.fixture
def device() -> Iterator[str]:
    with emulated_device() as name:
        yield name


def test_emulated_device_refuses_what_a_gpu_refuses(device: str) -> None:
    here = torch.arange(6.0).view(2, 3)
    there = here.to(device)
    assert isinstance(there, Emulated) and there.device.type == device
    assert (there * 2 + 1).cpu().tolist() == (here * 2 + 1).tolist()
    for mixed in (lambda: there + here, lambda: torch.cat([there, torch.tensor(1.0)[None]]), lambda: here.mm(there.T)):
        with pytest.raises(RuntimeError, match="expected all tensors on one device, but found meta and cpu"):
            mixed()
    with pytest.raises(RuntimeError, match="expected a generator of device meta, but found one of cpu"):
        torch.randn(2, device=device, generator=torch.Generator())
    with pytest.raises(TypeError, match="to numpy"):
        there.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("part", study_config.PARTS)
def test_study_computes_the_same_rows_on_another_device(device: str, part: str) -> None:
    config = replace(SMALL, budgets=SMALL.budgets if part == "fooling" else ())
    tasks = [task for task in study_tasks.tasks_of(config, 2) if task.part == part]
    assert tasks
    for task in tasks:
        here, there = (study_tasks.run_task(config, task, device=name).to_pylist() for name in ("cpu", device))
        assert not [row["status"] for row in there if row["status"].startswith("failed")]
        for one, other in zip(here, there, strict=True):
            numbers = {name: value for name, value in one.items() if isinstance(value, float)}
            assert other.keys() == one.keys()
            assert {name: other[name] for name in numbers} == pytest.approx(numbers, rel=ROUNDING, nan_ok=True), task
            assert all(other[name] == value for name, value in one.items() if name not in numbers), task


@pytest.mark.parametrize(
    "name",
    [
        "linf",
        "l2",
        "diagonal",
        "window",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ssim", "contrast", "support", "luma", "multi-scale")
        ),
    ],
)
def test_balls_compute_the_same_on_another_device(device: str, name: str) -> None:
    images = data.shapes(2, seed=1).images.double()[..., 24:40, 24:40]
    gradient = torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=images.dtype)

    def results(there: str) -> list[torch.Tensor]:
        ball, given = _ball(name, images.to(there)), gradient.to(there)
        change = 0.1 * ball.steepest(given).sign()
        return [
            ball.steepest(given),
            ball.gauge(0.5 * ball.steepest(given)),
            ball.measure(change),
            ball.project(change),
            ball.pull_back(change),
        ]

    for one, other in zip(results("cpu"), results(device), strict=True):
        assert isinstance(other, Emulated)
        torch.testing.assert_close(other.cpu(), one, rtol=ROUNDING, atol=1e-12)


def test_programs_and_attacks_on_colour_compute_the_same_on_another_device(device: str) -> None:
    images = data.shapes(2, seed=1).images.double()[..., 24:40, 24:40]
    gradient = torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=images.dtype)

    def results(there: str) -> list[torch.Tensor]:
        x, g = images.to(there), gradient.to(there)
        boxed = steepest_in_box(SSIMBall(x, 0.01, cg_steps=30), g, tolerance=1e-6)
        return [boxed.perturbation, maximize_exactly(x, g, 0.01, steps=2).gain]

    for one, other in zip(results("cpu"), results(device), strict=True):
        torch.testing.assert_close(other.cpu(), one, rtol=ROUNDING, atol=1e-10)
    there = convex.maximize_linear(images[:1, :1].to(device), gradient[:1, :1].to(device), 0.01)
    assert there.objective == pytest.approx(convex.maximize_linear(images[:1, :1], gradient[:1, :1], 0.01).objective)


def test_tasks_round_and_repeat_on_cuda_as_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def settings(*arguments: object) -> list[dict[str, Any]]:
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic))
        return []

    seen: list[tuple[bool, bool]] = []
    monkeypatch.setattr(study_tasks, "_rows", settings)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    task = next(study_tasks.tasks_of(SMALL, 2))
    study_tasks.run_task(SMALL, task, device="cpu")
    assert seen == [(False, True)]
    assert torch.backends.cudnn.allow_tf32  # left as found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_study_on_cuda_agrees_with_the_processor() -> None:
    config = replace(SMALL, num_images=16, batch_size=16, steps=5, cg_steps=15, refinements=0)
    for task in study_tasks.tasks_of(config, 16):
        here, there = (study_tasks.run_task(config, task, device=name).to_pylist() for name in ("cpu", "cuda"))
        for name in ("energy_in_top_q", "spearman", "auc", "partial_spearman", "energy_in_mask"):
            for one, other in zip(_defined(here, name), _defined(there, name), strict=True):
                assert abs(one - other) <= SCORE, (task, name)
        if _defined(here, "distance"):
            distances = [statistics.median(_defined(rows, "distance")) for rows in (here, there)]
            assert distances[1] == pytest.approx(distances[0], rel=DISTANCE), task
        fooled = [sum(bool(row.get("is_adversarial")) for row in rows) for rows in (here, there)]
        assert abs(fooled[0] - fooled[1]) <= FOOLED, task


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_attack_on_cuda_repeats_bit_by_bit() -> None:
    config = replace(SMALL, attacks=("ssim",))
    task = next(task for task in study_tasks.tasks_of(config, 2) if task.part == "fooling")
    assert study_tasks.run_task(config, task, device="cuda").equals(study_tasks.run_task(config, task, device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_foolbox_runs_on_cuda() -> None:
    config = replace(SMALL, searches=("deepfool",), attacks=(), regions=(), maps=(), cascade=())
    tables = [study_tasks.run_task(config, task, device="cuda") for task in study_tasks.tasks_of(config, 2)]
    assert all(all(table["is_adversarial"].to_pylist()) for table in tables)


def _ball(name: str, images: torch.Tensor) -> Ball:
    support = torch.zeros_like(images[:, 0], dtype=torch.bool)
    support[:, 4:12, 2:12] = True
    balls: dict[str, Ball] = {
        "linf": LinfBall(0.03),
        "l2": L2Ball(2.0),
        "ssim": SSIMBall(images, 0.01),
        "diagonal": SSIMBall(images, 0.01, coupling="diagonal"),
        "contrast": SSIMBall(images, 0.01, components="contrast_structure"),
        "support": SSIMBall(images, 0.01, support=support),
        "window": WindowBall(images, 0.01),
        "luma": LumaBall(images, 0.01),
        "multi-scale": MultiScaleBall(images, 0.01, support=support),
    }
    return balls[name]


def _defined(rows: list[dict[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows if row.get(name) is not None and not math.isnan(row[name])]
