"""Other libraries' searches beside ours at equal gradients, recorded: for notebooks 05 and 14."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from perceptlib.analysis.claims import RANDOM
from perceptlib.analysis.frames import nested
from perceptlib.analysis.judges import ASKED, claim_c_prime, judge_ratios
from perceptlib.analysis.opponents import (
    NORMS,
    aimed_summaries,
    better_rivals,
    duels,
    gains,
    judge_rivals,
    main_budget,
    opponent_summary,
    variant_ratios,
)
from perceptlib.analysis.verdicts import WORST_FIRST, listed
from perceptlib.drawing.figures import Drawing, dots, fields, legend, look_of, name_rows, styled
from perceptlib.drawing.tables import MISSING, Table, intervals, number, table
from perceptlib.pages.judges import SHORT, ratio_chart
from perceptlib.pages.shared import Columns, factor_axis, tabulate
from perceptlib.study.comparison import BALLS
from perceptlib.study.opponents import DISTANCES, NAMES, OWN

Rows = Mapping[str, pd.DataFrame]  # network -> `perceptlib.analysis.recorded.recorded_opponents`

_WORDS = {  # what a search makes small -> in prose
    **{"ssim": "SSIM distance", "l2": "l2 norm", "linf": "linf norm", "multiscale": "multi-scale distance"},
    **{"ms_ssim": "MS-SSIM loss", "ciede2000": "mean CIEDE2000"},
}
_KINDS = {"linf": "best linf rival", "l2": "best l2 rival", "perceptual": "best perceptual rival"}
_RATIO = ("ratio.value", "ratio.low", "ratio.high")


def counted(found: Rows) -> str:
    """How many pictures are recorded with each network, in words."""
    return "; ".join(f"{network}: {_num_images(rows) or MISSING}" for network, rows in found.items())


def over_networks(found: Rows, summary: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """A summary of each network's rows, one below the other, with a column ``network`` first."""
    frames = {network: summary(rows) for network, rows in found.items() if len(rows)}
    if not frames:
        return summary(pd.DataFrame(columns=["image", "method", "aim", "budget"])).assign(network=pd.Series(dtype=str))
    return pd.concat(frames, names=["network", None]).reset_index("network").reset_index(drop=True)


def summaries(found: Rows) -> pd.DataFrame:
    """`perceptlib.analysis.opponents.aimed_summaries` of each network."""
    return over_networks(found, aimed_summaries)


def compared(found: Rows) -> pd.DataFrame:
    """`perceptlib.analysis.opponents.duels` of each network."""
    return over_networks(found, duels)


def by_judges(found: Rows) -> pd.DataFrame:
    """`perceptlib.analysis.opponents.judge_rivals` of each network and ball, ``method``, by the judges of rule C'."""
    frames = [over_networks(found, partial(judge_rivals, method=ball)).assign(method=ball) for ball in RANDOM]
    both = pd.concat(frames, ignore_index=True)
    return both[both["judge"].isin(ASKED)].rename(columns=lambda name: name.removeprefix("ratio."))


@styled
def aimed_chart(summary: pd.DataFrame) -> Drawing:
    """Of `summaries`, a field a network and a row a search: its distance over the smallest found, ours filled.

    A search that found nothing on half of the pictures or more is an arrow at the right edge, with these words.
    """
    shown = summary[summary["aim"].isin([*DISTANCES])]
    shown = shown.reindex(columns=dict.fromkeys((*shown, "ratio", "low", "high")))  # also without rows
    rows = shown.drop_duplicates("method").sort_values(
        "aim", key=lambda aims: aims.map([*DISTANCES].index), kind="stable", ignore_index=True
    )
    places = dict(zip(rows["method"], rows.index, strict=True))
    figure, axes = fields(shown["network"].unique(), shown, height=0.31 * len(rows) + 0.9, extra=0.6, sharey=True)
    ends = shown[["ratio", "low", "high"]].astype(float)
    edge = 3 * float(ends.where(np.isfinite(ends)).max(axis=None)) if len(shown) else 1.0
    for network, field in axes.items():
        own = shown[shown["network"] == network]
        nothing = np.isinf(own["ratio"].astype(float))
        looks = own["aim"].map(look_of).mask(nothing, own["aim"].map(lambda aim: look_of(aim)._replace(marker=">")))
        drawn = own.assign(**own[["ratio", "low", "high"]].clip(upper=edge))
        drawn["low"] = drawn["low"].mask(nothing, edge)  # no interval behind the words
        is_ours = own["method"].isin([*OWN])
        for some, is_hollow in ((is_ours, False), (~is_ours, True)):
            heights = drawn.loc[some, "method"].map(places)
            dots(field, drawn[some], heights, looks[some], columns=("ratio", "low", "high"), is_hollow=is_hollow)
        for place in own.loc[nothing, "method"].map(places):
            field.text(edge / 1.3, place, "nothing found", ha="right", va="center", fontsize=10)
        name_rows(field, [NAMES[method] for method in rows["method"]])
        for place in rows.index[rows["aim"] != rows["aim"].shift()][1:]:
            field.axhline(place - 0.5, color="#bbbbbb", linewidth=0.8)
        field.set_xlim(0.85, 1.25 * edge)
        factor_axis(field)
    figure.supxlabel("distance over the smallest that any search found", fontsize=12)
    legend(figure, {aim: _WORDS[aim] for aim in DISTANCES if aim in set(rows["aim"])}, columns=2)
    return figure


def duel_table(found: pd.DataFrame) -> Table:
    """Of `compared`, for each network and search of ours the rival that is nearer most often."""
    columns: Columns = {
        "our search": lambda frame: frame["aim"].map(BALLS) + ", " + frame["network"],
        "rival": lambda frame: frame["method"].map(NAMES),
        "nearer on": lambda frame: frame["num_smaller"].map(str) + " of " + frame["num_images"].map(str),
        "ours over it (95 %)": partial(intervals, columns=_RATIO),
        "its gradients": "gradients",
        "its passes": "forward_passes",
        "caution": "caution",
    }
    first = found.drop_duplicates(["network", "aim"]).reset_index(drop=True)
    return tabulate(first, columns, {"its gradients": "{:.0f}", "its passes": "{:.0f}"})


def longer(found: Rows) -> pd.DataFrame:
    """`perceptlib.analysis.opponents.gains` of each network."""
    return over_networks(found, gains)


def gain_table(gained: pd.DataFrame) -> Table:
    """Of `longer`: what a longer run brings, where there was one."""
    columns: Columns = {
        "search": lambda frame: frame["method"].map(NAMES) + ", " + frame["network"],
        "makes small": lambda frame: frame["aim"].map(_WORDS),
        "gradients": "larger",
        "photographs": "num_values",
        "over the shorter run (95 %)": partial(intervals, form="{:.3f}"),
        "over the smallest": "ratio",
    }
    return tabulate(gained, columns, {"over the smallest": "{:.3f}"})


def gain_told(gained: pd.DataFrame) -> str:
    """Of `longer`, on each network the search that gains the most, in words."""
    said = []
    for network, own in gained.dropna(subset=["value"]).groupby("network", sort=False):
        most = own.loc[own["value"].idxmin()]
        words = f"{1 - most['value']:.1%} nearer in {_WORDS[most['aim']]}, {_name(most['method'])}"
        said.append(f"on {network} at most {words} ({own['num_values'].max()} photographs)")
    return "; ".join(said) or MISSING


def search_table(summary: pd.DataFrame) -> Table:
    """Of `summaries`, every search by what it makes small, with its cost and why it may not be called beaten."""
    columns: Columns = {
        "search": lambda frame: frame["method"].map(NAMES) + ", " + frame["network"],
        "makes small": lambda frame: frame["aim"].map(_WORDS),
        "median": "median",
        "over the smallest (95 %)": partial(intervals, columns=("ratio", "low", "high")),
        "near": "near",
        "success": "success",
        "gradients": "gradients",
        "passes": "forward_passes",
        "settings": "num_settings",
        "caution": "caution",
    }
    formats = {"median": "{:.2g}", "near": "{:.0%}", "success": "{:.0%}", "gradients": "{:.0f}", "passes": "{:.0f}"}
    return tabulate(summary, columns, formats)


def judge_chart(found: pd.DataFrame) -> Drawing:
    """Of `by_judges`, a field a network and ball: its loss over that of the best rival of each kind."""
    pairs = [(ball, network) for network in found["network"].unique() for ball in RANDOM]  # a network's balls together
    titles = {f"{ball} {network}": f"{BALLS[ball]}\n{network}" for ball, network in pairs}
    keyed = found.assign(method=found["method"] + " " + found["network"])
    return ratio_chart(keyed, "kind", _KINDS, "loss over the rival's", titles=titles)


def told(found: pd.DataFrame) -> dict[str, str]:
    """Of one network's `duels`: what ours loses, what it does not, and which rivals are beaten, in sentences."""
    if found.empty:
        return dict.fromkeys(("lost", "kept", "beaten"), MISSING)
    first = found.drop_duplicates("aim")
    is_lost = 2 * first["num_smaller"] > first["num_images"]
    lost = [
        f"{_name(row['method'])} finds a smaller {_WORDS[row['aim']]} than our {BALLS[row['aim']]} search on "
        f"{row['num_smaller']} of {row['num_images']} pictures "
        f"(ratio of medians, ours over its: {row['ratio.value']:.2f})"
        for row in first[is_lost].to_dict("records")
    ]
    kept = [
        f"no rival finds a smaller {_WORDS[row['aim']]} than our {BALLS[row['aim']]} search on "
        f"{'more than ' * (row['num_smaller'] > 0)}{row['num_smaller'] or 'any'} of {row['num_images']} pictures "
        f"(closest: {_name(row['method'])}, {row['ratio.value']:.2f})"
        for row in first[~is_lost].to_dict("records")
    ]
    return {
        "lost": listed(lost) if lost else "no rival is nearer than ours on more than half of the pictures",
        "kept": listed(kept) if kept else "each search of ours has a rival that is nearer on more than half",
        "beaten": _beaten(found),
    }


def rival_rows(found: Rows, judged: pd.DataFrame) -> pd.DataFrame:
    """By mean CIEDE2000 each ball over the best norm rival of any library, and over ours: a row a network and ball.

    ``num_less`` and ``num_more``: by how many of ``num_judges`` the interval is below or above 1, with the best rival;
    ``num_less_own``: below 1 with ours; ``caution``: the rival's, by CIEDE2000. `judged` is of `by_judges`.
    """
    kept = []
    for (network, ball), some in judged.groupby(["network", "method"], sort=False):
        best = better_rivals(some).set_index("judge")
        if "ciede2000" not in best.index:
            continue
        with_ours = better_rivals(judge_rivals(found[network], method=ball, among=NORMS)).set_index("judge")
        with_ours = with_ours.reindex(best.index)
        first, rows = best.loc["ciede2000"], found[network]
        counts = {
            "num_less": best["high"] < 1,
            "num_less_own": with_ours["ratio.high"] < 1,
            "num_more": best["low"] > 1,
            "num_judges": best["low"].notna(),
        }
        kept.append(
            {"network": network, "method": ball, "num_images": _num_images(rows)}
            | first[["rival", "value", "low", "high"]].to_dict()
            | {"own": with_ours.loc["ciede2000", "ratio.value"], "caution": _caution(rows, first["rival"])}
            | {name: int(is_counted.sum()) for name, is_counted in counts.items()}
        )
    columns = ["network", "method", "rival", "num_images", "value", "low", "high", "own"]
    return pd.DataFrame(kept, columns=[*columns, "num_less", "num_less_own", "num_more", "num_judges", "caution"])


def rival_table(rows: pd.DataFrame) -> Table:
    """Of `rival_rows`."""
    columns: Columns = {
        "ball": lambda frame: frame["method"].map(BALLS) + ", " + frame["network"],
        "best rival": lambda frame: frame["rival"].map(NAMES),
        "CIEDE2000 over its (95 %)": intervals,
        "over ours": "own",
        "judges below 1": lambda frame: frame["num_less"].map(str) + " of " + frame["num_judges"].map(str),
        "above 1": "num_more",
        "caution": "caution",
    }
    return tabulate(rows, columns, {"over ours": "{:.2f}"})


def saved_rows(rounded: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Rule C' on 8-bit pictures with the nearest search of any library on both sides: a row a network and ball.

    ``verdict`` and why, ``reason``; by how many judges ``num_less`` and ``num_more`` visible; mean CIEDE2000 over the
    better rival's. `rounded` is of `perceptlib.analysis.recorded.all_rounded`.
    """
    kept = []
    for network, rows in rounded.items():
        for ball in (one for one in RANDOM if f"{one}_8bit" in set(rows["method"])):
            verdict, ratios = claim_c_prime(rows, ball=ball), judge_ratios(rows, ball=ball).set_index("judge")
            asked = ratios[ratios.index.isin(ASKED)]
            counts = {
                "num_less": asked["ratio.high"] < 1,
                "num_more": asked["ratio.low"] > 1,
                "num_judges": asked["ratio.low"].notna(),
            }
            kept.append(
                {"network": network, "method": ball, "num_images": _num_images(rows)}
                | {"verdict": verdict.verdict, "reason": verdict.reason}
                | asked.loc["ciede2000", ["ratio.value", "ratio.low", "ratio.high"]].to_dict()
                | {name: int(is_counted.sum()) for name, is_counted in counts.items()}
            )
    columns = ["network", "method", "num_images", "verdict", "reason", *_RATIO, "num_less", "num_more", "num_judges"]
    return pd.DataFrame(kept, columns=columns)


def saved_table(saved: pd.DataFrame) -> Table:
    """Of `saved_rows`."""
    columns: Columns = {
        "ball": lambda frame: frame["method"].map(BALLS) + ", " + frame["network"],
        "pictures": "num_images",
        "CIEDE2000 over the rival's (95 %)": partial(intervals, columns=_RATIO),
        "judges below 1": lambda frame: frame["num_less"].map(str) + " of " + frame["num_judges"].map(str),
        "above 1": "num_more",
        "C'": "verdict",
    }
    return tabulate(saved, columns)


def saved_told(saved: pd.DataFrame) -> str:
    """Of `saved_rows`, the verdicts by ball, the worst first of each."""
    told = []
    for ball, own in saved.groupby("method", sort=False):
        worst = own.sort_values("verdict", key=lambda words: words.map(WORST_FIRST.index), kind="stable")
        told.append(f"for the {BALLS[ball]} {listed(worst['verdict'] + ' on ' + worst['network'])}")
    return "; ".join(told) or MISSING


def variants_judged(found: Rows) -> pd.DataFrame:
    """`perceptlib.analysis.opponents.variant_ratios` of each network."""
    return over_networks(found, variant_ratios)


def variant_table(ratios: pd.DataFrame) -> Table:
    """Of `variants_judged`, by the judges of rule C'; a star where the interval leaves 1 out."""
    shown = ratios[ratios["judge"].isin(ASKED)]
    stars = np.where((shown["high"] < 1) | (shown["low"] > 1), " *", "")
    text = shown["value"].map(partial(number, form="{:.2f}")) + stars
    named = shown.assign(text=text, row=shown["variant"] + ", " + shown["network"])
    wide = named.pivot(index="row", columns="judge", values="text")
    wide = wide.loc[named["row"].unique(), named["judge"].unique()].rename(columns=SHORT)
    return table(wide.rename_axis("multi-scale ball", axis=0).rename_axis(None, axis=1).reset_index())


def variant_numbers(found: Rows, ratios: pd.DataFrame) -> dict[str, Any]:
    """What the page on smallest perturbations keeps of variants of the ball and of `variants_judged`.

    ``better``: on each network those that some judge of rule C' prefers to the default, by the interval, and none likes
    less, in words; ``ratios`` by network, variant, with underlines for spaces, and judge of the rule.
    """
    told, asked = [], ratios[ratios["judge"].isin(ASKED)]
    for network, own in asked.groupby("network", sort=False):
        by_name = own.groupby("variant", sort=False)
        better = [name for name, each in by_name if (each["high"] < 1).any() and not (each["low"] > 1).any()]
        told.append(f"on {network} {listed(better) if better else 'none'}")
    keyed = asked[["network", "variant", "judge", "value"]]
    keyed = keyed.assign(variant=keyed["variant"].str.replace(r"\W+", "_", regex=True))
    about = {"counted": counted(found) or MISSING, "num_variants": ratios["variant"].nunique()}
    return about | {"better": "; ".join(told) or MISSING, "ratios": nested(keyed, "network", "variant", "judge")}


def perceptual_told(judged: pd.DataFrame) -> str:
    """Of `by_judges`: to whom the best perceptual rival is less visible than the multi-scale ball, on each network."""
    others = judged[(judged["method"] == "multiscale") & (judged["kind"] == "perceptual")]
    said = []
    for network, own in others.groupby("network", sort=False):
        above = own.loc[own["low"] > 1, "judge"].map(lambda name: SHORT[name].replace(",", ""))
        said.append(f"on {network} to {listed(above) if len(above) else 'none'}")
    return "; ".join(said) or MISSING


def answers(summary: pd.DataFrame, judged: pd.DataFrame, rivals: pd.DataFrame) -> dict[str, str]:
    """What the figures say, in words, of `summaries`, `by_judges` and `rival_rows`.

    ``nearest``: which search is nearest in the median by each distance; ``judges``: how many judges find each ball's
    changes less visible than the best norm rival's; ``perceptual``: to which those of the best perceptual rival are
    less visible than the multi-scale ball's; ``budget``: gradients.
    """
    if summary.empty:
        return dict.fromkeys(("nearest", "judges", "perceptual", "budget"), MISSING)
    nearest, by_count = list[str](), list[str]()
    for network, own in summary[summary["aim"].isin([*DISTANCES])].groupby("network", sort=False):
        best = own.sort_values("ratio", kind="stable").drop_duplicates("aim").sort_index()
        names = best["method"].map(lambda method: "ours" if method in OWN else _name(method))
        by_name = best["aim"].map(_WORDS).groupby(names, sort=False).agg(listed)
        nearest.append(f"on {network} {listed(f'{name} by {words}' for name, words in by_name.items())}")
    for ball, own in rivals.groupby("method", sort=False):
        counts = (f"{row['num_less']} of {row['num_judges']} on {row['network']}" for row in own.to_dict("records"))
        by_count.append(f"for the {BALLS[ball]} {listed(counts)}")
    said = {"nearest": "; ".join(nearest), "judges": "; ".join(by_count), "perceptual": perceptual_told(judged)}
    return said | {"budget": str(summary["budget"].max())}


def numbers(found: Rows, summary: pd.DataFrame, all_duels: pd.DataFrame, judged: pd.DataFrame) -> dict[str, Any]:
    """What ``numbers.json`` keeps, by network: pictures, sentences, ratios to the smallest found, duels, judges."""
    content = {}
    for network, rows in found.items():
        own, fought, seen = (frame[frame["network"] == network] for frame in (summary, all_duels, judged))
        content[network] = {
            "num_images": _num_images(rows),
            **told(fought),
            "searches": nested(own.drop(columns="network"), "method"),
            "rivals": nested(fought.drop_duplicates("aim").drop(columns="network"), "aim"),
            "judges": nested(seen.drop(columns="network"), "method", "judge", "kind"),
        }
    return content


def rival_numbers(judged: pd.DataFrame, rivals: pd.DataFrame, saved: pd.DataFrame) -> dict[str, Any]:
    """What the page on judges keeps of `by_judges`, `rival_rows` and `saved_rows`: sentences, and ratios by network.

    ``told``: the multi-scale ball's ratio on each network, with the best rival and with ours; ``less``: how many judges
    find it less visible than the one and the other; ``saved``: the verdicts on 8-bit pictures.
    """
    rows = rivals[rivals["method"] == "multiscale"].to_dict("records")
    forms = {
        "told": "{value:.2f} on {network} ({num_images} pictures; {own:.2f} with ours)",
        "less": "{num_less} of {num_judges} on {network} ({num_less_own} with ours)",
    }
    said = {name: listed(form.format(**row) for row in rows) if rows else MISSING for name, form in forms.items()}
    said |= {"perceptual": perceptual_told(judged), "saved": saved_told(saved)}
    return said | {"by_network": nested(rivals, "network", "method"), "on_8_bits": nested(saved, "network", "method")}


def _caution(rows: pd.DataFrame, rival: str) -> str:
    """Why a rival, one setting of a search, may not be called beaten by CIEDE2000 at the main budget."""
    summary = opponent_summary(rows, distance="ciede2000", by_setting=True).set_index(["method", "budget"])
    return str(summary.loc[(rival, main_budget(rows)), "caution"])


def _num_images(rows: pd.DataFrame) -> int:
    return int(rows["image"].nunique()) if len(rows) else 0


def _name(method: str) -> str:
    """As a sentence has it: "FMN (l2)"."""
    name, _, norm = NAMES[method].partition(", ")
    return f"{name} ({norm})" if norm else name


def _beaten(found: pd.DataFrame) -> str:
    """By which distance which rivals are beaten: every setting further than ours, by the interval, and no caution."""
    is_worse = found["ratio.high"] < 1
    by_rival = (is_worse & (found["caution"] == "")).groupby([found["aim"], found["method"].map(_name)], sort=False)
    is_beaten = by_rival.all()
    if not is_beaten.any():
        return "no rival is called beaten" + (", as each that ours is ahead of has a caution" if is_worse.any() else "")
    by_aim = is_beaten[is_beaten].reset_index().groupby("aim", sort=False)["method"].agg(listed)
    said = listed(f"by {_WORDS[str(aim)]} {names}" for aim, names in by_aim.items())
    return f"beaten are {said}; other rivals have a caution or are not clearly behind"
