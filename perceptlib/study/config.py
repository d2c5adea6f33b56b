"""What a study computes: pictures, network, attacks, maps, controls; one frozen record, from a file or a preset."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from perceptlib.records import short

# Kinds of rows. "fooling": attacks at every budget; "smallest": the distance that fools; "agreement": maps against
# CAMs; "cascade": the same with randomised weights; "regions": attacks allowed in a region alone.
PARTS = ("agreement", "cascade", "fooling", "regions", "smallest")
ATTACKS = ("fgsm", "linf", "l2", "ssim_diagonal", "ssim")
SEARCHES = (
    *("linf", "l2", "ssim_diagonal", "ssim"),
    *("pgd_linf", "pgd_l2", "pgd_ssim"),
    *("l2_8bit", "ssim_8bit", "deepfool", "carlini_wagner"),
)
PERTURBATIONS = ("linf", "l2", "ssim_diagonal", "ssim", "random", "noise")
CONTROL_MAPS = ("squared_gradient", "texture", "edges", "centre")
MAPS = PERTURBATIONS + CONTROL_MAPS
CAMS = ("cam", "grad-cam", "grad-cam++", "score-cam", "eigen-cam", "another")
_MOST_BYTES = 2**14  # of a file; dotted keys take memory as the square of their number, and a whole study is 2 KB
_LARGEST = 10**9  # of any number; a typing error beyond it would fill the memory with tasks
REGIONS = ("top", "bottom", "random", "object", "background")
PRESETS = ("shapes", "digits", "photos", "imagenet")


@dataclass(frozen=True)
class StudyConfig:
    """Configuration of a study. Every field has a default; a file names those that differ.

    Attributes
    ----------
    preset
        Pictures and network: "shapes", "digits", "photos" or "imagenet".
    num_images
        Pictures at most, 1 or more.
    seed
        Of pictures, random directions, noise, regions and randomised weights; 0 or more.
    network
        Which of the shipped networks for shapes.
    architecture
        Network of torchvision, for "photos" and "imagenet".
    weights, csv
        Weights file or "torchvision", and list (or folder) of pictures; empty for the preset's own.
    attacks
        Attacked in at every budget: some of "fgsm", "linf", "l2", "ssim_diagonal", "ssim".
    budgets
        SSIM distances, each in (0, 1).
    steps, cg_steps
        Gradient steps of an attack, and conjugate-gradient steps in each.
    searches
        Searched for the distance that fools: `perceptlib.attacks.maximize.smallest` in the balls "linf", "l2",
        "ssim_diagonal" and "ssim"; "l2_8bit" and "ssim_8bit", the same on the 8-bit grid; "pgd_linf", "pgd_l2" and
        "pgd_ssim", the radius of PGD bisected; foolbox's "deepfool" and "carlini_wagner".
    candidates, refinements
        Of `perceptlib.attacks.maximize.smallest`.
    maps
        Scored against CAMs: perturbations "linf", "l2", "ssim_diagonal", "ssim", "random" (direction in the SSIM
        ball) and "noise", and control maps "squared_gradient", "texture", "edges", "centre".
    map_budget
        SSIM distance that every mapped perturbation is scaled to, in (0, 1).
    cams
        What the maps are scored against: methods of `perceptlib.maps.cam`, and "another", the classic CAM of another
        picture.
    cascade
        Stages randomised from the top, whole numbers from 0; -1 for all of them.
    regions
        The attack's support: the region of the CAM's "top" or "bottom" share, a "random" one of equal area; where the
        object is known also the "object" and a part of the "background" of equal area.
    region_share
        Area of the top, bottom and random region, in (0, 1).
    region_budgets
        SSIM distances of the restricted attack.
    limits
        Name of a part, attack, search or region -> pictures at most, for those that take long.
    batch_size
        Pictures at once; halved where memory does not suffice. 0: as many as half of the free memory holds when the
        study is started first (`perceptlib.study.batch_sizes`).

    Raises
    ------
    ValueError
        A field out of range, an unknown name, or an entry of a list that is there twice.
    """

    preset: str = "shapes"
    num_images: int = 128
    seed: int = 0
    network: int = 0
    architecture: str = "mobilenet_v2"
    weights: str = ""
    csv: str = ""
    attacks: tuple[str, ...] = ATTACKS
    budgets: tuple[float, ...] = (0.001, 0.003, 0.01)
    steps: int = 10
    cg_steps: int = 15
    searches: tuple[str, ...] = ("linf", "l2", "ssim_diagonal", "ssim", "l2_8bit", "ssim_8bit", "deepfool")
    candidates: int = 5
    refinements: int = 3
    maps: tuple[str, ...] = MAPS
    map_budget: float = 0.001
    cams: tuple[str, ...] = ("cam", "another")
    cascade: tuple[int, ...] = (0, 1, 2, 4, 8, -1)
    regions: tuple[str, ...] = ("top", "bottom", "random")
    region_share: float = 0.2
    region_budgets: tuple[float, ...] = (0.001,)
    limits: Mapping[str, int] = field(default_factory=dict)
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name, allowed in (
            *(("attacks", ATTACKS), ("searches", SEARCHES), ("maps", MAPS), ("cams", CAMS), ("regions", REGIONS)),
        ):
            for value in getattr(self, name):
                if value not in allowed:
                    raise ValueError(f"{name} name {short(value)}; {', '.join(allowed)} are allowed")
        for entry in fields(self):  # said twice, it would be computed and counted twice
            values = getattr(self, entry.name)
            if isinstance(values, tuple) and (twice := [value for value in values if values.count(value) > 1]):
                raise ValueError(f"{entry.name} name {short(twice[0])} {values.count(twice[0])} times; name each once")
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {short(self.preset)}; {', '.join(PRESETS)} are allowed")
        for name, least in (
            *((name, 1) for name in ("num_images", "steps", "cg_steps", "candidates")),
            *((name, 0) for name in ("seed", "network", "refinements", "batch_size")),
        ):
            if not least <= getattr(self, name) <= _LARGEST:
                raise ValueError(f"{name} is {short(getattr(self, name))}; {least} to {_LARGEST} is allowed")
        for name in ("budgets", "region_budgets"):
            for budget in getattr(self, name):
                if not 0 < budget < 1:
                    raise ValueError(
                        f"{name} hold {short(budget)}; SSIM distances between 0 and 1 are allowed, such as 0.001"
                    )
        for name in ("map_budget", "region_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a number between 0 and 1 is allowed")
        if any(stages < -1 for stages in self.cascade):
            raise ValueError(f"cascade holds {short(min(self.cascade))}; stages from 0 are allowed, and -1 for all")
        limited = {*PARTS, *ATTACKS, *SEARCHES, *REGIONS}
        for name, limit in self.limits.items():
            if name not in limited:
                raise ValueError(f"limits name {short(name)}; parts, attacks, searches and regions are allowed")
            if limit < 0:
                raise ValueError(f"limits hold {name} = {short(limit)}; 0 or more pictures are allowed")

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as JSON holds them."""
        return {
            name: dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


_PHOTO_FIELDS: dict[str, Any] = {
    "budgets": (3e-6, 1e-5, 3e-5, 1e-4),
    "map_budget": 1e-5,
    "region_budgets": (1e-5, 1e-4),
    "refinements": 2,
    "candidates": 3,
    "batch_size": 8,
}
STUDIES: Mapping[str, StudyConfig] = {
    "shapes": StudyConfig(
        regions=REGIONS, region_budgets=(0.001, 0.003), searches=tuple(SEARCHES), limits={"carlini_wagner": 32}
    ),
    "digits": StudyConfig(
        preset="digits",
        num_images=256,
        budgets=(0.003, 0.01, 0.03, 0.1),
        map_budget=0.01,
        region_budgets=(0.01, 0.03),
        searches=tuple(SEARCHES),
        limits={"carlini_wagner": 64},
        batch_size=64,
    ),
    "photos": StudyConfig(preset="photos", num_images=5, **_PHOTO_FIELDS),
    "imagenet": StudyConfig(
        preset="imagenet",
        num_images=200,
        searches=tuple(SEARCHES),
        limits={
            **{"fgsm": 64, "linf": 104, "ssim_diagonal": 104, "pgd_linf": 104, "pgd_l2": 72, "pgd_ssim": 72},
            **{"regions": 64, "l2_8bit": 64, "ssim_8bit": 64, "carlini_wagner": 16},
        },
        **_PHOTO_FIELDS,
    ),
}


def read_config(path: str | Path) -> StudyConfig:
    """Read the configuration of a study from a TOML or JSON file.

    Parameters
    ----------
    path
        Ends in .toml or .json; its keys are fields of `StudyConfig`. What is missing has the value of the study of the
        file's `preset` (`STUDIES`).

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Neither TOML nor JSON, more than 16 KB, an unknown field, a value of another type, or what `StudyConfig`
        refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration {path}; name a .toml or .json file")
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"{path} has {size} bytes; a configuration of at most {_MOST_BYTES} is read")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no {path.suffix.lstrip('.') or 'TOML'} file: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; a table of fields is needed, such as seed = 1")
    return config_from(content, where=str(path))


def config_from(content: Mapping[str, Any], *, where: str = "the configuration") -> StudyConfig:
    """A configuration from plain fields, missing ones from the study of its preset; errors as `read_config`."""
    preset = content.get("preset", "shapes")
    if preset not in (known_presets := list(STUDIES)):  # a list: what a file holds need not have a hash
        raise ValueError(f"{where}: preset is {short(preset)}; {', '.join(known_presets)} are allowed")
    base = STUDIES[preset]
    known = {entry.name for entry in fields(StudyConfig)}
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name not in known:
            raise ValueError(f"{where}: there is no field {short(name)}; {', '.join(sorted(known))} are")
        values[name] = _typed(name, value, getattr(base, name), where)
    try:
        return replace(base, **values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _typed(name: str, value: Any, default: Any, where: str) -> Any:
    """The value in the type of the field, as strict as a reader can expect: whole numbers pass as numbers."""
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: {name} is {short(value)}; a list is needed")
        kind = {"budgets": float, "region_budgets": float, "cascade": int}.get(name, str)
        return tuple(_scalar(f"{name}[{place}]", entry, kind, where) for place, entry in enumerate(value))
    if isinstance(default, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: {name} is {short(value)}; a table of whole numbers is needed")
        return {str(key): _scalar(f"{name}.{str(key)[:40]}", entry, int, where) for key, entry in value.items()}
    return _scalar(name, value, type(default), where)


def _scalar(name: str, value: Any, kind: type, where: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and is_number and abs(value) < _LARGEST:
        return float(value)
    if kind is int and is_number and isinstance(value, int):
        return value
    if kind is str and isinstance(value, str):
        return value
    words = {float: "a number", int: "a whole number", str: "a text"}
    raise ValueError(f"{where}: {name} is {short(value)}; {words[kind]} is needed")
