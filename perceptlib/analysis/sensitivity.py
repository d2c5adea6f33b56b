"""Each setting's scores, a random direction's, and their difference: a row for each setting, the base first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from perceptlib.analysis.frames import nested, summarize
from perceptlib.analysis.statistics import bootstrap_interval
from perceptlib.study.sensitivity import FIELDS

SCORES = {"energy_in_top_q": "energy in the CAM's top share", "spearman": "Spearman"}
WORDS: Mapping[str, Callable[[Any], str]] = {
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


def setting_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Median scores of every setting, a random direction's (``random_SCORE``), paired differences (``beyond_SCORE``).

    ``label`` and ``changed`` say what it changes of the first one, the base: in words, and as names joined by commas.
    """
    if rows.empty:
        return pd.DataFrame(columns=[*FIELDS, "label", "changed"])
    found = summarize(rows.fillna({"layer": ""}), FIELDS, _scores)
    is_changed = found[list(FIELDS)] != found.loc[0, list(FIELDS)]
    changed = [[name for name in FIELDS if row[name]] for _, row in is_changed.iterrows()]
    labels = [", ".join(WORDS[name](found.at[place, name]) for name in names) for place, names in enumerate(changed)]
    return found.assign(label=[label or "base" for label in labels], changed=[",".join(names) for names in changed])


def one_field_away(scores: pd.DataFrame) -> pd.DataFrame:
    """The base and the settings that differ from it in one field alone, those of one field together."""
    near = scores[~scores["changed"].str.contains(",")]
    order = list(near["changed"].unique())
    return near.sort_values("changed", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def ranges(scores: pd.DataFrame) -> pd.DataFrame:
    """How far each option alone moves the difference to the random direction: its lowest and its highest setting.

    ``num_above`` of ``num_settings``: those whose interval of that difference lies above 0, the base among them.
    """
    near, difference = one_field_away(scores), "beyond_energy_in_top_q"
    found = []
    for name in near["changed"].unique()[1:]:
        group = near[near["changed"].isin(["", name])]
        entry: dict[str, Any] = {"option": name}
        for end, place in (("lowest", "idxmin"), ("highest", "idxmax")):
            row = group.loc[group[f"{difference}.value"].agg(place)]
            entry |= {f"{end}.value": row[f"{difference}.value"], f"{end}.setting": WORDS[name](row[name])}
        num_above = int((group[f"{difference}.low"] > 0).sum())
        found.append(entry | {"num_above": num_above, "num_settings": len(group)})
    return pd.DataFrame(found)


def setting_numbers(scores: pd.DataFrame) -> dict[str, Any]:
    """`setting_scores` as ``numbers.json`` has them: by what a setting changes of the base."""
    names = scores["label"].str.replace(r"[^\w-]+", "_", regex=True).str.strip("_")
    return nested(scores.drop(columns=[*FIELDS, "label", "changed"]).assign(setting=names), "setting")


def _scores(rows: pd.DataFrame) -> Mapping[str, Any]:
    entry: dict[str, Any] = {}
    for score in SCORES:
        own, other = (rows[name].astype(float) for name in (score, f"random_{score}"))
        for name, values in ((score, own), (f"random_{score}", other), (f"beyond_{score}", own - other)):
            entry[name] = asdict(bootstrap_interval(values))
    fooled = bootstrap_interval(rows["is_adversarial"], statistic="mean")
    return entry | {"fooling_rate": asdict(fooled), "num_images": len(rows)}
