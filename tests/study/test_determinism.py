"""Rows of a study follow from its configuration: not from random states, and not from the order of its pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from random_states import digest, under

from perceptlib.maps import class_activation_map
from perceptlib.study import tasks as study_tasks
from perceptlib.study.config import MAPS, StudyConfig
from perceptlib.study.tasks import Task, run_task

CONFIG = StudyConfig(
    num_images=2,
    attacks=("fgsm", "ssim_diagonal"),
    budgets=(0.01,),
    steps=1,
    cg_steps=2,
    searches=("l2_8bit", "deepfool"),
    candidates=2,
    refinements=1,
    maps=MAPS,
    cams=("cam", "score-cam", "eigen-cam", "another"),
    cascade=(1,),
    regions=("random", "background"),
    region_budgets=(0.01,),
    batch_size=2,
)
TASKS = list(study_tasks.tasks_of(CONFIG, 2))


@pytest.fixture(scope="module", autouse=True)
def grad_cam() -> None:
    """Import what moves Python's random state when it is imported."""
    context = study_tasks._context(CONFIG, "cpu")
    pictures = context.source.batch(0, 1)[0]
    class_activation_map(context.classifier, pictures.images, pictures.labels, method="eigen-cam")


def rows_of(task: Task, **changes: Any) -> list[dict[str, Any]]:
    study_tasks._context_of.cache_clear()  # randomised networks would be those of an earlier call
    return run_task(replace(CONFIG, **changes), task, device="cpu").to_pylist()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.file.removesuffix("-000000.parquet"))
def test_task_of_a_study_follows_from_its_configuration_alone(task: Task) -> None:
    assert under(1, lambda: rows_of(task)) == under(2, lambda: rows_of(task))


@pytest.mark.parametrize("part", ["agreement", "regions-random", "cascade"])
def test_seed_of_a_study_reaches_what_is_drawn(part: str) -> None:
    # the same pictures twice, so that only what is drawn around them may differ
    [task] = [task for task in TASKS if task.file.startswith(part)]
    context = study_tasks._context(replace(CONFIG, maps=("random",), cams=("cam",)), "cpu")
    right = context.source.batch(0, 2)[0]
    other = replace(context, config=replace(context.config, seed=5), _randomised={})
    rows, others = (study_tasks.rows_of(some, task.part, task.name, right) for some in (context, other))
    assert digest(rows) != digest(others)


# float32 convolutions of another arrangement of the batch, before an attack makes more of them
ARRANGEMENT = 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.file.removesuffix("-000000.parquet"))
def test_rows_do_not_depend_on_the_order_of_pictures(task: Task) -> None:
    context = study_tasks._context(CONFIG, "cpu")
    right = context.source.batch(0, 2)[0]
    order = torch.tensor([1, 0])
    rows, others = (study_tasks.rows_of(context, task.part, task.name, some) for some in (right, right.select(order)))
    for place, index in enumerate(order.tolist()):
        for row, other in zip(rows[index], others[place], strict=True):
            for name, value in row.items():
                if isinstance(value, float) and value == value:
                    assert other[name] == pytest.approx(value, rel=ARRANGEMENT, abs=ARRANGEMENT), name
                elif value == value:
                    assert other[name] == value, name
