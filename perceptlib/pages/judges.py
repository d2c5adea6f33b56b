"""Notebook 14: what judges say of the balls that no ball was made for, at equal SSIM distance and at equal success."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from perceptlib.analysis.claims import RANDOM
from perceptlib.analysis.comparison import search_ratios
from perceptlib.analysis.frames import nested, stacked
from perceptlib.analysis.judges import ASKED, RIVALS, claim_c_prime, judge_ratios, judged
from perceptlib.analysis.second_rules import ByStudy, Studies
from perceptlib.analysis.verdicts import NOT_TESTABLE, WORST_FIRST, Verdict, listed
from perceptlib.attacks import round_to_8bit
from perceptlib.drawing.figures import WIDTH, Drawing, dots, drawing, fields, legend, looks_of, name_rows, styled
from perceptlib.drawing.panels import Panel, draw_panel
from perceptlib.drawing.tables import Table, table
from perceptlib.judges import JUDGES, available, judge
from perceptlib.pages.claims.verdicts import study_verdict_rows
from perceptlib.pages.shared import factor_axis
from perceptlib.study.comparison import BALLS, attack_at_distance
from perceptlib.study.presets import Study

ATTACKED = ("l2", "ssim", "multiscale")  # balls of the live part; what judges say is told as a ratio to the first
C_PRIME = {f"c_prime_{ball}": f"C', {BALLS[ball]}" for ball in RANDOM}  # verdicts -> headings
SHORT = {  # a judge's name in a figure
    **{"ssim": "SSIM distance", "ciede2000": "CIEDE2000, mean", "ciede2000_99": "CIEDE2000, 99 %"},
    **{"ms_ssim": "MS-SSIM", "gmsd": "GMSD", "haarpsi": "HaarPSI", "vif": "VIF", "fsim": "FSIM", "mdsi": "MDSI"},
    **{"flip": "FLIP", "jod": "ColorVideoVDP", "jod_10": "ColorVideoVDP, x 10", "jod_30": "ColorVideoVDP, x 30"},
}
_ENDS = (0.05, 40.0)  # of the intervals drawn
_TICKS = (0.1, 0.3, 1, 3, 10, 30)
_PART = (48, 96)  # height and width of what is enlarged, in pixels
_STRIDE = 8  # pixels from one place that may be enlarged to the next


def attacked(study: Study, budget: float, *, steps: int = 10, cg_steps: int = 15) -> dict[str, Tensor]:
    """The study's pictures attacked in each ball of `ATTACKED` at one SSIM distance, and rounded to 8 bits."""
    images, labels = study.pictures.images, study.pictures.labels
    options: dict[str, Any] = {"steps": steps, "cg_steps": cg_steps}
    return {
        ball: round_to_8bit(attack_at_distance(study.classifier, images, labels, ball, budget, **options).adversarial)
        for ball in ATTACKED
    }


def losses(study: Study, saved: Mapping[str, Tensor], judges: Sequence[str]) -> pd.DataFrame:
    """What CIEDE2000 and the judges named that are installed say of attacked pictures: a row a ball and picture.

    ValueError tells of a judge that there is not.
    """
    images, ids = study.pictures.images, [*study.pictures.ids]
    there = available(min(images.shape[-2:]))
    names = [name for name in dict.fromkeys(("ciede2000", *judges)) if name in there or name not in JUDGES]
    found = {ball: judge(images, changed, names).assign(picture=ids) for ball, changed in saved.items()}
    return stacked(found, "method")


def left_out(found: pd.DataFrame) -> str:
    """The judges that are not among the losses, in words."""
    missing = dict.fromkeys(SHORT[name].partition(",")[0] for name in JUDGES if name not in found)
    return f"not asked, not installed or too small a picture: {listed(missing)}" if missing else "all judges were asked"


@styled
def photograph_panels(study: Study, saved: Mapping[str, Tensor], found: pd.DataFrame, photo: str) -> Drawing:
    """One photograph and its attacks, two in a row, and below each the same part of it, enlarged.

    The part is where the attacks together change most. The titles have the mean CIEDE2000.
    """
    if photo not in study.pictures.ids:
        raise ValueError(
            f"photograph {photo!r} is not there, or the network misclassifies it; pass one of "
            f"{', '.join(study.pictures.ids)}"
        )
    place = study.pictures.ids.index(photo)
    clean = study.pictures.images[place]
    changes = torch.stack([(changed[place] - clean).square().mean(0) for changed in saved.values()])
    sums = avg_pool2d(changes.sum(0)[None], _PART, stride=_STRIDE)[0]
    top, left = (_STRIDE * int(index) for index in divmod(int(sums.argmax()), sums.shape[1]))
    own = found[found["picture"] == photo]
    said = own.set_index("method")["ciede2000"]
    shown = {"clean": clean} | {
        f"{BALLS[ball]}: CIEDE2000 {said[ball]:.2f}": changed[place] for ball, changed in saved.items()
    }
    figure = drawing(1.5 * WIDTH + 0.3, own)
    figure.is_line_art = False
    axes = figure.subplots(4, 2, height_ratios=(2, 1, 2, 1))
    whole, enlarged = axes[::2].flatten(), axes[1::2].flatten()
    for (title, values), above, below in zip(shown.items(), whole, enlarged, strict=True):
        draw_panel(above, Panel(values, title))
        draw_panel(below, Panel(values[:, top : top + _PART[0], left : left + _PART[1]], ""))
    return figure


def ratios(found: pd.DataFrame) -> pd.DataFrame:
    """Each ball's loss over l2's, picture by picture: ``value``, their median, ``low`` and ``high``, the extremes."""
    names = [name for name in JUDGES if name in found]
    by_ball = {ball: rows.set_index("picture")[names] for ball, rows in found.groupby("method", sort=False)}
    frames = {ball: rows / by_ball["l2"] for ball, rows in by_ball.items() if ball != "l2"}
    made = {
        ball: frame.agg(["median", "min", "max"]).T.set_axis(["value", "low", "high"], axis="columns")
        for ball, frame in frames.items()
    }
    return pd.concat(made, names=["method", "judge"]).reset_index()


def success_rows(studies: Studies) -> pd.DataFrame:
    """At equal success, the loss of each ball's search over the better rival's, by the judges of C' and by SSIM.

    A row a study, ball and judge: ``value`` with its interval from ``low`` to ``high``, of ``num_values`` pictures.
    """
    made = []
    for (preset, network), rows in studies.items():
        if judged(rows).empty:
            continue
        for ball in RANDOM:
            by_rival = search_ratios(rows, method=f"{ball}_8bit", is_rounded=True)
            by_rival = by_rival[by_rival["method"].isin(RIVALS)].rename(columns={"method": "rival"})
            own = by_rival.nlargest(1, "ratio.value").assign(judge="ssim")  # of the rival that is nearer
            others = judge_ratios(rows, ball=ball)
            both = pd.concat([own, others[others["judge"].isin(ASKED)]], ignore_index=True)
            made.append(both.assign(preset=preset, network=network, method=ball))
    columns = ["preset", "network", "method", "judge", "rival", "value", "low", "high", "num_values"]
    frame = pd.concat(made, ignore_index=True) if made else pd.DataFrame(columns=columns)
    return frame.rename(columns=lambda name: name.removeprefix("ratio."))[columns]


@styled
def ratio_chart(
    frame: pd.DataFrame, by: str, names: Mapping[str, str], label: str, *, titles: Mapping[str, str] | None = None
) -> Drawing:
    """A row for each judge, a mark for each value of the column `by`, which `names` has; dashed: no difference.

    With `titles` a field for each ball. Intervals that go beyond `_ENDS` are drawn as far.
    """
    judges = [name for name in SHORT if name in set(frame["judge"])]
    shared: dict[str, Any] = {"sharex": True, "sharey": True}
    figure, places = fields((titles or {"": ""}).values(), frame, height=0.4 * len(judges) + 0.7, extra=0.5, **shared)
    looks = dict(zip(names, looks_of(list(names)), strict=True))
    shifts = {name: 0.6 * (place + 0.5) / len(names) - 0.3 for place, name in enumerate(names)}
    for ball, field in zip(titles or [""], places.values(), strict=True):
        own = frame[(frame["method"] == ball) | (titles is None)]
        drawn = own.assign(**own[["value", "low", "high"]].clip(*_ENDS))
        dots(field, drawn, own["judge"].map(judges.index) + own[by].map(shifts), own[by].map(looks))
        name_rows(field, [SHORT[name] for name in judges])
        factor_axis(field)
        field.set_xticks(_TICKS)
    figure.supxlabel(label, fontsize=12)
    legend(figure, names, columns=2)
    return figure


def live_chart(live: pd.DataFrame) -> Drawing:
    """`ratios` as a chart."""
    return ratio_chart(live, "method", {ball: BALLS[ball] for ball in RANDOM}, "loss over the l2 ball's")


def success_chart(success: pd.DataFrame, preset: str) -> Drawing:
    """`success_rows` of photographs and of one other preset, a field a ball and a mark a network."""
    shown = success[success["preset"].isin(["imagenet", preset])]
    pictures = shown.groupby("network", sort=False)["num_values"].max()
    names = {network: f"{network} ({number:.0f})" for network, number in pictures.items()}
    titles = {ball: BALLS[ball] for ball in RANDOM}
    return ratio_chart(shown, "network", names, "loss over the better rival's", titles=titles)


def verdicts(studies: Studies) -> dict[tuple[str, str], dict[str, Verdict]]:
    """Verdicts by rule C' on each study whose pictures judges saw, by the keys of `C_PRIME`."""
    return {
        study: {f"c_prime_{ball}": claim_c_prime(rows, ball=ball) for ball in RANDOM}
        for study, rows in studies.items()
        if len(judged(rows))
    }


def verdict_table(found: ByStudy, studies: Studies) -> Table:
    """The verdicts by network, with the number of pictures."""
    rows = study_verdict_rows(found, C_PRIME).drop(columns="data set")  # the names tell, and a phone has no room
    rows.insert(1, "pictures", [judged(studies[study])["image"].nunique() for study in found])
    return table(rows)


def answer(found: ByStudy) -> str:
    """For each ball on how many networks each verdict is given, the worst first."""
    told = []
    for key, ball in zip(C_PRIME, RANDOM, strict=True):
        words = Counter(each[key].verdict for each in found.values())
        counts = listed(f"{word} on {words[word]}" for word in WORST_FIRST if word in words) if words else NOT_TESTABLE
        told.append(f"for the {BALLS[ball]} {counts}")
    return "; ".join(told)


def numbers(live: pd.DataFrame, success: pd.DataFrame, found: ByStudy) -> dict[str, Any]:
    """What ``numbers.json`` keeps: the live ratios, how many judges say what, the recorded ratios, the answer."""
    own = success[(success["judge"] == "ssim") & (success["method"] == "ssim")]["value"]
    by_ball = live.groupby("method")["value"]
    return {
        "live": nested(live, "method", "judge"),
        "num_judges": live["judge"].nunique(),
        "num_more": by_ball.agg(lambda values: int((values > 1).sum())).to_dict(),
        "num_less": by_ball.agg(lambda values: int((values < 1).sum())).to_dict(),
        "recorded": nested(success.drop(columns="rival"), "preset", "network", "method", "judge"),
        "by_ssim": {"least": own.min(), "most": own.max()},
        "num_networks": len(found),
        "told": answer(found),
    }
