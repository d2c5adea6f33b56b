"""Settings of the sensitivity: what a score may depend on, one option changed at a time or in every combination."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, get_type_hints

from torch import Tensor

from perceptlib.analysis.tables import Row
from perceptlib.balls import Ball, LumaBall, SSIMBall
from perceptlib.maps.cam import METHODS as CAM_METHODS
from perceptlib.ssim import Window

_WORDS: Mapping[str, tuple[str, ...]] = {
    "components": ("both", "luminance", "contrast_structure"),
    "coupling": ("full", "diagonal"),
    "cam_method": CAM_METHODS,
    "cam_class": ("true", "adversarial", "random"),
    "colour": ("channels", "luma"),
}


@dataclass(frozen=True)
class Setting:
    """One choice of everything that the main score may depend on.

    Attributes
    ----------
    budget
        SSIM distance that the perturbation is scaled to, in (0, 1), of the picture's three channels.
    window
        Of the SSIM in ball, distance and change map: "gaussian SIZE SIGMA" or "uniform SIZE", in pixels.
    components
        Of the ball: "both", "luminance" or "contrast_structure". Distance and change map always have both.
    coupling
        Of the ball: "full" or "diagonal".
    colour
        "channels": the ball of the three channels; "luma": `perceptlib.balls.luma.LumaBall`, one grey perturbation.
    steps
        1: the ball's steepest direction for the margin's gradient. More: so many steps of the attack on the margin.
    cam_method, layer
        As for `perceptlib.maps.cam.class_activation_map`; "cam" of a named layer is Grad-CAM there, which at the last layer
        is the classic map but for its unit.
    cam_class
        Whose CAM: "true", the picture's class; "adversarial", the likeliest other class of the perturbed picture, which
        is its class where the perturbation fools; "random", any other class, drawn for each picture.
    q
        Share of the pixels in the CAM's top set, in (0, 1); chance is q.

    Raises
    ------
    ValueError
        A number out of range, an unknown word, a window that is none.
    """

    budget: float = 0.001
    window: str = "gaussian 11 1.5"
    components: str = "both"
    coupling: str = "full"
    colour: str = "channels"
    steps: int = 1
    cam_method: str = "cam"
    layer: str = ""
    cam_class: str = "true"
    q: float = 0.2

    def __post_init__(self) -> None:
        for name in ("budget", "q"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a number between 0 and 1 is allowed, such as 0.2")
        for name, allowed in _WORDS.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; {', '.join(allowed)} are allowed")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; 1 or more is allowed")
        window_of(self.window)

    def ball(self, images: Tensor, *, cg_steps: int = 15) -> Ball:
        """The ball of some images, with the setting's window, components, coupling and colour handling."""
        options = {"components": self.components, "coupling": self.coupling, "cg_steps": cg_steps}
        kind: Callable[..., Ball] = LumaBall if self.colour == "luma" else SSIMBall
        return kind(images, self.budget, window=window_of(self.window), **options)

    def varied(self, base: Setting) -> tuple[str, ...]:
        """Names of the fields in which it differs from another."""
        return tuple(name for name in FIELDS if getattr(self, name) != getattr(base, name))


FIELDS = tuple(entry.name for entry in fields(Setting))


def window_of(words: str) -> Window:
    """The window of "gaussian SIZE SIGMA" or "uniform SIZE".

    Raises
    ------
    ValueError
        Other words; a size or sigma that `perceptlib.ssim.window.Window` refuses.
    """
    kind, *numbers = words.split() or [""]
    try:
        if kind == "gaussian" and len(numbers) == 2:
            size, sigma = int(numbers[0]), float(numbers[1])
        elif kind == "uniform" and len(numbers) == 1:
            size, sigma = int(numbers[0]), 1.5
        else:
            raise ValueError
    except ValueError:
        raise ValueError(f"window is {words!r}; write 'gaussian SIZE SIGMA' or 'uniform SIZE', in pixels") from None
    return Window(size, sigma, kind)


def one_at_a_time(base: Setting, **alternatives: Iterable[Any]) -> list[Setting]:
    """The base, then settings that differ from it in one field, in the order given; none twice.

    Parameters
    ----------
    base
        What stays.
    **alternatives
        Field -> values to try; the base's own may be among them.

    Raises
    ------
    ValueError
        An unknown field; what `Setting` refuses.
    """
    _check_fields(alternatives)
    varied = (replace(base, **{name: value}) for name, values in alternatives.items() for value in values)
    return list(dict.fromkeys((base, *varied)))


def full_grid(base: Setting, **alternatives: Iterable[Any]) -> list[Setting]:
    """Every combination of the fields' values, the last field varying fastest; arguments as of `one_at_a_time`."""
    _check_fields(alternatives)
    combinations = product(*alternatives.values())
    return list(dict.fromkeys(replace(base, **dict(zip(alternatives, values, strict=True))) for values in combinations))


def settings_from(tried: Mapping[str, Sequence[Any]], *, grid: Sequence[str] = ()) -> tuple[Setting, list[Setting]]:
    """The base and all settings of lists whose first entry is the base's.

    Parameters
    ----------
    tried
        Field -> values, at least one each; fields that are missing keep their default.
    grid
        Fields of which every combination is tried besides.

    Raises
    ------
    ValueError
        A field without value, or unknown; what `Setting` refuses.
    """
    _check_fields(tried)
    for name, values in tried.items():
        if len(values) == 0:
            raise ValueError(f"{name} has no value to try; pass at least the base's")
    base = Setting(**{name: values[0] for name, values in tried.items()})
    together = full_grid(base, **{name: tried[name] for name in grid})
    return base, list(dict.fromkeys([*one_at_a_time(base, **tried), *together]))


def settings_of(rows: Iterable[Row]) -> list[Setting]:
    """Settings of rows, also of rows read back from a file, each once, in order of appearance."""
    return list(dict.fromkeys(setting_of(row) for row in rows))


def setting_of(row: Row) -> Setting:
    """The setting of one row, also of one read back from a file."""
    kinds = get_type_hints(Setting)
    return Setting(**{name: kinds[name]("" if row[name] is None else row[name]) for name in FIELDS})


def _check_fields(alternatives: Mapping[str, Any]) -> None:
    for name in alternatives:
        if name not in FIELDS:
            raise ValueError(f"a setting has no field {name!r}; {', '.join(FIELDS)} are allowed")
