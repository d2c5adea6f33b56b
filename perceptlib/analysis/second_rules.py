"""Second rules, stated after the first ones and before their studies were run: the claims beyond one network and ball.

D' asks claim D of each network and ball, E whether it hangs on this SSIM, G what adversarial training does to it. Each
takes studies by preset and network, as `perceptlib.analysis.recorded.all_studies` gives them; what is not among them
is named in the verdict.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pandas as pd

from perceptlib.analysis.causal import factorial_effects
from perceptlib.analysis.claims import MARGIN, RANDOM, claim_c_of, claim_d
from perceptlib.analysis.controls import SCORE, map_rows
from perceptlib.analysis.recorded import DATA_SETS, recorded_factorial
from perceptlib.analysis.statistics import bootstrap_interval, over_networks, paired_test, t_interval
from perceptlib.analysis.verdicts import LIMITED, NOT_SUPPORTED, NOT_TESTABLE, SUPPORTED, Check, Verdict, listed

Studies = Mapping[tuple[str, str], pd.DataFrame]  # preset and network -> rows
ByStudy = Mapping[tuple[str, str], Mapping[str, Verdict]]  # and verdicts, by keys such as those of `BY_STUDY`
SECOND = {
    "d_prime_ssim": "D', SSIM ball: changes fall where the class is decided, beyond one network",
    "d_prime_multiscale": "D', multi-scale ball: the same",
    "e": "E: where changes fall does not hang on the flaws of one-scale RGB SSIM",
    "g_l2": "G, l2: adversarial training brings the changes closer to the CAM",
    "g_linf": "G, linf: the same",
}
BY_STUDY = {  # what is said of each study by itself
    "c": "C: fooling rate",
    "c_8bit": "C, after rounding",
    "d": "D: SSIM ball",
    "d_multiscale": "D: multi-scale ball",
}
PHOTO_NETWORKS = ("mobilenet_v2", "efficientnet-lite0", "efficientnet-lite2")
DRAWN = ("shapes", "digits")
NORMS = ("l2", "linf")
SEEDS = (0, 1, 2)
_RANDOM_CHECK = {ball: f"energy above that of {name.replace('_', ' ')} by 0.03" for ball, name in RANDOM.items()}


def verdicts_by_study(studies: Studies) -> dict[tuple[str, str], dict[str, Verdict]]:
    """Of each study by itself the verdicts that `BY_STUDY` lists, by the first rules.

    What textures of scenes do is the study's own network's where that is recorded, else the first network's of shapes.
    """
    found, known = {}, dict[int, pd.DataFrame | None]()
    for (preset, network), rows in studies.items():
        named = re.fullmatch(r"shapes-(\d+)", network)
        number = int(named[1]) if named else 0
        if number not in known:
            scenes = recorded_factorial(number)
            known[number] = None if scenes is None else factorial_effects(scenes[scenes["method"].isin(RANDOM)])
        effects = known[number]
        before, after = claim_c_of(rows)
        balls = {"d": claim_d(rows, effects), "d_multiscale": claim_d(rows, effects, ball="multiscale")}
        found[preset, network] = {"c": before, "c_8bit": after} | balls
    return found


def second_verdicts(studies: Studies, by_study: ByStudy) -> dict[str, Verdict]:
    """Verdicts by the second rules, by the keys of `SECOND`; `by_study` is `verdicts_by_study` of the studies."""
    keys = {"ssim": "d", "multiscale": "d_multiscale"}
    primes = {
        f"d_prime_{ball}": claim_d_prime({study: each[key] for study, each in by_study.items()}, ball=ball)
        for ball, key in keys.items()
    }
    return primes | {"e": claim_e(studies)} | {f"g_{norm}": claim_g(studies, norm) for norm in NORMS}


def claim_d_prime(verdicts: Mapping[tuple[str, str], Verdict], *, ball: str = "ssim") -> Verdict:
    """Does the change act where the class is decided, beyond one network? From the verdicts on claim D by study.

    Supported: claim D is supported with each photograph network of `PHOTO_NETWORKS`, and with every other network the
    ball's map is above its own random direction (as claim D asks it). Not supported: claim D is not supported with two
    photograph networks or more. Else with limits, each network that falls short named; "with limits" on claim D counts
    as neither held nor failed. Not testable with fewer than two photograph networks.
    """
    checks, failed, missing = [], [], []
    short: dict[tuple[str, int], list[str]] = {}  # what does not hold, of how many networks -> those of which it is so
    photos = {network: verdicts.get(("imagenet", network)) for network in PHOTO_NETWORKS}
    for network, verdict in photos.items():
        found = _check_of(verdict, _RANDOM_CHECK[ball])
        word = NOT_TESTABLE if verdict is None else verdict.verdict
        is_met = None if word == NOT_TESTABLE else word == SUPPORTED
        name = f"photographs, {network}: claim D is supported (difference to the random direction)"
        checks.append(replace(found, name=name, is_met=is_met))
        if is_met is None:
            missing.append(f"photographs with {network}")
        elif not is_met:
            short.setdefault((f"claim D {word}", len(photos)), []).append(network)
            failed += [network] if word == NOT_SUPPORTED else []
    for preset in DRAWN:
        networks = [network for of, network in verdicts if of == preset]
        for network in networks:
            found = _check_of(verdicts[preset, network], _RANDOM_CHECK[ball])
            name = f"{DATA_SETS[preset]}, {network}: above its own random direction"
            checks.append(replace(found, name=name))
            if found.is_met is False:
                below = f"not above its random direction on {DATA_SETS[preset]}"
                short.setdefault((below, len(networks)), []).append(network)
            elif found.is_met is None:
                missing.append(f"{DATA_SETS[preset]} with {network}")
        for kind, pattern in (("standard", r"-\d+"), ("adversarially trained", r"-l(2|inf)-\d+")):
            if not any(re.fullmatch(preset + pattern, network) for network in networks):
                missing.append(f"{DATA_SETS[preset]} with a {kind} network".replace("a adv", "an adv"))
    is_testable = sum(check.is_met is not None for check in checks[: len(photos)]) > 1
    lost = len(failed) > 1
    named = [f"{what} with {_networks(below, num)}" for (what, num), below in short.items()]
    return _judged(checks, named, missing, is_testable=is_testable, is_lost=lost, held="with every network")


def _networks(names: list[str], num_all: int) -> str:
    """Their names, or that it is all of several."""
    return f"all {num_all} networks" if len(names) == num_all > 2 else listed(names)


def claim_e(studies: Studies) -> Verdict:
    """Is it perception, or this SSIM? The multi-scale ball's gain over its random direction minus the SSIM ball's.

    Energy in the CAM's top 20 %, paired by picture, on photographs. Supported: the difference's lower end is above
    -0.02 with each photograph network; with limits with some of them; not supported, before all else, where its upper
    end is below 0 with one or more.
    """
    checks = {}
    for network in PHOTO_NETWORKS:
        gains = _gains(studies.get(("imagenet", network)))
        test = None if gains is None else paired_test(gains["multiscale"], gains["ssim"])
        name = f"{network}: multi-scale ball's gain minus the SSIM ball's above {MARGIN}"
        checks[network] = Check.above(name, test, MARGIN)
    every = list(checks.values())
    if failed := [network for network, check in checks.items() if check.high < 0]:
        reason = f"the localisation is partly SSIM's own: upper end below 0 with {listed(failed)}"
        return Verdict(NOT_SUPPORTED, reason, tuple(every))
    short = [f"lower end {check.low:.3f} with {network}" for network, check in checks.items() if check.is_met is False]
    missing = [f"photographs with {network}" for network, check in checks.items() if check.is_met is None]
    is_testable = any(check.is_met for check in every)  # no rule speaks of intervals that are too wide with all
    return _judged(every, short, missing, is_testable=is_testable, is_lost=False, held="with every photograph network")


def claim_g(studies: Studies, norm: str = "l2") -> Verdict:
    """Adversarially trained minus standard network: energy of the SSIM ball's map in its own network's CAM's top 20 %.

    The same pictures, those that both classify correctly; three pairs of networks a data set, of one seed each.
    Supported where the lower end is above 0 on shapes and on digits, with limits on one of them. The interval that
    decides is a two-level bootstrap over networks and pictures (`perceptlib.analysis.statistics.over_networks`); the t
    interval over the three networks stands beside it, and that over pictures for each pair.
    """
    checks, missing, beside = [], [], []
    held, short = list[str](), list[str]()
    for preset in DRAWN:
        words, pairs = DATA_SETS[preset], robust_minus_standard(studies, preset, norm)
        name = f"{words}: robust minus standard above 0, over networks and pictures"
        for seed, values in pairs.items():
            checks.append(Check.above(f"{words}, seed {seed}: over pictures", bootstrap_interval(values)))
        if lacking := [f"{preset}-{norm}-{seed}" for seed in SEEDS if seed not in pairs]:
            missing.append(f"{words} with {listed(lacking)} beside the standard network")
            checks.append(Check(name, math.nan))
            continue
        both, medians = over_networks(pairs), t_interval([values.median() for values in pairs.values()])
        checks += [Check.above(name, both), Check.above(f"{words}: t interval over networks", medians)]
        (held if both.low > 0 else short).append(words)
        beside += [words] if both.low > 0 >= medians.low else []
    every = tuple(checks)
    if missing and not held and not short:
        return Verdict(NOT_TESTABLE, f"not recorded: {', '.join(missing)}", every)
    aside = f"; the t interval over three networks reaches 0 on {listed(beside)}" if beside else ""
    aside += f"; not recorded: {', '.join(missing)}" if missing else ""
    if held:
        word = LIMITED if short or missing else SUPPORTED
        return Verdict(word, f"above 0 on {listed(held)}{f', not on {listed(short)}' if short else ''}{aside}", every)
    if missing:
        return Verdict(NOT_TESTABLE, f"not above 0 on {listed(short)}{aside}", every)
    return Verdict(NOT_SUPPORTED, f"above 0 neither on {' nor on '.join(short)}", every)


def robust_minus_standard(studies: Studies, preset: str, norm: str) -> dict[int, pd.Series]:
    """Seed -> difference of the SSIM ball's energies by picture, where both networks of a seed are recorded."""
    found: dict[int, pd.Series] = {}
    for seed in SEEDS:
        pair = [studies.get((preset, name)) for name in (f"{preset}-{norm}-{seed}", f"{preset}-{seed}")]
        if any(rows is None for rows in pair):
            continue
        robust, standard = (_energies(rows) for rows in pair if rows is not None)
        if "ssim" in robust and "ssim" in standard:
            difference = (robust["ssim"] - standard["ssim"]).dropna()
            found |= {seed: difference} if len(difference) > 1 else {}
    return found


def _gains(rows: pd.DataFrame | None) -> pd.DataFrame | None:
    """By picture, what each ball's map has more than its own random direction; None without rows of either ball."""
    if rows is None:
        return None
    energies = _energies(rows)
    if not {*RANDOM, *RANDOM.values()} <= {*energies}:
        return None
    return pd.DataFrame({ball: energies[ball] - energies[random] for ball, random in RANDOM.items()}).dropna()


def _energies(rows: pd.DataFrame) -> pd.DataFrame:
    """Energy in the CAM's top 20 %: a row a picture, a column a map."""
    return map_rows(rows).pivot(index="image", columns="method", values=SCORE).astype(float)


def _check_of(verdict: Verdict | None, name: str) -> Check:
    checks: Iterable[Check] = () if verdict is None else verdict.checks
    return next((check for check in checks if check.name == name), Check(name, math.nan))


def _judged(
    checks: list[Check], short: list[str], missing: list[str], *, is_testable: bool, is_lost: bool, held: str
) -> Verdict:
    """The verdict by what falls short and what is missing, both named."""
    reason = "; ".join([*short, *([f"not recorded: {', '.join(missing)}"] if missing else [])])
    if is_lost:
        return Verdict(NOT_SUPPORTED, reason, tuple(checks))
    if not is_testable:
        return Verdict(NOT_TESTABLE, reason, tuple(checks))
    return Verdict(LIMITED, reason, tuple(checks)) if short or missing else Verdict(SUPPORTED, held, tuple(checks))
