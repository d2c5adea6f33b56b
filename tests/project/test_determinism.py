"""Seeds reach every source of chance: nothing reads or moves the random states of the process."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets  # noqa: F401  (its import moves a random state; later imports do not)
import torch
from random_states import under

import perceptlib
from perceptlib.analysis import statistics
from perceptlib.balls import SSIMBall
from perceptlib.data import handwritten as digits
from perceptlib.data import scenes
from perceptlib.maps import controls, randomisation, regions
from perceptlib.networks import load
from perceptlib.networks import loading as networks
from perceptlib.pages import agreement as agreement_page
from perceptlib.pages import causal
from perceptlib.pages import ssim as ssim_page
from perceptlib.study import factorial, localisation, presets, sensitivity, training
from perceptlib.study import programs as convex_study
from perceptlib.study.presets import Pictures, Study
from perceptlib.study.sensitivity import Setting

SOURCES = sorted(Path(perceptlib.__file__).parent.rglob("*.py"))
# Draws of torch that take a generator; the same with an underscore are methods of a tensor.
DRAWS = {
    *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"),
    *("rand_like", "randn_like", "randint_like"),
    *("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "geometric_", "cauchy_", "log_normal_"),
}
# Functions that are called with torch's state forked and seeded alone.
WITHIN_A_FORK = {("training", "_shifted"), ("training", "losses")}


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
    return presets.load_study("shapes", num_images=2)


def pictures() -> Pictures:
    return presets.load_pictures("shapes", num_images=2)


def random_gradient_ball() -> SSIMBall:
    return SSIMBall(pictures().images, 0.01)


SETTINGS = [Setting(budget=0.01), Setting(budget=0.01, cam_class="random")]
TENTHS = [0.1 * place**2 for place in range(9)]
CAM = torch.linspace(0, 1, 64).outer(torch.linspace(1, 0, 64))[None]
# Function with a seed -> a small call of it.
SEEDED: dict[Callable[..., Any], Callable[[int], Any]] = {
    networks.random_network: lambda seed: networks.random_network("squeezenet1_1", seed=seed),
    controls.white_noise: lambda seed: controls.white_noise(pictures().images, seed=seed),
    controls.random_direction: lambda seed: controls.random_direction(
        pictures().images, random_gradient_ball(), seed=seed
    ),
    controls.equal_distance_noise: lambda seed: controls.equal_distance_noise(pictures().images, 0.01, seed=seed),
    convex_study.random_problem: lambda seed: convex_study.random_problem(convex_study.KINDS[3], side=12, seed=seed),
    digits.digits: lambda seed: digits.digits(5, seed=seed),
    training.train_digits: lambda seed: training.train_digits(seed=seed, epochs=1),
    training.evaluate: lambda seed: training.evaluate(load("shapes"), num_images=3, seed=seed),
    agreement_page.map_panels: lambda seed: agreement_page.map_panels(small_study(), 0, budget=0.01, seed=seed),
    factorial.factorial_rows: lambda seed: factorial.factorial_rows(load("shapes"), 2, budget=0.01, seed=seed),
    causal.scene_maps: lambda seed: causal.scene_maps(load("shapes"), 0, budget=0.01, seed=seed),
    causal.region_example: lambda seed: causal.region_example(small_study(), 0, candidates=2, cg_steps=3, seed=seed),
    ssim_page.float32_errors: lambda seed: ssim_page.float32_errors(pictures().images.double(), [0.01], seed=seed),
    ssim_page.equal_l2: lambda seed: ssim_page.equal_l2(pictures().images[:1], 1.0, seed=seed),
    ssim_page.noise_of_equal_l2: lambda seed: ssim_page.noise_of_equal_l2(pictures().images[:1], 1.0, seed=seed),
    ssim_page.equal_distance: lambda seed: ssim_page.equal_distance(pictures().images[:1], 0.01, seed=seed),
    ssim_page.shape_panels: lambda seed: ssim_page.shape_panels(pictures().head(1), budget=0.01, seed=seed),
    ssim_page.ratio_rows: lambda seed: ssim_page.ratio_rows(pictures(), [0.01], seed=seed),
    localisation.maps_of: lambda seed: localisation.maps_of(
        load("shapes"), pictures().images, pictures().labels, budget=0.01, seed=seed
    ),
    localisation.agreement_rows: lambda seed: localisation.agreement_rows(small_study(), budget=0.01, seed=seed),
    presets.load_pictures: lambda seed: presets.load_pictures("digits", num_images=4, seed=seed),
    presets.load_study: lambda seed: presets.load_study("shapes", num_images=3, seed=seed).pictures,
    randomisation.randomise: lambda seed: randomisation.randomise(load("shapes"), 2, seed=seed),
    regions.random_region: lambda seed: regions.random_region(CAM, 0.2, seed=seed),
    regions.background_region: lambda seed: regions.background_region(CAM > 0.7, seed=seed),
    scenes.shapes: lambda seed: scenes.shapes(2, seed=seed, object_texture="mixed", background_texture="mixed").images,
    sensitivity.sensitivity_rows: lambda seed: sensitivity.sensitivity_rows(small_study(), SETTINGS, seed=seed),
    scenes.draw: lambda seed: scenes.draw(3, seed=seed),
    statistics.bootstrap_interval: lambda seed: statistics.bootstrap_interval(TENTHS, seed=seed, statistic="mean"),
    statistics.paired_test: lambda seed: statistics.paired_test(TENTHS, [0.3] * 9, seed=seed, statistic="mean"),
    statistics.difference_of_rates: lambda seed: statistics.difference_of_rates(
        [1.0] * 20 + [0.0] * 23, [1.0, 0.0, 0.0] * 14 + [1.0], num_resamples=9, seed=seed
    ),
    statistics.ratio_of_medians: lambda seed: statistics.ratio_of_medians(
        np.linspace(1, 2, 40) ** 3, np.linspace(2, 1, 40), seed=seed
    ),
    training.train: lambda seed: training.train(seed=seed, num_images=64),
}
# Functions whose seed goes on to one of the above, chooses a file, or is for the record alone.
ELSEWHERE = {
    *("load", "shipped_file", "provenance", "write_numbers", "save_digits_network", "train_and_save", "record"),
    *("verdicts", "claim_a_rows", "build_frames"),
}


def test_every_function_with_a_seed_is_tried() -> None:
    there = set()
    for found in pkgutil.walk_packages(perceptlib.__path__, "perceptlib."):
        if found.name.startswith(("perceptlib.check", "perceptlib.cli")) or found.name.endswith("__main__"):
            continue  # the checks run these functions, the commands call them
        module = importlib.import_module(found.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            is_own = function.__module__ == module.__name__ and not name.startswith("_")
            if is_own and "seed" in inspect.signature(function).parameters:
                there.add(name)
    assert there == {function.__name__ for function in SEEDED} | ELSEWHERE


@pytest.mark.parametrize("function", SEEDED, ids=lambda function: function.__name__)
def test_result_follows_from_the_seed_alone(function: Callable[..., Any]) -> None:
    call = SEEDED[function]
    first = under(1, lambda: call(3))
    assert under(2, lambda: call(3)) == first
    assert under(1, lambda: call(4)) != first, "the seed changes nothing"
