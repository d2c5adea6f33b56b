"""Tasks of a study: one part of it for one batch of pictures, from pictures to rows, in any process."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import psutil
import pyarrow as pa
import torch
from torch import Tensor, nn

from perceptlib.attacks import AttackResult, Status, maximize_loss, smallest
from perceptlib.balls import Ball, SSIMBall
from perceptlib.judges.curves import EMPTIES, area, curves
from perceptlib.maps import agreement as agreement_scores
from perceptlib.maps import class_activation_map
from perceptlib.maps.controls import control_maps, equal_distance_noise, log_variance, white_noise
from perceptlib.maps.spatial import partial_correlation, shift_p_value, shuffled_auc
from perceptlib.networks import Classifier
from perceptlib.records.device import chosen_device
from perceptlib.rivals import baselines, smallest_pgd
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import attack_at_distance, ball_of, judged
from perceptlib.study.config import PERTURBATIONS, StudyConfig, config_from
from perceptlib.study.localisation import RANDOM, Q, in_mask, margin_gradient, steepest_map
from perceptlib.study.presets import Pictures, Source, load_classifier, writable
from perceptlib.study.randomisation import numbers_of_stages, randomise
from perceptlib.study.regions import background_region, bottom_region, object_region, random_region, top_region
from perceptlib.study.rows import Row, table_of

Results = Iterator[list[Row]]  # for each key (`Context.keys`) the columns of every picture
NUM_OTHERS = 32  # pictures whose CAMs are the others' of shuffled AUC and of "another"
MOST = {"cpu": 32, "cuda": 256}  # pictures, beyond which a batch gains nothing
SHARE = 0.5  # of the free memory: other programs and the allocator's own pieces need the rest
PLANES = 80  # of double precision, of a picture's size, that measuring and scoring hold at once for a channel
ANY_BUDGET = 0.01  # the radius of a ball does not matter to a search
SCORED, UNDEFINED = "scored", "undefined: a map without mass"
_ATTACK_COLUMNS = (
    *("margin_before", "margin_after", "is_adversarial", "is_adversarial_8bit", "distance", "distance_8bit"),
    *("mean_ssim", "linf", "l2", "violation", "steps", "gradients", "status"),
)


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
        "curves": ("",) if config.curves and config.maps and config.cams else (),
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


@dataclass(frozen=True)
class Context:
    """What all tasks of a study share in one process."""

    config: StudyConfig
    source: Source
    classifier: Classifier
    others: Tensor  # (M, H, W): CAMs of the first pictures
    other_ids: tuple[str, ...]
    _randomised: dict[int, Classifier] = field(default_factory=dict)

    def others_than(self, name: str) -> Tensor:
        """CAMs of the first pictures without a picture's own, (M, H, W)."""
        return self.others[[place for place, other in enumerate(self.other_ids) if other != name]]

    @property
    def cam_method(self) -> Any:
        """The CAM that regions and randomised networks are compared with: the first of the configuration."""
        fallback = "cam" if self.classifier.linear_layer is not None else "grad-cam"
        return next((method for method in self.config.cams if method != "another"), fallback)

    def randomised(self, num_stages: int) -> Classifier:
        """The network with its first stages from the top drawn anew, made once per process."""
        if num_stages not in self._randomised:
            self._randomised[num_stages] = randomise(self.classifier, num_stages, seed=self.config.seed)
        return self._randomised[num_stages]

    def cascade(self) -> list[int]:
        """Numbers of randomised stages."""
        return numbers_of_stages(self.classifier, self.config.cascade)

    def keys(self, part: str, name: str) -> list[Row]:
        """Columns that tell the rows of one picture apart, in the order of the part's results."""
        config = self.config
        if part in ("agreement", "curves"):  # no perturbation makes a control map
            methods = config.maps if part == "agreement" else config.curves
            budgets = {method: config.map_budget if method in PERTURBATIONS else None for method in methods}
            maps = [{"method": method, "budget": budget} for method, budget in budgets.items()]
            return [method | {"cam": cam} for cam in config.cams for method in maps] if part == "agreement" else maps
        if part == "cascade":
            shared = {"method": "ssim", "budget": config.map_budget, "cam": self.cam_method}
            return [shared | {"stage": number} for number in self.cascade()]
        if part == "fooling":
            return [{"method": name, "budget": budget} for budget in config.budgets]
        if part == "regions":
            return [{"method": "ssim", "region": name, "budget": budget} for budget in (*config.region_budgets, None)]
        if name.endswith("_8bit") and config.judges:
            judged = [{"part": "judges", "method": name, "budget": loss} for loss in (None, *config.judge_losses)]
            return [{"part": part, "method": name, "budget": None}, *judged]
        return [{"method": name}]


def fooling(context: Context, name: str, pictures: Pictures) -> Results:
    """Attack in one ball, ending at every SSIM distance; "fgsm" is one step in the linf ball."""
    config = context.config
    method, steps = ("linf", 1) if name == "fgsm" else (name, config.steps)
    for budget in config.budgets:
        result = attack_at_distance(
            context.classifier, pictures.images, pictures.labels, method, budget, steps=steps, cg_steps=config.cg_steps
        )
        yield _attack_rows(result)


def search(context: Context, name: str, pictures: Pictures) -> Results:
    """The smallest perturbation that one method finds."""
    config, classifier, images, labels = context.config, context.classifier, pictures.images, pictures.labels
    if name == "deepfool":
        result = baselines.deepfool(classifier, images, labels, candidates=config.candidates)
    elif name == "carlini_wagner":
        result = baselines.carlini_wagner(classifier, images, labels)
    elif name.startswith("pgd_"):
        result = smallest_pgd(classifier, images, labels, name, steps=config.steps, cg_steps=config.cg_steps)
    else:
        ball = ball_of(name.removesuffix("_8bit"), images, ANY_BUDGET, cg_steps=config.cg_steps)
        result = _smallest(config, classifier, pictures, ball, eight_bit=name.endswith("_8bit"))
    yield _attack_rows(result)
    if name.endswith("_8bit") and config.judges:
        for compared, columns in judged(config, classifier, pictures.images, pictures.labels, result):
            yield [row | more for row, more in zip(_attack_rows(compared), columns, strict=True)]


def regions(context: Context, name: str, pictures: Pictures) -> Results:
    """The SSIM-ball attack with r = 0 outside a region: at every distance, then the smallest perturbation."""
    config, classifier, images = context.config, context.classifier, pictures.images
    support = _support(context, name, pictures)
    shares = support.double().mean((1, 2)).tolist()
    for budget in (*config.region_budgets, None):
        ball = SSIMBall(images, budget or ANY_BUDGET, cg_steps=config.cg_steps, support=support)
        if budget is None:
            result = _smallest(config, classifier, pictures, ball)
        else:
            result = maximize_loss(classifier, images, pictures.labels, ball, steps=config.steps)
        yield [row | {"mask_share": share} for row, share in zip(_attack_rows(result), shares, strict=True)]


def agreement(context: Context, name: str, pictures: Pictures) -> Results:
    """Every map of every picture against every CAM, with the scores that control for place and texture."""
    maps = _maps(context, pictures, context.config.maps)
    cams = {method: _cam(context, method, pictures) for method in context.config.cams}
    covariate = log_variance(pictures.images)
    for cam in cams.values():
        for change in maps.values():
            yield _score_rows(context, change, cam, covariate, pictures)


def insertion_and_deletion(context: Context, name: str, pictures: Pictures) -> Results:
    """Areas under the curves of every map, by what stands where a pixel is not."""
    for change in _maps(context, pictures, context.config.curves).values():
        has_mass = change.flatten(1).any(1).tolist()
        columns: dict[str, list[float]] = {}
        for empty in EMPTIES:
            both = curves(
                context.classifier,
                *(pictures.images, pictures.labels, change),
                empty=empty,
                steps=context.config.curve_steps,
            )
            for kind, curve in zip(("insertion", "deletion"), both, strict=True):
                columns[f"{kind}_{empty}"] = area(curve).tolist()
        yield [
            {name: values[place] if mass else math.nan for name, values in columns.items()}
            | {"status": SCORED if mass else UNDEFINED}
            for place, mass in enumerate(has_mass)
        ]


def cascade(context: Context, name: str, pictures: Pictures) -> Results:
    """The SSIM ball's change map for the gradient of a randomised network, against the trained network's CAM."""
    images, labels, config = pictures.images, pictures.labels, context.config
    cam, covariate = _cam(context, context.cam_method, pictures), log_variance(images)
    ball = ball_of("ssim", images, config.map_budget, cg_steps=config.cg_steps)
    for number in context.cascade():
        gradient = margin_gradient(context.randomised(number), images, labels)
        change = steepest_map(gradient, images, ball, config.map_budget)
        yield _score_rows(context, change, cam, covariate, pictures)


PARTS: Mapping[str, Callable[[Context, str, Pictures], Results]] = {
    "agreement": agreement,
    "cascade": cascade,
    "curves": insertion_and_deletion,
    "fooling": fooling,
    "regions": regions,
    "smallest": search,
}


def rows_of(context: Context, part: str, name: str, pictures: Pictures) -> list[list[Row]]:
    """Rows of each of some correctly classified pictures."""
    keys, results = context.keys(part, name), PARTS[part](context, name, pictures)
    named = [[key | row for row in rows] for key, rows in zip(keys, results, strict=True)]
    return [list(rows) for rows in zip(*named, strict=True)]


def _maps(context: Context, pictures: Pictures, methods: Sequence[str]) -> dict[str, Tensor]:
    """(N, H, W) for each of some maps: one step at one distance, and what no perturbation makes."""
    config, images = context.config, pictures.images
    budget = config.map_budget
    gradient = margin_gradient(context.classifier, images, pictures.labels)
    controls = control_maps(images, gradient)
    maps = {}
    for method in methods:
        if method in controls:
            maps[method] = controls[method]
        elif method == "cam":
            maps[method] = _cam(context, context.cam_method, pictures)
        elif method == "noise_map":  # each pixel by itself
            maps[method] = white_noise(images, seed=config.seed).square().sum(1)
        elif method == "noise":
            maps[method] = ssim.change_map(images, equal_distance_noise(images, budget, seed=config.seed))
        else:
            ball = ball_of(RANDOM.get(method, method), images, budget, cg_steps=config.cg_steps)
            drawn = {"seed": config.seed} if method in RANDOM else {}
            maps[method] = steepest_map(gradient, images, ball, budget, **drawn)
    return maps


def _cam(context: Context, method: Any, pictures: Pictures) -> Tensor:
    """(N, H, W); "another": the CAM of the next of the first pictures, zero where there is no other."""
    if method != "another":
        return class_activation_map(context.classifier, pictures.images, pictures.labels, method=method)
    ids = context.other_ids
    maps = torch.zeros_like(pictures.images[:, 0])
    for place, name in enumerate(pictures.ids):
        by_name = sum((letter_place + 1) * letter for letter_place, letter in enumerate(name.encode()))
        if set(ids) - {name}:
            maps[place] = context.others[(ids.index(name) + 1 if name in ids else by_name) % len(ids)]
    return maps


def _score_rows(context: Context, change: Tensor, cam: Tensor, covariate: Tensor, pictures: Pictures) -> list[Row]:
    scores = dict(agreement_scores(change, cam, q=Q))
    scores["shift_p_value"] = shift_p_value(change, cam, q=Q)
    scores["partial_spearman"] = partial_correlation(change, cam, covariate)
    scores["shuffled_auc"] = torch.full((len(pictures),), torch.nan, dtype=torch.float64)
    for place, name in enumerate(pictures.ids):
        others = context.others_than(name)
        if len(others):
            scores["shuffled_auc"][place] = shuffled_auc(change[[place]], cam[[place]], others, q=Q)[0]
    if pictures.masks is not None:
        scores |= in_mask(change, pictures.masks)
    columns = {name: values.tolist() for name, values in scores.items()}
    columns["status"] = [UNDEFINED if math.isnan(energy) else SCORED for energy in columns["energy_in_top_q"]]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _support(context: Context, name: str, pictures: Pictures) -> Tensor:
    """(N, H, W), bool."""
    share, seed = context.config.region_share, context.config.seed
    if name in ("object", "background"):
        if pictures.masks is None:
            raise ValueError(f"region {name!r} needs the object's outline, which shapes alone have; leave it out")
        return object_region(pictures.masks) if name == "object" else background_region(pictures.masks, seed=seed)
    cam = _cam(context, context.cam_method, pictures)
    if name == "random":
        return random_region(cam, share, seed=seed)
    if not bool(cam.flatten(1).any(1).all()):
        raise ValueError("the CAM is zero everywhere: it has no top and no bottom")
    return top_region(cam, share) if name == "top" else bottom_region(cam, share)


def _smallest(
    config: StudyConfig, classifier: Classifier, pictures: Pictures, ball: Ball, **options: Any
) -> AttackResult:
    options |= {"candidates": config.candidates, "refinements": config.refinements}
    return smallest(classifier, pictures.images, pictures.labels, ball, **options)


def _attack_rows(result: AttackResult) -> list[Row]:
    return [{key: row[key] for key in _ATTACK_COLUMNS} for row in result.rows()]


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
    correct = _correctly_classified(classifier, source.batch(0, min(NUM_OTHERS, len(source)))[0], device)
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
        correct = _correctly_classified(context.classifier, pictures, device)
        statuses |= dict.fromkeys({*pictures.ids} - {*correct.ids}, str(Status.MISCLASSIFIED_BEFORE))
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
def _correctly_classified(classifier: Classifier, pictures: Pictures, device: str) -> Pictures:
    """Those that are, on the device, with the answer as their label."""
    masks = None if pictures.masks is None else pictures.masks.to(device)
    pictures = replace(pictures, images=pictures.images.to(device), masks=masks)
    # one by one: an answer must not depend on the batch
    return pictures.correct([int(classifier(image[None]).argmax(1)) for image in pictures.images])


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
