"""Notebook 08: the same scenes in four textures, and the attack kept to one region of the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from perceptlib.analysis.causal import (
    factorial_answers,
    factorial_effects,
    factorial_numbers,
    region_distances,
    region_numbers,
    region_rates,
)
from perceptlib.analysis.frames import over, stacked
from perceptlib.analysis.recorded import HERE, factorial_file, recorded_factorial
from perceptlib.attacks import smallest
from perceptlib.balls import SSIMBall
from perceptlib.data import shapes
from perceptlib.drawing.figures import Drawing, Look, dots, drawing, fields, legend_of_kinds, look_of, name_rows, styled
from perceptlib.drawing.panels import Panel, amplification, grid, nearly_largest, perturbation_panel
from perceptlib.drawing.tables import MISSING, Table, intervals, table
from perceptlib.maps import class_activation_map
from perceptlib.networks import load
from perceptlib.pages.attack import example_of, short_name
from perceptlib.pages.shared import Columns, blank, factor_axis, of, part, tabulate
from perceptlib.records import write_json
from perceptlib.records.frames import write_csv
from perceptlib.records.provenance import provenance
from perceptlib.study.config import StudyConfig
from perceptlib.study.localisation import CONDITIONS, MAPS, factorial_rows, maps_of
from perceptlib.study.presets import Study
from perceptlib.study.regions import bottom_region, random_region, top_region

NUM_NETWORKS = 3  # that ship for shapes
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
_OUTLINE = "#56B4E9"
_REGION_LOOKS = {
    "top": Look("#D55E00", "^"),
    "bottom": Look("#0072B2", "v"),
    "random": Look("#000000", "X"),
    "object": Look("#E69F00", "s"),
    "background": Look("#009E73", "D"),
}


@dataclass(frozen=True)
class RegionExample:
    """One picture (3, H, W) attacked in several regions."""

    image: Tensor
    cam: Tensor
    label: str
    # By region: ``support`` (H, W), where the perturbation may be; ``change``, the smallest found; its ``distance``,
    # infinite where nothing fooled; and ``answer``, the network's class of the perturbed picture.
    regions: pd.DataFrame


def record_factorial(
    folder: str | Path, *, num_images: int = 200, networks: Sequence[int] = (0, 1, 2), budget: float = 0.001
) -> None:
    """Make the recorded rows of the paired design again, a file for each network, with their provenance."""
    runs = []
    for network in networks:
        classifier = load("shapes", seed=network)
        rows = factorial_rows(classifier, num_images, budget=budget)
        rows.insert(0, "network", network)
        write_csv(rows, factorial_file(network, Path(folder)))
        runs.append(provenance(seed=0, preset="shapes", classifier=classifier))  # pictures follow from the seed
    about = {"num_images": num_images, "budget": budget, "runs": runs}
    write_json(Path(folder) / "factorial_provenance.json", about)


def scenes_beside(here: pd.DataFrame, folder: str | Path | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`factorial_effects` and `factorial_answers` of the page's scenes and of each network's recorded ones."""
    found = {HERE: here}
    for network in range(NUM_NETWORKS):
        rows = recorded_factorial(network, folder)
        if rows is not None:
            found[f"recorded, network {network}"] = rows
    effects = over(found, factorial_effects)
    return effects, stacked({name: factorial_answers(rows, of(effects, name)) for name, rows in found.items()})


def numbers(scenes: tuple[pd.DataFrame, pd.DataFrame], regions: tuple[pd.DataFrame, pd.DataFrame]) -> dict[str, Any]:
    """What ``numbers.json`` keeps of the page's own `scenes_beside` and `region_summaries`."""
    return {
        "factorial": factorial_numbers(*(of(frame, HERE) for frame in scenes)),
        "regions": region_numbers(*(of(frame, HERE) for frame in regions)),
    }


def scene_maps(
    classifier: nn.Module, scene: int, *, budget: float, steps: int = 1, cg_steps: int = 15, seed: int = 0
) -> dict[str, dict[str, Tensor]]:
    """One scene, counted from 0, in its four texture conditions, with the arguments of `factorial_rows`.

    Condition -> ``image`` (3, H, W), ``mask`` (H, W) of the object, and a map (H, W) for each key of `MAPS`.
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


def region_summaries(studies: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`perceptlib.analysis.causal.region_distances` and `region_rates` of every study that has rows of regions."""
    return over(studies, region_distances), over(studies, region_rates)


def region_example(
    study: Study, index: int, *, share: float = 0.2, candidates: int = 5, cg_steps: int = 15, seed: int = 0
) -> RegionExample:
    """One example (counted round) attacked in the top, bottom and a random region of its CAM, each of one area."""
    picture = example_of(study, index)
    classifier, images, labels = study.classifier, picture.images, picture.labels
    method: Any = "cam" if classifier.linear_layer is not None else "grad-cam"
    cam = class_activation_map(classifier, images, labels, method=method)
    supports = {
        "top": top_region(cam, share),
        "bottom": bottom_region(cam, share),
        "random": random_region(cam, share, seed=seed),
    }
    rows = {}
    for name, support in supports.items():
        ball = SSIMBall(images, 0.01, cg_steps=cg_steps, support=support)  # its radius does not matter
        result = smallest(classifier, images, labels, ball, candidates=candidates)
        with torch.no_grad():
            answer = short_name(classifier, int(classifier(result.adversarial).argmax(1)))
        distance = float(result.distance[0]) if bool(result.is_adversarial[0]) else math.inf
        change = (result.adversarial - images)[0]
        rows[name] = {"support": support[0], "change": change, "distance": distance, "answer": answer}
    regions = pd.DataFrame.from_dict(rows, orient="index").rename_axis("region")
    return RegionExample(images[0], cam[0], short_name(classifier, int(labels)), regions)


def scene_panels(maps: Mapping[str, Mapping[str, Tensor]]) -> Drawing:
    """A scene in its four texture conditions, one a row: the picture and change maps, with the object's outline.

    All maps have one scale, of which the brightest hundredth may be cut off.
    """
    shown = ("ssim", "random")
    white = max(nearly_largest(entry[name]) for entry in maps.values() for name in shown)
    panels = []
    for condition, entry in maps.items():
        on_object, behind = condition.split("/")
        panels.append(Panel(entry["image"], f"{on_object} object", f"{behind} background"))
        panels += [Panel(entry[name], MAPS[name], white=white) for name in shown]
    figure = grid(panels, num_columns=1 + len(shown))
    masks = [entry["mask"] for entry in maps.values() for _ in range(1 + len(shown))]
    for axes, mask in zip(figure.axes, masks, strict=False):
        _contour(axes, mask)
    return figure


@styled
def condition_chart(effects: pd.DataFrame) -> Drawing:
    """Share of each map on the object over chance, a field for each texture condition: here filled, recorded hollow."""
    shown = effects[
        effects["effect"].str.startswith("conditions.") & effects["data_set"].isin(effects["data_set"].unique()[:2])
    ]
    titles = {f"conditions.{name}": "{} object,\n{} background".format(*name.split("/")) for name in CONDITIONS}
    return _effect_fields(shown, titles, "share on the object over chance", columns=2)


@styled
def effect_chart(effects: pd.DataFrame) -> Drawing:
    """What textures do to every map's share on the object, as factors: a field for each effect, a dot a data set."""
    titles = {name: words.replace(" ", "\n") for name, words in EFFECTS.items()}
    return _effect_fields(
        effects[effects["effect"].isin(titles)], titles, "factor on the share on the object", columns=3
    )


def follows_table(answers: pd.DataFrame) -> Table:
    """What each map follows, by the rule of `perceptlib.analysis.causal.follows`: a column for each data set."""
    wide = answers.pivot(index="method", columns="data_set", values="follows").fillna(MISSING)
    wide = wide.reindex(index=answers["method"].unique(), columns=answers["data_set"].unique())
    return table(wide.rename(index=MAPS).rename_axis(index="map", columns=None))


def condition_table(effects: pd.DataFrame, answers: pd.DataFrame) -> Table:
    """Each map of the page's scenes: share over chance in each condition, and what it follows."""
    own = of(effects, HERE).assign(text=intervals(of(effects, HERE)))
    wide = own.pivot(index="method", columns="effect", values="text").loc[own["method"].unique()]
    headings = {f"conditions.{name}": name for name in CONDITIONS}
    shown = wide[list(headings)].rename(columns=headings, index=MAPS).rename_axis(index="map", columns=None)
    return table(shown.assign(follows=of(answers, HERE)["follows"].to_numpy()))


def effect_table(effects: pd.DataFrame, answers: pd.DataFrame) -> Table:
    """What textures do to the SSIM ball's share on the object, on both scales: a column for each data set."""
    headings = {name: f"{words}, factor" for name, words in EFFECTS.items()}
    headings |= {"background_over_object": "background's over object's, factor"}
    headings |= {f"additive.{name}": f"{words}, in units of chance" for name, words in EFFECTS.items()}
    own = effects[(effects["method"] == "ssim") & effects["effect"].isin(headings)]
    is_sum = own["effect"].str.startswith("additive.")
    texts = own.assign(text=intervals(own).mask(is_sum, intervals(own, "{:+.2f}")))
    data_sets = own["data_set"].unique()
    shown = texts.pivot(index="effect", columns="data_set", values="text").loc[list(headings), data_sets]
    said = answers[answers["method"] == "ssim"].set_index("data_set").loc[data_sets]
    left_out = said["num_left_out"].astype(str) + " misclassified)"
    shown.loc["scenes compared"] = said["num_scenes"].astype(str) + " (" + left_out
    return table(shown.rename(index=headings).rename_axis(index="effect", columns=None))


def region_panels(example: RegionExample) -> Drawing:
    """One picture with each of its regions outlined, and below it the smallest perturbation in there that fools.

    One factor amplifies all perturbations.
    """
    regions = example.regions
    above = [Panel(example.image, REGIONS[name], example.label) for name in regions.index]
    factor = min(map(amplification, regions["change"]))
    below = []
    for row in regions.itertuples():
        words = "does not fool" if math.isinf(row.distance) else f"fools at {row.distance:.1e}: {row.answer}"
        title = "perturbation" if factor == 1 else f"{factor:g} times"
        below.append(perturbation_panel(row.change, title, words, factor=factor))
    figure = grid([*above, *below], num_columns=len(above))
    figure.frame = regions.reset_index().assign(
        area=[float(support.float().mean()) for support in regions["support"]],
        largest_change=[float(change.abs().max()) for change in regions["change"]],
    )[["region", "area", "distance", "largest_change", "answer"]]
    for axes, support in zip(figure.axes, [*regions["support"]] * 2, strict=False):
        _contour(axes, support)
    return figure


@styled
def region_chart(distances: pd.DataFrame, rates: pd.DataFrame) -> Drawing:
    """Every region against the top of the CAM, a group of rows for each study.

    Left the distance that fools over the top region's, right the fooling rate at every budget, pale to dark.
    """
    keys = ["data_set", "region"]
    groups = distances["data_set"].map(list(distances["data_set"].unique()).index)
    rows = distances[keys].assign(place=distances.index + 0.7 * groups)
    shown = distances.merge(rates, on=keys, suffixes=("", "_rate"))
    figure = drawing(0.34 * (rows["place"].max() + 1) + 1.1, shown)
    left, right = figure.subplots(1, 2, sharey=True)
    ratio = distances["ratio_to_top.value"]
    columns = ("ratio_to_top.value", "ratio_to_top.low", "ratio_to_top.high")
    known = distances[ratio.abs() < math.inf]
    dots(left, known, rows["place"][known.index], known["region"].map(_REGION_LOOKS), columns=columns)
    for place in rows["place"].drop(known.index):
        left.annotate("not fooled", (1, place), fontsize=10, va="center")
    placed = rates.merge(rows, on=keys)
    by_group = placed.groupby(keys, sort=False)
    count, rank = by_group["budget"].transform("size"), by_group.cumcount()
    heights = placed["place"] + 0.24 * (rank - (count - 1) / 2)
    for alpha, shown in placed.assign(height=heights).groupby((rank + 1) / count):
        dots(right, shown, shown["height"], shown["region"].map(_REGION_LOOKS), alpha=alpha)
    factor_axis(left, "distance that fools,\nover the top region's")
    right.set(xlabel="fooling rate", xlim=(-0.04, 1.04))
    left.set_yticks(rows["place"], rows["data_set"] + ": " + rows["region"].map(REGIONS))
    left.set_ylim(rows["place"].max() + 0.6, -0.6)
    return figure


def region_table(distances: pd.DataFrame, rates: pd.DataFrame) -> Table:
    """Every region of every study: fooling rates at equal distance, the distance that fools, and over the top's."""
    rate = rates["value"].map("{:.0%}".format) + " at " + rates["budget"].map("{:g}".format)
    joined = rates.assign(rate=rate).groupby(["data_set", "region"])[["rate"]].agg("; ".join)
    columns: Columns = {
        "study": "data_set",
        "region": lambda frame: frame["region"].map(REGIONS),
        "fooling rate": "rate",
        "distance that fools, median": partial(intervals, form="{:.1e}", columns=("distance", "low", "high")),
        "over the top's": blank(part("ratio_to_top.", intervals), "region", "top"),
        "pictures": lambda frame: (
            frame["num_images"].astype(str) + " (" + frame["num_not_fooled"].astype(str) + " not fooled)"
        ),
    }
    return tabulate(distances.merge(joined, on=["data_set", "region"], how="left"), columns)


def _effect_fields(effects: pd.DataFrame, titles: Mapping[str, str], label: str, *, columns: int) -> Drawing:
    """A field for each effect, a row for each map: the first data set's dots filled, the others' hollow below them."""
    methods, data_sets = list(effects["method"].unique()), list(effects["data_set"].unique())
    height = len(methods) * (0.1 + 0.14 * len(data_sets)) + 0.7
    figure, axes = fields(titles.values(), effects, height=height, columns=columns, extra=0.6, sharex=True, sharey=True)
    for effect, field in zip(titles, axes.values(), strict=True):
        for place, name in enumerate(data_sets):
            own = effects[(effects["effect"] == effect) & (effects["data_set"] == name)]
            heights = own["method"].map(methods.index) - 0.4 + 0.8 * (place + 0.5) / len(data_sets)
            dots(field, own, heights, own["method"].map(look_of), is_hollow=place > 0)
        factor_axis(field)
        name_rows(field, [MAPS[method] for method in methods])
    figure.supxlabel(label, fontsize=12)
    if len(data_sets) > 1:
        legend_of_kinds(figure, "here", "recorded")
    return figure


def _contour(axes: Axes, mask: Tensor) -> None:
    """Outline of a region."""
    axes.contour(mask.detach().cpu().double().numpy(), [0.5], colors=[_OUTLINE], linewidths=1.3)
