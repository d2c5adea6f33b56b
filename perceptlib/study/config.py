"""What a study computes: pictures, network, attacks, maps, controls; one frozen record, from a file or a preset."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from perceptlib.records import short

PRESETS = ("shapes", "digits", "photos", "imagenet")
# Kinds of rows. "fooling": attacks at every budget; "smallest": the distance that fools; "agreement": maps against
# CAMs; "cascade": the same with randomised weights; "curves": insertion and deletion of maps; "regions": attacks
# allowed in a region alone. Searches on the 8-bit grid also make rows of "judges".
PARTS = ("agreement", "cascade", "curves", "fooling", "regions", "smallest")
ATTACKS = ("fgsm", "linf", "l2", "ssim_diagonal", "ssim")
SEARCHES = (
    *("linf", "l2", "ssim_diagonal", "ssim", "multiscale"),
    *("pgd_linf", "pgd_l2", "pgd_ssim"),
    *("linf_8bit", "l2_8bit", "ssim_8bit", "multiscale_8bit", "deepfool", "carlini_wagner"),
)
PERTURBATIONS = ("linf", "l2", "ssim_diagonal", "ssim", "multiscale", "random", "multiscale_random", "noise")
CONTROL_MAPS = ("squared_gradient", "texture", "edges", "centre")
MAPS = PERTURBATIONS + CONTROL_MAPS
CURVES = (
    *("ssim", "multiscale", "l2", "random", "multiscale_random"),
    *("cam", "squared_gradient", "texture", "noise_map"),
)
JUDGES = (
    *("ciede2000", "ciede2000_99", "ms_ssim", "gmsd", "haarpsi", "vif", "fsim", "mdsi", "flip"),
    *("jod", "jod_10", "jod_30"),
)
CAMS = ("cam", "grad-cam", "grad-cam++", "score-cam", "eigen-cam", "another")
REGIONS = ("top", "bottom", "random", "object", "background")
_MOST_BYTES = 2**14  # of a file; dotted keys take memory as the square of their number, and a whole study is 2 KB
_LARGEST = 10**9  # of any number; a typing error beyond it would fill the memory with tasks
_KINDS = {int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class _Rule:
    """What a field, or each entry of its list or table, may be."""

    kind: type
    is_allowed: Callable[[Any], bool] = lambda value: True
    words: str = ""
    names: tuple[str, ...] = ()  # of a table's entries

    def field(self, name: str, value: Any, form: type) -> Any:
        """The value of a field that is a scalar, tuple or dict, each entry checked."""
        if form is tuple:
            if not isinstance(value, list | tuple):
                raise ValueError(f"{name} is {short(value)}; a list is needed")
            values = tuple(self.entry(f"{name}[{place}]", entry) for place, entry in enumerate(value))
            if twice := [entry for entry in values if values.count(entry) > 1]:  # would be computed and counted twice
                raise ValueError(f"{name} name {short(twice[0])} {values.count(twice[0])} times; name each once")
            return values
        if form is dict:
            if not isinstance(value, Mapping):
                raise ValueError(f"{name} is {short(value)}; a table of whole numbers is needed")
            if unknown := [key for key in value if key not in self.names]:
                raise ValueError(f"{name} name {short(unknown[0])}; parts, attacks, searches and regions are allowed")
            return {key: self.entry(f"{name}.{key}", entry) for key, entry in value.items()}
        return self.entry(name, value)

    def entry(self, where: str, value: Any) -> Any:
        """The value in the rule's type, whole numbers as numbers."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind is float and is_number and abs(value) < _LARGEST:
            value = float(value)
        elif not isinstance(value, self.kind) or isinstance(value, bool):
            raise ValueError(f"{where} is {short(value)}; {_KINDS[self.kind]} is needed")
        if not self.is_allowed(value):
            raise ValueError(f"{where} is {short(value)}; {self.words} allowed")
        return value


def _one_of(*names: str) -> _Rule:
    return _Rule(str, names.__contains__, f"{', '.join(names)} are")


def _whole(least: int, names: tuple[str, ...] = ()) -> _Rule:
    return _Rule(int, lambda value: least <= value <= _LARGEST, f"{least} to {_LARGEST} is", names)


_POSITIVE = _Rule(float, lambda value: value > 0, "a number above 0 is")
_DISTANCE = _Rule(float, lambda value: 0 < value < 1, "an SSIM distance between 0 and 1, such as 0.001, is")
_SHARE = _Rule(float, lambda value: 0 < value < 1, "a number between 0 and 1 is")


def _field(default: Any, rule: _Rule) -> Any:
    return field(default_factory=lambda: default, metadata={"rule": rule, "form": type(default)})


@dataclass(frozen=True)
class StudyConfig:
    """Configuration of a study, each field with its default and its rule; a file names the fields that differ.

    A ValueError tells of a value that the rule refuses, and of an entry of a list that is there twice.
    """

    preset: str = _field("shapes", _one_of(*PRESETS))  # pictures and network
    num_images: int = _field(128, _whole(1))  # at most
    seed: int = _field(0, _whole(0))  # of pictures, random directions, noise, regions and randomised weights
    network: str = _field("", _Rule(str))  # as `perceptlib.load` takes it; empty for the preset's own
    weights: str = _field("", _Rule(str))  # a file, "torchvision" or "random"; empty for the network's own
    csv: str = _field("", _Rule(str))  # list or folder of pictures; empty for the preset's own
    attacks: tuple[str, ...] = _field(ATTACKS, _one_of(*ATTACKS))
    budgets: tuple[float, ...] = _field((0.001, 0.003, 0.01), _DISTANCE)  # at each of which an attack ends
    steps: int = _field(10, _whole(1))  # of an attack: gradients
    cg_steps: int = _field(15, _whole(1))  # of conjugate gradients, in each
    # For the distance that fools: `perceptlib.attacks.smallest` in a ball, or on the 8-bit grid; the radius of PGD
    # bisected; foolbox's DeepFool and Carlini-Wagner
    searches: tuple[str, ...] = _field(
        tuple(name for name in SEARCHES if not name.startswith("pgd_") and name != "carlini_wagner"), _one_of(*SEARCHES)
    )
    candidates: int = _field(5, _whole(1))  # of `perceptlib.attacks.smallest`, as is the next
    refinements: int = _field(3, _whole(0))
    # Scored against CAMs: perturbations scaled to one SSIM distance ("random": a direction in the SSIM ball; and so
    # "multiscale_random"), and controls
    maps: tuple[str, ...] = _field(MAPS, _one_of(*MAPS))
    map_budget: float = _field(0.001, _DISTANCE)
    cams: tuple[str, ...] = _field(("cam", "another"), _one_of(*CAMS))  # "another" is the CAM of another picture
    cascade: tuple[int, ...] = _field((0, 1, 2, 4, 8, -1), _whole(-1))  # stages randomised from the top; -1 for all
    # Insertion and deletion curves of maps, the CAM and noise of no meaning among them, in so many steps; none where
    # no map is scored
    curves: tuple[str, ...] = _field(CURVES, _one_of(*MAPS, "cam", "noise_map"))
    curve_steps: int = _field(8, _whole(1))
    # Of pictures that searches find on the 8-bit grid; those that are not installed are left out, as the rows say. And
    # the mean CIEDE2000 losses that these perturbations are scaled to, to be compared at an equal one
    judges: tuple[str, ...] = _field(JUDGES, _one_of(*JUDGES))
    judge_losses: tuple[float, ...] = _field((0.03, 0.1), _POSITIVE)
    # The support of an attack: the CAM's "top" or "bottom" share, a "random" region of equal area; where it is known
    # also the "object", and a part of the "background" of equal area
    regions: tuple[str, ...] = _field(("top", "bottom", "random"), _one_of(*REGIONS))
    region_share: float = _field(0.2, _SHARE)
    region_budgets: tuple[float, ...] = _field((0.001,), _DISTANCE)
    # Pictures at most for parts, attacks, searches or regions that take long
    limits: Mapping[str, int] = _field({}, _whole(0, (*PARTS, *ATTACKS, *SEARCHES, *REGIONS)))
    # Pictures at once, halved where memory ends; 0: as many as half of the free memory holds at the first start
    batch_size: int = _field(32, _whole(0))

    def __post_init__(self) -> None:
        for entry in fields(self):
            rule, form = entry.metadata["rule"], entry.metadata["form"]
            object.__setattr__(self, entry.name, rule.field(entry.name, getattr(self, entry.name), form))

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as JSON holds them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


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
            **{"regions": 64, "linf_8bit": 64, "l2_8bit": 64, "ssim_8bit": 64, "multiscale_8bit": 64},
            "carlini_wagner": 16,
        },
        **_PHOTO_FIELDS,
    ),
}


def read_config(path: str | Path) -> StudyConfig:
    """Configuration in a TOML or JSON file of at most 16 KB; what is missing is as in the study of its preset.

    Raises FileNotFoundError, and ValueError for what is no such file, an unknown field, or what `StudyConfig` refuses.
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
    if preset not in PRESETS:
        raise ValueError(f"{where}: preset is {short(preset)}; {', '.join(PRESETS)} are allowed")
    given, number = content.get("architecture"), content.get("network")
    if given is not None:
        raise ValueError(f"{where}: there is no field 'architecture' any more; write network = {json.dumps(given)}")
    if isinstance(number, int) and preset in ("shapes", "digits"):
        raise ValueError(f'{where}: network is {number}; networks have names: write network = "{preset}-{number}"')
    known = sorted(entry.name for entry in fields(StudyConfig))
    if unknown := [name for name in content if name not in known]:
        raise ValueError(f"{where}: there is no field {short(unknown[0])}; {', '.join(known)} are")
    try:
        return replace(STUDIES[preset], **content)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
