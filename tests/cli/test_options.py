from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perceptlib.cli import options as attack_options
from perceptlib.cli.options import OUTPUTS, Options, check_outputs, class_index, load_classifier, parse_radius

CLASSIFIER: Any = SimpleNamespace(
    class_names=("tabby", "tiger cat", "Egyptian cat", "crane", "lynx", "crane", "espresso")
)


def test_options_default_to_a_budget() -> None:
    assert Options().budget == 0.01
    assert Options(ball="l2", epsilon=1.0).budget is None
    assert Options(is_smallest=True).budget is None


@pytest.mark.parametrize(
    "sizes",
    [{"budget": 0.01, "epsilon": 1.0}, {"budget": 0.01, "is_smallest": True}, {"epsilon": 1.0, "is_smallest": True}],
)
def test_options_refuse_two_sizes(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"--budget, --epsilon and --smallest .*; pass one of them"):
        Options(ball="l2", **sizes)


def test_options_refuse_epsilon_for_ssim_ball() -> None:
    with pytest.raises(ValueError, match="--epsilon is the radius of a norm ball; pass --budget"):
        Options(ball="ssim", epsilon=0.1)


@pytest.mark.parametrize("budget", [0.0, 1.0, -1.0, math.nan, math.inf])
def test_options_refuse_budget_outside_range(budget: float) -> None:
    with pytest.raises(ValueError, match=r"--budget .* is not between 0 and 1; pass an SSIM distance such as 0.01"):
        Options(budget=budget)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf])
def test_options_refuse_epsilon_outside_range(epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"--epsilon .* is not a finite number above 0; pass one such as 4/255"):
        Options(ball="linf", epsilon=epsilon)


@pytest.mark.parametrize(("text", "radius"), [("0.02", 0.02), ("4/255", 4 / 255), ("1e-3", 1e-3), ("2", 2.0)])
def test_parse_radius_reads_numbers_and_fractions(text: str, radius: float) -> None:
    assert parse_radius(text) == radius


@pytest.mark.parametrize("text", ["", "abc", "1/0", "4/255px", "nan"])
def test_parse_radius_refuses_other_words(text: str) -> None:
    with pytest.raises(ValueError, match=f"--epsilon '{text}' is not a number; write one such as 0.02 or 4/255"):
        parse_radius(text)


@pytest.mark.parametrize(
    ("text", "index"), [("0", 0), ("6", 6), ("Egyptian cat", 2), ("egyptian CAT", 2), ("espresso", 6)]
)
def test_class_index_takes_index_or_name(text: str, index: int) -> None:
    assert class_index(CLASSIFIER, text) == index


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7", "class 7 is outside 0 to 6"),
        ("-1", "class -1 is outside 0 to 6"),
        ("crane", "classes 3, 5 are all named 'crane'; pass one index"),
        ("cat", "knows no class 'cat'; among its names are: tiger cat, Egyptian cat$"),
        ("expresso", "knows no class 'expresso'; among its names are: espresso"),
        ("zzz", "knows no class 'zzz'; among its names are: tabby, tiger cat"),
    ],
)
def test_class_index_refuses_with_what_there_is(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_index(CLASSIFIER, text)


def test_load_classifier_missing_file_names_the_choices() -> None:
    with pytest.raises(FileNotFoundError, match="no weights file nowhere; pass a path, `shapes` or `torchvision`"):
        load_classifier("nowhere", seed=0, labels=None)


def test_load_classifier_without_a_name_takes_the_weights_of_the_notebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(attack_options, "load", lambda name, **options: asked.append({"name": name} | options))
    monkeypatch.setattr(attack_options, "read_weights", lambda path: SimpleNamespace(tensors={}))
    for name in ("PERCEPTLIB_WEIGHTS", "PERCEPTLIB_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    load_classifier(None, seed=0, labels=None)
    assert asked.pop() == {"name": "imagenet", "labels": None}  # torchvision's

    named, other = tmp_path / "named.pth", tmp_path / "other.pth"
    for path in (named, other):
        path.touch()
    monkeypatch.setenv("PERCEPTLIB_WEIGHTS", str(named))
    load_classifier(None, seed=0, labels=None)
    assert asked.pop() == {"name": "imagenet", "weights": str(named), "labels": None}
    load_classifier(str(other), seed=0, labels=None)
    assert asked.pop()["weights"] == str(other)  # what is said counts before what is set
    load_classifier("torchvision", seed=0, labels=None)
    assert "weights" not in asked.pop()


def test_load_classifier_says_which_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEPTLIB_WEIGHTS", "none.pth")
    with pytest.raises(FileNotFoundError, match=r"PERCEPTLIB_WEIGHTS names none\.pth, which is no file; name"):
        load_classifier(None, seed=0, labels=None)


def test_check_outputs_refuses_only_what_would_be_lost(tmp_path: Path) -> None:
    out, picture = tmp_path / "out", tmp_path / "cat.png"
    check_outputs(picture, out, is_overwriting=False)
    out.mkdir()
    (out / "notes.txt").touch()
    check_outputs(picture, out, is_overwriting=False)
    (out / "result.json").touch()
    with pytest.raises(FileExistsError, match=r"already holds result.json; pass --overwrite or another --out"):
        check_outputs(picture, out, is_overwriting=False)
    check_outputs(picture, out, is_overwriting=True)


def test_check_outputs_refuses_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(NotADirectoryError, match="is a file; pass the name of a folder"):
        check_outputs(tmp_path / "cat.png", tmp_path / "out", is_overwriting=True)


@pytest.mark.parametrize("name", OUTPUTS)
def test_check_outputs_never_overwrites_the_input(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="itself would be overwritten; pass another --out"):
        check_outputs(tmp_path / name, tmp_path, is_overwriting=True)
