"""Tasks of a study: one part of it for one batch of pictures, from pictures to rows, in any process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from perceptlib.attacks import Status
from perceptlib.maps import class_activation_map
from perceptlib.networks import Classifier
from perceptlib.study.config import StudyConfig, config_from
from perceptlib.study.parts import PARTS, Context
from perceptlib.study.pictures import Source, load_classifier
from perceptlib.study.presets import Pictures
from perceptlib.study.rows import Row, table_of

FAILED = "failed"
NUM_OTHERS = 32  # pictures whose CAMs are the others' of shuffled AUC and of "another"


@dataclass(frozen=True, order=True)
class Task:
    """One part of a study for some of its pictures.

    Attributes
    ----------
    part
        A kind of rows (`perceptlib.study.config.PARTS`).
    name
        Attack, search or region; empty for parts that are done at once.
    start, stop
        Positions of the pictures.
    """

    part: str
    name: str
    start: int
    stop: int

    @property
    def file(self) -> str:
        """Name of its rows' file."""
        return "-".join(word for word in (self.part, self.name, f"{self.start:06d}") if word) + ".parquet"


def tasks_of(config: StudyConfig, num_pictures: int) -> Iterator[Task]:
    """Every task of a study once; the quick parts first."""
    names = {
        "agreement": ("",) if config.maps and config.cams else (),
        "cascade": ("",) if config.cascade else (),
        "fooling": config.attacks if config.budgets else (),
        "regions": config.regions,
        "smallest": config.searches,
    }
    for part, entries in names.items():
        for name in entries:
            limit = min(config.limits.get(part, num_pictures), config.limits.get(name, num_pictures), num_pictures)
            for start in range(0, limit, config.batch_size or 1):
                yield Task(part, name, start, min(start + (config.batch_size or 1), limit))


def default_device() -> str:
    """CUDA where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def run_task(config: StudyConfig, task: Task, *, device: str | None = None) -> pa.Table:
    """Rows of one task.

    Parameters
    ----------
    config
        The study.
    task
        One of `tasks_of`.
    device
        "cpu" or a CUDA device of torch; None for `default_device`.

    Returns
    -------
    pyarrow.Table
        A row for every picture, method and budget of the task, computed or not: ``status`` says what became of it.
        A picture that is misclassified from the start, or that fails, has nothing else.

    Raises
    ------
    FileNotFoundError, ValueError, ConnectionError
        The network or the list of pictures cannot be loaded; no picture alone raises.
    RuntimeError
        The CUDA device broke down: nothing that follows on it would be right.
    """
    device = device or default_device()
    # on CUDA as on the processor: products of 24 bits, and the same bits in every run
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return table_of(_rows(_context(config, device), task, device))


def _rows(context: Context, task: Task, device: str) -> list[Row]:
    compute = PARTS[task.part]
    pictures, named, failures = context.source.batch(task.start, task.stop)
    rows: dict[str, list[Row]] = {}
    for position, reason in failures.items():
        rows[named.ids[position - task.start]] = [{"status": f"{FAILED}: {reason}"}]
    if len(pictures):
        right, wrong = _by_answer(context.classifier, pictures, device)
        for name in wrong:
            rows[name] = [{"status": str(Status.MISCLASSIFIED_BEFORE)}]
        rows |= _halving(lambda some: compute(context, task.name, some), right)
    keys = context.keys(task.part, task.name)
    done = []
    for offset, (name, label) in enumerate(zip(named.ids, named.labels.tolist(), strict=True)):
        found = rows[name]
        if "method" not in found[0]:
            found = [key | found[0] for key in keys]
        place = {"part": task.part, "position": task.start + offset, "image": name}
        done += [place | {"label": label} | row for row in found]
    return done


@lru_cache(maxsize=2)
def _context_of(content: str, device: str) -> Context:
    config = config_from(json.loads(content))
    classifier = load_classifier(config).to(device)
    source = Source(config, size=classifier.input_size)
    others, positions = _other_cams(config, source, classifier, device)
    return Context(config=config, source=source, classifier=classifier, others=others, other_ids=positions)


def _context(config: StudyConfig, device: str) -> Context:
    """Once per process: networks take seconds to load."""
    return _context_of(json.dumps(config.as_dict()), device)


def _other_cams(
    config: StudyConfig, source: Source, classifier: Classifier, device: str
) -> tuple[Tensor, tuple[str, ...]]:
    """CAMs of the first pictures, which every batch is compared with alike."""
    pictures, _, _ = source.batch(0, min(NUM_OTHERS, len(source)))
    right, _ = _by_answer(classifier, pictures, device)
    method: Any = "cam" if classifier.linear_layer is not None else "grad-cam"
    maps = [
        class_activation_map(classifier, part.images, part.labels, method=method)
        for part in right.batches(config.batch_size)
    ]
    return torch.cat(maps) if maps else torch.empty(0), right.ids


@torch.no_grad()
def _by_answer(classifier: Classifier, pictures: Pictures, device: str) -> tuple[Pictures, tuple[str, ...]]:
    """Those named rightly, with the answer as their label and on the device, and the ids of the others."""
    pictures = replace(
        pictures,
        images=pictures.images.to(device),
        labels=pictures.labels.to(device),
        masks=None if pictures.masks is None else pictures.masks.to(device),
    )
    answers: list[int] = []
    for image in pictures.images:  # one by one: an answer must not depend on the batch
        answers += classifier(image[None]).argmax(1).tolist()
    is_right = [answer in right for answer, right in zip(answers, pictures.accepted, strict=True)]
    named = replace(pictures, labels=torch.tensor(answers, device=device))
    index = torch.tensor([place for place, right in enumerate(is_right) if right], dtype=torch.int64, device=device)
    wrong = tuple(name for name, right in zip(pictures.ids, is_right, strict=True) if not right)
    return named.select(index), wrong


def _halving(compute: Callable[[Pictures], list[list[Row]]], pictures: Pictures) -> dict[str, list[Row]]:
    """Rows of each picture by its id: half the batch where memory ends, each alone where anything else fails."""
    if not len(pictures):
        return {}
    try:
        return dict(zip(pictures.ids, compute(pictures), strict=True))
    except ImportError:
        raise  # of no picture's making
    except Exception as error:  # a study of hours must not end, and not end again, at one picture
        if _is_memory(error):
            failure, size = f"{FAILED}: out of memory for one picture ({error})", -(-len(pictures) // 2)
        elif "CUDA error" in str(error):
            raise
        else:
            kind = "" if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: "
            failure, size = f"{FAILED}: {kind}{error}", 1
    if len(pictures) == 1:
        return {pictures.ids[0]: [{"status": failure}]}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    done: dict[str, list[Row]] = {}
    for part in pictures.batches(size):
        done |= _halving(compute, part)
    return done


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # torch on a CPU (Linux, Windows), and CUDA and its libraries beside torch's own allocator
    signs = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
