"""Peers compared: the smallest perturbation against DeepFool, Carlini-Wagner and ALMA on the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from perceptlib.analysis.statistics import bootstrap_interval
from perceptlib.analysis.tables import Row, Table
from perceptlib.attacks import AttackResult, baselines, smallest
from perceptlib.balls import L2Ball, SSIMBall
from perceptlib.study.presets import Study

# How ALMA starts; the best counts. Its default is a learning rate of 0.1, its authors took a first step of 1e-4 in SSIM
# distance for photographs.
ALMA_STARTS: tuple[dict[str, float], ...] = (
    *({"learning_rate": rate} for rate in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)),
    *({"first_distance": distance} for distance in (1e-5, 1e-4)),
)
PEERS = {
    "ssim": "SSIM ball",
    "ssim_8bit": "SSIM ball, 8-bit",
    "l2": "l2 ball",
    "l2_8bit": "l2 ball, 8-bit",
    "deepfool": "foolbox DeepFool",
    "carlini_wagner": "foolbox Carlini-Wagner",
    "alma": "adv-lib ALMA (SSIM)",
}


def rows_of_peers(
    study: Study,
    *,
    peers: Sequence[str] = tuple(PEERS),
    candidates: int = 10,
    cg_steps: int = 15,
    alma_steps: int = 1000,
    batch_size: int = 5,
    on_batch: Callable[[list[Row]], Any] | None = None,
) -> list[Row]:
    """Attack every picture with every peer; a row for each, and for ALMA one per start.

    Parameters
    ----------
    study
        Network and pictures that it names rightly.
    peers
        Keys of `PEERS`; those of foolbox and adv-lib need the library.
    candidates, cg_steps
        Of our attacks and of DeepFool; of the SSIM ball.
    alma_steps
        Of each of ALMA's runs, one for each of `ALMA_STARTS`.
    batch_size
        Pictures at once.
    on_batch
        Called with all rows so far after each attack on each batch: long runs keep what they have.

    Raises
    ------
    ValueError
        An unknown peer.
    ModuleNotFoundError
        A library that a peer needs is not installed.
    """
    unknown = sorted(set(peers) - set(PEERS))
    if unknown:
        raise ValueError(f"there is no peer {unknown[0]!r}; {', '.join(PEERS)} are")
    rows: list[Row] = []
    for pictures in study.pictures.batches(batch_size):
        for peer in peers:
            for result in _results(study.classifier, pictures, peer, candidates, cg_steps, alma_steps):
                rows += [
                    {"image": name, "peer": peer} | row for name, row in zip(pictures.ids, result.rows(), strict=True)
                ]
                if on_batch is not None:
                    on_batch(rows)
    return rows


def _results(
    classifier: Any, pictures: Any, peer: str, candidates: int, cg_steps: int, alma_steps: int
) -> Iterator[AttackResult]:
    images, labels = pictures.images, pictures.labels
    if peer == "deepfool":
        yield baselines.deepfool(classifier, images, labels, candidates=candidates)
    elif peer == "carlini_wagner":
        yield baselines.carlini_wagner(classifier, images, labels)
    elif peer == "alma":
        for start in ALMA_STARTS:
            yield baselines.alma(classifier, images, labels, steps=alma_steps, **start)
    else:
        ball = SSIMBall(images, 0.01, cg_steps=cg_steps) if peer.startswith("ssim") else L2Ball(1.0)
        is_rounded = peer.endswith("_8bit")
        yield smallest(classifier, images, labels, ball, candidates=candidates, eight_bit=is_rounded)


def peer_summary(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Peer -> median distance with interval, ratio to DeepFool's, gradients, and survival of rounding to 8 bits.

    Of several rows of one picture (ALMA's starts) the smallest distance that fools counts, and the gradients
    of all. A picture that is not fooled counts as infinitely far; the median is NaN where it is infinite.
    """
    images = list(dict.fromkeys(row["image"] for row in rows))
    distances, summary = {}, {}
    for peer in dict.fromkeys(row["peer"] for row in rows):
        best, gradients, survives = [], [], []
        for image in images:
            own = [row for row in rows if row["peer"] == peer and row["image"] == image]
            fooled = [row for row in own if row["is_adversarial"]]
            best.append(min((row["distance"] for row in fooled), default=np.inf))
            gradients.append(sum(row["gradients"] for row in own))
            survives.append(any(row["is_adversarial_8bit"] for row in fooled))
        distances[peer] = np.array(best)
        interval = bootstrap_interval(distances[peer][np.isfinite(distances[peer])].tolist())
        summary[peer] = {
            "distance": float(np.median(best)) if np.isfinite(np.median(best)) else float("nan"),
            "distance_low": interval.low,
            "distance_high": interval.high,
            "gradients": float(np.mean(gradients)),
            "survives_8bit": float(np.mean(survives)),
            "num_images": len(images),
            "num_not_fooled": int(np.isinf(best).sum()),
        }
    for peer, entry in summary.items():
        for other in summary:
            if other != peer and summary[other]["distance"] > 0:
                entry[f"ratio_to_{other}"] = entry["distance"] / summary[other]["distance"]
    return summary


def peer_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """Median smallest distance of each peer, its gradients, and survival of rounding to 8 bits."""
    rows = [
        (
            PEERS[peer],
            f"{entry['distance']:.2e} ({entry['distance_low']:.1e} to {entry['distance_high']:.1e})",
            f"{entry['gradients']:.0f}",
            f"{entry['survives_8bit']:.0%}",
            f"{entry['num_not_fooled']} of {entry['num_images']}",
        )
        for peer, entry in summary.items()
    ]
    headings = ("attack", "median SSIM distance (95 %)", "gradients an image", "fools after 8 bits", "not fooled")
    return Table(headings, tuple(rows))


def start_summary(rows: Sequence[Row]) -> dict[str, Any]:
    """ALMA by the way it starts, and the SSIM ball's search against its best.

    Returns
    -------
    dict
        ``starts``: for each start its median distance (a failure counts as infinitely far) and on how many pictures it
        is the best. ``distance_ratio``: the SSIM ball's median distance over the median of ALMA's best.
        ``gradients_ratio``: most gradients that the SSIM ball spent on a picture over those of one run of ALMA.
        ``num_at_edge``: pictures on which the lowest learning rate or first step tried is the best, so that a lower one
        might do better.

    Raises
    ------
    ValueError
        No rows of either attack.
    """
    alma, ours = ([row for row in rows if row["peer"] == peer] for peer in ("alma", "ssim"))
    if not alma or not ours:
        raise ValueError("there are no rows of alma or of ssim; pass rows_of_peers with both among its peers")
    images = list(dict.fromkeys(row["image"] for row in alma))
    starts = sorted({_start(row) for row in alma}, reverse=True)
    found = np.full((len(starts), len(images)), np.inf)
    for row in alma:
        if row["is_adversarial"]:
            found[starts.index(_start(row)), images.index(row["image"])] = row["distance"]
    best, medians = found.argmin(axis=0), np.median(found, axis=1)
    lowest = [index for index, start in enumerate(starts) if start == min(s for s in starts if s[0] == start[0])]
    own = [row["distance"] if row["is_adversarial"] else np.inf for row in ours]
    return {
        "starts": {
            f"{kind} {value:g}": {"distance": float(median), "num_best": int((best == index).sum())}
            for index, ((kind, value), median) in enumerate(zip(starts, medians, strict=True))
        },
        "distance_ratio": float(np.median(own) / np.median(found.min(axis=0))),
        "gradients_ratio": max(row["gradients"] for row in ours) / max(row["gradients"] for row in alma),
        "num_at_edge": int(np.isin(best, lowest).sum()),
        "num_images": len(images),
    }


def start_table(summary: Mapping[str, Any]) -> Table:
    """ALMA's median distance by the way it starts, from `start_summary`."""
    rows = [
        (start, f"{entry['distance']:.2e}", f"{entry['num_best']} of {summary['num_images']}")
        for start, entry in summary["starts"].items()
    ]
    return Table(("ALMA's start", "median SSIM distance", "best of all starts on"), tuple(rows))


def _start(row: Row) -> tuple[str, float]:
    """What sets the step size of a run of ALMA."""
    distance = row.get("first_distance")
    return ("learning rate", row["learning_rate"]) if distance is None else ("first step", distance)
