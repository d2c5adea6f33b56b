"""Quantities that a check computes: data, SSIM, balls and programs; networks, attacks, maps, statistics, verdicts."""

from __future__ import annotations

import copy
import importlib.util
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from perceptlib import data
from perceptlib.analysis.claims import LEVEL, all_verdicts
from perceptlib.analysis.statistics import bootstrap_interval, difference_of_rates, holm, paired_test, ratio_of_medians
from perceptlib.attacks import AttackResult, Status, margin, maximize_loss, smallest
from perceptlib.balls import Ball, L2Ball, LinfBall, LumaBall, SSIMBall, WindowBall, maximize_exactly, steepest_in_box
from perceptlib.check.record import Quantities, Setting, short_sha256
from perceptlib.convex import programs as convex
from perceptlib.data.bundled import split_sha256
from perceptlib.data.scenes import draw
from perceptlib.maps import agreement, class_activation_map
from perceptlib.maps.cam import METHODS as CAMS
from perceptlib.maps.controls import control_maps, equal_distance_noise, log_variance
from perceptlib.maps.spatial import partial_correlation, shift_p_value, shuffled_auc
from perceptlib.networks.loading import pad_as_tensorflow
from perceptlib.networks.recipes import published, recipe_of
from perceptlib.pages.ssim.distances import identity_deviations
from perceptlib.records import data_dir
from perceptlib.rivals.baselines import carlini_wagner, deepfool
from perceptlib.rivals.bisection import METHODS as BISECTED
from perceptlib.rivals.bisection import smallest_pgd
from perceptlib.ssim import Window
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import METHODS, attack_at_distance, ball_of
from perceptlib.study.localisation import Q, in_mask, maps_of, margin_gradient
from perceptlib.study.presets import Study, load_study
from perceptlib.study.randomisation import randomise, stages
from perceptlib.study.regions import background_region, bottom_region, object_region, random_region, top_region

NUM_SHAPES, NUM_DIGITS = 8, 16
BUDGET = 0.003
BORDER = 5  # pixels of the 11 x 11 window's rim, whose rule is a quantity of its own


def fingerprint(name: str, values: Tensor) -> Quantities:
    """Mean, and a weighted sum in which every entry counts differently: a change of any one moves it.

    The weights lie in [-1, 1] and come from integers alone, so that they are the same everywhere.
    """
    flat = values.detach().double().flatten()
    mixed = (torch.arange(1, len(flat) + 1, dtype=torch.int64) * 2654435761) % 2**32
    weights = mixed.double() / 2**31 - 1
    return {f"{name} mean": float(flat.mean()), f"{name} weighted": float((weights * flat).sum() / len(flat) ** 0.5)}


def data_quantities(setting: Setting) -> Quantities:
    """Pictures and labels of the embedded presets, and the files of their networks."""
    scenes = data.shapes(8, seed=setting.seed, object_texture="mixed", background_texture="mixed")
    digits = data.digits(16, seed=setting.seed)
    found: Quantities = {
        "labels of shapes": _words(scenes.labels),
        "labels of digits": _words(digits.labels),
        "split of digits": split_sha256()[:16],
        "labels of 1000 shapes": short_sha256(_words(draw(1000, seed=setting.seed).labels)),
        "labels of all digits": short_sha256(_words(data.digits(seed=setting.seed).labels)),
        "share of shapes' objects": float(scenes.masks.double().mean()),
    }
    found |= fingerprint("shapes", scenes.images) | fingerprint("digits", digits.images)
    photographs = data.photographs(size=64)
    found["labels of photographs"] = " ".join(str(classes) for classes in photographs.accepted)
    found |= fingerprint("photographs", photographs.images)
    with tempfile.TemporaryDirectory() as folder:
        pixels = torch.arange(1, 1 + 30 * 40 * 4).view(30, 40, 4) * 2654435761 // 2**24 % 256
        Image.fromarray(pixels.byte().numpy(), "RGBA").save(Path(folder, "made.png"))
        found |= fingerprint("picture file", data.read_picture(Path(folder, "made.png"), size=24))
    for path in sorted((*data_dir().glob("shapes/*.safetensors"), *data_dir().glob("digits/*.safetensors"))):
        found[f"file {path.name}"] = short_sha256(path.read_bytes())
    return found


def ssim_quantities(setting: Setting) -> Quantities:
    """Mean SSIM, its two factors, its map inside and at the border, for both windows."""
    images = _photographs(64)
    others = (images + 0.05 * _noise(images, setting.seed)).clamp(0, 1)
    found: Quantities = {}
    for name, window in {"gaussian": Window(), "uniform": Window(size=7, kind="uniform")}.items():
        reference = ssim.Reference(images, window=window)
        change = reference.change_map(others - images)
        luminance, contrast = ssim.components(images, others, window=window)
        inner = change[..., BORDER:-BORDER, BORDER:-BORDER]
        found |= {
            f"{name} mean SSIM": float(ssim.mean_ssim(images, others, window=window).mean()),
            f"{name} luminance": float(luminance.mean()),
            f"{name} contrast and structure": float(contrast.mean()),
            f"{name} change at the border": float((change.sum() - inner.sum()) / (change.numel() - inner.numel())),
            f"{name} change inside": float(inner.mean()),
            f"{name} reach": float(reference.reach(others - images, 0.01).abs().mean()),
        }
        found |= fingerprint(f"{name} change map", change)
    dark = 0.02 * images  # where C1 and C2 weigh most
    found["mean SSIM of dark pictures"] = float(ssim.mean_ssim(dark, 0.02 * others).mean())
    found |= {f"off scikit-image, {name}": value for name, value in identity_deviations(images, others).items()}
    return found


def ball_quantities(setting: Setting) -> Quantities:
    """Every method of every ball: steepest direction, gauge, measure, projection, pull back."""
    images = _photographs(48)
    gradient, change = _noise(images, setting.seed), 0.1 * _noise(images, setting.seed + 1)
    support = torch.zeros(len(images), 48, 48, dtype=torch.bool)
    support[:, 8:32, 8:40] = True
    balls: dict[str, Ball] = {
        "linf": LinfBall(0.03),
        "l2": L2Ball(2.0),
        "ssim": SSIMBall(images, 0.01),
        "ssim diagonal": SSIMBall(images, 0.01, coupling="diagonal"),
        "ssim contrast and structure": SSIMBall(images, 0.01, components="contrast_structure"),
        "ssim luminance": SSIMBall(images, 0.01, components="luminance"),
        "ssim uniform": SSIMBall(images, 0.01, window=Window(size=7, kind="uniform")),
        "ssim support": SSIMBall(images, 0.01, support=support),
        "window": WindowBall(images, 0.01),
        "luma": LumaBall(images, 0.01),
    }
    found: Quantities = {}
    for name, ball in balls.items():
        inside = ball.steepest(gradient)
        found |= fingerprint(f"{name} steepest", inside)
        found[f"{name} gauge"] = float(ball.gauge(0.5 * inside + 1e-3 * inside.roll(1, -1) * (inside != 0)).mean())
        given = change * support[:, None] if name == "ssim support" else change
        found[f"{name} measure"] = float(ball.measure(given).mean())
        found |= fingerprint(f"{name} projection", ball.project(given))
        found |= fingerprint(f"{name} pulled back", ball.pull_back(given))
    return found


def convex_quantities(setting: Setting) -> Quantities:
    """Optima of the three programs on one small crop, and of the fast forms on the same."""
    images = _photographs(96)[:1, :, 40:52, 40:52]
    gradient = _noise(images, setting.seed)
    gradients = torch.stack([gradient, _noise(images, setting.seed + 1)], dim=1)[0]
    ball = SSIMBall(images, 0.01, cg_steps=200, tolerance=1e-10)
    found: Quantities = {}
    for name, is_boxed in {"P1": False, "P1 in the box": True}.items():
        solution = convex.maximize_linear(images, gradient, 0.01, box=is_boxed)
        found |= {f"{name} objective": solution.objective, f"{name} distance": solution.distance}
    found["P2 objective"] = convex.maximize_linear(images, gradient, 0.01, ball="window", size=4).objective
    gaps = torch.tensor([0.2, 0.4], dtype=torch.float64)
    found["P3 objective"] = convex.smallest_linear(images, gradients, gaps).objective
    found["fast P1 objective"] = float((gradient * ball.steepest(gradient)).sum())
    boxed = steepest_in_box(ball, gradient, tolerance=1e-8)
    found["fast P1 in the box objective"] = float((gradient * boxed.perturbation).sum())
    found["gain of freezing anew"] = float(maximize_exactly(images, gradient, 0.01, steps=3).gain.mean())
    return found


def network_quantities(setting: Setting) -> Quantities:
    """What the embedded networks answer, and what the ImageNet network is fed with."""
    found: Quantities = {}
    for preset, number in {"shapes": NUM_SHAPES, "digits": NUM_DIGITS}.items():
        for network in range(3):
            study = load_study(preset, num_images=number, seed=setting.seed, network=f"{preset}-{network}")
            pictures = study.pictures
            with torch.no_grad():
                logits = torch.cat([study.classifier(part.images) for part in pictures.batches(setting.batch_size)])
            name = f"{preset} network {network}"
            found |= fingerprint(f"{name}, logits", logits)
            found[f"{name}, margin"] = float(margin(logits, pictures.labels).double().mean())
            found[f"{name}, named rightly"] = len(pictures)
    padded = copy.deepcopy(study.classifier)
    pad_as_tensorflow(padded.network)
    with torch.no_grad():
        found |= fingerprint("padded as in TensorFlow, logits", padded(pictures.head(4).images))
    imagenet = recipe_of("mobilenet_v2")
    told = f"{published('mobilenet_v2')}, {imagenet.input_size} pixels, {imagenet.mean}, {imagenet.std}"
    found["ImageNet network"] = told
    return found


def attack_quantities(setting: Setting) -> Quantities:
    """Attacks at one SSIM distance and searches for the distance that fools, with every ball; PGD; foolbox."""
    shapes = load_study("shapes", num_images=NUM_SHAPES, seed=setting.seed)
    digits = load_study("digits", num_images=NUM_DIGITS, seed=setting.seed)

    def search(classifier: Any, images: Tensor, labels: Tensor, method: str, **options: Any) -> AttackResult:
        ball = ball_of(method, images, 0.01)
        return smallest(classifier, images, labels, ball, candidates=3, refinements=2, **options)

    def targeted(classifier: Any, images: Tensor, labels: Tensor, loss: str) -> AttackResult:
        ball, targets = SSIMBall(images, BUDGET), (labels + 1) % 8
        return maximize_loss(classifier, images, labels, ball, steps=5, targets=targets, loss=loss)

    on_shapes: dict[str, Callable[..., AttackResult]] = {}
    on_digits: dict[str, Callable[..., AttackResult]] = {}
    for method in METHODS:
        on_shapes[f"{method} at D = {BUDGET:g}"] = partial(attack_at_distance, method=method, budget=BUDGET, steps=5)
        on_shapes[f"smallest {method}"] = partial(search, method=method)
    for loss in ("margin", "cross_entropy"):
        on_shapes[f"targeted ssim by {loss}"] = partial(targeted, loss=loss)
    for method in ("l2", "ssim"):
        on_digits[f"smallest {method} on digits"] = partial(search, method=method)
    on_digits["smallest ssim on 8 bits"] = partial(search, method="ssim", eight_bit=True)
    for method in BISECTED:
        on_digits[f"bisected PGD, {method}"] = partial(smallest_pgd, method=method, steps=5)
    if importlib.util.find_spec("foolbox"):
        on_digits["foolbox's DeepFool"] = deepfool
        on_digits["foolbox's DeepFool in 3 steps"] = partial(deepfool, steps=3)  # so few that some are not fooled
        on_digits["foolbox's Carlini-Wagner"] = partial(carlini_wagner, steps=40, searches=4, step_size=0.05)
    found: Quantities = {}
    for study, attacks in ((shapes, on_shapes), (digits, on_digits)):
        for name, attack in attacks.items():
            found |= _attacked(name, study, attack, setting)
    return found


def agreement_quantities(setting: Setting) -> Quantities:
    """CAMs of every method, and every score of every map against the classic one."""
    study = load_study("shapes", num_images=NUM_SHAPES, seed=setting.seed)
    pictures, classifier = study.pictures, study.classifier
    found: Quantities = {}
    some = pictures.head(4)
    for method in CAMS:
        found |= fingerprint(method, class_activation_map(classifier, some.images, some.labels, method=method))
    cam = class_activation_map(classifier, pictures.images, pictures.labels)
    half = cam.clone()
    half[:, :, 32:] = 0  # many equal values, and none of the mass where the CAM has some
    found |= {f"half the CAM, {score}": _mean(values) for score, values in agreement(half, cam, q=Q).items()}
    maps = [
        maps_of(classifier, some.images, some.labels, budget=BUDGET, seed=setting.seed)
        for some in pictures.batches(setting.batch_size)
    ]
    assert pictures.masks is not None
    for name in maps[0]:
        change = torch.cat([part[name] for part in maps])
        found |= {f"{name}, {score}": _mean(values) for score, values in agreement(change, cam, q=Q).items()}
        found[f"{name}, energy in mask"] = _mean(in_mask(change, pictures.masks)["energy_in_mask"])
    return found


def control_quantities(setting: Setting) -> Quantities:
    """Control maps, scores that control for place and texture, regions, randomised weights."""
    study = load_study("shapes", num_images=NUM_SHAPES, seed=setting.seed)
    pictures, classifier, seed = study.pictures, study.classifier, setting.seed
    images, masks = pictures.images, pictures.masks
    assert masks is not None
    cam = class_activation_map(classifier, images, pictures.labels)
    gradient = margin_gradient(classifier, images, pictures.labels)
    change = maps_of(classifier, images, pictures.labels, budget=BUDGET, seed=seed)["ssim"]
    found: Quantities = {}
    for name, values in control_maps(images, gradient).items():
        found |= fingerprint(name, values)
    found |= fingerprint("noise of equal distance", equal_distance_noise(images, BUDGET, seed=seed))
    found["shift p-value"] = _mean(shift_p_value(change, cam, q=Q))
    found["partial Spearman"] = _mean(partial_correlation(change, cam, log_variance(images)))
    found["shuffled AUC"] = _mean(shuffled_auc(change[:1], cam[:1], cam[1:], q=Q))
    regions = {
        "top": top_region(cam, Q),
        "bottom": bottom_region(cam, Q),
        "random": random_region(cam, Q, seed=seed),
        "object": object_region(masks),
        "background": background_region(masks, seed=seed),
    }
    for name, region in regions.items():
        found |= fingerprint(f"region {name}", region)
    for number in (1, 2, len(stages(classifier))):
        with torch.no_grad():
            logits = randomise(classifier, number, seed=seed)(images[:2])
        found |= fingerprint(f"{number} stages randomised, logits", logits)
    return found


def statistics_quantities(setting: Setting) -> Quantities:
    """Intervals, tests and effects of two fixed samples, the second a shifted copy with noise."""
    seed = setting.seed
    mixed = (torch.arange(1, 81, dtype=torch.int64) * 2654435761) % 2**32
    first, noise = (mixed.double() / 2**32).view(2, 40)
    values, second = first.tolist(), (first + 0.3 * (noise - 0.4)).tolist()
    tenths = [round(10 * value) / 10 for value in values], [round(10 * value) / 10 for value in second]
    found: Quantities = {}
    for name, sample in {"paired": (values, second), "paired with ties and zeros": tenths}.items():
        for alternative in ("two-sided", "greater"):
            tested = paired_test(*sample, alternative=alternative, seed=seed)
            found[f"{name} p-value, {alternative}"] = tested.p_value
        found |= {f"{name} effect": tested.effect, f"{name} difference": tested.value}
    for family in ((0.01, 0.02, 0.04, 0.2), (0.03, float("nan"), 0.04, 0.045)):
        adjusted = holm(pd.Series({f"{place} of {family}": value for place, value in enumerate(family)}))
        found |= {f"Holm, {name}": value for name, value in adjusted.items()}
    rates = [float(value > 0.5) for value in values], [float(value > 0.6) for value in second]
    endless = [float("inf") if value > 0.55 else value for value in values]  # nearly half the searches find nothing
    intervals = {
        "median": bootstrap_interval(values, statistic="median", seed=seed),
        "mean": bootstrap_interval(values, statistic="mean", seed=seed),
        "difference of rates": difference_of_rates(*rates, seed=seed),
        "ratio of medians": ratio_of_medians(values, second, seed=seed),
        "ratio with infinite ones": ratio_of_medians(endless, [2 * value + 0.1 for value in endless], seed=seed),
    }
    for name, interval in intervals.items():
        found |= {f"{name}, {end}": getattr(interval, end) for end in ("value", "low", "high")}
    return found


def verdict_quantities(setting: Setting) -> Quantities:
    """The verdicts on the claims, and every number that decides one, from the recorded rows."""
    found: Quantities = {}
    for claim, verdict in all_verdicts().items():
        found[f"claim {claim}"] = verdict.verdict
        for check in verdict.checks:
            name = f"claim {claim}, {check.name}"
            found |= {f"{name}, {key}": getattr(check, key) for key in ("value", "low", "high", "p_value")}
            found[f"{name}, holds"] = str(check.is_met)
    return found | {"largest p-value of a check that holds": LEVEL}


def _attacked(name: str, study: Study, attack: Callable[..., AttackResult], setting: Setting) -> Quantities:
    batches = study.pictures.batches(setting.batch_size)
    results = [attack(study.classifier, some.images, some.labels) for some in batches]

    def gathered(field: str) -> Tensor:
        return torch.cat([getattr(result, field) for result in results])

    def logarithm(values: Tensor) -> float:
        return _mean(values.double().clamp_min(1e-12).log10())

    found: Quantities = {
        f"{name}, fooled": int(gathered("is_adversarial").sum()),
        f"{name}, fooled with 8 bits": int(gathered("is_adversarial_8bit").sum()),
        f"{name}, called fooled": sum(result.status.count(Status.FOOLED) for result in results),
        f"{name}, margin": _mean(gathered("margin_after")),
        f"{name}, log 1 - mean SSIM": logarithm(1 - gathered("mean_ssim")),
    }
    for field in ("distance", "distance_8bit", "l2", "linf"):
        found[f"{name}, log {field}"] = logarithm(gathered(field))
    if results[0].settings["attack"] == "maximize_loss":  # a search's depend on where it ends
        found[f"{name}, gradients"] = _mean(gathered("gradients"))
    return found


def _mean(values: Tensor) -> float:
    """Over the pictures where it is defined."""
    return float(values.double().nanmean())


def _photographs(side: int) -> Tensor:
    """Two photographs in float64: one with flat sky, one textured; and a constant grey one, where only C2 is left."""
    pictures = data.photographs(size=96)
    middle = slice(48 - side // 2, 48 - side // 2 + side)
    chosen = pictures.images[:2, :, middle, middle].double()
    return torch.cat([chosen, torch.full_like(chosen[:1], 0.5)])


def _noise(like: Tensor, seed: int) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)


def _words(labels: Any) -> str:
    return " ".join(str(label) for label in labels.tolist())
