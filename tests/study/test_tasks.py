"""Tasks of a study: every picture gets every row, and each is that of independent code: attacks by hand, scikit-image's
SSIM, scipy's statistics, plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference_maps import top_share
from scipy import optimize, stats
from skimage import color
from skimage.metrics import structural_similarity
from small_networks import random_classifier

from perceptlib.attacks import maximize_loss
from perceptlib.balls import SSIMBall
from perceptlib.maps import class_activation_map
from perceptlib.study import tasks as study_tasks
from perceptlib.study.config import JUDGES, STUDIES, StudyConfig
from perceptlib.study.presets import Pictures, load_network
from perceptlib.study.randomisation import randomise
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
    names += [("regions", region) for region in config.regions]
    names += [("agreement", ""), ("cascade", ""), ("curves", "")]
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
    assert not {task.part for task in tasks_of(nothing, 4)} & {"agreement", "cascade", "curves", "fooling"}


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


@pytest.mark.parametrize(
    ("part", "name"),
    [*((one, "") for one in ("agreement", "cascade", "curves")), ("fooling", "l2"), ("smallest", "l2_8bit")],
)
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


THREE = StudyConfig(
    num_images=3,
    budgets=(0.01,),
    steps=2,
    cg_steps=2,
    maps=("l2", "squared_gradient"),
    map_budget=0.002,
    cams=("cam", "another"),
    cascade=(0, -1),
    curves=("l2", "cam", "squared_gradient"),
    curve_steps=2,
    judge_losses=(0.5, 2.0),
    region_budgets=(0.003,),
    candidates=2,
    refinements=0,
)
BORDER, Q = 5, 0.2
ROUNDING = 2e-3  # scores of maps of float32 gradients, whose scaling ends within 1e-3 of its distance


@pytest.fixture(scope="module")
def context() -> study_tasks.Context:
    return study_tasks._context(THREE, "cpu")


@pytest.fixture(scope="module")
def pictures(context: study_tasks.Context) -> Any:
    pictures = context.source.batch(0, 3)[0]
    assert (context.classifier(pictures.images).argmax(1) == pictures.labels).all()
    return pictures


def ssim_map(first: Any, second: Any) -> Any:
    """Mean over the channels of scikit-image's map, all windows."""
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    return np.mean(
        [structural_similarity(a, b, data_range=1, **options)[1] for a, b in zip(first, second, strict=True)], axis=0
    )


def as_array(tensor: Any) -> Any:
    return tensor.detach().double().numpy()


@pytest.mark.parametrize(("name", "steps"), [("ssim", 2), ("fgsm", 1)])
def test_fooling_rows_are_the_attack_by_hand(
    context: study_tasks.Context, pictures: Any, name: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = run_task(THREE, Task("fooling", name, 0, 3), device="cpu").to_pylist()
    for place, row in enumerate(rows):
        image, label = pictures.images[[place]], pictures.labels[[place]]
        if name == "ssim":
            ball: Any = SSIMBall(image, 0.01, cg_steps=2)
            adversarial = maximize_loss(context.classifier, image, label, ball, steps=steps).adversarial
        else:  # one sign step, scaled along its clipped ray
            gradient = attack_gradient(context, image, label)
            adversarial = on_ray(image, gradient.sign(), 0.01)
        logits = context.classifier(adversarial)[0].double()
        others = torch.cat([logits[: int(label)], logits[int(label) + 1 :]])
        assert row["margin_after"] == pytest.approx(float(logits[int(label)] - others.max()), abs=2e-2)
        assert row["is_adversarial"] == (row["margin_after"] < 0)
        similarity = ssim_map(as_array(image[0]), as_array(adversarial[0]))
        assert row["distance"] == pytest.approx(1 - similarity.mean(), rel=1e-2)
        inner = similarity[BORDER:-BORDER, BORDER:-BORDER]
        assert row["mean_ssim"] == pytest.approx(inner.mean(), abs=2e-4)
        difference = as_array(adversarial - image)
        assert row["linf"] == pytest.approx(np.abs(difference).max(), rel=1e-2)
        assert row["l2"] == pytest.approx(np.linalg.norm(difference), rel=1e-2)
        assert row["distance"] <= 0.01 * (1 + 1e-3)


def attack_gradient(context: study_tasks.Context, image: Any, label: Any) -> Any:
    """Of the cross entropy."""
    given = image.clone().requires_grad_(True)
    logits = context.classifier(given)
    loss = torch.logsumexp(logits, 1) - logits[0, int(label)]
    return torch.autograd.grad(loss.sum(), given)[0]


def on_ray(image: Any, direction: Any, budget: float) -> Any:
    """Clipped ray at one SSIM distance, by scikit-image and a root finder."""
    clean = as_array(image[0])

    def excess(logarithm: float) -> float:
        changed = np.clip(clean + math.exp(logarithm) * as_array(direction[0]), 0, 1)
        return float(1 - ssim_map(clean, changed).mean() - budget)

    length = math.exp(optimize.brentq(excess, -15, 8, xtol=1e-7))
    return (image + length * direction).clamp(0, 1)


def scores_by_hand(change: Any, cam: Any, others: Any) -> dict[str, float]:
    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    change, cam, others = change[inner], cam[inner], [other[inner] for other in others]
    top = top_share(cam, Q)
    energy = (change * top).sum() / change.sum()
    shifted = [
        (np.roll(change, (rows, columns), (0, 1)) * top).sum() / change.sum()
        for rows in range(0, change.shape[0])
        for columns in range(0, change.shape[1])
    ]
    inside = top > 0.5
    wins = stats.mannwhitneyu(change[inside], change[~inside]).statistic / (inside.sum() * (~inside).sum())
    negatives = sum(top_share(other, Q) for other in others)
    values, weights = np.argsort(np.argsort(change.ravel())), negatives.ravel()
    below = np.zeros(change.size)
    order = np.argsort(values)
    below[order] = np.cumsum(weights[order]) - weights[order] / 2
    return {
        "energy_in_top_q": energy,
        "pearson": stats.pearsonr(change.ravel(), cam.ravel()).statistic,
        "spearman": stats.spearmanr(change.ravel(), cam.ravel()).statistic,
        "auc": wins,
        "shift_p_value": np.mean(np.array(shifted) >= energy - 1e-9),
        "shuffled_auc": (top.ravel() * below).sum() / (top.sum() * weights.sum()),
    }


def test_agreement_rows_are_those_of_plain_loops(context: study_tasks.Context, pictures: Any) -> None:
    rows = run_task(THREE, Task("agreement", "", 0, 3), device="cpu").to_pylist()
    cams = as_array(class_activation_map(context.classifier, pictures.images, pictures.labels, method="cam"))
    place, image, label = 1, pictures.images[[1]], pictures.labels[[1]]
    given = image.clone().requires_grad_(True)
    logits = context.classifier(given)[0]
    second = torch.cat([logits[: int(label)], logits[int(label) + 1 :]]).max()
    (gradient,) = torch.autograd.grad(second - logits[int(label)], given)
    change = 1 - ssim_map(as_array(image[0]), as_array(on_ray(image, gradient / gradient.norm(), 0.002)[0]))
    maps = {"l2": change, "squared_gradient": (as_array(gradient[0]) ** 2).sum(0)}
    others = [cams[0], cams[2]]
    for cam_name, cam in (("cam", cams[1]), ("another", cams[2])):
        for method, found in maps.items():
            (row,) = [row for row in rows if (row["position"], row["cam"], row["method"]) == (place, cam_name, method)]
            for name, value in scores_by_hand(found, cam, others).items():
                assert row[name] == pytest.approx(value, abs=ROUNDING * 3), (cam_name, method, name)
            assert row["budget"] == (0.002 if method == "l2" else None)
            assert row["status"] == "scored"
            mask = as_array(pictures.masks[place])
            assert row["energy_in_mask"] == pytest.approx((found * mask).sum() / found.sum(), abs=ROUNDING)


def test_curve_rows_are_areas_of_the_networks_answers(context: study_tasks.Context, pictures: Any) -> None:
    rows = run_task(THREE, Task("curves", "", 0, 3), device="cpu").to_pylist()
    maps = [(row["method"], row["budget"]) for row in rows[:3]]
    assert maps == [("l2", 0.002), ("cam", None), ("squared_gradient", None)]
    place, image, label = 1, pictures.images[1], int(pictures.labels[1])
    given = image[None].clone().requires_grad_(True)
    logits = context.classifier(given)[0]
    second = torch.cat([logits[:label], logits[label + 1 :]]).max()
    (gradient,) = torch.autograd.grad(second - logits[label], given)
    order = gradient[0].square().sum(0).flatten().argsort(descending=True)
    half = torch.zeros(64 * 64, dtype=torch.bool)
    half[order[: 64 * 64 // 2]] = True
    half, mean = half.view(64, 64), image.mean((1, 2), keepdim=True).expand_as(image)

    def probability(picture: torch.Tensor) -> float:
        return float(context.classifier(picture[None])[0].double().softmax(0)[label])

    ends = probability(image) + probability(mean)
    (row,) = [row for row in rows if (row["position"], row["method"]) == (place, "squared_gradient")]
    inserted, deleted = probability(torch.where(half, image, mean)), probability(torch.where(half, mean, image))
    assert row["insertion_mean"] == pytest.approx(ends / 4 + inserted / 2, abs=1e-3)
    assert row["deletion_mean"] == pytest.approx(ends / 4 + deleted / 2, abs=1e-3)
    assert row["insertion_blur"] != row["insertion_mean"] and row["status"] == "scored"


def test_map_without_mass_has_no_curves(pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_tasks, "class_activation_map", lambda *_, **__: torch.zeros(3, 64, 64))
    rows = run_task(THREE, Task("curves", "", 0, 3), device="cpu").to_pylist()
    undefined = [row for row in rows if row["method"] == "cam"]
    assert {row["status"] for row in undefined} == {"undefined: a map without mass"}
    assert all(math.isnan(row["deletion_blur"]) for row in undefined)
    assert {row["status"] for row in rows if row["method"] != "cam"} == {"scored"}


@pytest.mark.parametrize("name", ["l2_8bit", "ssim_8bit"])
def test_judges_look_at_what_8_bit_searches_find(
    context: study_tasks.Context, pictures: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []

    def kept(*arguments: Any, original: Any = study_tasks.smallest, **options: Any) -> Any:
        results.append(original(*arguments, **options))
        return results[-1]

    monkeypatch.setattr(study_tasks, "smallest", kept)
    rows = run_task(THREE, Task("smallest", name, 0, 3), device="cpu").to_pylist()
    keys = [("smallest", None), ("judges", None), ("judges", 0.5), ("judges", 2.0)]
    assert [(row["part"], row["budget"]) for row in rows] == keys * 3
    lab = [
        [color.rgb2lab(as_array(image).transpose(1, 2, 0)) for image in images]
        for images in (pictures.images, results[0].adversarial)
    ]
    grid = 255 * results[0].adversarial
    assert torch.allclose(grid, grid.round(), atol=1e-4)
    for place in range(3):
        search, judged, *scaled = rows[4 * place : 4 * place + 4]
        difference = color.deltaE_ciede2000(lab[0][place], lab[1][place])
        assert judged["ciede2000"] == pytest.approx(difference.mean(), rel=1e-4)
        assert judged["ciede2000_99"] == pytest.approx(np.quantile(difference, 0.99), rel=1e-4)
        assert {"ciede2000", "ciede2000_99"} <= set(judged["judges"].split()) <= set(THREE.judges)
        assert "ms_ssim" not in judged["judges"].split()  # needs a larger picture
        assert all((judged[one] is not None) == (one in judged["judges"].split()) for one in JUDGES)
        assert judged["l2"] == search["l2"] and search["judges"] is None and search["ciede2000"] is None
        for loss, row in zip(THREE.judge_losses, scaled, strict=True):
            assert row["ciede2000"] == pytest.approx(loss, rel=5e-3) and row["judges"] == "ciede2000"
            assert row["is_adversarial"] == (row["margin_after"] < 0)
            assert (row["l2"] > search["l2"]) == (loss > judged["ciede2000"])
        assert scaled[0]["l2"] < scaled[1]["l2"]
    alone = replace(THREE, judges=())
    assert [row["part"] for row in run_task(alone, Task("smallest", name, 0, 1), device="cpu").to_pylist()] == [
        "smallest"
    ]


def test_another_cam_is_never_the_own_and_absent_where_there_is_none(
    context: study_tasks.Context, pictures: Any
) -> None:
    cams = class_activation_map(context.classifier, pictures.images, pictures.labels, method="cam")
    assert torch.allclose(study_tasks._cam(context, "another", pictures), cams[[1, 2, 0]], atol=1e-5)
    assert len(context.others_than(pictures.ids[0])) == 2
    alone = study_tasks.Context(THREE, context.source, context.classifier, context.others[:1], context.other_ids[:1])
    found = study_tasks._cam(alone, "another", pictures)
    assert not found[0].any()
    assert torch.allclose(found[1:], cams[[0, 0]], atol=1e-5)
    none = study_tasks.Context(THREE, context.source, context.classifier, torch.empty(0), ())
    assert not study_tasks._cam(none, "another", pictures).any()
    rows = study_tasks.rows_of(alone, "agreement", "", pictures.head(1))[0]
    assert {(row["cam"], row["status"]) for row in rows} == {
        ("cam", "scored"),
        ("another", "undefined: a map without mass"),
    }
    assert all(math.isnan(row["shuffled_auc"]) for row in rows)


def test_cascade_starts_at_the_trained_network_and_ends_at_a_drawn_one(
    context: study_tasks.Context, pictures: Any
) -> None:
    rows = run_task(THREE, Task("cascade", "", 0, 3), device="cpu").to_pylist()
    assert [row["stage"] for row in rows[:2]] == context.cascade()
    assert context.cascade()[0] == 0
    drawn = context.randomised(context.cascade()[1])
    again = randomise(context.classifier, context.cascade()[1], seed=THREE.seed)
    assert torch.equal(drawn(pictures.images), again(pictures.images))
    assert not torch.allclose(drawn(pictures.images), context.classifier(pictures.images))
    config = StudyConfig(**(vars(THREE) | {"maps": ("ssim",), "cams": ("cam",)}))
    same = run_task(config, Task("agreement", "", 0, 3), device="cpu").to_pylist()
    for row, other in zip(rows[::2], same, strict=True):
        assert row["energy_in_top_q"] == pytest.approx(other["energy_in_top_q"], abs=1e-6)
    assert any(abs(a["spearman"] - b["spearman"]) > 1e-3 for a, b in zip(rows[::2], rows[1::2], strict=True))


@pytest.mark.parametrize("name", ["bottom", "random", "background"])
def test_regions_change_nothing_outside_and_have_equal_area(
    context: study_tasks.Context, pictures: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for function in ("maximize_loss", "smallest"):
        original = getattr(study_tasks, function)

        def kept(*arguments: Any, original: Any = original, **options: Any) -> Any:
            results.append(original(*arguments, **options))
            return results[-1]

        monkeypatch.setattr(study_tasks, function, kept)
    rows = run_task(THREE, Task("regions", name, 0, 3), device="cpu").to_pylist()
    support = study_tasks._support(context, name, pictures)
    areas = support.double().mean((1, 2))
    if name in ("object", "background"):
        assert torch.equal(areas, pictures.masks.double().mean((1, 2)))
        assert bool((support & pictures.masks).any()) == (name == "object")
    else:
        assert areas.tolist() == pytest.approx([round(0.2 * 64 * 64) / 64**2] * 3)
    assert [row["mask_share"] for row in rows] == [area for area in areas.tolist() for _ in range(2)]
    assert [row["budget"] for row in rows[:2]] == [0.003, None]
    for result in results:
        outside = (result.adversarial - pictures.images).abs().amax(1)[~support]
        assert float(outside.max()) == 0
        assert float((result.adversarial - pictures.images).abs().max()) > 0


def test_map_without_mass_has_no_top_region(
    context: study_tasks.Context, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_tasks, "class_activation_map", lambda *_, **__: torch.zeros(3, 64, 64))
    with pytest.raises(ValueError, match="the CAM is zero everywhere: it has no top and no bottom"):
        study_tasks._support(context, "top", pictures)
    with pytest.raises(ValueError, match="region 'object' needs the object's outline, which shapes alone have"):
        study_tasks._support(context, "object", type(pictures)(**(vars(pictures) | {"masks": None})))


PLACE = ("part", "position", "image", "label")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        *[("fooling", "l2"), ("smallest", "pgd_l2"), ("smallest", "l2_8bit")],
        *[("agreement", ""), ("cascade", ""), ("curves", "")],
    ],
)
def test_keys_are_those_of_the_rows(context: study_tasks.Context, part: str, name: str) -> None:
    rows = run_task(THREE, Task(part, name, 0, 3), device="cpu").to_pylist()
    keys = context.keys(part, name)
    assert [{key: row[key] for key in keys[0]} for row in rows] == keys * 3
    assert all(row[column] is not None for row in rows for column in PLACE)
