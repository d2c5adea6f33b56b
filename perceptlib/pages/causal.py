"""Causal tests of claim D: texture changed and the rest kept; the attack kept to one part of the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perceptlib.analysis.results import region_summary
from perceptlib.analysis.tables import Row, read_rows, write_rows
from perceptlib.attacks import smallest
from perceptlib.balls import SSIMBall
from perceptlib.data import shapes
from perceptlib.maps import class_activation_map
from perceptlib.maps.regions import bottom_region, random_region, top_region
from perceptlib.networks import load
from perceptlib.records import data_dir, write_json
from perceptlib.records.provenance import provenance
from perceptlib.study.config import REGIONS, StudyConfig
from perceptlib.study.factorial import CONDITIONS, factorial_rows, factorial_summary
from perceptlib.study.localisation import maps_of
from perceptlib.study.presets import Study

NUM_NETWORKS = 3  # that ship for shapes


@dataclass(frozen=True)
class RegionExample:
    """One picture attacked in several regions of it.

    Attributes
    ----------
    image, cam
        (3, H, W) in [0, 1]; (H, W), 0 or more.
    label
        Its class.
    supports
        Region -> (H, W), bool: where the perturbation may be.
    perturbations
        Region -> (3, H, W), the smallest one found that fools.
    distances
        Region -> its SSIM distance; infinite where nothing fooled.
    answers
        Region -> the network's class of the perturbed picture.
    """

    image: Tensor
    cam: Tensor
    label: str
    supports: Mapping[str, Tensor]
    perturbations: Mapping[str, Tensor]
    distances: Mapping[str, float]
    answers: Mapping[str, str]


def record_factorial(
    folder: str | Path, *, num_images: int = 200, networks: Sequence[int] = (0, 1, 2), budget: float = 0.001
) -> None:
    """Make the recorded rows of the paired design again, one step each, and ``factorial_provenance.json``.

    Parameters
    ----------
    folder
        Receives ``factorial.csv`` of network 0 and ``factorial_network_N.csv`` of the others. Made if missing.
    num_images
        Scenes, of seed 0.
    networks
        Which of the shipped networks for shapes.
    budget
        As for `perceptlib.study.factorial.factorial_rows`.

    Raises
    ------
    ValueError
        As `factorial_rows`.
    """
    runs = []
    for network in networks:
        classifier = load("shapes", seed=network)
        rows = factorial_rows(classifier, num_images, budget=budget)
        write_rows(({"network": network} | row for row in rows), Path(folder) / _factorial_file(network))
        runs.append(provenance(seed=0, preset="shapes", classifier=classifier))  # pictures follow from the seed
    about = {"num_images": num_images, "budget": budget, "runs": runs}
    write_json(Path(folder) / "factorial_provenance.json", about)


def recorded_factorial(folder: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """Name of a network -> `perceptlib.study.factorial.factorial_summary` of its recorded rows, those that are there.

    Parameters
    ----------
    folder
        Of `record_factorial`; None for what ships with the project.
    """
    folder = data_dir() / "recorded" / "shapes" if folder is None else Path(folder)
    paths = {f"recorded, network {network}": folder / _factorial_file(network) for network in range(NUM_NETWORKS)}
    return {name: factorial_summary(read_rows(path)) for name, path in paths.items() if path.is_file()}


def scene_maps(
    classifier: nn.Module, scene: int, *, budget: float, steps: int = 1, cg_steps: int = 15, seed: int = 0
) -> dict[str, dict[str, Tensor]]:
    """One scene in its four texture conditions, with the maps of `perceptlib.study.localisation.maps_of`.

    Parameters
    ----------
    classifier
        Of the shapes.
    scene
        Counted from 0: the same scene as in `perceptlib.study.factorial.factorial_rows`.
    budget, steps, cg_steps, seed
        As there.

    Returns
    -------
    dict
        Condition -> ``image`` (3, H, W), ``mask`` (H, W) of the object, and a map (H, W) for each key of `MAPS`.

    Raises
    ------
    ValueError
        As `maps_of`.
    """
    found = {}
    for condition in CONDITIONS:
        on_object, behind = condition.split("/")
        scenes = shapes(1, seed=seed, first=scene, object_texture=on_object, background_texture=behind)
        maps = maps_of(
            classifier, scenes.images, scenes.labels, budget=budget, steps=steps, cg_steps=cg_steps, seed=seed
        )
        found[condition] = {name: values[0] for name, values in maps.items()}
        found[condition] |= {"image": scenes.images[0], "mask": scenes.masks[0]}
    return found


def regions_alone(config: StudyConfig, **changes: Any) -> StudyConfig:
    """The same study with the attack kept to regions as its only part; changes are fields of `StudyConfig`."""
    return replace(config, attacks=(), searches=(), maps=(), cascade=(), **changes)


def region_summaries(studies: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, Any]]:
    """Name -> `perceptlib.analysis.results.region_summary` of every study that has rows of regions, the top first."""
    found = {name: region_summary(rows) for name, rows in studies.items()}
    return {
        name: {region: summary[region] for region in REGIONS if region in summary}
        for name, summary in found.items()
        if summary
    }


def region_example(
    study: Study, index: int, *, share: float = 0.2, candidates: int = 5, cg_steps: int = 15, seed: int = 0
) -> RegionExample:
    """One example attacked in the top, in the bottom and in a random region of its CAM.

    Parameters
    ----------
    study
        Network and examples.
    index
        Which of ``study.examples``, counted round.
    share
        Area of each region, in (0, 1).
    candidates, cg_steps
        Of `perceptlib.attacks.maximize.smallest` and of the ball.
    seed
        Of the random region, 0 or more.

    Raises
    ------
    ValueError
        As `perceptlib.maps.regions.top_region` and `smallest`.
    """
    picture = study.examples.select(torch.tensor([index % len(study.examples)]))
    classifier, images, labels = study.classifier, picture.images, picture.labels
    method: Any = "cam" if classifier.linear_layer is not None else "grad-cam"
    cam = class_activation_map(classifier, images, labels, method=method)
    supports = {
        "top": top_region(cam, share),
        "bottom": bottom_region(cam, share),
        "random": random_region(cam, share, seed=seed),
    }
    names = [name.partition(",")[0] for name in classifier.class_names]
    perturbations, distances, answers = {}, {}, {}
    for name, support in supports.items():
        ball = SSIMBall(images, 0.01, cg_steps=cg_steps, support=support)  # its radius does not matter
        result = smallest(classifier, images, labels, ball, candidates=candidates)
        perturbations[name] = (result.adversarial - images)[0]
        distances[name] = float(result.distance[0]) if bool(result.is_adversarial[0]) else math.inf
        with torch.no_grad():
            answers[name] = names[int(classifier(result.adversarial).argmax(1))]
    return RegionExample(
        image=images[0],
        cam=cam[0],
        label=names[int(labels)],
        supports={name: support[0] for name, support in supports.items()},
        perturbations=perturbations,
        distances=distances,
        answers=answers,
    )


def _factorial_file(network: int) -> str:
    return "factorial.csv" if network == 0 else f"factorial_network_{network}.csv"
