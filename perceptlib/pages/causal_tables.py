"""Tables of the causal tests: what textures do to the object's share, and regions that the attack is kept to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from perceptlib.analysis.tables import Table
from perceptlib.study.localisation import MAPS

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


def effect_table(summaries: Mapping[str, Mapping[str, Mapping[str, Any]]], method: str = "ssim") -> Table:
    """What textures do to one map's share on the object: a row for each summary, on both scales.

    Parameters
    ----------
    summaries
        Name -> `perceptlib.study.factorial.factorial_summary`.
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
    """What each map follows, by the rule of `perceptlib.study.factorial.follows`: a column for each summary."""
    methods = list(dict.fromkeys(method for summary in summaries.values() for method in summary))
    rows = [
        (
            MAPS[method],
            *(summary[method]["follows"] if method in summary else "not recorded" for summary in summaries.values()),
        )
        for method in methods
    ]
    return Table(("map", *summaries), tuple(rows))


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
                    _text(entry, "distance", digits=".1e"),
                    "" if is_top else _text(entry["ratio_to_top"]),
                    f"{entry['num_images']} ({entry['num_not_fooled']} not fooled)",
                )
            )
    headings = (
        *("study", "region", "area", "fooling rate", "top's rate minus this one's"),
        *("distance that fools, median", "over the top's", "pictures"),
    )
    return Table(headings, tuple(lines))


def plain_numbers(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary as JSON can hold it: "smooth/textured" as "smooth_textured", an infinite distance as undefined."""
    return {name.replace("/", "_").replace("+", ""): _plain(value) for name, value in summary.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain_numbers(value)
    return math.nan if isinstance(value, float) and math.isinf(value) else value


def _text(entry: Mapping[str, float], name: str = "value", *, sign: str = "", digits: str = ".2f") -> str:
    ends = [entry[key] for key in (name, "low", "high")]
    value, low, high = ("infinite" if math.isinf(end) else format(end, sign + digits) for end in ends)
    return f"{value} ({low} to {high})"
