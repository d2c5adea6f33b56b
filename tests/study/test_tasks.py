"""Tasks of a study: every picture gets every row, whatever becomes of it, and no picture harms another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_networks import random_classifier

from perceptlib.study import tasks as study_tasks
from perceptlib.study.config import STUDIES, StudyConfig
from perceptlib.study.presets import Pictures, load_network
from perceptlib.study.rows import Row
from perceptlib.study.tasks import Task, run_task, tasks_of

CONFIG = StudyConfig(
    num_images=4, attacks=("l2",), budgets=(0.003, 0.01), steps=1, maps=("texture", "noise"), cascade=(0,), cg_steps=2
)
FOOLING = Task("fooling", "l2", 0, 4)


@pytest.mark.parametrize("name", STUDIES)
def test_tasks_hold_every_picture_of_every_part_once(name: str) -> None:
    config = replace(STUDIES[name], num_images=70)
    tasks = list(tasks_of(config, 70))
    assert len({task.file for task in tasks}) == len(tasks)
    names = [("fooling", attack) for attack in config.attacks] + [("smallest", search) for search in config.searches]
    names += [("regions", region) for region in config.regions] + [("agreement", ""), ("cascade", "")]
    entries = {entry: min(70, *(config.limits.get(word, 70) for word in entry)) for entry in names}
    assert {(task.part, task.name) for task in tasks} == set(entries)
    for (part, entry), limit in entries.items():
        places = [place for task in tasks if (task.part, task.name) == (part, entry) for place in range(*span(task))]
        assert places == list(range(limit))
        assert max(task.stop - task.start for task in tasks) <= config.batch_size


def span(task: Task) -> tuple[int, int]:
    return task.start, task.stop


def test_limits_of_a_part_and_of_a_name_both_hold() -> None:
    config = replace(CONFIG, attacks=("l2", "linf"), limits={"fooling": 3, "linf": 1, "agreement": 0})
    ends: dict[str, int] = {}
    for task in tasks_of(config, 4):
        ends[task.part + task.name] = max(task.stop, ends.get(task.part + task.name, 0))
    assert ends["foolingl2"] == 3
    assert ends["foolinglinf"] == 1
    assert "agreement" not in ends
    nothing = replace(CONFIG, maps=(), budgets=(), cascade=())
    assert not {task.part for task in tasks_of(nothing, 4)} & {"agreement", "cascade", "fooling"}


@pytest.fixture(scope="module")
def expected() -> list[Row]:
    return run_task(CONFIG, FOOLING, device="cpu").to_pylist()


def _patched(monkeypatch: pytest.MonkeyPatch, refuse: Callable[[Pictures], None]) -> list[int]:
    """Let the part refuse some batches; the sizes that it was called with."""
    sizes: list[int] = []
    original = study_tasks.rows_of

    def compute(context: Any, part: str, name: str, pictures: Pictures) -> list[list[Row]]:
        sizes.append(len(pictures))
        refuse(pictures)
        return original(context, part, name, pictures)

    monkeypatch.setattr(study_tasks, "rows_of", compute)
    return sizes


def assert_alike(rows: list[Row], expected: list[Row]) -> None:
    """Equal, but for what a batch of another size does to the rounding of float32."""
    for row, other in zip(rows, expected, strict=True):
        assert set(row) == set(other)
        for name, value in row.items():
            is_number = isinstance(value, float)
            assert value == (pytest.approx(other[name], rel=1e-4, abs=1e-4) if is_number else other[name]), name


MEMORY_ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError("numpy"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
]


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=lambda error: str(error)[-20:])
def test_errors_of_memory_are_known(error: Exception) -> None:
    assert study_tasks._is_memory(error)
    assert not study_tasks._is_memory(RuntimeError("shapes do not fit"))


def test_batch_out_of_memory_is_halved(monkeypatch: pytest.MonkeyPatch, expected: list[Row]) -> None:
    def refuse(pictures: Pictures) -> None:
        if len(pictures) > 2:
            raise MEMORY_ERRORS[0]

    sizes = _patched(monkeypatch, refuse)
    assert_alike(run_task(CONFIG, FOOLING, device="cpu").to_pylist(), expected)
    assert sizes == [4, 2, 2]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("too much"), "failed: out of memory for one picture (too much)"),
        (ValueError("a gradient that is NaN"), "failed: a gradient that is NaN"),
        (IndexError("of a library"), "failed: IndexError: of a library"),
    ],
)
def test_picture_that_fails_alone_has_all_its_rows(
    monkeypatch: pytest.MonkeyPatch, expected: list[Row], error: Exception, status: str
) -> None:
    failing = expected[2]["image"]

    def refuse(pictures: Pictures) -> None:
        if failing in pictures.ids:
            raise error

    _patched(monkeypatch, refuse)
    rows = run_task(CONFIG, FOOLING, device="cpu").to_pylist()
    kept = ("part", "position", "image", "label", "method", "budget")
    assert [row for row in rows if row["image"] == failing] == [
        dict.fromkeys(row) | {key: row[key] for key in kept} | {"status": status}
        for row in expected
        if row["image"] == failing
    ]
    assert_alike([row for row in rows if row["image"] != failing], [row for row in expected if row["image"] != failing])


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: device-side assert triggered"), ModuleNotFoundError("foolbox is missing")]
)
def test_what_no_picture_is_to_blame_for_is_raised(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(pictures: Pictures) -> None:
        raise error

    sizes = _patched(monkeypatch, refuse)
    with pytest.raises(type(error), match=str(error)):
        run_task(CONFIG, FOOLING, device="cpu").to_pylist()
    assert sizes == [4]


@pytest.fixture
def drawn_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A network that knows nothing, in place of the study's own."""
    study_tasks._context_of.cache_clear()
    monkeypatch.setattr(study_tasks, "load_classifier", lambda config: random_classifier())
    yield
    study_tasks._context_of.cache_clear()


@pytest.mark.parametrize(("part", "name"), [("fooling", "l2"), ("agreement", ""), ("cascade", ""), ("smallest", "l2")])
def test_misclassified_pictures_have_all_their_rows(drawn_network: None, part: str, name: str) -> None:
    config = replace(CONFIG, num_images=12, cams=("another",), candidates=2, refinements=0)
    context = study_tasks._context(config, "cpu")
    pictures, _, _ = context.source.batch(0, 12)
    right = (random_classifier()(pictures.images).argmax(1) == pictures.labels).tolist()
    assert 0 < sum(right) < 12
    rows = run_task(config, Task(part, name, 0, 12), device="cpu").to_pylist()
    keys = context.keys(part, name)
    assert len(rows) == 12 * len(keys)
    for place, row in enumerate(rows):
        position = place // len(keys)
        assert (row["position"], row["label"]) == (position, int(pictures.labels[position]))
        if not right[position]:
            assert row["status"] == "misclassified before the attack"
            wanted = keys[place % len(keys)]
            assert {key: row[key] for key in wanted} == wanted
            known = {name for name, value in row.items() if value is not None}
            assert known <= {*wanted, "part", "position", "image", "label", "status"}
        else:
            assert not row["status"].startswith(("failed", "misclassified"))


def test_unreadable_pictures_have_all_their_rows(drawn_network: None, tmp_path: Path) -> None:
    classifier, lines = random_classifier(), ["file,label"]
    pictures, _, _ = study_tasks.Source(CONFIG).batch(0, 4)
    for place, image in enumerate(pictures.images):
        Image.fromarray((255 * image).byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{place}.png")
        stored = (255 * image).byte()[None] / 255
        lines.append(f"{place}.png,{int(classifier(stored).argmax(1))}")
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:300])
    (tmp_path / "images.csv").write_text("\n".join(lines))
    config = replace(CONFIG, preset="imagenet", csv=str(tmp_path / "images.csv"))
    rows = run_task(config, FOOLING, device="cpu").to_pylist()
    assert [(row["image"], row["budget"]) for row in rows] == [
        (f"{place}.png", budget) for place in range(4) for budget in CONFIG.budgets
    ]
    for row in rows:
        is_damaged = row["image"] in ("1.png", "2.png")
        assert row["status"].startswith(f"failed: {row['image']} is truncated or damaged") == is_damaged
        assert (row["distance"] is None) == is_damaged
    assert len(run_task(config, Task("fooling", "l2", 1, 3), device="cpu").to_pylist()) == 4  # none of them readable


def test_bytes_grow_with_the_pixels_and_hold_the_first_layers_output() -> None:
    classifier = load_network("shapes")
    small, large = (study_tasks.bytes_of_gradient(classifier, side) for side in (64, 128))
    assert 3.5 < large / small < 4.1
    with torch.no_grad():
        first = classifier.network.features[0](torch.zeros(1, 3, 64, 64))
    assert small > 2 * 3 * first.numel() * 4  # convolution, batch norm and activation, each with its gradient
    assert not any(module._forward_hooks for module in classifier.modules())


@pytest.mark.parametrize(("pictures", "expected"), [(0.3, 1), (1.0, 1), (2.5, 2), (9.0, 8), (1e6, 32)])
def test_batch_fits_in_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch, pictures: float, expected: int) -> None:
    classifier = load_network("shapes")
    size = study_tasks.bytes_of_gradient(classifier, 64)
    monkeypatch.setattr(study_tasks, "free_memory", lambda device: int(2 * pictures * size) + 1)
    assert study_tasks.fitting_batch_size(classifier, 64) == expected
    assert study_tasks.fitting_batch_size(classifier, 64, workers=4) <= expected


def test_free_memory_of_this_machine_is_some() -> None:
    assert study_tasks.free_memory("cpu") > 2**20
