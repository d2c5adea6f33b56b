"""Parts of a study: what is computed of a batch of correctly classified pictures, a list of rows for each picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from perceptlib.attacks import AttackResult, baselines, maximize_loss, rescale_to_distance, smallest
from perceptlib.attacks.bisection import smallest_pgd
from perceptlib.balls import SSIMBall
from perceptlib.maps import agreement as agreement_scores
from perceptlib.maps import class_activation_map, random_direction
from perceptlib.maps.control_maps import control_maps, log_variance
from perceptlib.maps.controls import equal_distance_noise
from perceptlib.maps.randomisation import randomise, stages
from perceptlib.maps.regions import background_region, bottom_region, object_region, random_region, top_region
from perceptlib.maps.spatial import partial_correlation, shift_p_value, shuffled_auc
from perceptlib.networks import Classifier
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import attack_at_distance, ball_of
from perceptlib.study.config import CONTROL_MAPS, StudyConfig
from perceptlib.study.localisation import Q, in_mask, margin_gradient
from perceptlib.study.presets import Pictures, Source
from perceptlib.study.rows import Row

SCORED, UNDEFINED = "scored", "undefined: a map without mass"
_ATTACK_COLUMNS = (
    *("margin_before", "margin_after", "is_adversarial", "is_adversarial_8bit", "distance", "distance_8bit"),
    *("mean_ssim", "linf", "l2", "violation", "steps", "gradients", "status"),
)


@dataclass(frozen=True)
class Context:
    """What all tasks of a study share in one process.

    Attributes
    ----------
    config, source, classifier
        The study, its pictures and its network.
    others
        (M, H, W): CAMs of its first pictures.
    other_ids
        Whose they are.
    """

    config: StudyConfig
    source: Source
    classifier: Classifier
    others: Tensor
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
        """Numbers of randomised stages, those that the network has, rising."""
        most = len(stages(self.classifier))
        return sorted({most if number == -1 else number for number in self.config.cascade if number <= most})

    def keys(self, part: str, name: str) -> list[Row]:
        """Columns that tell the rows of one picture apart, for rows with a status alone."""
        config = self.config
        if part == "agreement":
            return [
                {"method": method, "budget": self.budget_of(method), "cam": cam}
                for cam in config.cams
                for method in config.maps
            ]
        if part == "cascade":
            return [
                {"method": "ssim", "budget": config.map_budget, "cam": self.cam_method, "stage": number}
                for number in self.cascade()
            ]
        if part == "fooling":
            return [{"method": name, "budget": budget} for budget in config.budgets]
        if part == "regions":
            budgets = (*config.region_budgets, None)
            return [{"method": "ssim", "region": name, "budget": budget} for budget in budgets]
        return [{"method": name}]

    def budget_of(self, method: str) -> float | None:
        """SSIM distance of a map's perturbation; None for maps that no perturbation makes."""
        return None if method in CONTROL_MAPS else self.config.map_budget


def fooling(context: Context, name: str, pictures: Pictures) -> list[list[Row]]:
    """Attack in one ball, ending at every SSIM distance; "fgsm" is one step in the linf ball."""
    config = context.config
    results = []
    for budget in config.budgets:
        method, steps = ("linf", 1) if name == "fgsm" else (name, config.steps)
        result = attack_at_distance(
            context.classifier, pictures.images, pictures.labels, method, budget, steps=steps, cg_steps=config.cg_steps
        )
        results.append(_attack_rows(result, {"method": name, "budget": budget}))
    return _by_picture(results)


def search(context: Context, name: str, pictures: Pictures) -> list[list[Row]]:
    """The smallest perturbation that one method finds."""
    config, classifier, images, labels = context.config, context.classifier, pictures.images, pictures.labels
    if name == "deepfool":
        result = baselines.deepfool(classifier, images, labels, candidates=config.candidates)
    elif name == "carlini_wagner":
        result = baselines.carlini_wagner(classifier, images, labels)
    elif name.startswith("pgd_"):
        result = smallest_pgd(classifier, images, labels, name, steps=config.steps, cg_steps=config.cg_steps)
    else:
        ball_name = name.removesuffix("_8bit")
        result = smallest(
            classifier,
            images,
            labels,
            ball_of(ball_name, images, 0.01, cg_steps=config.cg_steps),  # its radius does not matter
            candidates=config.candidates,
            refinements=config.refinements,
            eight_bit=name.endswith("_8bit"),
        )
    return _by_picture([_attack_rows(result, {"method": name})])


def regions(context: Context, name: str, pictures: Pictures) -> list[list[Row]]:
    """The SSIM-ball attack with r = 0 outside a region: at every distance, then the smallest perturbation."""
    config, classifier, images, labels = context.config, context.classifier, pictures.images, pictures.labels
    support = _support(context, name, pictures)
    results = []
    for budget in config.region_budgets:
        ball = SSIMBall(images, budget, cg_steps=config.cg_steps, support=support)
        result = maximize_loss(classifier, images, labels, ball, steps=config.steps)
        results.append(_attack_rows(result, {"method": "ssim", "region": name, "budget": budget}))
    ball = SSIMBall(images, 0.01, cg_steps=config.cg_steps, support=support)
    result = smallest(classifier, images, labels, ball, candidates=config.candidates, refinements=config.refinements)
    results.append(_attack_rows(result, {"method": "ssim", "region": name, "budget": None}))
    area = support.double().mean((1, 2)).tolist()
    return [
        [row | {"mask_share": share} for row in rows] for rows, share in zip(_by_picture(results), area, strict=True)
    ]


def agreement(context: Context, name: str, pictures: Pictures) -> list[list[Row]]:
    """Every map of every picture against every CAM, with the scores that control for place and texture."""
    config, images = context.config, pictures.images
    maps = _maps(context, pictures)
    cams = {method: _cam(context, method, pictures) for method in config.cams}
    covariate = log_variance(images)
    results = []
    for cam_name, cam in cams.items():
        for method, change in maps.items():
            scores = _scores(context, change, cam, covariate, pictures)
            named = {"method": method, "budget": context.budget_of(method), "cam": cam_name}
            results.append(_score_rows(scores, named))
    return _by_picture(results)


def cascade(context: Context, name: str, pictures: Pictures) -> list[list[Row]]:
    """The SSIM ball's change map for the gradient of a randomised network, against the trained network's CAM."""
    images, labels, config = pictures.images, pictures.labels, context.config
    cam, covariate = _cam(context, context.cam_method, pictures), log_variance(images)
    ball = ball_of("ssim", images, config.map_budget, cg_steps=config.cg_steps)
    results = []
    for number in context.cascade():
        gradient = margin_gradient(context.randomised(number), images, labels)
        change = ssim.change_map(images, rescale_to_distance(images, ball.steepest(gradient), config.map_budget))
        scores = _scores(context, change, cam, covariate, pictures)
        named = {"method": "ssim", "budget": config.map_budget, "cam": context.cam_method, "stage": number}
        results.append(_score_rows(scores, named))
    return _by_picture(results)


Part = Callable[[Context, str, Pictures], list[list[Row]]]
PARTS: Mapping[str, Part] = {
    "agreement": agreement,
    "cascade": cascade,
    "fooling": fooling,
    "regions": regions,
    "smallest": search,
}


def _maps(context: Context, pictures: Pictures) -> dict[str, Tensor]:
    """(N, H, W) for each map of the configuration: one step at one distance, and the control maps."""
    config, images = context.config, pictures.images
    budget = config.map_budget
    gradient = margin_gradient(context.classifier, images, pictures.labels)
    controls = control_maps(images, gradient)
    maps = {}
    for method in config.maps:
        if method in controls:
            maps[method] = controls[method]
            continue
        if method == "noise":
            adversarial = equal_distance_noise(images, budget, seed=config.seed)
        else:
            ball = ball_of("ssim" if method == "random" else method, images, budget, cg_steps=config.cg_steps)
            direction = (
                random_direction(images, ball, seed=config.seed) if method == "random" else ball.steepest(gradient)
            )
            adversarial = rescale_to_distance(images, direction, budget)
        maps[method] = ssim.change_map(images, adversarial)
    return maps


def _cam(context: Context, method: Any, pictures: Pictures) -> Tensor:
    """(N, H, W); "another": the CAM of the next of the first pictures, zero where there is no other."""
    if method != "another":
        return class_activation_map(context.classifier, pictures.images, pictures.labels, method=method)
    ids = context.other_ids
    maps = torch.zeros_like(pictures.images[:, 0])
    for place, name in enumerate(pictures.ids):
        following = ids.index(name) + 1 if name in ids else _draw(name)
        if set(ids) - {name}:
            maps[place] = context.others[following % len(ids)]
    return maps


def _draw(name: str) -> int:
    """A number that depends on a picture's name alone."""
    return sum((place + 1) * letter for place, letter in enumerate(name.encode()))


def _scores(context: Context, change: Tensor, cam: Tensor, covariate: Tensor, pictures: Pictures) -> dict[str, Tensor]:
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
    return scores


def _support(context: Context, name: str, pictures: Pictures) -> Tensor:
    """(N, H, W), bool."""
    config = context.config
    if name in ("object", "background"):
        if pictures.masks is None:
            raise ValueError(f"region {name!r} needs the object's outline, which shapes alone have; leave it out")
        if name == "object":
            return object_region(pictures.masks)
        return background_region(pictures.masks, seed=config.seed)
    cam = _cam(context, context.cam_method, pictures)
    if name != "random" and not bool(cam.flatten(1).any(1).all()):
        raise ValueError("the CAM is zero everywhere: it has no top and no bottom")
    if name == "top":
        return top_region(cam, config.region_share)
    if name == "bottom":
        return bottom_region(cam, config.region_share)
    return random_region(cam, config.region_share, seed=config.seed)


def _attack_rows(result: AttackResult, named: Row) -> list[Row]:
    return [named | {key: row[key] for key in _ATTACK_COLUMNS} for row in result.rows()]


def _score_rows(scores: Mapping[str, Tensor], named: Row) -> list[Row]:
    values = {name: entries.tolist() for name, entries in scores.items()}
    rows = []
    for place in range(len(values["energy_in_top_q"])):
        row = {name: entries[place] for name, entries in values.items()}
        is_undefined = row["energy_in_top_q"] != row["energy_in_top_q"]
        rows.append(named | row | {"status": UNDEFINED if is_undefined else SCORED})
    return rows


def _by_picture(results: Iterable[Sequence[Row]]) -> list[list[Row]]:
    return [list(rows) for rows in zip(*results, strict=True)]
