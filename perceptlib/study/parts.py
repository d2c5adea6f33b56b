"""Parts of a study: what is computed of a batch of correctly classified pictures, rows for each picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from perceptlib.attacks import AttackResult, baselines, maximize_loss, rescale_to_distance, smallest
from perceptlib.attacks.bisection import smallest_pgd
from perceptlib.balls import SSIMBall
from perceptlib.maps import agreement as agreement_scores
from perceptlib.maps import class_activation_map, random_direction
from perceptlib.maps.controls import control_maps, equal_distance_noise, log_variance
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

Results = Iterator[list[Row]]  # for each key (`Context.keys`) the columns of every picture
ANY_BUDGET = 0.01  # the radius of a ball does not matter to a search
SCORED, UNDEFINED = "scored", "undefined: a map without mass"
_ATTACK_COLUMNS = (
    *("margin_before", "margin_after", "is_adversarial", "is_adversarial_8bit", "distance", "distance_8bit"),
    *("mean_ssim", "linf", "l2", "violation", "steps", "gradients", "status"),
)


@dataclass(frozen=True)
class Context:
    """What all tasks of a study share in one process: the study, its pictures, its network, and CAMs of other pictures.

    `others`, (M, H, W), are the CAMs of the first pictures, whose names are `other_ids`.
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
        """Columns that tell the rows of one picture apart, in the order of the part's results."""
        config = self.config
        if part == "agreement":  # no perturbation makes a control map
            budgets = {method: None if method in CONTROL_MAPS else config.map_budget for method in config.maps}
            return [
                {"method": name, "budget": budgets[name], "cam": cam} for cam in config.cams for name in config.maps
            ]
        if part == "cascade":
            shared = {"method": "ssim", "budget": config.map_budget, "cam": self.cam_method}
            return [shared | {"stage": number} for number in self.cascade()]
        if part == "fooling":
            return [{"method": name, "budget": budget} for budget in config.budgets]
        if part == "regions":
            return [{"method": "ssim", "region": name, "budget": budget} for budget in (*config.region_budgets, None)]
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
        result = smallest(
            classifier,
            images,
            labels,
            ball_of(name.removesuffix("_8bit"), images, ANY_BUDGET, cg_steps=config.cg_steps),
            candidates=config.candidates,
            refinements=config.refinements,
            eight_bit=name.endswith("_8bit"),
        )
    yield _attack_rows(result)


def regions(context: Context, name: str, pictures: Pictures) -> Results:
    """The SSIM-ball attack with r = 0 outside a region: at every distance, then the smallest perturbation."""
    config, classifier, images, labels = context.config, context.classifier, pictures.images, pictures.labels
    support = _support(context, name, pictures)
    shares = support.double().mean((1, 2)).tolist()
    for budget in (*config.region_budgets, None):
        ball = SSIMBall(images, budget or ANY_BUDGET, cg_steps=config.cg_steps, support=support)
        if budget is None:
            result = smallest(
                classifier, images, labels, ball, candidates=config.candidates, refinements=config.refinements
            )
        else:
            result = maximize_loss(classifier, images, labels, ball, steps=config.steps)
        yield [row | {"mask_share": share} for row, share in zip(_attack_rows(result), shares, strict=True)]


def agreement(context: Context, name: str, pictures: Pictures) -> Results:
    """Every map of every picture against every CAM, with the scores that control for place and texture."""
    maps = _maps(context, pictures)
    cams = {method: _cam(context, method, pictures) for method in context.config.cams}
    covariate = log_variance(pictures.images)
    for cam in cams.values():
        for change in maps.values():
            yield _score_rows(context, change, cam, covariate, pictures)


def cascade(context: Context, name: str, pictures: Pictures) -> Results:
    """The SSIM ball's change map for the gradient of a randomised network, against the trained network's CAM."""
    images, labels, config = pictures.images, pictures.labels, context.config
    cam, covariate = _cam(context, context.cam_method, pictures), log_variance(images)
    ball = ball_of("ssim", images, config.map_budget, cg_steps=config.cg_steps)
    for number in context.cascade():
        gradient = margin_gradient(context.randomised(number), images, labels)
        change = ssim.change_map(images, rescale_to_distance(images, ball.steepest(gradient), config.map_budget))
        yield _score_rows(context, change, cam, covariate, pictures)


PARTS: Mapping[str, Callable[[Context, str, Pictures], Results]] = {
    "agreement": agreement,
    "cascade": cascade,
    "fooling": fooling,
    "regions": regions,
    "smallest": search,
}


def rows_of(context: Context, part: str, name: str, pictures: Pictures) -> list[list[Row]]:
    """Rows of each of some correctly classified pictures."""
    keys, results = context.keys(part, name), PARTS[part](context, name, pictures)
    named = [[key | row for row in rows] for key, rows in zip(keys, results, strict=True)]
    return [list(rows) for rows in zip(*named, strict=True)]


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


def _attack_rows(result: AttackResult) -> list[Row]:
    return [{key: row[key] for key in _ATTACK_COLUMNS} for row in result.rows()]
