"""Notebook 13: networks side by side, on the same pictures and in the recorded studies, and robust against standard."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
from torch.nn.functional import interpolate

from perceptlib.analysis.controls import SCORE, map_rows, map_scores
from perceptlib.analysis.frames import counts, nested, paired
from perceptlib.analysis.recorded import DATA_SETS
from perceptlib.analysis.second_rules import DRAWN, NORMS, Studies, robust_minus_standard
from perceptlib.analysis.statistics import bootstrap_interval, over_networks, paired_test
from perceptlib.attacks import rescale_to_distance
from perceptlib.drawing.figures import (
    Drawing,
    Look,
    dots,
    drawing,
    fields,
    legend,
    legend_of_kinds,
    look_of,
    name_rows,
    styled,
)
from perceptlib.drawing.panels import Panel, grid, outline
from perceptlib.drawing.tables import MISSING, Table, intervals, table
from perceptlib.maps import agreement, class_activation_map
from perceptlib.networks import Classifier
from perceptlib.networks.layers import listening
from perceptlib.networks.weights import mobilenet_weights
from perceptlib.pages.attack import TIMES_MEAN, short_name
from perceptlib.pages.shared import NAMES, TESTED, Columns, part, tabulate
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import ball_of
from perceptlib.study.localisation import CHANCE, margin_gradient
from perceptlib.study.presets import load_pictures, load_study

SHOWN = ("ssim", "multiscale", "l2", "random", "multiscale_random", "squared_gradient")  # maps of the chart
_OUTLINES = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7")  # of each network's CAM on a picture


@dataclass(frozen=True)
class NetworkMaps:
    """What one network makes of the pictures that it classifies correctly."""

    classifier: Classifier
    num_loaded: int  # pictures before the misclassified ones were left out
    # By name: ``image`` (3, H, W), ``cam`` (H, W), ``change`` (H, W), the SSIM change map of the steepest direction,
    # its energy in the CAM's top 20 %, and the network's ``answer``.
    pictures: pd.DataFrame

    @property
    def cells(self) -> str:
        """Size of the grid that a CAM is stretched from."""
        layer = self.classifier.cam_layer
        assert layer is not None  # `load_study` finds one in each network of the page
        with torch.no_grad(), listening(self.classifier, layer, cut=False) as kept:
            self.classifier(self.pictures["image"].iloc[0][None])
        return " x ".join(str(side) for side in kept[0].shape[2:])


def maps_by_network(
    names: Sequence[str],
    preset: str,
    *,
    num_images: int,
    budget: float,
    cg_steps: int = 15,
    seed: int = 0,
) -> tuple[dict[str, NetworkMaps], dict[str, str]]:
    """Maps of each network on a preset's pictures, and why the networks that are not here were left out.

    A change map is of the SSIM ball's steepest direction at the clean picture, scaled to one SSIM distance.
    """
    found, left_out = {}, {}
    for name in names:
        if name == "mobilenet_v2" and mobilenet_weights() is None:  # a page fetches nothing
            left_out[name] = "no weights file is named or found; its recorded study stands below"
            continue
        try:
            study = load_study(preset, num_images=num_images, seed=seed, network=name)
        except (FileNotFoundError, ValueError) as error:
            left_out[name] = str(error)
            continue
        images, labels = study.pictures.images, study.pictures.labels
        gradient = margin_gradient(study.classifier, images, labels)
        step = ball_of("ssim", images, budget, cg_steps=cg_steps).steepest(gradient)
        changes = ssim.change_map(images, rescale_to_distance(images, step, budget))
        cams = class_activation_map(study.classifier, images, labels)
        maps = {"image": list(images), "cam": list(cams), "change": list(changes)}
        answers = [short_name(study.classifier, label) for label in labels.tolist()]
        scored = {"answer": answers, SCORE: agreement(changes, cams)[SCORE].tolist()}
        pictures = pd.DataFrame(maps | scored, index=list(study.pictures.ids))
        found[name] = NetworkMaps(study.classifier, study.num_loaded, pictures)
    return found, left_out


def network_table(found: Mapping[str, NetworkMaps], left_out: Mapping[str, str]) -> Table:
    """The networks of this page: side of their pictures, grid of the CAM, parameters, what they classify correctly."""
    lines = [
        {
            "network": name,
            "pictures": f"{maps.classifier.input_size} x {maps.classifier.input_size}",
            "grid of the CAM": maps.cells,
            "parameters": f"{sum(values.numel() for values in maps.classifier.parameters()) / 1e6:.2f} million",
            "classified correctly here": f"{len(maps.pictures)} of {maps.num_loaded}",
        }
        for name, maps in found.items()
    ]
    lines += [{"network": name, "classified correctly here": f"left out: {why}"} for name, why in left_out.items()]
    columns = ["network", "pictures", "grid of the CAM", "parameters", "classified correctly here"]
    return table(pd.DataFrame(lines, columns=columns).fillna(""))


def live_rows(found: Mapping[str, NetworkMaps]) -> pd.DataFrame:
    """Energy of each network's change map in its own CAM's top 20 %, and its answer: a row a picture and network."""
    columns = ["picture", "network", "answer", SCORE]
    rows = {network: maps.pictures[["answer", SCORE]] for network, maps in found.items()}
    return (
        pd.concat(rows, names=["network", "picture"]).reset_index()[columns] if rows else pd.DataFrame(columns=columns)
    )


def live_table(found: Mapping[str, NetworkMaps]) -> Table:
    """`live_rows` in words: a row a picture, a column a network."""
    rows = live_rows(found)
    texts = rows.assign(text=rows["answer"] + ", " + rows[SCORE].map("{:.0%}".format))
    wide = texts.pivot(index="picture", columns="network", values="text").fillna("misclassified")
    wide = wide.reindex(index=rows["picture"].unique(), columns=list(found))
    return table(wide.rename_axis(columns=None))


def side_by_side(found: Mapping[str, NetworkMaps], names: Sequence[str]) -> Drawing:
    """Pictures in rows: first the picture with the outline of each network's CAM, then each network's change map.

    Outlines are of the CAM's top 20 %, dashed, in one colour a network; a picture that a network misclassifies has no
    map of it. All change maps of a row have one scale.
    """
    colours = dict(zip(found, itertools.cycle(_OUTLINES), strict=False))
    panels, outlines = [], []
    for name in names:
        own = {network: maps.pictures.loc[name] for network, maps in found.items() if name in maps.pictures.index}
        cams = {network: (one.cam, colours[network]) for network, one in own.items()}
        first = next(iter(own.values())).image
        white = TIMES_MEAN * float(torch.stack([one.change.mean() for one in own.values()]).mean())
        panels.append(Panel(first, name.replace("_", " ")))
        outlines.append(list(cams.values()))
        for network in found:
            # A column's network stands above its first picture.
            title = network.replace("efficientnet-", "efficientnet-\n") if name == names[0] else ""
            if network in own:
                one = own[network]
                panels.append(Panel(one.change, title, f"{one[SCORE]:.0%} inside", white=white))
            else:
                panels.append(Panel(torch.ones_like(first), title, "misclassified: no map"))
            outlines.append([cams[network]] if network in own else [])
    figure = grid(panels, num_columns=1 + len(found))
    figure.frame = live_rows(found)
    for axes, panel, shown in zip(figure.axes, panels, outlines, strict=False):
        for cam, colour in shown:
            side = panel.values.shape[-2:]
            resized = interpolate(cam[None, None], size=side, mode="bilinear", align_corners=False)[0, 0]
            outline(axes, resized, colour, linestyles="dashed", linewidths=1.6)
    return figure


def names_shown(found: Mapping[str, NetworkMaps], preset: str, *, num_images: int, num_shown: int) -> list[str]:
    """The first pictures that most networks classify correctly, in the preset's order."""
    listed = load_pictures(preset, num_images=num_images).ids
    known = Counter(name for maps in found.values() for name in maps.pictures.index)
    by_many = sorted(listed, key=lambda name: -known[name])[:num_shown]
    return [name for name in listed if name in by_many and known[name]]


def energies_by_study(studies: Studies) -> pd.DataFrame:
    """Median energy of each map in the CAM's top 20 % with its interval, by data set and network."""
    found = [map_scores(rows).assign(preset=preset, network=network) for (preset, network), rows in studies.items()]
    kept = [scores for scores in found if len(scores)]
    columns = ["method", "value", "low", "high", "preset", "network"]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=columns)


@styled
def energy_chart(energies: pd.DataFrame) -> Drawing:
    """Energy in the CAM's top 20 % by network, a row each, and map, a colour each; dashed: chance."""
    methods = [name for name in SHOWN if name in set(energies["method"])]
    shown = energies[energies["method"].isin(methods)]
    studies = list(dict.fromkeys(zip(shown["preset"], shown["network"], strict=True)))
    figure = drawing(0.55 * max(len(studies), 1) + 1.6, shown)
    field = figure.subplots()
    rows = [studies.index(pair) for pair in zip(shown["preset"], shown["network"], strict=True)]
    shifts = 0.7 * (shown["method"].map(methods.index) + 0.5) / len(methods) - 0.35
    dots(field, shown, shifts + rows, shown["method"].map(look_of))
    field.axvline(CHANCE[SCORE], color="#000000", linewidth=1, linestyle="dashed")
    name_rows(field, [f"{DATA_SETS[preset].removeprefix('ImageNet ')}\n{network}" for preset, network in studies])
    field.set_xlabel("share of energy in the CAM's top 20 %")
    legend(figure, {name: NAMES[name] for name in methods}, columns=2)
    return figure


def energy_table(studies: Studies, preset: str) -> Table:
    """Of each network on one data set: pictures, the SSIM ball's energy, and how far it is above other maps'."""
    found = []
    for (of, network), rows in studies.items():
        maps, number = map_rows(rows), counts(rows)
        own = maps[maps["method"] == "ssim"]
        if of != preset or own.empty:
            continue
        correct = f"{number['num_compared']} of {number['num_images'] - number['num_failed']}"
        line: dict[str, Any] = {"network": network, "correct": correct, "own": asdict(bootstrap_interval(own[SCORE]))}
        for method in ("random", "squared_gradient", "l2", "multiscale_random"):
            ball = maps[maps["method"] == "multiscale"] if method == "multiscale_random" else own
            both = paired(ball, maps[maps["method"] == method], SCORE)
            line[method] = asdict(paired_test(*both, alternative="greater"))
        found.append(line)
    columns: Columns = {
        "network": "network",
        "classified correctly": "correct",
        "SSIM ball, energy in the CAM's top 20 %": part("own.", intervals),
        "minus its random direction": part("random.", TESTED["(95 %)"]),
        "minus the squared gradient": part("squared_gradient.", TESTED["(95 %)"]),
        "minus l2": part("l2.", TESTED["(95 %)"]),
        "multi-scale ball minus its random direction": part("multiscale_random.", TESTED["(95 %)"]),
    }
    return tabulate(pd.json_normalize(found), columns)


def differences_between(studies: Studies, preset: str) -> pd.DataFrame:
    """Energy of the SSIM ball's map with each network minus that with the first, by pictures that both have."""
    maps = {network: map_rows(rows) for (of, network), rows in studies.items() if of == preset}
    own = {network: rows[rows["method"] == "ssim"] for network, rows in maps.items()}
    own = {network: rows for network, rows in own.items() if len(rows)}
    first = next(iter(own), "")
    found = [
        {"network": network, "first": first} | asdict(paired_test(*paired(rows, own[first], SCORE)))
        for network, rows in own.items()
        if network != first
    ]
    return pd.DataFrame(found, columns=["network", "first", "value", "low", "high", "num_values", "p_value"])


def difference_table(differences: pd.DataFrame) -> Table:
    """`differences_between` in words."""
    columns: Columns = {
        "difference": lambda frame: frame["network"] + " minus " + frame["first"],
        "energy of the SSIM ball (95 %)": TESTED["(95 %)"],
        "p": lambda frame: frame["p_value"].map("{:.1g}".format),
        "pictures": "num_values",
    }
    return tabulate(differences, columns)


def robust_differences(studies: Studies) -> pd.DataFrame:
    """Adversarially trained minus standard: energy of the SSIM ball's map, of each pair of networks and over all.

    The last row of a data set and norm, with seed "all", is over networks and pictures; it needs two pairs or more.
    """
    found = []
    for preset in DRAWN:
        for norm in NORMS:
            pairs = robust_minus_standard(studies, preset, norm)
            lines = {str(seed): bootstrap_interval(values) for seed, values in pairs.items()}
            if len(pairs) > 1:
                lines["all"] = over_networks(pairs)
            found += [
                {"data_set": DATA_SETS[preset], "norm": norm, "seed": seed} | asdict(one) for seed, one in lines.items()
            ]
    return pd.DataFrame(
        found, columns=["data_set", "norm", "seed", "value", "low", "high", "num_values", "num_undefined"]
    )


@styled
def robust_chart(differences: pd.DataFrame) -> Drawing:
    """Robust minus standard, a field a data set: a row a pair of networks, then over all; dashed: no change."""
    figure, axes = fields(differences["data_set"].unique(), differences, height=2.4, extra=0.5, sharex=True)
    for name, field in axes.items():
        own = differences[differences["data_set"] == name]
        seeds = list(dict.fromkeys(own["seed"]))
        for norm, shift in zip(NORMS, (-0.13, 0.17), strict=True):
            shown = own[own["norm"] == norm]
            looks = [Look("#000000", "D") if seed == "all" else Look("#0072B2", "o") for seed in shown["seed"]]
            heights = [seeds.index(seed) + shift for seed in shown["seed"]]
            dots(field, shown, heights, looks, is_hollow=norm != NORMS[0])
        field.axvline(0, color="#000000", linewidth=1, linestyle="dashed")
        name_rows(field, ["over networks" if seed == "all" else f"seed {seed}" for seed in seeds])
        field.set_xlabel("energy, robust minus standard")
    legend_of_kinds(figure, "trained against l2", "against linf")
    return figure


def robust_table(differences: pd.DataFrame) -> Table:
    """`robust_differences` in words."""
    columns: Columns = {
        "networks": lambda frame: frame["data_set"] + ", " + frame["norm"] + ", seed " + frame["seed"],
        "robust minus standard (95 %)": TESTED["(95 %)"],
        "pairs of pictures": lambda frame: frame["num_values"] - frame["num_undefined"],
    }
    return tabulate(differences, columns)


def energy_sentence(energies: pd.DataFrame, preset: str) -> str:
    """Energy of the SSIM ball's map with every network of a data set, in words, the lowest first."""
    own = energies[(energies["preset"] == preset) & (energies["method"] == "ssim")].sort_values("value", kind="stable")
    return ", ".join(intervals(own, "{:.0%}") + " with " + own["network"]) or MISSING


def numbers(energies: pd.DataFrame, differences: pd.DataFrame, robust: pd.DataFrame) -> dict[str, Any]:
    """What ``numbers.json`` keeps of the recorded studies; what is live depends on the networks that are here."""
    return {
        "recorded": nested(energies, "preset", "network", "method"),
        "differences": nested(differences.drop(columns="first"), "network"),
        "robust": nested(robust, "data_set", "norm", "seed"),
        "told": {preset: energy_sentence(energies, preset) for preset in DATA_SETS},
    }
