"""Causal tests of claim D: texture changed and the rest kept; the attack kept to one part of the picture."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perceptlib import ssim
from perceptlib.attacks import smallest
from perceptlib.balls import SSIMBall
from perceptlib.cam import class_activation_map
from perceptlib.classifier import load
from perceptlib.factorial import CONDITIONS, factorial_rows, factorial_summary
from perceptlib.localisation import MAPS, maps_of
from perceptlib.presets import Study
from perceptlib.provenance import provenance, write_json
from perceptlib.regions import bottom_region, random_region, top_region
from perceptlib.scenes import shapes
from perceptlib.study import run_study
from perceptlib.study_config import StudyConfig
from perceptlib.study_results import region_summary
from perceptlib.study_rows import read_study
from perceptlib.tables import Row, Table, read_rows, write_rows

REGIONS = {
    "top": "top of the CAM",
    "bottom": "bottom of the CAM",
    "random": "random",
    "object": "object",
    "background": "background",
}
EFFECTS = {
    "object_texture": "object's texture",
    "background_texture": "background's texture",
    "interaction": "interaction",
}


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
) -> list[Row]:
    """Make the recorded rows of the paired design again: ``factorial.csv`` and ``factorial_provenance.json``.

    Parameters
    ----------
    folder
        Made if missing.
    num_images
        Scenes, of seed 0.
    networks
        Which of the shipped networks for shapes; the column ``network`` says of which a row is.
    budget
        As for `perceptlib.factorial.factorial_rows`, with one step.

    Raises
    ------
    ValueError
        As `factorial_rows`.
    """
    rows: list[Row] = []
    runs = []
    for network in networks:
        classifier = load("shapes", seed=network)
        rows += [{"network": network} | row for row in factorial_rows(classifier, num_images, budget=budget)]
        runs.append(provenance(seed=0, preset="shapes", classifier=classifier))
    path = write_rows(rows, Path(folder) / "factorial.csv")
    write_json(path.with_name("factorial_provenance.json"), {"num_images": num_images, "budget": budget, "runs": runs})
    return rows


def recorded_factorial(path: str | Path) -> dict[str, dict[str, Any]]:
    """Name of a network -> `perceptlib.factorial.factorial_summary` of its recorded rows; nothing without the file."""
    if not Path(path).is_file():
        return {}
    rows = read_rows(path)
    return {
        f"network {network}": factorial_summary([row for row in rows if row["network"] == network])
        for network in dict.fromkeys(row["network"] for row in rows)
    }


def scene_maps(
    study: Study, scene: int, *, budget: float, steps: int = 1, cg_steps: int = 15, seed: int = 0
) -> dict[str, dict[str, Tensor]]:
    """One scene in its four texture conditions, with the maps of `perceptlib.localisation.maps_of`.

    Parameters
    ----------
    study
        Its network is one for shapes.
    scene
        Counted from 0: the same scene as in `perceptlib.factorial.factorial_rows`.
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
            study.classifier, scenes.images, scenes.labels, budget=budget, steps=steps, cg_steps=cg_steps, seed=seed
        )
        found[condition] = {name: values[0] for name, values in maps.items()}
        found[condition] |= {"image": scenes.images[0], "mask": scenes.masks[0]}
    return found


def effect_table(summaries: Mapping[str, Mapping[str, Mapping[str, Any]]], method: str = "ssim") -> Table:
    """What textures do to one map's share on the object: a row for each summary, on both scales.

    Parameters
    ----------
    summaries
        Name -> `perceptlib.factorial.factorial_summary`.
    method
        Which map's.
    """
    lines = []
    for name, summary in summaries.items():
        entry = summary[method]
        factors = (_text(entry[effect]) for effect in EFFECTS)
        sums = (_text(entry["additive"][effect], sign="+") for effect in EFFECTS)
        scenes = f"{entry['num_scenes']} ({entry['num_left_out']} named wrongly)"
        lines.append((name, *factors, _text(entry["background_over_object"]), *sums, scenes))
    headings = (
        *("scenes", *(f"{words}, factor" for words in EFFECTS.values()), "background's over object's, factor"),
        *(f"{words}, in units of chance" for words in EFFECTS.values()),
        "scenes compared",
    )
    return Table(headings, tuple(lines))


def follows_table(summaries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """What each map follows, by the rule of `perceptlib.factorial.follows`: a column for each summary."""
    methods = list(dict.fromkeys(method for summary in summaries.values() for method in summary))
    rows = [
        (
            MAPS[method],
            *(summary[method]["follows"] if method in summary else "not recorded" for summary in summaries.values()),
        )
        for method in methods
    ]
    return Table(("map", *summaries), tuple(rows))


def region_rows(config: StudyConfig) -> list[Row]:
    """Rows of the attack restricted to regions, of a study with this part alone.

    Parameters
    ----------
    config
        Its pictures, network, regions and limits count; attacks, searches, maps and randomised networks are left out.

    Raises
    ------
    ValueError, FileNotFoundError
        As `perceptlib.study.run_study`.
    """
    from dataclasses import replace

    alone = replace(config, attacks=(), searches=(), maps=(), cascade=())
    with tempfile.TemporaryDirectory() as folder:
        return run_study(alone, folder)


def recorded_regions(folders: Mapping[str, str | Path]) -> dict[str, dict[str, Any]]:
    """Name -> `perceptlib.study_results.region_summary` of each recorded study that has rows of regions."""
    found = {}
    for name, folder in folders.items():
        try:
            rows = read_study(folder, parts=("regions",))
        except FileNotFoundError:
            continue
        if summary := region_summary(rows):
            found[name] = summary
    return found


def region_table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """Every region of every study: fooling rates at equal distance, the distance that fools, both against the top."""
    lines = []
    for name, summary in summaries.items():
        for region, entry in summary.items():
            rates = "; ".join(f"{rate['value']:.0%} at {rate['budget']:g}" for rate in entry["rates"].values())
            below = "; ".join(_text(rate["below_top"], sign="+") for rate in entry["rates"].values())
            is_top = region == "top"
            lines.append(
                (
                    *(name, REGIONS[region], f"{entry['area']:.0%}", rates, "" if is_top else below),
                    f"{entry['distance']:.1e} ({entry['low']:.1e} to {entry['high']:.1e})",
                    "" if is_top else _text(entry["ratio_to_top"]),
                    f"{entry['num_images']} ({entry['num_not_fooled']} not fooled)",
                )
            )
    headings = (
        *("study", "region", "area", "fooling rate", "top's rate minus this one's"),
        *("distance that fools, median", "over the top's", "pictures"),
    )
    return Table(headings, tuple(lines))


def region_numbers(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A region summary as JSON can hold it: a distance that nothing reached, infinite, is undefined there."""
    return {
        name: region_numbers(value)
        if isinstance(value, Mapping)
        else math.nan
        if isinstance(value, float) and math.isinf(value)
        else value
        for name, value in summary.items()
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
        Of `perceptlib.attacks.smallest` and of the ball.
    seed
        Of the random region, 0 or more.

    Raises
    ------
    ValueError
        As `perceptlib.regions.top_region` and `smallest`.
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
        is_fooled = bool(result.is_adversarial[0])
        distances[name] = (
            float(ssim.distance(images.double(), result.adversarial.double())[0]) if is_fooled else math.inf
        )
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


def _text(entry: Mapping[str, float], *, sign: str = "") -> str:
    return f"{entry['value']:{sign}.2f} ({entry['low']:{sign}.2f} to {entry['high']:{sign}.2f})"
