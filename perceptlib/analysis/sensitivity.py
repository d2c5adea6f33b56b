"""What rows of `perceptlib.study.sensitivity` say: each setting's scores, a random direction's, and their difference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from perceptlib.analysis.statistics import bootstrap_interval
from perceptlib.analysis.tables import Row, Table, read_rows
from perceptlib.records import data_dir
from perceptlib.study.presets import PRESETS
from perceptlib.study.sensitivity_settings import Setting, setting_of

SCORES = {"energy_in_top_q": "energy in the CAM's top share", "spearman": "Spearman"}
Summary = Mapping[str, Any]


def sensitivity_summary(rows: Sequence[Row]) -> dict[Setting, Summary]:
    """Median scores of every setting, in order of appearance.

    Parameters
    ----------
    rows
        Of `perceptlib.study.sensitivity.sensitivity_rows`, or read back from a file.

    Returns
    -------
    dict
        Setting -> for each score of `SCORES` its interval under the score's name, that of the random direction under
        ``random_`` and the name, that of the paired differences under ``beyond_`` and the name; ``fooling_rate``, an
        interval of the share that fools; ``num_images``.
    """
    by_setting: dict[Setting, list[Row]] = {}
    for row in rows:
        by_setting.setdefault(setting_of(row), []).append(row)
    return {setting: _summary(chosen) for setting, chosen in by_setting.items()}


def recorded_summary(name: str) -> dict[Setting, Summary]:
    """Summary of recorded rows; empty for a preset that is not recorded.

    Parameters
    ----------
    name
        Of a file under ``data/recorded/sensitivity``, such as "imagenet", or a CSV file's path.

    Raises
    ------
    FileNotFoundError
        No such file, and the name is no preset.
    """
    shipped = data_dir() / "recorded" / "sensitivity" / f"{name}.csv"
    if shipped.is_file():
        return sensitivity_summary(read_rows(shipped))
    return {} if name in PRESETS else sensitivity_summary(read_rows(name))


def _summary(rows: Sequence[Row]) -> Summary:
    entry: dict[str, Any] = {}
    for score in SCORES:
        own, other = (np.array([row[name] for row in rows], dtype=float) for name in (score, f"random_{score}"))
        for name, values in ((score, own), (f"random_{score}", other), (f"beyond_{score}", own - other)):
            entry[name] = asdict(bootstrap_interval(values))
    entry["fooling_rate"] = asdict(bootstrap_interval([row["is_adversarial"] for row in rows], statistic="mean"))
    return entry | {"num_images": len(rows)}


def label_of(setting: Setting, base: Setting) -> str:
    """What a setting changes of the base, in words for a table or a figure."""
    return ", ".join(_WORDS[name](getattr(setting, name)) for name in setting.varied(base)) or "base"


_WORDS: Mapping[str, Any] = {
    "budget": lambda value: f"budget {value:g}",
    "window": lambda value: f"window {value}",
    "components": lambda value: "both components" if value == "both" else f"{value.replace('_', '-')} alone",
    "coupling": lambda value: f"{value} coupling",
    "colour": lambda value: "luma ball" if value == "luma" else "channels apart",
    "steps": lambda value: "1 step" if value == 1 else f"{value} steps",
    "cam_method": lambda value: {"cam": "classic CAM"}.get(value, value.title().replace("Cam", "CAM")),
    "layer": lambda value: f"layer {value or 'last'}",
    "cam_class": lambda value: f"CAM of {value} class",
    "q": lambda value: f"top {value:.0%}",
}


def one_field_away(summary: Mapping[Setting, Summary], base: Setting) -> dict[Setting, Summary]:
    """The base and the settings that differ from it in one field alone, those of one field together."""
    near = [setting for setting in summary if len(setting.varied(base)) <= 1]
    order = list(dict.fromkeys(setting.varied(base) for setting in near))
    return {
        setting: summary[setting] for setting in sorted(near, key=lambda setting: order.index(setting.varied(base)))
    }


def sensitivity_table(summary: Mapping[Setting, Summary], base: Setting) -> Table:
    """A row for each setting, named by what it changes: scores, their differences to the random direction, fooling."""
    rows = []
    for setting, entry in summary.items():
        scores = (_text(entry[f"{prefix}{score}"]) for score in SCORES for prefix in ("", "random_", "beyond_"))
        undefined = str(entry["energy_in_top_q"]["num_undefined"])
        rows.append((label_of(setting, base), *scores, f"{entry['fooling_rate']['value']:.0%}", undefined))
    headings = [heading for score in SCORES.values() for heading in (score, "random direction's", "difference, paired")]
    return Table(("changed", *headings, "fooled", "undefined pictures"), tuple(rows))


def base_table(base: Setting) -> Table:
    """Every field of the base with its value."""
    return Table(("option", "base"), tuple((name, str(value) or "the last") for name, value in asdict(base).items()))


def range_table(summary: Mapping[Setting, Summary], base: Setting) -> Table:
    """How far each option alone moves the difference to the random direction: from its lowest to its highest setting.

    The last column counts the settings whose interval of that difference lies above 0, the base among them.
    """
    near = one_field_away(summary, base)
    rows = []
    for name in dict.fromkeys(field for setting in near for field in setting.varied(base)):
        group = {setting: entry for setting, entry in near.items() if setting.varied(base) in ((), (name,))}
        values = {setting: entry["beyond_energy_in_top_q"]["value"] for setting, entry in group.items()}
        lowest, highest = (pick(values, key=values.__getitem__) for pick in (min, max))
        above = sum(entry["beyond_energy_in_top_q"]["low"] > 0 for entry in group.values())
        rows.append(
            (
                name,
                *(f"{values[setting]:+.2f} ({_WORDS[name](getattr(setting, name))})" for setting in (lowest, highest)),
                f"{above} of {len(group)}",
            )
        )
    return Table(("option", "lowest difference", "highest", "above 0"), tuple(rows))


def sensitivity_numbers(summary: Mapping[Setting, Summary], base: Setting) -> dict[str, Summary]:
    """The summary under names that JSON and the book can hold: what a setting changes of the base."""
    return {re.sub(r"[^\w-]+", "_", label_of(setting, base)).strip("_"): entry for setting, entry in summary.items()}


def _text(entry: Mapping[str, float]) -> str:
    return f"{entry['value']:.2f} ({entry['low']:.2f} to {entry['high']:.2f})"
