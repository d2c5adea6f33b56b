"""Frames of the book's explorer page: a few pictures attacked in some balls at every distance, with all numbers.

An adversarial picture is its photograph and a perturbation of few levels: the photograph is stored once, without loss,
the perturbations of one ball in a strip below each other, on the left what they add and on the right what they take
away. A browser adds and subtracts that exactly.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.filters import gaussian
from skimage.measure import approximate_polygon, find_contours
from torch import Tensor

from perceptlib.attacks import AttackResult, measure, rescale_to_distance, round_to_8bit
from perceptlib.data import photographs
from perceptlib.drawing.panels import Panel, grid
from perceptlib.judges import JUDGES, judge
from perceptlib.maps import class_activation_map, energy_in_top_q, random_direction
from perceptlib.networks import Classifier
from perceptlib.pages.attack import short_name
from perceptlib.records.provenance import provenance
from perceptlib.ssim import measure as ssim
from perceptlib.study.comparison import BALLS, attack_at_distance, ball_of
from perceptlib.study.presets import Study, load_study

BUDGETS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
METHODS = {name: BALLS[name] for name in ("ssim", "multiscale", "l2", "linf")} | {"random": "random direction"}
SEEN_BY = ("ciede2000", "ciede2000_99", "jod")  # judges, where they are installed
SMOOTHED = 40  # outlines of change maps are of a Gaussian whose sigma is the side over this: the maps are speckled
NUM_SHAPES = 2
BLACK, WHITE = 1e-6, 1.0  # change maps: one logarithmic scale for all
NUM_NAMED = 5
ZERO = 128  # level of "unchanged" in an amplified perturbation
SHADES = 64
# matplotlib's magma at ten equal steps: the figures' colours
COLOURS = ("#000004", "#180f3d", "#440f76", "#721f81", "#9e2f7f", "#cd4071", "#f1605d", "#fd9668", "#feca8d", "#fcfdbf")


def build_frames(
    out: str | Path,
    *,
    budgets: Sequence[float] = BUDGETS,
    methods: Sequence[str] = tuple(METHODS),
    steps: int = 10,
    cg_steps: int = 15,
    presets: Sequence[str] = ("photos", "shapes"),
    seed: int = 0,
    max_bytes: int = 6_000_000,
) -> Path:
    """Attack every picture with every method of `METHODS` at every distance, and write what the explorer page shows.

    "random" is a random direction of the SSIM ball, which knows nothing of the network.

    Written are ``frames.json`` (settings, provenance, the numbers of every frame and of the prose), each picture and
    its CAM, for each method a strip of perturbations and one of change maps, and ``still.jpg`` for print. Pictures are
    rounded to 8 bits before the attack and after it; numbers are of the rounded result but ``is_adversarial`` and
    ``distance``. FileExistsError: `out`, which is replaced whole or not at all, is no folder of frames. ValueError: the
    frames take more than `max_bytes`.
    """
    out = Path(out)
    if out.exists() and not (out / "frames.json").is_file() and (out.is_file() or any(out.iterdir())):
        raise FileExistsError(f"{out} is no folder of frames, so it was left as it is; name another or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary, "frames")
        folder.mkdir()
        weights: dict[str, Any] = {}
        pictures: list[dict[str, Any]] = []
        for preset in presets:
            study = _load(preset, seed)
            weights[preset] = provenance(seed=seed, classifier=study.classifier)["weights"]
            attack = partial(_attack, study, seed=seed, steps=steps, cg_steps=cg_steps)
            results = {method: [attack(method, budget) for budget in budgets] for method in methods}
            pictures += _write_pictures(folder, study, results)
        content = {
            "provenance": provenance(seed=seed, preset=", ".join(presets)) | {"weights": weights},
            "settings": {"steps": steps, "cg_steps": cg_steps, "zero": ZERO},
            "numbers": _numbers(pictures, budgets, methods),
            "budgets": list(budgets),
            "balls": {method: METHODS[method] for method in methods},
            "change_scale": {"black": BLACK, "white": WHITE, "shades": SHADES},
            "colours": list(COLOURS),
            "pictures": pictures,
        }
        text = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        (folder / "frames.json").write_text(text.replace('{"id"', '\n{"id"') + "\n", encoding="utf-8")
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size > max_bytes:
            raise ValueError(f"the frames take {size} bytes; {max_bytes} are allowed; pass fewer budgets or methods")
        if out.exists():
            out.rename(Path(temporary, "old"))
        folder.rename(out)
    return out / "frames.json"


def _load(preset: str, seed: int) -> Study:
    """A few pictures of a preset, as 8-bit files hold them."""
    study = load_study(preset, num_images=8, seed=seed)
    if preset == "shapes":
        study = study.head(NUM_SHAPES)
    return replace(study, pictures=replace(study.pictures, images=round_to_8bit(study.pictures.images)))


def _attack(study: Study, method: str, budget: float, *, seed: int, steps: int, cg_steps: int) -> AttackResult:
    classifier, images, labels = study.classifier, study.pictures.images, study.pictures.labels
    if method != "random":
        return attack_at_distance(classifier, images, labels, method, budget, steps=steps, cg_steps=cg_steps)
    direction = random_direction(images, ball_of("ssim", images, budget, cg_steps=cg_steps), seed=seed)
    return measure(classifier, images, rescale_to_distance(images, direction, budget), labels)


def _write_pictures(folder: Path, study: Study, results: dict[str, list[AttackResult]]) -> list[dict[str, Any]]:
    """Write the files of a preset's pictures; return an entry of frames.json for each."""
    images, labels, classifier = study.pictures.images, study.pictures.labels, study.classifier
    cams = class_activation_map(classifier, images, labels)
    frames = {method: [_frames(study, cams, result) for result in row] for method, row in results.items()}
    is_photo = study.pictures.masks is None
    credits = dict(zip((photos := photographs()).names, photos.credits, strict=True)) if is_photo else {}
    before = _most_likely(classifier, images)
    entries = []
    for index, name in enumerate(study.pictures.ids):
        levels, cam, white = levels_of(images[index]), cams[index], float(cams[index].max())
        save(levels, folder / f"{name}.webp")
        save(shaded(cam / (white or 1)), folder / f"{name}-cam.webp")
        changes, maps = {}, {}
        for method, row in results.items():
            saved = [round_to_8bit(result.adversarial[index]) for result in row]
            changes[method] = np.concatenate([levels_of(picture) - levels for picture in saved])
            clean = images[index : index + 1].double()
            maps[method] = torch.cat([ssim.change_map(clean, picture[None].double())[0] for picture in saved])
            save(signed(changes[method]), folder / f"{name}-{method}.webp")
            shades = (maps[method].clamp_min(BLACK) / BLACK).log10() / math.log10(WHITE / BLACK)
            save(shaded(shades), folder / f"{name}-{method}-map.webp")
        size = len(levels)
        if is_photo and index == min(1, len(images) - 1):
            _draw_still(folder / "still.jpg", images[index], cam, maps, frames, index)
        together = np.stack(list(changes.values()))
        entries.append(
            {
                "id": name,
                "title": name if is_photo else f"drawn {classifier.class_names[int(labels[index])]}",
                "credit": credits.get(name, "drawn by this project"),
                "network": classifier.name,
                "size": size,
                "label": short_name(classifier, int(labels[index])),
                "before": before[index],
                "cam_white": _rounded(white),
                "cam_outline": outline(cam),
                "factors": [amplification(each) for each in np.split(together, len(together[0]) // size, axis=1)],
                "frames": {
                    method: [
                        numbers[index] | {"outline": outline(smoothed(changes))}
                        for numbers, changes in zip(row, maps[method].split(size), strict=True)
                    ]
                    for method, row in frames.items()
                },
            }
        )
    return entries


def _frames(study: Study, cams: Tensor, result: AttackResult) -> list[dict[str, Any]]:
    """What the page says of each picture of one attack."""
    images, saved = study.pictures.images, round_to_8bit(result.adversarial)
    shares = energy_in_top_q(ssim.change_map(images.double(), saved.double()), cams).tolist()
    shown = measure(study.classifier, images, saved, study.pictures.labels)
    seen = judge(images, saved, [name for name in SEEN_BY if JUDGES[name].is_installed]).to_dict("records")
    pictures: Any = zip(result.rows(), shown.rows(), shares, seen, _most_likely(study.classifier, saved), strict=True)
    return [
        {
            "is_adversarial": found["is_adversarial"],
            "distance": _rounded(found["distance"]),
            "is_adversarial_8bit": rounded["is_adversarial"],
            "distance_8bit": _rounded(rounded["distance"]),
            "mean_ssim": round(rounded["mean_ssim"], 8),
            "l2": _rounded(rounded["l2"]),
            "linf": _rounded(rounded["linf"]),
            "share_in_cam": None if math.isnan(share) else _rounded(share),
            "judges": {name: _rounded(loss) for name, loss in losses.items()},
            "after": likely,
        }
        for found, rounded, share, losses, likely in pictures
    ]


def _numbers(pictures: list[dict[str, Any]], budgets: Sequence[float], methods: Sequence[str]) -> dict[str, Any]:
    """What prose quotes: how many pictures each ball fooled at each distance, before and after rounding."""
    counts = {
        method: {
            f"{budget:.0e}": {
                f"fooled{ending}": sum(entry["frames"][method][index][f"is_adversarial{ending}"] for entry in pictures)
                for ending in ("", "_8bit")
            }
            for index, budget in enumerate(budgets)
        }
        for method in methods
    }
    return {"num_pictures": len(pictures), "balls": counts}


def _most_likely(classifier: Classifier, images: Tensor) -> list[list[tuple[str, float]]]:
    """For each picture `NUM_NAMED` classes with their probabilities."""
    with torch.no_grad():
        found = classifier(images).double().softmax(1).topk(min(NUM_NAMED, classifier.num_classes))
    return [
        [(short_name(classifier, index), round(value, 4)) for index, value in zip(indices, values, strict=True)]
        for indices, values in zip(found.indices.tolist(), found.values.tolist(), strict=True)
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _draw_still(
    path: Path, image: Tensor, cam: Tensor, maps: dict[str, Tensor], frames: dict[str, list[Any]], index: int
) -> None:
    """One photograph with its CAM and the change map of every attack at the largest distance, for print."""
    panels = [Panel(image, "image"), Panel(cam, "class activation map")]
    last = {method: strip[-len(cam) :].clamp(BLACK, WHITE) for method, strip in maps.items() if method != "random"}
    black = max(float(changes.min()) for changes in last.values())  # a panel's black is its least value
    for method, changes in last.items():
        words = f"distance {frames[method][-1][index]['distance_8bit']:.1e}"
        panels.append(Panel(changes.clamp(min=black), METHODS[method], words, white=WHITE, is_log=True))
    grid(panels, num_columns=2).savefig(path, format="jpeg", dpi=150, pil_kwargs={"quality": 85, "optimize": True})


def levels_of(picture: Tensor) -> NDArray[np.int64]:
    """(3, H, W) in [0, 1] as (H, W, 3), 0 to 255."""
    return (picture * 255).round().permute(1, 2, 0).long().numpy()


def shaded(values: Tensor) -> NDArray[np.int64]:
    """A map (H, W) in [0, 1] in `SHADES` colours, (H, W, 3), 0 to 255."""
    anchors = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in COLOURS])
    positions = np.linspace(0, len(anchors) - 1, SHADES)
    table = np.stack([np.interp(positions, np.arange(len(anchors)), channel) for channel in anchors.T], axis=1)
    shades = (values.double().clamp(0, 1) * (SHADES - 1)).round().long().numpy()
    return table.round().astype(int)[shades]


def amplification(perturbations: NDArray[np.int64]) -> int:
    """Power of two that brings nearly all changes, in levels, into half of the range; a browser doubles exactly."""
    largest = float(np.quantile(np.abs(perturbations), 0.995)) or float(np.abs(perturbations).max()) or 1.0
    return int(2 ** max(0, math.floor(math.log2(ZERO / largest))))


def outline(cam: Tensor) -> str:
    """SVG path, in pixels, around the fifth of the pixels where a map (H, W) is highest; empty for a flat map."""
    values = cam.double().numpy()
    lines = find_contours(values, np.quantile(values, 0.8))
    simple = [approximate_polygon(line, len(values) / 500) + 0.5 for line in lines]
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in line) for line in simple if len(line) > 2)


def smoothed(changes: Tensor) -> Tensor:
    """A map (H, W) without its speckles: `outline` then goes around places, not pixels."""
    return torch.as_tensor(gaussian(changes.double().numpy(), sigma=len(changes) / SMOOTHED))


def signed(changes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Changes in levels, (H, W, 3), as what is added beside what is taken away, (H, 2 W, 3), 0 to 255."""
    return np.concatenate([changes.clip(min=0), (-changes).clip(min=0)], axis=1)


def save(levels: NDArray[np.int64], path: Path) -> None:
    """Write levels (H, W, 3), 0 to 255, as lossless WebP."""
    Image.fromarray(levels.astype(np.uint8)).save(path, "WEBP", lossless=True)


def main(out: str) -> None:
    """Renew the frames in a folder and say how large they are."""
    try:
        written = build_frames(out)
    except (ConnectionError, FileNotFoundError, FileExistsError, ValueError) as error:
        raise SystemExit(f"{out} was left as it is: {error}") from error
    sizes = [path.stat().st_size for path in written.parent.iterdir()]
    print(f"wrote {len(sizes)} files to {out}, {sum(sizes) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
