"""The networks that one word names: how large they are, where their weights come from, how often they are right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from statsmodels.stats.proportion import proportion_confint

from perceptlib.analysis.frames import nested
from perceptlib.drawing.tables import Table, intervals, table
from perceptlib.networks import Classifier, load
from perceptlib.networks.weights import shipped_networks
from perceptlib.records import data_dir, write_json
from perceptlib.records.frames import read_csv, write_csv
from perceptlib.records.provenance import provenance
from perceptlib.records.tensors import read_weights
from perceptlib.study.presets import load_pictures

IMAGENET = ("mobilenet_v2", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
_ALL = 10**6  # more than there are pictures


def record_accuracies(folder: str | Path, *, networks: Sequence[str] = IMAGENET, csv: str = "") -> pd.DataFrame:
    """Let networks name the labelled photographs of preset "imagenet", and keep a row for each, with provenance."""
    rows, runs = [], []
    for name in networks:
        classifier = load(name)
        pictures = load_pictures("imagenet", num_images=_ALL, csv=csv, size=classifier.input_size)
        with torch.no_grad():
            answers = torch.cat([classifier(part.images).argmax(1) for part in pictures.batches(8)])
        correct = int((answers == pictures.labels).sum())
        rows.append(_about(classifier) | {"num_images": len(pictures), "num_correct": correct})
        runs.append(provenance(seed=0, preset="imagenet", classifier=classifier, pictures=pictures.listing()))
    frame = pd.DataFrame(rows)
    write_csv(frame, Path(folder) / "accuracy.csv")
    write_json(Path(folder) / "provenance.json", {"runs": runs})
    return frame


def accuracies() -> pd.DataFrame:
    """Networks for ImageNet as recorded, and those that ship as their files say, a row for each.

    ``accuracy`` is of ``num_images`` pictures kept from the training: of "imagenet" 200 photographs, with a Wilson
    interval of 95 % from ``low`` to ``high``; of the small networks as the training measured it. ``robust_accuracy`` is
    the share that attacks leave right within ``radius`` in the norm that a network was trained against.
    """
    large = read_csv(data_dir() / "recorded" / "networks" / "accuracy.csv")
    large["accuracy"] = large["num_correct"] / large["num_images"]
    low, high = proportion_confint(large["num_correct"], large["num_images"], method="wilson")
    rows = []
    for name, file in shipped_networks().items():
        known = read_weights(file).metadata
        measured = json.loads(known.get("table", "[{}]"))[-1]
        found = {key: measured.get(key) for key in ("num_images", "robust_accuracy")}
        accuracy = measured.get("accuracy", known.get("accuracy"))
        robust = {"norm": known.get("norm"), "radius": known.get("radius")}
        rows.append(_about(load(name)) | found | robust | {"accuracy": float(accuracy or "nan")})
    small = pd.DataFrame(rows).astype({"radius": float, "robust_accuracy": float})
    return pd.concat([large.assign(low=low, high=high), small], ignore_index=True)


def _about(classifier: Classifier) -> dict[str, Any]:
    return {
        "network": classifier.name,
        "num_classes": classifier.num_classes,
        "input_size": classifier.input_size,
        "parameters": sum(part.numel() for part in classifier.network.parameters()),
        "source": classifier.source,
        "sha256": classifier.sha256,
    }


def numbers(found: pd.DataFrame) -> dict[str, Any]:
    """What prose quotes of `accuracies`, by the network's name."""
    return nested(found[["network", "accuracy", "robust_accuracy", "parameters", "num_images"]], "network")


def network_table(found: pd.DataFrame) -> Table:
    """`accuracies` as a page shows them."""
    under = [
        f"{row.robust_accuracy:.2f} ({row.norm}, {row.radius:g})" if row.robust_accuracy >= 0 else ""
        for row in found.itertuples()
    ]
    columns = {
        "name": found["network"],
        "classes": found["num_classes"],
        "side": found["input_size"],
        "parameters": [f"{count / 1e6:.2f} million" for count in found["parameters"]],
        "accuracy": intervals(found, columns=("accuracy", "low", "high")),
        "under attack": under,
        "weights": found["source"],
    }
    return table(pd.DataFrame(columns))
