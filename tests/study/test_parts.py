"""Rows of a study against independent code: attacks by hand, scikit-image's SSIM, scipy's statistics, plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from reference_maps import top_share
from scipy import optimize, stats
from skimage.metrics import structural_similarity

from perceptlib.attacks import maximize_loss
from perceptlib.balls import SSIMBall
from perceptlib.maps import class_activation_map
from perceptlib.maps.randomisation import randomise
from perceptlib.study import parts as study_parts
from perceptlib.study import tasks as study_tasks
from perceptlib.study.config import StudyConfig
from perceptlib.study.tasks import Task, run_task

CONFIG = StudyConfig(
    num_images=3,
    budgets=(0.01,),
    steps=2,
    cg_steps=2,
    maps=("l2", "squared_gradient"),
    map_budget=0.002,
    cams=("cam", "another"),
    cascade=(0, -1),
    region_budgets=(0.003,),
    candidates=2,
    refinements=0,
)
BORDER, Q = 5, 0.2
ROUNDING = 2e-3  # scores of maps of float32 gradients, whose scaling ends within 1e-3 of its distance


@pytest.fixture(scope="module")
def context() -> study_parts.Context:
    return study_tasks._context(CONFIG, "cpu")


@pytest.fixture(scope="module")
def pictures(context: study_parts.Context) -> Any:
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
    context: study_parts.Context, pictures: Any, name: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = run_task(CONFIG, Task("fooling", name, 0, 3), device="cpu").to_pylist()
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


def attack_gradient(context: study_parts.Context, image: Any, label: Any) -> Any:
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


def test_agreement_rows_are_those_of_plain_loops(context: study_parts.Context, pictures: Any) -> None:
    rows = run_task(CONFIG, Task("agreement", "", 0, 3), device="cpu").to_pylist()
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


def test_another_cam_is_never_the_own_and_absent_where_there_is_none(
    context: study_parts.Context, pictures: Any
) -> None:
    cams = class_activation_map(context.classifier, pictures.images, pictures.labels, method="cam")
    assert torch.allclose(study_parts._cam(context, "another", pictures), cams[[1, 2, 0]], atol=1e-5)
    assert len(context.others_than(pictures.ids[0])) == 2
    alone = study_parts.Context(CONFIG, context.source, context.classifier, context.others[:1], context.other_ids[:1])
    found = study_parts._cam(alone, "another", pictures)
    assert not found[0].any()
    assert torch.allclose(found[1:], cams[[0, 0]], atol=1e-5)
    none = study_parts.Context(CONFIG, context.source, context.classifier, torch.empty(0), ())
    assert not study_parts._cam(none, "another", pictures).any()
    rows = study_parts.rows_of(alone, "agreement", "", pictures.head(1))[0]
    assert {(row["cam"], row["status"]) for row in rows} == {
        ("cam", "scored"),
        ("another", "undefined: a map without mass"),
    }
    assert all(math.isnan(row["shuffled_auc"]) for row in rows)


def test_cascade_starts_at_the_trained_network_and_ends_at_a_drawn_one(
    context: study_parts.Context, pictures: Any
) -> None:
    rows = run_task(CONFIG, Task("cascade", "", 0, 3), device="cpu").to_pylist()
    assert [row["stage"] for row in rows[:2]] == context.cascade()
    assert context.cascade()[0] == 0
    drawn = context.randomised(context.cascade()[1])
    again = randomise(context.classifier, context.cascade()[1], seed=CONFIG.seed)
    assert torch.equal(drawn(pictures.images), again(pictures.images))
    assert not torch.allclose(drawn(pictures.images), context.classifier(pictures.images))
    config = StudyConfig(**(vars(CONFIG) | {"maps": ("ssim",), "cams": ("cam",)}))
    same = run_task(config, Task("agreement", "", 0, 3), device="cpu").to_pylist()
    for row, other in zip(rows[::2], same, strict=True):
        assert row["energy_in_top_q"] == pytest.approx(other["energy_in_top_q"], abs=1e-6)
    assert any(abs(a["spearman"] - b["spearman"]) > 1e-3 for a, b in zip(rows[::2], rows[1::2], strict=True))


@pytest.mark.parametrize("name", ["bottom", "random", "background"])
def test_regions_change_nothing_outside_and_have_equal_area(
    context: study_parts.Context, pictures: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for function in ("maximize_loss", "smallest"):
        original = getattr(study_parts, function)

        def kept(*arguments: Any, original: Any = original, **options: Any) -> Any:
            results.append(original(*arguments, **options))
            return results[-1]

        monkeypatch.setattr(study_parts, function, kept)
    rows = run_task(CONFIG, Task("regions", name, 0, 3), device="cpu").to_pylist()
    support = study_parts._support(context, name, pictures)
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
    context: study_parts.Context, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_parts, "class_activation_map", lambda *_, **__: torch.zeros(3, 64, 64))
    with pytest.raises(ValueError, match="the CAM is zero everywhere: it has no top and no bottom"):
        study_parts._support(context, "top", pictures)
    with pytest.raises(ValueError, match="region 'object' needs the object's outline, which shapes alone have"):
        study_parts._support(context, "object", type(pictures)(**(vars(pictures) | {"masks": None})))


PLACE = ("part", "position", "image", "label")


@pytest.mark.parametrize(
    ("part", "name"),
    [("fooling", "l2"), ("smallest", "pgd_l2"), ("smallest", "l2_8bit"), ("agreement", ""), ("cascade", "")],
)
def test_keys_are_those_of_the_rows(context: study_parts.Context, part: str, name: str) -> None:
    rows = run_task(CONFIG, Task(part, name, 0, 3), device="cpu").to_pylist()
    keys = context.keys(part, name)
    assert [{key: row[key] for key in keys[0]} for row in rows] == keys * 3
    assert all(row[column] is not None for row in rows for column in PLACE)
