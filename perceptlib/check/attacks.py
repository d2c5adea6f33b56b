"""Quantities that a check computes again: networks, attacks, CAMs, agreement, controls, statistics, verdicts."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from perceptlib.analysis.claims import LEVEL
from perceptlib.analysis.statistics import bootstrap_interval, difference_of_rates, holm, paired_test, ratio_of_medians
from perceptlib.analysis.verdicts import all_verdicts
from perceptlib.attacks import AttackResult, Status, margin, maximize_loss, smallest
from perceptlib.attacks.baselines import carlini_wagner, deepfool
from perceptlib.attacks.bisection import METHODS as BISECTED
from perceptlib.attacks.bisection import smallest_pgd
from perceptlib.balls import SSIMBall
from perceptlib.check.geometry import Quantities, Setting, fingerprint
from perceptlib.maps import agreement_row, class_activation_map
from perceptlib.maps.cam import METHODS as CAMS
from perceptlib.maps.control_maps import control_maps, log_variance
from perceptlib.maps.controls import equal_distance_noise
from perceptlib.maps.randomisation import randomise, stages
from perceptlib.maps.regions import background_region, bottom_region, object_region, random_region, top_region
from perceptlib.maps.spatial import partial_correlation, shift_p_value, shuffled_auc
from perceptlib.networks.architectures import published
from perceptlib.networks.padding import pad_as_tensorflow
from perceptlib.study.comparison import METHODS, attack_at_distance, ball_of
from perceptlib.study.localisation import Q, in_mask, maps_of, margin_gradient
from perceptlib.study.presets import Pictures, Study, load_study

NUM_SHAPES, NUM_DIGITS = 8, 16
BUDGET = 0.003


def network_quantities(setting: Setting) -> Quantities:
    """What the embedded networks answer, and what the ImageNet network is fed with."""
    found: Quantities = {}
    for preset, number in {"shapes": NUM_SHAPES, "digits": NUM_DIGITS}.items():
        for network in range(3):
            study = load_study(preset, num_images=number, seed=setting.seed, network=network)
            pictures = study.pictures
            with torch.no_grad():
                logits = torch.cat([study.classifier(part.images) for part in pictures.batches(setting.batch_size)])
            found |= fingerprint(f"{preset} network {network}, logits", logits)
            found[f"{preset} network {network}, margin"] = float(margin(logits, pictures.labels).double().mean())
            found[f"{preset} network {network}, named rightly"] = len(pictures)
    padded = copy.deepcopy(study.classifier)
    pad_as_tensorflow(padded.network)
    with torch.no_grad():
        found |= fingerprint("padded as in TensorFlow, logits", padded(pictures.head(4).images))
    imagenet = published("mobilenet_v2")
    found["ImageNet network"] = f"{imagenet.name}, {imagenet.input_size} pixels, {imagenet.mean}, {imagenet.std}"
    return found


def attack_quantities(setting: Setting) -> Quantities:
    """Attacks at one SSIM distance and searches for the distance that fools, with every ball."""
    shapes = load_study("shapes", num_images=NUM_SHAPES, seed=setting.seed)
    digits = load_study("digits", num_images=NUM_DIGITS, seed=setting.seed)
    network = shapes.classifier

    def at_distance(method: str) -> Callable[[Pictures], AttackResult]:
        return lambda some: attack_at_distance(network, some.images, some.labels, method, BUDGET, steps=5)

    def search(study: Study, method: str, **options: Any) -> Callable[[Pictures], AttackResult]:
        return lambda some: smallest(
            study.classifier,
            some.images,
            some.labels,
            ball_of(method, some.images, 0.01),
            candidates=3,
            refinements=2,
            **options,
        )

    def targeted(loss: str) -> Callable[[Pictures], AttackResult]:
        return lambda some: maximize_loss(
            network,
            some.images,
            some.labels,
            SSIMBall(some.images, BUDGET),
            steps=5,
            targets=(some.labels + 1) % 8,
            loss=loss,
        )

    found: Quantities = {}
    for method in METHODS:
        found |= _attacked(f"{method} at D = {BUDGET:g}", shapes, at_distance(method), setting)
    for loss in ("margin", "cross_entropy"):
        found |= _attacked(f"targeted ssim by {loss}", shapes, targeted(loss), setting)
    for method in METHODS:
        found |= _attacked(f"smallest {method}", shapes, search(shapes, method), setting)
    for method in ("l2", "ssim"):
        found |= _attacked(f"smallest {method} on digits", digits, search(digits, method), setting)
    found |= _attacked("smallest ssim on 8 bits", digits, search(digits, "ssim", eight_bit=True), setting)
    for name, baseline in _baselines(digits).items():
        found |= _attacked(name, digits, baseline, setting)
    return found


def _baselines(study: Study) -> dict[str, Callable[[Pictures], AttackResult]]:
    """Bisected PGD and foolbox's searches, one of which ends so early that some pictures are not fooled."""

    def of(attack: Callable[..., AttackResult], *words: Any, **options: Any) -> Callable[[Pictures], AttackResult]:
        return lambda some: attack(study.classifier, some.images, some.labels, *words, **options)

    bisected = {f"bisected PGD, {method}": of(smallest_pgd, method, steps=5) for method in BISECTED}
    if not importlib.util.find_spec("foolbox"):
        return bisected
    return bisected | {
        "foolbox's DeepFool": of(deepfool),
        "foolbox's DeepFool in 3 steps": of(deepfool, steps=3),
        "foolbox's Carlini-Wagner": of(carlini_wagner, steps=40, searches=4, step_size=0.05),
    }


def agreement_quantities(setting: Setting) -> Quantities:
    """CAMs of every method, and every score of every map against the classic one."""
    study = load_study("shapes", num_images=NUM_SHAPES, seed=setting.seed)
    pictures, classifier = study.pictures, study.classifier
    found: Quantities = {}
    for method in CAMS:
        some = pictures.head(4)
        found |= fingerprint(f"{method}", class_activation_map(classifier, some.images, some.labels, method=method))
    cam = class_activation_map(classifier, pictures.images, pictures.labels)
    half = cam.clone()
    half[:, :, 32:] = 0  # many equal values, and none of the mass where the CAM has some
    found |= {f"half the CAM, {score}": _mean(values) for score, values in agreement_row(half, cam, q=Q).items()}
    maps: dict[str, list[Tensor]] = {}
    for some in pictures.batches(setting.batch_size):
        for name, values in maps_of(classifier, some.images, some.labels, budget=BUDGET, seed=setting.seed).items():
            maps.setdefault(name, []).append(values)
    for name, parts in maps.items():
        change = torch.cat(parts)
        for score, values in agreement_row(change, cam, q=Q).items():
            found[f"{name}, {score}"] = _mean(values)
        assert pictures.masks is not None
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
    mixed = (torch.arange(1, 81, dtype=torch.int64) * 2654435761) % 2**32
    first, noise = (mixed.double() / 2**32).view(2, 40)
    second = (first + 0.3 * (noise - 0.4)).tolist()
    values = first.tolist()
    found: Quantities = {}
    for name in ("median", "mean"):
        interval = bootstrap_interval(values, statistic=name, seed=setting.seed)
        found |= {f"{name}, {end}": getattr(interval, end) for end in ("value", "low", "high")}
    tenths = [round(10 * value) / 10 for value in values], [round(10 * value) / 10 for value in second]
    for name, sample in {"paired": (values, second), "paired with ties and zeros": tenths}.items():
        for alternative in ("two-sided", "greater"):
            tested = paired_test(*sample, alternative=alternative, seed=setting.seed)
            found[f"{name} p-value, {alternative}"] = tested.p_value
        found |= {f"{name} effect": tested.effect, f"{name} difference": tested.difference.value}
    for family in ((0.01, 0.02, 0.04, 0.2), (0.03, float("nan"), 0.04, 0.045)):
        adjusted = holm({f"{place} of {family}": value for place, value in enumerate(family)})
        found |= {f"Holm, {name}": value for name, value in adjusted.items()}
    is_above = [float(value > 0.5) for value in values]
    rates = difference_of_rates(is_above, [float(value > 0.6) for value in second], seed=setting.seed)
    ratio = ratio_of_medians(values, second, seed=setting.seed)
    endless = [float("inf") if value > 0.55 else value for value in values]  # nearly half the searches find nothing
    farther = [2 * value + 0.1 for value in endless]
    ends = {"difference of rates": rates, "ratio of medians": ratio}
    ends["ratio with infinite ones"] = ratio_of_medians(endless, farther, seed=setting.seed)
    for name, interval in ends.items():
        found |= {f"{name}, {end}": getattr(interval, end) for end in ("value", "low", "high")}
    return found


def verdict_quantities(setting: Setting) -> Quantities:
    """The verdicts on the claims, and every number that decides one, from the recorded rows."""
    found: Quantities = {}
    for claim, verdict in all_verdicts().items():
        found[f"claim {claim}"] = verdict.verdict
        for check in verdict.checks:
            numbers = asdict(check)
            found |= {
                f"claim {claim}, {check.name}, {key}": numbers[key] for key in ("value", "low", "high", "p_value")
            }
            found[f"claim {claim}, {check.name}, holds"] = str(check.is_met)
    return found | {"largest p-value of a check that holds": LEVEL}


def _attacked(name: str, study: Study, attack: Callable[[Pictures], AttackResult], setting: Setting) -> Quantities:
    results = [attack(some) for some in study.pictures.batches(setting.batch_size)]

    def gathered(field: str) -> Tensor:
        return torch.cat([getattr(result, field) for result in results])

    found: Quantities = {
        f"{name}, fooled": int(gathered("is_adversarial").sum()),
        f"{name}, fooled with 8 bits": int(gathered("is_adversarial_8bit").sum()),
        f"{name}, called fooled": sum(result.status.count(Status.FOOLED) for result in results),
        f"{name}, margin": _mean(gathered("margin_after")),
        f"{name}, log 1 - mean SSIM": _mean((1 - gathered("mean_ssim")).double().clamp_min(1e-12).log10()),
    }
    for field in ("distance", "distance_8bit", "l2", "linf"):
        found[f"{name}, log {field}"] = _mean(gathered(field).double().clamp_min(1e-12).log10())
    if results[0].settings["attack"] == "maximize_loss":  # a search's depend on where it ends
        found[f"{name}, gradients"] = _mean(gathered("gradients"))
    return found


def _mean(values: Tensor) -> float:
    """Over the pictures where it is defined."""
    return float(values.double().nanmean())
