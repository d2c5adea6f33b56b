"""Seeds reach every source of chance: nothing reads or moves the random states of the process."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.datasets  # noqa: F401  (its import moves a random state; later imports do not)
import torch
from random_states import under

import perceptlib
from perceptlib.balls import SSIMBall
from perceptlib.networks import load
from perceptlib.study import programs
from perceptlib.study.presets import Pictures, Study
from perceptlib.study.sensitivity import Setting
from perceptlib.training.robustness import Threat


def found() -> dict[str, Callable[..., Any]]:
    """Public functions of the library that take a seed, by their names, wherever they are."""
    there = {}
    for module in pkgutil.walk_packages(perceptlib.__path__, "perceptlib."):
        if module.name.startswith(("perceptlib.check", "perceptlib.cli")) or module.name.endswith("__main__"):
            continue  # the checks run these functions, the commands call them
        for name, function in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
            is_own = function.__module__ == module.name and not name.startswith("_")
            if is_own and "seed" in inspect.signature(function).parameters:
                there[name] = function
    return there


FOUND = found()
library = SimpleNamespace(**FOUND)
SOURCES = sorted(Path(perceptlib.__file__).parent.rglob("*.py"))
# Draws of torch that take a generator; the same with an underscore are methods of a tensor.
DRAWS = {
    *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"),
    *("rand_like", "randn_like", "randint_like"),
    *("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "geometric_", "cauchy_", "log_normal_"),
}
# Functions that are called with torch's state forked and seeded alone.
WITHIN_A_FORK = {("small", "_shifted"), ("small", "losses")}


def offences(source: str, module: str = "") -> list[str]:
    """Draws from a random state of the process, by line."""
    found = []
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def around(node: ast.AST) -> list[ast.AST]:
        above = [node]
        while above[-1] in parents:
            above.append(parents[above[-1]])
        return above

    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
        last = name.rpartition(".")[2]
        is_forked = any(
            (isinstance(above, ast.With) and any("fork_rng" in ast.unparse(item) for item in above.items))
            or (isinstance(above, ast.FunctionDef) and (module, above.name) in WITHIN_A_FORK)
            for above in around(node)
        )
        if re.fullmatch(r"(np\.|numpy\.)?random\.\w+", name):
            is_offence = last not in ("Random", "default_rng", "Generator", "PCG64", "SeedSequence") or not node.args
        elif last in DRAWS:
            is_offence = "generator" not in given and not is_forked
        elif last in ("manual_seed", "seed", "manual_seed_all") and name.startswith("torch"):
            is_offence = name != "torch.default_generator.manual_seed" or not is_forked
            is_offence = is_offence and not name.startswith("torch.Generator()")
        elif last == "Generator":
            above = around(node)[1]
            is_offence = not (isinstance(above, ast.Attribute) and above.attr == "manual_seed")
        else:
            is_offence = name in ("hash", "uuid.uuid4", "os.urandom") or name.startswith("secrets.")
        if is_offence:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def test_modules_draw_from_generators_of_their_own() -> None:
    found = {path.name: offences(path.read_text(encoding="utf-8"), path.stem) for path in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("code", "is_offence"),
    [
        ("torch.randn(3)", True),
        ("torch.randn(3, generator=g)", False),
        ("torch.rand_like(x)", True),
        ("x.normal_()", True),
        ("with torch.random.fork_rng(devices=[]):\n    torch.randn(3)", False),
        ("torch.manual_seed(0)", True),
        ("with torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)", True),  # reaches GPUs
        ("with torch.random.fork_rng(devices=[]):\n    torch.default_generator.manual_seed(0)", False),
        ("torch.default_generator.manual_seed(0)", True),
        ("torch.Generator().manual_seed(0)", False),
        ("torch.Generator()", True),
        ("np.random.default_rng(0)", False),
        ("np.random.default_rng()", True),
        ("np.random.rand(3)", True),
        ("random.Random('a')", False),
        ("random.Random()", True),
        ("random.random()", True),
        ("hash('a')", True),
    ],
)
def test_offences_are_found(code: str, is_offence: bool) -> None:
    assert bool(offences(code)) == is_offence


def small_study() -> Study:
    return library.load_study("shapes", num_images=2)


def pictures() -> Pictures:
    return library.load_pictures("shapes", num_images=2)


def random_gradient_ball() -> SSIMBall:
    return SSIMBall(pictures().images, 0.01)


SETTINGS = [Setting(budget=0.01), Setting(budget=0.01, cam_class="random")]
TENTHS = [0.1 * place**2 for place in range(9)]
CAM = torch.linspace(0, 1, 64).outer(torch.linspace(1, 0, 64))[None]
# Name of a function with a seed -> a small call of it.
SEEDED: dict[str, Callable[[int], Any]] = {
    "load": lambda seed: library.load("squeezenet1_1", weights="random", seed=seed),
    "white_noise": lambda seed: library.white_noise(pictures().images, seed=seed),
    "random_direction": lambda seed: library.random_direction(pictures().images, random_gradient_ball(), seed=seed),
    "equal_distance_noise": lambda seed: library.equal_distance_noise(pictures().images, 0.01, seed=seed),
    "random_problem": lambda seed: library.random_problem(programs.KINDS[3], side=12, seed=seed),
    "digits": lambda seed: library.digits(5, seed=seed),
    "train_digits": lambda seed: library.train_digits(seed=seed, epochs=1),
    "evaluate": lambda seed: library.evaluate(load("shapes"), num_images=3, seed=seed),
    "map_panels": lambda seed: library.map_panels(small_study(), 0, budget=0.01, seed=seed),
    "median_example": lambda seed: library.median_example(small_study(), budget=0.01, seed=seed),
    "randomised": lambda seed: library.randomised(small_study(), "shapes-0-0", [2], budget=0.01, seed=seed),
    "factorial_rows": lambda seed: library.factorial_rows(
        load("shapes"), 2, budget=0.01, methods=("random",), seed=seed
    ),
    "scene_maps": lambda seed: library.scene_maps(load("shapes"), 0, budget=0.01, seed=seed),
    "region_example": lambda seed: library.region_example(small_study(), 0, candidates=2, cg_steps=3, seed=seed),
    "equal_l2": lambda seed: library.equal_l2(pictures().images[:1], 1.0, seed=seed),
    "noise_of_equal_l2": lambda seed: library.noise_of_equal_l2(pictures().images[:1], 1.0, seed=seed),
    "equal_distance": lambda seed: library.equal_distance(pictures().images[:1], 0.01, seed=seed),
    "shape_panels": lambda seed: library.shape_panels(pictures().head(1), budget=0.01, seed=seed),
    "ratio_rows": lambda seed: library.ratio_rows(pictures(), [0.01], seed=seed),
    "maps_of": lambda seed: library.maps_of(
        load("shapes"), pictures().images, pictures().labels, budget=0.01, seed=seed
    ),
    "agreement_rows": lambda seed: library.agreement_rows(small_study(), budget=0.01, seed=seed),
    "load_pictures": lambda seed: library.load_pictures("digits", num_images=4, seed=seed),
    "load_study": lambda seed: library.load_study("shapes", num_images=3, seed=seed).pictures,
    "randomise": lambda seed: library.randomise(load("shapes"), 2, seed=seed),
    "random_region": lambda seed: library.random_region(CAM, 0.2, seed=seed),
    "background_region": lambda seed: library.background_region(CAM > 0.7, seed=seed),
    "shapes": lambda seed: library.shapes(2, seed=seed, object_texture="mixed", background_texture="mixed").images,
    "sensitivity_rows": lambda seed: library.sensitivity_rows(small_study(), SETTINGS, seed=seed),
    "draw": lambda seed: library.draw(3, seed=seed),
    "bootstrap_interval": lambda seed: library.bootstrap_interval(TENTHS, seed=seed, statistic="mean"),
    "paired_test": lambda seed: library.paired_test(TENTHS, [0.3] * 9, seed=seed, statistic="mean"),
    "difference_of_rates": lambda seed: library.difference_of_rates(
        [1.0] * 2000 + [0.0] * 2200, [1.0, 0.0, 0.0] * 1400, seed=seed
    ),
    "ratio_of_medians": lambda seed: library.ratio_of_medians(
        np.linspace(1, 2, 40) ** 3, np.linspace(2, 1, 40), seed=seed
    ),
    "train": lambda seed: library.train(seed=seed, num_images=64),
    "train, hardening": lambda seed: library.train(
        start=load("shapes").network, threat=Threat("l2", 1.0), seed=seed, num_images=64
    ),
    "train_digits, hardening": lambda seed: library.train_digits(
        start=load("digits").network, threat=Threat("linf", 0.06), seed=seed, epochs=1
    ),
}
# Functions whose seed goes on to one of the above, chooses a file, or is for the record alone.
ELSEWHERE = {
    *("provenance", "write_numbers", "train_and_save", "record"),
    *("verdicts", "claim_a_rows", "build_frames"),
    *("over_networks", "maps_by_network", "run_opponent", "steepest_map"),
    *("record_opponents", "record_rounded", "record_variants"),
}


def test_every_function_with_a_seed_is_tried() -> None:
    assert FOUND.keys() - SEEDED.keys() <= ELSEWHERE


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name.endswith("hardening") else name for name in SEEDED]
)
def test_result_follows_from_the_seed_alone(name: str) -> None:
    call = SEEDED[name]
    first = under(1, lambda: call(3))
    assert under(2, lambda: call(3)) == first
    assert under(1, lambda: call(4)) != first, "the seed changes nothing"
