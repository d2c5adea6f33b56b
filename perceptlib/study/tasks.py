"""Tasks of a study: one part of it for one batch of pictures, from pictures to rows, in any process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import psutil
import pyarrow as pa
import torch
from torch import Tensor, nn

from perceptlib.attacks import Status
from perceptlib.maps import class_activation_map
from perceptlib.networks import Classifier
from perceptlib.records.device import chosen_device
from perceptlib.study.config import StudyConfig, config_from
from perceptlib.study.parts import Context, rows_of
from perceptlib.study.presets import Pictures, Source, load_classifier, writable
from perceptlib.study.rows import Row, table_of

NUM_OTHERS = 32  # pictures whose CAMs are the others' of shuffled AUC and of "another"
MOST = {"cpu": 32, "cuda": 256}  # pictures, beyond which a batch gains nothing
SHARE = 0.5  # of the free memory: other programs and the allocator's own pieces need the rest
PLANES = 80  # of double precision, of a picture's size, that measuring and scoring hold at once for a channel


@dataclass(frozen=True, order=True)
class Task:
    """One part of a study for some of its pictures."""

    part: str  # a kind of rows (`perceptlib.study.config.PARTS`)
    name: str  # attack, search or region; empty for parts that are done at once
    start: int  # positions of the pictures
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
    size = config.batch_size or 1
    for part, entries in names.items():
        for name in entries:
            limit = min(num_pictures, *(config.limits.get(word, num_pictures) for word in (part, name)))
            for start in range(0, limit, size):
                yield Task(part, name, start, min(start + size, limit))


def default_device() -> str:
    """The one that PERCEPTLIB_DEVICE names, else CUDA where there is one; the CPU for Apple's, which has no float64."""
    device = chosen_device("cuda" if torch.cuda.is_available() else "cpu")
    return "cpu" if device == "mps" else device


def run_task(config: StudyConfig, task: Task, *, device: str | None = None, context: Context | None = None) -> pa.Table:
    """Rows of a task: for each picture, method and budget, computed or not; ``status`` says what became of it.

    A picture that is misclassified from the start, or that fails, has nothing else; none raises. Errors are of the
    network, the list of pictures and a CUDA device that broke down. `device` is as for `run_study`; without a `context`
    that of the configuration is loaded, once per process.
    """
    device = device or default_device()
    # on CUDA as on the processor: products of 24 bits, and the same bits in every run
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return table_of(_rows(context or _context(config, device), task, device))


def make_context(config: StudyConfig, source: Source, classifier: Classifier, device: str) -> Context:
    """What the tasks share: pictures, network, and the CAMs of the first pictures, which each map is compared with."""
    if not config.maps and not config.cascade:
        return Context(config, source, classifier, torch.empty(0), ())
    pictures, _, _ = source.batch(0, min(NUM_OTHERS, len(source)))
    correct, _ = _by_answer(classifier, pictures, device)
    method: Any = "cam" if classifier.linear_layer is not None else "grad-cam"
    maps = [
        class_activation_map(classifier, part.images, part.labels, method=method)
        for part in correct.batches(config.batch_size)
    ]
    return Context(config, source, classifier, torch.cat(maps) if maps else torch.empty(0), correct.ids)


def _rows(context: Context, task: Task, device: str) -> list[Row]:
    pictures, named, failures = context.source.batch(task.start, task.stop)
    keys = context.keys(task.part, task.name)
    statuses = {named.ids[place - task.start]: _failed(reason) for place, reason in failures.items()}
    rows: dict[str, list[Row]] = {}
    if len(pictures):
        correct, misclassified = _by_answer(context.classifier, pictures, device)
        statuses |= dict.fromkeys(misclassified, str(Status.MISCLASSIFIED_BEFORE))
        rows = _halving(lambda some: rows_of(context, task.part, task.name, some), correct, statuses)
    done = []
    for offset, (name, label) in enumerate(zip(named.ids, named.labels.tolist(), strict=True)):
        place = {"part": task.part, "position": task.start + offset, "image": name, "label": label}
        found = rows[name] if name in rows else [key | {"status": statuses[name]} for key in keys]
        done += [place | row for row in found]
    return done


@lru_cache(maxsize=2)
def _context_of(content: str, device: str) -> Context:
    config = config_from(json.loads(content))
    classifier = load_classifier(config).to(device)
    return make_context(config, Source(config, size=classifier.input_size), classifier, device)


def _context(config: StudyConfig, device: str) -> Context:
    """Once per process: networks take seconds to load."""
    return _context_of(json.dumps(config.as_dict()), device)


@torch.no_grad()
def _by_answer(classifier: Classifier, pictures: Pictures, device: str) -> tuple[Pictures, tuple[str, ...]]:
    """The correctly classified ones, with the answer as their label and on the device, and the ids of the others."""
    masks = None if pictures.masks is None else pictures.masks.to(device)
    pictures = replace(pictures, images=pictures.images.to(device), masks=masks)
    answers: list[int] = []
    for image in pictures.images:  # one by one: an answer must not depend on the batch
        answers += classifier(image[None]).argmax(1).tolist()
    is_right = [answer in right for answer, right in zip(answers, pictures.accepted, strict=True)]
    answered = replace(pictures, labels=torch.tensor(answers, device=device))
    index = torch.tensor([place for place, right in enumerate(is_right) if right], dtype=torch.int64, device=device)
    wrong = tuple(name for name, right in zip(pictures.ids, is_right, strict=True) if not right)
    return answered.select(index), wrong


def _halving(
    compute: Callable[[Pictures], list[list[Row]]], pictures: Pictures, failures: dict[str, str]
) -> dict[str, list[Row]]:
    """Rows by picture, or why it failed: half the batch where memory ends, each alone where anything else fails."""
    if not len(pictures):
        return {}
    try:
        return dict(zip(pictures.ids, compute(pictures), strict=True))
    except ImportError:
        raise  # of no picture's making
    except Exception as error:  # a study of hours must not end, and not end again, at one picture
        if _is_memory(error):
            failure, size = f"out of memory for one picture ({error})", -(-len(pictures) // 2)
        elif "CUDA error" in str(error):
            raise
        else:
            kind = "" if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: "
            failure, size = f"{kind}{error}", 1
    if len(pictures) == 1:
        failures[pictures.ids[0]] = _failed(failure)
        return {}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    done: dict[str, list[Row]] = {}
    for part in pictures.batches(size):
        done |= _halving(compute, part, failures)
    return done


def _failed(reason: str) -> str:
    return f"failed: {writable(reason)}"


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # torch on a CPU (Linux, Windows), and CUDA and its libraries beside torch's own allocator
    signs = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def bytes_of_gradient(classifier: Classifier, side: int) -> int:
    """Memory that one picture of ``side`` x ``side`` pixels takes while its gradient is computed, in bytes.

    Every module's output is counted twice, for itself and for its gradient, and the attack's own maps are added.
    """
    total = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += 2 * output.numel() * output.element_size()

    leaves = [module for module in classifier.modules() if not any(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    try:
        with torch.no_grad():
            classifier(torch.zeros(1, classifier.mean.shape[1], side, side, device=classifier.mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    return total + 3 * PLANES * 8 * side * side


def free_memory(device: str) -> int:
    """Bytes that are free on "cpu" or a CUDA device."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return int(psutil.virtual_memory().available)


def fitting_batch_size(classifier: Classifier, side: int, *, device: str = "cpu", workers: int = 1) -> int:
    """The largest power of two of pictures whose gradients fit in half of the free memory, which `workers` share.

    1 to 32 on a CPU, 1 to 256 on a CUDA device.
    """
    room = SHARE * free_memory(device) / workers / bytes_of_gradient(classifier, side)
    most = MOST[torch.device(device).type]
    return 2 ** (min(max(int(room), 1), most).bit_length() - 1)
