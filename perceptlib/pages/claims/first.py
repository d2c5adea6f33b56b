"""What the book's first page says before all else: one sentence, a verdict for each data set, and one photograph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from perceptlib.analysis.controls import map_scores
from perceptlib.analysis.frames import counts, nested
from perceptlib.analysis.judges import claim_c_prime
from perceptlib.analysis.recorded import DATA_SETS, recorded_study
from perceptlib.analysis.second_rules import ByStudy, Studies
from perceptlib.analysis.verdicts import (
    LIMITED,
    NOT_SUPPORTED,
    NOT_TESTABLE,
    REVERSED,
    SUPPORTED,
    WORST_FIRST,
    Verdict,
    listed,
)
from perceptlib.drawing.figures import WIDTH, Drawing
from perceptlib.drawing.panels import Panel, grid, nearly_largest, outline
from perceptlib.maps import class_activation_map, energy_in_top_q
from perceptlib.pages.attack import short_name
from perceptlib.study.localisation import Q, maps_of
from perceptlib.study.presets import Study

PHOTOS = "imagenet"
PICTURES = DATA_SETS | {"shapes": "drawn shapes", "digits": "handwritten digits", PHOTOS: "photographs"}
_WORDS = 0.7  # inches above and below a panel
_SAID = {  # what the sentence says of claim D
    REVERSED: "the opposite holds on",
    NOT_SUPPORTED: "not on",
    NOT_TESTABLE: "not testable on",
    LIMITED: "only with limits on",
    SUPPORTED: "yes on",
}
Badge = dict[str, str]  # of what, the verdict, and for how many networks where not for all


def judged_by_network(studies: Studies) -> dict[str, Verdict]:
    """The verdict by rule C' on the SSIM ball, for each network that was given photographs."""
    return {network: claim_c_prime(rows) for (preset, network), rows in studies.items() if preset == PHOTOS}


def answer(by_study: ByStudy, judged: Mapping[str, Verdict]) -> str:
    """Claim D in one sentence without its full stop, the worst first; and what judges see, where C' is reversed."""
    parts = []
    for word in WORST_FIRST:
        names = [
            f"{PICTURES[preset]} ({_how_many(found, word)})"
            for preset, found in _by_preset(by_study).items()
            if word in found.values()
        ]
        if names:
            parts.append(f"{_SAID[word]} {listed(names, 'or' if word in (NOT_SUPPORTED, NOT_TESTABLE) else 'and')}")
    if reversed_for := [network for network, verdict in judged.items() if verdict.verdict == REVERSED]:
        parts.append(
            "and most of the independent measures of visibility find the change easier to see than one kept small by a "
            f"pixel norm ({PICTURES[PHOTOS]}, {listed(map(title, reversed_for))})"
        )
    told = "; ".join(parts) or f"{NOT_TESTABLE}: nothing is recorded"
    return told[0].upper() + told[1:]


def badges(by_study: ByStudy, judged: Mapping[str, Verdict]) -> dict[str, dict[str, Badge]]:
    """Of "d" and "c_prime" what each badge says, by a number: photographs by network for D, else the worst verdict."""
    lines: list[Badge] = []
    for preset, found in _by_preset(by_study).items():
        if preset == PHOTOS:
            lines += [_badge(f"{PICTURES[preset]}, {title(network)}", word) for network, word in found.items()]
        else:
            word = min(found.values(), key=WORST_FIRST.index)
            lines.append(_badge(PICTURES[preset], word, _how_many(found, word)))
    told = {network: one.verdict for network, one in judged.items() if one.verdict != NOT_TESTABLE}
    word = min(told.values(), key=WORST_FIRST.index, default=NOT_TESTABLE)
    names = listed(title(network) for network, verdict in told.items() if verdict == word) if told else "no network"
    seen = [_badge(f"{PICTURES[PHOTOS]}, {names}", word, f"{len(told)} of {len(judged)} networks tested")]
    return {
        key: {f"badge_{place}": one for place, one in enumerate(found, start=1)}
        for key, found in {"d": lines, "c_prime": seen}.items()
    }


@dataclass(frozen=True)
class Example:
    """A photograph with its CAM, its change maps "ssim" and "random", and the share of each in the CAM's top fifth."""

    image: Tensor
    label: str
    cam: Tensor
    maps: dict[str, Tensor]
    shares: dict[str, float]
    num_photographs: int  # of which it is the median


def median_example(study: Study, *, budget: float, cg_steps: int = 15, seed: int = 0) -> Example:
    """The photograph whose share of the change in the CAM's top fifth is the median, of an even number the lower one.

    The change is one step of the attack in the SSIM ball, scaled to the SSIM distance `budget`; beside it is a random
    direction in the same ball. Both are those of `perceptlib.study.localisation.maps_of`.
    """
    images, labels = study.pictures.images, study.pictures.labels
    cams = class_activation_map(study.classifier, images, labels)
    every = maps_of(study.classifier, images, labels, budget=budget, cg_steps=cg_steps, seed=seed)
    maps = {name: every[name] for name in ("ssim", "random")}
    shares = {name: energy_in_top_q(changes, cams, q=Q) for name, changes in maps.items()}
    chosen = int(shares["ssim"].argsort()[(len(images) - 1) // 2])
    return Example(
        images[chosen],
        short_name(study.classifier, int(labels[chosen])),
        cams[chosen],
        {name: changes[chosen] for name, changes in maps.items()},
        {name: float(found[chosen]) for name, found in shares.items()},
        len(images),
    )


def example_figure(example: Example) -> Drawing:
    """The photograph, its CAM and both change maps, with an outline of the fifth where the CAM is highest."""
    white = max(map(nearly_largest, example.maps.values()))
    titles = {"ssim": "change, SSIM ball", "random": "random change"}
    shown = [Panel(example.image, f"photograph: {example.label}"), Panel(example.cam, "class activation map")]
    for name, values in example.maps.items():
        shown.append(Panel(values, f"{titles[name]}: {example.shares[name]:.0%}", white=white))
    figure = grid(shown, num_columns=2)
    figure.set_size_inches(WIDTH, WIDTH + 2 * _WORDS)
    for axes in figure.axes[: len(shown)]:
        outline(axes, example.cam, "#56B4E9", linestyles="dashed", linewidths=3)
    return figure


def numbers(by_study: ByStudy, judged: Mapping[str, Verdict], example: Example, network: str) -> dict[str, Any]:
    """What the first page quotes; `network` is the example's, whose recorded photographs stand beside it."""
    shares, words = example.shares, [each["d"].verdict for each in by_study.values()]
    content: dict[str, Any] = {"answer": answer(by_study, judged), "badges": badges(by_study, judged)}
    content["d"] = {
        "worst": min(words, key=WORST_FIRST.index, default=NOT_TESTABLE),
        "best": max(words, key=WORST_FIRST.index, default=NOT_TESTABLE),
    }
    is_more = shares["ssim"] > Q, shares["ssim"] > shares["random"]
    content["example"] = shares | {
        "answer": "More than by chance" if all(is_more) else "No more than a random change" if is_more[0] else "No",
        "chance": Q,
        "num_photographs": example.num_photographs,
        "network": title(network),
    }
    rows = recorded_study(PHOTOS, network)
    if len(rows):
        medians = nested(map_scores(rows), "method")
        kept = {name: medians[name]["value"] for name in ("ssim", "random") if name in medians}
        content["example"]["recorded"] = kept | {"num_photographs": counts(rows)["num_compared"]}
    return content


def title(network: str) -> str:
    """A network's name as its authors write it."""
    known = {"mobilenet_v2": "MobileNetV2"}
    return known.get(network, network.replace("efficientnet-lite", "EfficientNet-Lite"))


def _badge(where: str, verdict: str, note: str = "") -> Badge:
    return {"where": where[0].upper() + where[1:], "verdict": verdict, "note": note}


def _by_preset(by_study: ByStudy) -> dict[str, dict[str, str]]:
    """Preset -> network -> verdict on claim D."""
    found: dict[str, dict[str, str]] = {}
    for (preset, network), each in by_study.items():
        found.setdefault(preset, {})[network] = each["d"].verdict
    return found


def _how_many(found: Mapping[str, str], word: str) -> str:
    """How many of a data set's networks have a verdict; one network by its name."""
    number = Counter(found.values())[word]
    if len(found) == 1:
        return title(*found)
    return f"all {number} networks" if number == len(found) else f"{number} of {len(found)} networks"
