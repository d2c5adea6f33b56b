"""Quantities that a check computes again: networks, attacks, CAMs, agreement, controls, statistics, verdicts."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from perceptlib.agreement import agreement_row
from perceptlib.attacks import maximize_loss, smallest
from perceptlib.balls import SSIMBall
from perceptlib.baselines import deepfool
from perceptlib.bisection import smallest_pgd
from perceptlib.cam import METHODS as CAMS
from perceptlib.cam import class_activation_map
from perceptlib.check_geometry import Quantities, Setting, fingerprint
from perceptlib.classifier import margin
from perceptlib.comparison import METHODS, attack_at_distance, ball_of
from perceptlib.control_maps import control_maps, log_variance
from perceptlib.controls import equal_distance_noise
from perceptlib.localisation import Q, in_mask, maps_of, margin_gradient
from perceptlib.presets import Pictures, Study, load_study
from perceptlib.randomisation import randomise, stages
from perceptlib.regions import background_region, bottom_region, object_region, random_region, top_region
from perceptlib.results import AttackResult
from perceptlib.spatial import partial_correlation, shift_p_value, shuffled_auc
from perceptlib.statistics import bootstrap_interval, difference_of_rates, holm, paired_test, ratio_of_medians
from perceptlib.verdicts import all_verdicts

NUM_SHAPES, NUM_DIGITS = 8, 16
BUDGET = 0.003


def network_quantities(setting: Setting) -> Quantities:
    """What the embedded networks answer."""
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

    def targeted(some: Pictures) -> AttackResult:
        ball, targets = SSIMBall(some.images, BUDGET), (some.labels + 1) % 8
        return maximize_loss(network, some.images, some.labels, ball, steps=5, targets=targets, loss="margin")

    found: Quantities = {}
    for method in METHODS:
        found |= _attacked(f"{method} at D = {BUDGET:g}", shapes, at_distance(method), setting)
    found |= _attacked("targeted ssim", shapes, targeted, setting)
    for method in METHODS:
        found |= _attacked(f"smallest {method}", shapes, search(shapes, method), setting)
    for method in ("l2", "ssim"):
        found |= _attacked(f"smallest {method} on digits", digits, search(digits, method), setting)
    found |= _attacked("smallest ssim on 8 bits", digits, search(digits, "ssim", eight_bit=True), setting)
    classifier = digits.classifier
    found |= _attacked(
        "bisected PGD, l2", digits, lambda some: smallest_pgd(classifier, some.images, some.labels, "pgd_l2"), setting
    )
    if importlib.util.find_spec("foolbox"):
        found |= _attacked(
            "foolbox's DeepFool", digits, lambda some: deepfool(classifier, some.images, some.labels), setting
        )
    return found


def agreement_quantities(setting: Setting) -> Quantities:
    """CAMs of every method, and every score of every map against the classic one."""
    study = load_study("shapes", num_images=NUM_SHAPES, seed=setting.seed)
    pictures, classifier = study.pictures, study.classifier
    found: Quantities = {}
    for method in CAMS:
        some = pictures.head(4)
        found |= fingerprint(f"{method}", class_activation_map(classifier, some.images, some.labels, method=method))
    cam = class_activation_map(classifier, pictures.images, pictures.labels)
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
    for number in (1, len(stages(classifier))):
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
    tested = paired_test(values, second, seed=setting.seed)
    found |= {"paired p-value": tested.p_value, "paired effect": tested.effect, "difference": tested.difference.value}
    adjusted = holm({"a": 0.01, "b": 0.02, "c": 0.04, "d": 0.2})
    found |= {f"Holm, {name}": value for name, value in adjusted.items()}
    is_above = [float(value > 0.5) for value in values]
    rates = difference_of_rates(is_above, [float(value > 0.6) for value in second], seed=setting.seed)
    ratio = ratio_of_medians(values, second, seed=setting.seed)
    for name, interval in {"difference of rates": rates, "ratio of medians": ratio}.items():
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
    return found


def _attacked(name: str, study: Study, attack: Callable[[Pictures], AttackResult], setting: Setting) -> Quantities:
    results = [attack(some) for some in study.pictures.batches(setting.batch_size)]

    def gathered(field: str) -> Tensor:
        return torch.cat([getattr(result, field) for result in results])

    return {
        f"{name}, fooled": int(gathered("is_adversarial").sum()),
        f"{name}, fooled with 8 bits": int(gathered("is_adversarial_8bit").sum()),
        f"{name}, margin": _mean(gathered("margin_after")),
        f"{name}, log distance": _mean(gathered("distance").double().clamp_min(1e-12).log10()),
        f"{name}, log l2": _mean(gathered("l2").double().clamp_min(1e-12).log10()),
    }


def _mean(values: Tensor) -> float:
    """Over the pictures where it is defined."""
    return float(values.double().nanmean())
