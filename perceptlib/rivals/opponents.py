"""Searches of other libraries for the smallest perturbation, each with the same number of gradients, and ours beside.

A network that watches counts every forward pass and every gradient of its answer, ends a search that has spent its
gradients, and then hands out the nearest picture that fooled it, as AttackBench does (Cinà, Rony, Pintor and others
2024). Success and distances are recomputed from what comes back; a search that raises, returns NaN or leaves [0, 1] has
found nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from perceptlib.attacks.eight_bit import smallest_rounded
from perceptlib.attacks.minimal import BoundarySearch, smallest
from perceptlib.attacks.network import Classifier, Given, attack_margin, entered
from perceptlib.attacks.result import AttackResult, Scalar, measured, round_to_8bit
from perceptlib.balls import Ball
from perceptlib.records.checks import Values, whole_number
from perceptlib.rivals.baselines import frozen, library, run_foolbox
from perceptlib.ssim import Reference

NUDGE = 1e-3  # relative
ROUNDING = 1e-6  # by which a picture may leave [0, 1]
LINEARISED = 30  # gradients kept for DeepFool and its refinements, which take 11 to 22 on the recorded photographs
TOP = 10  # classes that DeepFool and its kin look at, the label among them: all of ImageNet's are 999 gradients a step
FOUND, NOT_FOUND, SPENT = "returned", "nothing found", "ended at the budget"
Search = Callable[[nn.Module, Tensor, Tensor, int], Tensor]  # network, image, label, gradients -> image
Distance = Callable[[Tensor], Tensor]  # of pictures (N, C, H, W), (N,)


class _Spent(RuntimeError):
    """The gradients are used up."""


@dataclass(frozen=True)
class Opponent:
    """How a table names a search, what it makes small, its setting, the search itself and the modules that it needs."""

    words: str
    aim: str  # "l2", "linf", "ssim" and so on
    setting: str
    search: Search
    modules: tuple[str, ...]


class Watched(nn.Module):
    """A network for one picture (1, C, H, W) that counts, ends at a budget of gradients, and keeps the best it saw.

    ``distance`` says which of the pictures that fool is the best.
    """

    def __init__(self, network: Classifier, label: Tensor, distance: Distance, budget: int) -> None:
        super().__init__()
        self.network, self.label, self.distance, self.budget = network, label, distance, budget
        self.num_passes, self.num_gradients = 0, 0
        self.best: Tensor | None = None
        self.best_distance = math.inf
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        if torch.is_grad_enabled() and images.requires_grad and self.num_gradients >= self.budget:
            raise _Spent
        self.num_passes += len(images)
        logits: Tensor = self.network(images.clamp(0, 1))
        self._keep(images.detach(), logits.detach())
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        if self.num_gradients >= self.budget:
            raise _Spent
        self.num_gradients += len(gradient)

    @torch.no_grad()
    def _keep(self, images: Tensor, logits: Tensor) -> None:
        fools = attack_margin(logits, self.label.expand(len(images)), None) < 0
        fools &= ((images >= -ROUNDING) & (images <= 1 + ROUNDING)).flatten(1).all(1)
        for place in fools.nonzero().flatten().tolist():
            image = images[[place]]
            if (distance := float(self.distance(image))) < self.best_distance:
                self.best, self.best_distance = image.clamp(0, 1), distance


def _adv_lib(name: str, steps: str, module: str = "adv_lib.attacks", **options: Any) -> Search:
    def search(network: nn.Module, image: Tensor, label: Tensor, budget: int) -> Tensor:
        found: Tensor = getattr(library(module, "adv-lib"), name)(network, image, label, **{steps: budget}, **options)
        return found

    return search


def _alma(distance: str, first: float) -> Search:
    def search(network: nn.Module, image: Tensor, label: Tensor, budget: int) -> Tensor:
        # its authors' averages for 100 and for 1000 steps
        average = 0.5 if budget < 500 else 0.9
        run = _adv_lib("alma", "num_steps", distance=distance, init_lr_distance=first, α=average)
        return run(network, image, label, budget)

    return search


def _minimal_apgd(norm: float) -> Search:
    def search(network: nn.Module, image: Tensor, label: Tensor, budget: int) -> Tensor:
        radii = 5 if budget < 500 else 10
        largest = 0.002 * math.sqrt(image.numel()) if norm == 2 else 8 / 255
        options = {"norm": norm, "max_eps": largest, "binary_search_steps": radii}
        run = _adv_lib("minimal_apgd", "n_iter", "adv_lib.attacks.auto_pgd", **options)
        return run(network, image, label, budget // radii - 1)  # each radius takes a gradient more

    return search


def _super_deepfool(network: nn.Module, image: Tensor, label: Tensor, budget: int) -> Tensor:
    run: Callable[..., Tensor] = _adv_lib("sdf", "steps")
    logits = network(image)[0].detach()
    if len(logits) <= TOP:
        return run(network, image, label, budget)
    # the logits of the most likely classes alone, the label first
    likely = logits.scatter(0, label, torch.inf).topk(TOP, sorted=True).indices
    return run(lambda images: network(images)[:, likely], image, torch.zeros_like(label), budget)


def _perc_al(network: nn.Module, image: Tensor, label: Tensor, budget: int) -> Tensor:
    options = {"num_classes": network(image).shape[1], "alpha_c_init": 0.1}
    return _adv_lib("perc_al", "max_iterations", **options)(network, image, label, budget)


def _foolbox(name: str, options: Callable[[int], dict[str, Any]]) -> Search:
    def search(network: nn.Module, image: Tensor, label: Tensor, budget: int) -> Tensor:
        attack = getattr(library("foolbox.attacks", "baselines"), name)(**options(budget))
        return run_foolbox(attack, network, image, label)

    return search


def _brendel_bethge(budget: int) -> dict[str, Any]:
    start = library("foolbox.attacks", "baselines").LinearSearchBlendedUniformNoiseAttack(directions=100, steps=50)
    return {"init_attack": start, "steps": budget}


def _carlini_wagner(step_size: float, budget: int) -> dict[str, Any]:
    return {"steps": budget // 5, "binary_search_steps": 5, "stepsize": step_size}


_ADV, _FOOL = ("adv_lib",), ("foolbox",)
_STEPS = "a step a gradient"


def _entries() -> Iterator[tuple[str, Opponent]]:
    """By name, with what follows a colon for a second setting of the same search."""
    for norm, order in (("l2", 2), ("linf", math.inf)):
        fmn = partial(_adv_lib, "fmn", "steps", norm=order)
        yield f"fmn_{norm}", Opponent(f"FMN, {norm}", norm, f"{_STEPS}, first of 1", fmn(), _ADV)
        yield f"fmn_{norm}:0.1", Opponent(f"FMN, {norm}", norm, f"{_STEPS}, first of 0.1", fmn(α_init=0.1), _ADV)
        radii = "5 or 10 radii from " + ("0.2 % of the root of the number of values" if norm == "l2" else "8/255")
        yield f"apgd_{norm}", Opponent(f"APGD, {norm}", norm, radii, _minimal_apgd(order), _ADV)
        for name, rate in (("", 1e-2), (":0.001", 1e-3)):
            pdpgd = _adv_lib("pdpgd", "num_steps", norm=order, primal_lr=rate)
            yield f"pdpgd_{norm}{name}", Opponent(f"PDPGD, {norm}", norm, f"{_STEPS}, primal rate {rate}", pdpgd, _ADV)
    for name, length in (("", 1.0), (":0.1", 0.1)):
        ddn = _adv_lib("ddn", "steps", levels=None, init_norm=length)
        yield f"ddn{name}", Opponent("DDN", "l2", f"{_STEPS}, first norm {length}, no rounding", ddn, _ADV)
    yield "super_deepfool", Opponent("SuperDeepFool", "l2", f"{TOP} classes", _super_deepfool, _ADV)
    # first steps of about the distance that fools, and of one far beyond it
    for aim, key, firsts in (
        ("l2", "l2", (0.1, 0.5)),
        ("ssim", "ssim", (1e-5, 1e-4)),
        ("ms_ssim", "msssim", (1e-6, 1e-5)),
        ("ciede2000", "ciede2000", (0.01, 0.05)),
    ):
        for first in firsts:
            name = f"alma_{aim}" + ("" if first == firsts[0] else f":{first:g}")
            words = f"{_STEPS}, first step of {first:g} in its distance"
            yield name, Opponent(f"ALMA, {aim}", aim, words, _alma(key, first), _ADV)
    yield "perc_al", Opponent("PerC-AL", "ciede2000", f"{_STEPS}, colour steps of 0.1, on 8 bits", _perc_al, _ADV)
    deepfool = _foolbox("L2DeepFoolAttack", lambda budget: {"steps": budget, "candidates": TOP})
    yield "deepfool", Opponent("foolbox DeepFool", "l2", f"{TOP} classes", deepfool, _FOOL)
    for name, size in (("", 1e-2), (":0.001", 1e-3)):
        words = f"5 constants, step size {size}"
        search = _foolbox("L2CarliniWagnerAttack", partial(_carlini_wagner, size))
        yield f"carlini_wagner{name}", Opponent("foolbox Carlini-Wagner", "l2", words, search, _FOOL)
    bethge = _foolbox("L2BrendelBethgeAttack", _brendel_bethge)
    words = f"{_STEPS}, from blended noise"
    yield "brendel_bethge", Opponent("foolbox Brendel-Bethge", "l2", words, bethge, ("foolbox", "numba"))


OPPONENTS: dict[str, Opponent] = dict(_entries())


def missing_module(name: str) -> str:
    """The module that an opponent needs and that is not installed; empty where nothing is missing."""
    return next((module for module in OPPONENTS[name].modules if find_spec(module) is None), "")


def run_opponent(
    name: str, classifier: Classifier, images: Values, labels: Values, *, budget: int = 100, seed: int = 0
) -> tuple[AttackResult, tuple[str, ...]]:
    """One opponent on each picture by itself, with at most so many gradients.

    Parameters
    ----------
    name : str
        Key of `OPPONENTS`.
    classifier, images, labels
        As for `perceptlib.attacks.maximize.maximize_loss`.
    budget : int
        Gradients for a picture, at least 10.
    seed : int
        Of what the search draws, the same for each picture.

    Returns
    -------
    result : AttackResult
        ``gradients`` and ``forward_passes`` as the network counted them. A picture that is not fooled comes back clean.
    outcomes : tuple of str
        For each picture `FOUND`; `SPENT`, where the search was ended and the nearest picture that it had tried counts;
        or `NOT_FOUND` and why.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.attacks.maximize.maximize_loss`; an unknown name, a budget below 10.
    ModuleNotFoundError
        The library is not installed, or a module that it needs.
    """
    if name not in OPPONENTS:
        raise ValueError(f"there is no opponent {name!r}; {', '.join(OPPONENTS)} are")
    opponent = OPPONENTS[name]
    if module := missing_module(name):
        advice = {"foolbox": "'perceptlib[baselines]'", "adv_lib": "--no-deps adv-lib"}.get(module, module)
        raise ModuleNotFoundError(
            f"opponent {name!r} needs {module}, which is not installed; install it with `pip install {advice}`",
            name=module,
        )

    def of(place: int, image: Tensor) -> tuple[Search, Distance]:
        return opponent.search, _distance(opponent.aim, image)

    return _run(of, classifier, images, labels, budget, seed, name)


def run_own(
    ball: Ball, classifier: Classifier, images: Values, labels: Values, *, budget: int = 100
) -> tuple[AttackResult, tuple[str, ...]]:
    """`perceptlib.attacks.smallest` in a ball under the same watch; arguments, results and errors as `run_opponent`.

    What its linearised steps are likely to leave of the budget goes to a descent.
    """

    def of(place: int, image: Tensor) -> tuple[Search, Distance]:
        own = ball.select(torch.tensor([place], device=image.device))

        def search(network: nn.Module, image: Tensor, label: Tensor, budget: int) -> Tensor:
            return smallest(network, image, label, own, descent=max(0, budget - LINEARISED)).adversarial

        return search, lambda changed: own.measure(changed.double() - image.double())

    return _run(of, classifier, images, labels, budget, 0, f"smallest, {type(ball).__name__}", ball)


def round_found(
    classifier: Classifier, images: Values, labels: Values, adversarial: Tensor, ball: Ball, *, rounds: int = 3
) -> AttackResult:
    """What a search has found as 8-bit pictures that still fool, small in a ball: the last stage of `smallest` for it.

    ``adversarial`` are its pictures, which fool, of the images' shape and dtype; other arguments and errors as of
    `perceptlib.attacks.smallest` with ``eight_bit``, whose rounds are 3 or its refinements. ``gradients`` are those of
    the rounding alone.
    """
    with entered(classifier, images, labels, ball=ball) as given:
        places = torch.arange(len(given.images), device=given.images.device)
        search = BoundarySearch(given.network, places, given.images, given.labels, None, ball, 1, given.before)
        saved = smallest_rounded(
            search.fools,
            lambda changed: search.nearest(changed - given.images, None)[2:],
            *(given.images, adversarial - given.images, ball),
            rounds=rounds,
        )
        settings: dict[str, Scalar] = {"attack": "round_found", "ball": type(ball).__name__, "rounds": rounds}
        return measured(given, saved, ball=None, steps=rounds, settings=settings)


def _run(
    of: Callable[[int, Tensor], tuple[Search, Distance]],
    classifier: Classifier,
    images: Values,
    labels: Values,
    budget: int,
    seed: int,
    name: str,
    ball: Ball | None = None,
) -> tuple[AttackResult, tuple[str, ...]]:
    """For each picture, by its place, a search, and the distance by which the best of the pictures tried is known."""
    budget = whole_number("budget", budget, least=10)
    with entered(classifier, images, labels, ball=ball) as given, frozen(classifier):
        results, outcomes = [], []
        pairs = zip(given.images.split(1), given.labels.split(1), given.before.split(1), strict=True)
        for place, (image, label, before) in enumerate(pairs):
            search, distance = of(place, image)
            watched = Watched(given.network, label, distance, budget)
            with torch.random.fork_rng(), torch.enable_grad():
                torch.manual_seed(seed)
                found, outcome = _guarded(search, watched, image.clone(), label)
            one = replace(given, images=image, labels=label, before=before)
            adversarial = image if found is None else _settled(one, found)
            if found is not None and adversarial is image:
                outcome = f"{NOT_FOUND}: what came back does not fool"
            result = measured(
                *(one, adversarial),
                ball=None,
                steps=0,
                gradients=watched.num_gradients,
                forward_passes=watched.num_passes,
                settings={"attack": name, "budget": budget},
            )
            results.append(result)
            outcomes.append(outcome)
        return AttackResult.concatenate(results), tuple(outcomes)


def _settled(given: Given, found: Tensor) -> Tensor:
    """The picture found, or the clean one where it does not fool when it is measured.

    On the boundary itself rounding decides, and with it how many pictures pass the network at once: there the
    perturbation is lengthened by `NUDGE`.
    """
    for factor in (1.0, 1 + NUDGE):
        trial = found if factor == 1 else (given.images + factor * (found - given.images)).clamp(0, 1)
        logits = given.network(torch.cat([trial, round_to_8bit(trial)]))[:1]  # as `measured` asks
        if bool(attack_margin(logits, given.labels, None) < 0):
            return trial
    return given.images


def _guarded(search: Search, watched: Watched, image: Tensor, label: Tensor) -> tuple[Tensor | None, str]:
    """A picture (1, C, H, W) in [0, 1], if the search hands one out, and what became of it."""
    try:
        found, outcome = search(watched, image, label, watched.budget).detach(), FOUND
    except _Spent:
        return watched.best, SPENT if watched.best is not None else f"{NOT_FOUND}: {SPENT}"
    except Exception as error:  # of code that is not ours, on one picture of many
        return None, f"{NOT_FOUND}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if found.shape != image.shape or not bool(torch.isfinite(found).all()):
        return None, f"{NOT_FOUND}: what came back is no picture"
    if float(found.min()) < -ROUNDING or float(found.max()) > 1 + ROUNDING:
        return None, f"{NOT_FOUND}: what came back leaves [0, 1]"
    return found.to(image.dtype).clamp(0, 1), outcome


def _distance(aim: str, image: Tensor) -> Distance:
    if aim == "ssim":
        reference = Reference(image.double())
        return lambda changed: reference.distance(changed.double() - image.double())
    order = math.inf if aim == "linf" else 2  # the others end by themselves: a step a gradient
    return lambda changed: torch.linalg.vector_norm((changed - image).flatten(1), order, dim=1)
