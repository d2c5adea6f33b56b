"""A study in this process, with one worker and with two: what the scheduler costs and what a second core brings."""

from __future__ import annotations

import pytest

from perceptlib.study.config import StudyConfig
from perceptlib.study.runner import run_study

# Searches alone: they are most of a study. Long enough that the start of the workers, which is timed too, weighs as it
# does in a study of minutes.
STUDY = StudyConfig(
    num_images=1024,
    attacks=(),
    searches=("l2", "ssim"),
    maps=(),
    cams=(),
    cascade=(),
    regions=(),
    refinements=5,
    batch_size=8,
)
RUNS = {"one worker": 1, "in this process, no scheduler": None, "two workers": 2}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("repeat", range(3))
def bench_workers(benchmark, tmp_path, name: str, repeat: int) -> None:
    benchmark.extra_info.update(
        table=f"Study of {STUDY.num_images} pictures of shapes, batches of {STUDY.batch_size}, one thread each",
        row=name,
        repeat=repeat,
    )
    rows = benchmark.pedantic(run_study, args=(STUDY, tmp_path), kwargs={"workers": RUNS[name]}, rounds=1)
    assert len(rows) == STUDY.num_images * len(STUDY.searches)
