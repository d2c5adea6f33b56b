"""Second rules C' and F: what judges say that no ball was made for, and what maps are worth beyond the CAM.

Both were stated before their studies were run. What a rule needs and is not there is named in the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from perceptlib.analysis.claims import MARGIN, RANDOM
from perceptlib.analysis.frames import attacked, paired
from perceptlib.analysis.second_rules import PHOTO_NETWORKS
from perceptlib.analysis.statistics import Interval, paired_test, ratio_of_medians
from perceptlib.analysis.verdicts import (
    LIMITED,
    NOT_SUPPORTED,
    NOT_TESTABLE,
    REVERSED,
    SUPPORTED,
    WORST_FIRST,
    Check,
    Verdict,
    listed,
    worst_first,
)
from perceptlib.judges import JUDGES
from perceptlib.study.rows import SCHEMA

ASKED = ("ciede2000", "ciede2000_99", "ms_ssim", "gmsd", "haarpsi", "vif", "fsim", "jod_10")  # by rule C'
RIVALS = ("l2_8bit", "linf_8bit")
MOST, HALF, FEW = 6, 4, 2  # of the judges asked
LEAST_JOD = 0.01  # below it a loss says nothing
EQUAL = 1.1  # of gradients: up to so many times a rival's count as equal
JUDGED = {
    "c_prime_ssim": "C', SSIM ball: what just fools is less visible, by judges that no ball was made for, than what "
    "l2 and linf searches find, this project's own and, where recorded, those of every library",
    "c_prime_multiscale": "C', multi-scale ball: the same",
    "f_ssim": "F, SSIM ball: the change map says what the network uses, beyond the CAM",
    "f_multiscale": "F, multi-scale ball: the same",
}
EVERY_LIBRARY = "photographs with the rivals of every library"
AREAS = ("insertion_blur", "insertion_mean", "deletion_blur", "deletion_mean")


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """What judges say of each search's 8-bit pictures as found: their losses, infinite where nothing was found."""
    found = attacked(rows, "judges")
    found = found[found["budget"].isna()]
    fooled, names = found["is_adversarial_8bit"].eq(True), [name for name in JUDGES if name in found]
    # a judge that was not there, or that has no value, stays undefined
    losses = {name: found[name].astype(float).where(fooled | found[name].isna(), math.inf) for name in names}
    return found.assign(**losses)


def judge_ratios(rows: pd.DataFrame, *, ball: str = "ssim") -> pd.DataFrame:
    """A row a judge that was there: medians of its loss, and their ``ratio`` to that of the better of l2 and linf.

    The rival is the one with the smaller median loss by this judge, on the pictures that all have. ``ratio`` has its
    bootstrap interval, paired over pictures (`loss_ratio`); a picture that is not fooled counts as infinitely visible.
    """
    found = judged(rows).set_index(["image", "method"])
    kept = []
    for name in (one for one in JUDGES if one in found):
        table = found[name].unstack("method")
        table = table.reindex(columns=[f"{ball}_8bit", *RIVALS]).dropna()
        if table.empty:
            continue
        medians = {method: float(np.median(table[method])) for method in table}
        own, rival = f"{ball}_8bit", min(RIVALS, key=medians.__getitem__)
        both = {"rival_loss": medians[rival], "ratio": vars(loss_ratio(table[[own, rival]], name))}
        kept.append({"judge": name, "loss": medians[own], "rival": rival} | both)
    return pd.json_normalize(kept) if kept else pd.DataFrame(columns=["judge"])


def loss_ratio(losses: pd.DataFrame, name: str) -> Interval:
    """Ratio of the medians of two columns, losses by one judge; JOD counts where one of the two is above 0.01."""
    if JUDGES[name].words.startswith("JOD"):
        losses = losses[(losses > LEAST_JOD).any(axis=1)]
    return ratio_of_medians(losses.iloc[:, 0], losses.iloc[:, 1])


def claim_c_prime(rows: pd.DataFrame, *, ball: str = "ssim") -> Verdict:
    """Is what just fools less visible than l2's and linf's, by judges that no ball was made for? Of one study.

    From `judge_ratios` by the eight judges `ASKED`. Supported: below 1 (upper end) for 6 at least, above 1 (lower end)
    for none. With limits: below 1 for 4 at least, or for some while above 1 for 2 at most; they are named. Reversed:
    above 1 for most. Else not supported. A judge that was not there counts as neither; with fewer than 6, or where a
    search spent over 1.1 times the better rival's gradients, it is not testable.
    """
    ratios = judge_ratios(rows, ball=ball)
    ratios = ratios[ratios["judge"].isin(ASKED)].set_index("judge")
    checks, below, above, aside, missing = list[Check](), list[str](), list[str](), list[str](), list[str]()
    for name in ASKED:
        asked = f"{JUDGES[name].words}: loss over the better rival's below 1"
        if name not in ratios.index or math.isnan(ratios.loc[name, "ratio.low"]):
            checks.append(Check(asked, math.nan))
            missing.append(JUDGES[name].words)
            continue
        value, low, high = (float(ratios.loc[name, f"ratio.{end}"]) for end in ("value", "low", "high"))
        rival = ratios.loc[name, "rival"].removesuffix("_8bit")
        checks.append(Check(f"{asked} ({rival})", value, low, high, is_met=high < 1))
        (below if high < 1 else above if low > 1 else aside).append(JUDGES[name].words)
    num_there = len(ASKED) - len(missing)
    spent = _gradient_checks(rows, ball)
    every = (*checks, *spent)
    words = {"less visible by": below, "more visible by": above, "undecided by": aside, "not asked:": missing}
    said = "; ".join(f"{word} {listed(names)}" for word, names in words.items() if names)
    if num_there < MOST:
        return Verdict(NOT_TESTABLE, said, every)
    if any(check.is_met is False for check in spent):
        return Verdict(NOT_TESTABLE, f"not at equal gradients; {said}", every)
    if 2 * len(above) > num_there:
        return Verdict(REVERSED, said, every)
    if len(below) >= MOST and not above:
        return Verdict(SUPPORTED, said, every)
    is_limited = len(below) >= HALF or (len(below) > 0 and len(above) <= FEW)
    return Verdict(LIMITED if is_limited else NOT_SUPPORTED, said, every)


def claim_f(studies: Mapping[tuple[str, str], pd.DataFrame], *, ball: str = "ssim") -> Verdict:
    """Does the change map say what the network uses, beyond the CAM? Insertion and deletion on photographs.

    Areas under the insertion curve of the ball's map minus its random direction's, and under the deletion curve the
    other way round, with blur and with the mean as the empty picture: median differences, paired over pictures.
    Supported: all above 0 (lower end) with every photograph network, and none below the squared gradient's by more than
    0.02 (lower end above -0.02). With limits: above the random direction's alone, or networks are not recorded. Else
    not supported.
    """
    checks: dict[tuple[str, str, str], Check] = {}
    for network in PHOTO_NETWORKS:
        maps = attacked(studies.get(("imagenet", network), pd.DataFrame(columns=SCHEMA.names)), "curves")
        for rival, least in ((RANDOM[ball], 0.0), ("squared_gradient", MARGIN)):
            for area in AREAS:
                kind, empty = area.split("_")
                name = f"{network}: {kind}, {empty}, above the {rival.replace('_', ' ')} map by more than {least:g}"
                both = paired(maps[maps["method"] == ball], maps[maps["method"] == rival], area)
                own, other = (values.astype(float) * (1 if kind == "insertion" else -1) for values in both)
                checks[rival, network, area] = Check.above(name, paired_test(own, other), least)

    def failed(rival: str) -> str:
        missed = [study for study, check in checks.items() if study[0] == rival and check.is_met is False]
        words = [f"{area.replace('_', ' (')}) with {network}" for _, network, area in missed]
        return listed(words) if words else ""

    missing = dict.fromkeys(network for (_, network, _), check in checks.items() if check.is_met is None)
    unknown, every = [f"not recorded: {listed(missing)}"] if missing else [], tuple(checks.values())
    if len(missing) == len(PHOTO_NETWORKS):
        return Verdict(NOT_TESTABLE, unknown[0], every)
    if lost := failed(RANDOM[ball]):
        return Verdict(NOT_SUPPORTED, "; ".join([f"not above the random direction: {lost}", *unknown]), every)
    short = failed("squared_gradient")
    if reasons := [f"not within {-MARGIN:g} of the squared gradient: {short}"] * bool(short) + unknown:
        return Verdict(LIMITED, "; ".join(reasons), every)
    return Verdict(SUPPORTED, "every check holds", every)


def verdicts_of_judges(
    studies: Mapping[tuple[str, str], pd.DataFrame], rounded: Mapping[str, pd.DataFrame] = {}
) -> dict[str, Verdict]:
    """Verdicts by the rules C' and F for each ball, by the keys of `JUDGED`: C' is the worst of the photographs'.

    ``rounded`` is of `perceptlib.analysis.recorded.all_rounded`: there the rivals are the nearest of every library.
    """
    photos = {study: rows for study, rows in studies.items() if study[0] == "imagenet"}
    found = {}
    for ball in RANDOM:
        others = {
            (EVERY_LIBRARY, network): rows for network, rows in rounded.items() if f"{ball}_8bit" in set(rows["method"])
        }
        by_study = {study: claim_c_prime(rows, ball=ball) for study, rows in (photos | others).items()}
        found[f"c_prime_{ball}"] = worst(by_study)
        found[f"f_{ball}"] = claim_f(studies, ball=ball)
    return {key: found[key] for key in JUDGED}


def worst(verdicts: Mapping[tuple[str, str], Verdict]) -> Verdict:
    """The worst of several studies' verdicts, those that can be told before those that cannot; all are named."""
    told = {study: one for study, one in verdicts.items() if one.verdict != NOT_TESTABLE} or verdicts
    if not told:
        return Verdict(NOT_TESTABLE, "rows are missing", ())
    study = min(told, key=lambda name: WORST_FIRST.index(told[name].verdict))
    reason = f"{worst_first(verdicts)}; with {study[1]}: {told[study].reason}"
    return Verdict(told[study].verdict, reason, told[study].checks)


def _gradient_checks(rows: pd.DataFrame, ball: str) -> list[Check]:
    """Gradients that the ball's search spent over each rival's."""
    found = judged(rows)
    own, checks = found[found["method"] == f"{ball}_8bit"], []
    for rival in RIVALS:
        pair = paired(own, found[found["method"] == rival], "gradients")
        name = f"median gradients over those of {rival.removesuffix('_8bit')} up to {EQUAL:g}"
        if len(pair[0]):
            ratio = float(np.median(pair[0]) / max(np.median(pair[1]), 1))
            checks.append(Check(name, ratio, is_met=ratio <= EQUAL))
        else:
            checks.append(Check(name, math.nan))
    return checks
