"""Our searches and those of other libraries on the same pictures, each with the same number of gradients, recorded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
from tqdm import tqdm

from perceptlib.judges import available
from perceptlib.records import read_json, write_json
from perceptlib.records.files import claimed
from perceptlib.records.frames import read_csv, write_csv
from perceptlib.records.provenance import provenance, told_in
from perceptlib.rivals.opponents import OPPONENTS, missing_module, run_opponent, run_own
from perceptlib.study.comparison import BALLS, ball_of, losses
from perceptlib.study.presets import Pictures, Study, load_study

OWN = {name: f"ours, {BALLS[name]}" for name in ("ssim", "multiscale", "l2", "linf")}
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
        path = Path(out) / f"opponents_{budget}.csv"
        about = provenance(seed=seed, preset=preset, classifier=study.classifier, pictures=study.pictures.listing())
        runs = [*_earlier_runs(path, about), about | {"budget": budget, "left_out": lacking}]
        rows = read_csv(path).to_dict("records") if path.is_file() else []
        done = {(row["image"], row["method"]) for row in rows}
        pictures = study.pictures
        tasks = [(place, name) for place in range(len(pictures)) for name in chosen]
        for place, name in tqdm(tasks, desc=f"{budget} gradients", unit="search", disable=not progress):
            if (pictures.ids[place], name) in done:
                continue
            rows.append(_row(study, pictures.select(pictures.labels.new_tensor([place])), name, budget, seed))
            write_csv(pd.DataFrame(rows), path)
            write_json(path.with_suffix(".json"), {"runs": runs, "num_images": len({row["image"] for row in rows})})
    return pd.DataFrame(rows)


def _row(study: Study, picture: Pictures, name: str, budget: int, seed: int) -> dict[str, Any]:
    """One search on one picture."""
    images, labels = picture.images, picture.labels
    started = perf_counter()
    if name in OWN:
        ball = ball_of(name, images, 0.01)  # its radius does not matter
        result, outcomes = run_own(ball, study.classifier, images, labels, budget=budget)
        aim, setting = name, "linearised, then a descent in its ball"
    else:
        result, outcomes = run_opponent(name, study.classifier, images, labels, budget=budget, seed=seed)
        aim, setting = OPPONENTS[name].aim, OPPONENTS[name].setting
    row: dict[str, Any] = {"image": picture.ids[0], "method": name, "aim": aim, "setting": setting, "budget": budget}
    row |= {"outcome": outcomes[0], "seconds": perf_counter() - started}
    [numbers] = result.rows()
    numbers["forward_passes"] = int(result.forward_passes[0])
    row |= {column: numbers[column] for column in _COLUMNS}
    row["multiscale"] = float(ball_of("multiscale", images, 0.01).measure(result.adversarial - images)[0])
    names = list(available(min(images.shape[-2:])))
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
