"""Our searches and those of other libraries on the same pictures, each with the same number of gradients, recorded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
from tqdm import tqdm

from perceptlib.attacks import AttackResult
from perceptlib.balls import MultiScaleBall
from perceptlib.judges import available
from perceptlib.records import read_json, write_json
from perceptlib.records.files import claimed
from perceptlib.records.frames import read_csv, write_csv
from perceptlib.records.provenance import provenance, told_in
from perceptlib.rivals.opponents import OPPONENTS, missing_module, round_found, run_opponent, run_own
from perceptlib.study.comparison import BALLS, ball_of, losses
from perceptlib.study.presets import Pictures, Study, load_study

OWN = {name: f"ours, {BALLS[name]}" for name in ("ssim", "multiscale", "l2", "linf")}
# What a search makes small -> the column that has it, of what there is a search of ours for.
DISTANCES = {"ssim": "distance", "l2": "l2", "linf": "linf", "multiscale": "multiscale"}
VARIANTS: dict[str, dict[str, tuple[float, ...]]] = {  # of the multi-scale ball: what differs from its defaults
    "default": {},
    "finer scales": {"weights": (0.55, 0.25, 0.13, 0.07)},
    "finest scales": {"weights": (0.7, 0.2, 0.07, 0.03)},
    "coarser scales": {"weights": (0.2, 0.3, 0.3, 0.2)},
    "cheaper chroma": {"channel_weights": (1.0, 0.6, 0.6)},
    "cheapest chroma": {"channel_weights": (1.0, 0.35, 0.35)},
    "finer scales, cheaper chroma": {"weights": (0.55, 0.25, 0.13, 0.07), "channel_weights": (1.0, 0.6, 0.6)},
    "finest scales, cheaper chroma": {"weights": (0.7, 0.2, 0.07, 0.03), "channel_weights": (1.0, 0.6, 0.6)},
    "ranges halved": {"ranges": (5.0, 2.5, 2.5)},
    "ranges doubled": {"ranges": (20.0, 10.0, 10.0)},
}
NAMES = OWN | {name: one.words for name, one in OPPONENTS.items()}
_COLUMNS = (
    *("gradients", "forward_passes", "margin_before", "margin_after", "is_adversarial", "distance", "mean_ssim"),
    *("linf", "l2", "status"),
)


def record_opponents(
    out: str | Path,
    *,
    network: str = "",
    preset: str = "imagenet",
    num_images: int = 64,
    budget: int = 100,
    methods: Sequence[str] = (),
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Run every search on pictures that a network classifies correctly; leaves ``opponents_BUDGET.csv`` and provenance.

    Parameters
    ----------
    out : path
        Folder, made if missing. What is recorded there is kept: started again, the run goes on, and the provenance
        tells of every start.
    network, preset
        As of `perceptlib.study.load_study`.
    num_images, budget : int
        Pictures at most, and gradients for a picture and search.
    methods : sequence of str
        Keys of `NAMES`; all without. What is not installed is left out with a warning, and named in the provenance.
    seed : int
        Of drawn pictures and of what a search draws.
    progress : bool
        Show a bar.

    Returns
    -------
    DataFrame
        A row for each picture and search: ``aim``, what it makes small, ``setting`` and ``outcome``; passes and
        gradients as the network counted them; the distances, that of the multi-scale ball among them, and losses by
        every judge that is installed, of the picture that it found (not rounded). A search that found nothing has the
        clean picture's 0 and ``is_adversarial`` False.

    Raises
    ------
    ValueError
        An unknown search; a folder that holds rows of another network or seed; what `load_study` refuses.
    """
    if unknown := [name for name in methods if name not in NAMES]:
        raise ValueError(f"there is no search {unknown[0]!r}; {', '.join(NAMES)} are")
    lacking = {name: missing_module(name) for name in OPPONENTS if name in (methods or NAMES) and missing_module(name)}
    if lacking:
        said = ", ".join(f"{name} ({module})" for name, module in lacking.items())
        warnings.warn(f"left out, as a module is not installed: {said}", stacklevel=2)
    chosen = [name for name in methods or NAMES if name not in lacking]
    with claimed(out):
        study = load_study(preset, num_images=2 * num_images, seed=seed, network=network).head(num_images)
        pictures = study.pictures.batches(1)
        tasks = {
            (one.ids[0], name): partial(_row, study, one, name, budget, seed) for one in pictures for name in chosen
        }
        about = _provenance(study, preset, seed, budget) | {"left_out": lacking}
        return _recorded(Path(out) / f"opponents_{budget}.csv", "method", tasks, about, progress)


def record_rounded(
    out: str | Path,
    *,
    network: str = "",
    preset: str = "imagenet",
    num_images: int = 64,
    budget: int = 100,
    aims: Sequence[str] = tuple(DISTANCES),
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Save on 8 bits the nearest picture of all searches that `record_opponents` ran, for each of some distances.

    Its search is run once more and what it finds is rounded as our own searches round (`round_found`), in the ball of
    the distance. Leaves ``rounded_BUDGET.csv`` and provenance beside ``opponents_BUDGET.csv``, which is read.

    Parameters
    ----------
    aims : sequence of str
        Keys of `DISTANCES`; the searches that make it small take part.
    out, network, preset, num_images, budget, seed, progress
        As of `record_opponents`.

    Returns
    -------
    DataFrame
        A row for each picture and aim: ``method``, the nearest search; ``gradients`` and ``forward_passes``, the
        rounding's among them; whether the saved picture fools, ``is_adversarial_8bit``; its distances, and losses by
        every judge that is installed. A picture that no search fools has no row.

    Raises
    ------
    FileNotFoundError
        No ``opponents_BUDGET.csv`` in the folder.
    ValueError
        An unknown aim; otherwise as `record_opponents`.
    """
    if unknown := [aim for aim in aims if aim not in DISTANCES]:
        raise ValueError(f"there is no search for {unknown[0]!r}; {', '.join(DISTANCES)} are")
    with claimed(out):
        study = load_study(preset, num_images=2 * num_images, seed=seed, network=network).head(num_images)
        searched = read_csv(Path(out) / f"opponents_{budget}.csv")
        found = searched[searched["is_adversarial"]]
        tasks = {}
        for picture in study.pictures.batches(1):
            for aim in aims:
                some = found[(found["image"] == picture.ids[0]) & (found["aim"] == aim)]
                if len(some):
                    nearest = some.loc[some[DISTANCES[aim]].idxmin()]
                    tasks[picture.ids[0], aim] = partial(_rounded_row, study, picture, aim, nearest, budget, seed)
        about = _provenance(study, preset, seed, budget)
        return _recorded(Path(out) / f"rounded_{budget}.csv", "aim", tasks, about, progress)


def record_variants(
    out: str | Path,
    *,
    network: str = "",
    preset: str = "imagenet",
    num_images: int = 32,
    budget: int = 50,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Run our search in the multi-scale ball and in `VARIANTS` of it; leaves ``variants_BUDGET.csv`` and provenance.

    Parameters, errors and what is kept as of `record_opponents`. A row for each picture and ``variant``, with the
    columns of a search; the multi-scale distance is always the default's.
    """
    with claimed(out):
        study = load_study(preset, num_images=2 * num_images, seed=seed, network=network).head(num_images)
        tasks = {
            (one.ids[0], variant): partial(_variant_row, study, one, variant, budget)
            for one in study.pictures.batches(1)
            for variant in VARIANTS
        }
        about = _provenance(study, preset, seed, budget)
        return _recorded(Path(out) / f"variants_{budget}.csv", "variant", tasks, about, progress)


def _provenance(study: Study, preset: str, seed: int, budget: int) -> dict[str, Any]:
    pictures = study.pictures.listing()
    return provenance(seed=seed, preset=preset, classifier=study.classifier, pictures=pictures) | {"budget": budget}


def _recorded(
    path: Path,
    key: str,
    tasks: Mapping[tuple[str, str], Callable[[], dict[str, Any]]],
    about: dict[str, Any],
    progress: bool,
) -> pd.DataFrame:
    """Rows of tasks, each by an image and another column, kept after each with the provenance of every start."""
    runs = [*_earlier_runs(path, about), about]
    rows = read_csv(path).to_dict("records") if path.is_file() else []
    done = {(row["image"], row[key]) for row in rows}
    for task, run in tqdm(tasks.items(), desc=path.stem, unit=key, disable=not progress):
        if task in done:
            continue
        rows.append(run())
        write_csv(pd.DataFrame(rows), path)
        write_json(path.with_suffix(".json"), {"runs": runs, "num_images": len({row["image"] for row in rows})})
    return pd.DataFrame(rows)


def _row(study: Study, picture: Pictures, name: str, budget: int, seed: int) -> dict[str, Any]:
    """One search on one picture."""
    started = perf_counter()
    result, outcome = _searched(study, picture, name, budget, seed)
    aim, setting = name, "linearised, then a descent in its ball"
    if name not in OWN:
        aim, setting = OPPONENTS[name].aim, OPPONENTS[name].setting
    row = {"image": picture.ids[0], "method": name, "aim": aim, "setting": setting, "budget": budget}
    return row | {"outcome": outcome, "seconds": perf_counter() - started} | _numbers(picture, result, _COLUMNS)


def _rounded_row(
    study: Study, picture: Pictures, aim: str, nearest: pd.Series, budget: int, seed: int
) -> dict[str, Any]:
    """What the nearest search of an aim finds on one picture, rounded."""
    started, images = perf_counter(), picture.images
    name, found = str(nearest["method"]), float(nearest[DISTANCES[aim]])
    result, _ = _searched(study, picture, name, budget, seed)
    ball = ball_of(aim, images, 0.01)  # its radius does not matter
    saved = round_found(study.classifier, images, picture.labels, result.adversarial, ball)
    row = {"image": picture.ids[0], "aim": aim, "method": name, "budget": budget, "found": found}
    row |= {"found_again": float(ball.measure(result.adversarial - images)[0]), "seconds": perf_counter() - started}
    saved = replace(
        saved,
        gradients=saved.gradients + result.gradients,
        forward_passes=saved.forward_passes + result.forward_passes,
    )
    return row | _numbers(picture, saved, (*_COLUMNS, "is_adversarial_8bit"))


def _variant_row(study: Study, picture: Pictures, variant: str, budget: int) -> dict[str, Any]:
    """Our search on one picture in a variant of the multi-scale ball."""
    started, images = perf_counter(), picture.images
    ball = MultiScaleBall(images, 0.01, **VARIANTS[variant])  # type: ignore[arg-type]
    result, [outcome] = run_own(ball, study.classifier, images, picture.labels, budget=budget)
    row = {"image": picture.ids[0], "variant": variant, "budget": budget, "outcome": outcome}
    return row | {"seconds": perf_counter() - started} | _numbers(picture, result, _COLUMNS)


def _searched(study: Study, picture: Pictures, name: str, budget: int, seed: int) -> tuple[AttackResult, str]:
    images, labels = picture.images, picture.labels
    if name in OWN:
        ball = ball_of(name, images, 0.01)  # its radius does not matter
        result, outcomes = run_own(ball, study.classifier, images, labels, budget=budget)
    else:
        result, outcomes = run_opponent(name, study.classifier, images, labels, budget=budget, seed=seed)
    return result, outcomes[0]


def _numbers(picture: Pictures, result: AttackResult, columns: Sequence[str]) -> dict[str, Any]:
    """Of a result on one picture, with the multi-scale ball's distance and the losses by every judge."""
    [numbers] = result.rows()
    numbers["forward_passes"] = int(result.forward_passes[0])
    images, names = picture.images, list(available(min(picture.images.shape[-2:])))
    row = {column: numbers[column] for column in columns}
    row["multiscale"] = float(ball_of("multiscale", images, 0.01).measure(result.adversarial - images)[0])
    return row | losses(images, result.adversarial, names)[0]


def _earlier_runs(path: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Provenance of the rows that are there; ValueError where they are of another network or seed."""
    beside = path.with_suffix(".json")
    if not (path.is_file() and beside.is_file()):
        return []
    runs = told_in(read_json(beside))
    if any((run["weights"]["sha256"], run["seed"]) != (about["weights"]["sha256"], about["seed"]) for run in runs):
        raise ValueError(f"{path} holds rows of another network or seed; name another folder")
    return [{key: value for key, value in run.items() if key != "num_images"} for run in runs]
