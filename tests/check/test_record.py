"""Recorded quantities and the comparison with new ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perceptlib.check import record as check_record
from perceptlib.check.record import (
    Record,
    Recorded,
    compare,
    differing,
    environment,
    make_record,
    read_record,
    write_record,
)

FINITE = st.floats(-1e6, 1e6)


def verdict(recorded: Recorded, now: float | str | None, mode: str, *, layer: str = "ssim", relative: float = 1e-9):
    (line,) = compare({"x": recorded}, {"x": now}, layer=layer, mode=mode, relative=relative, num_compared=10)
    return line.verdict


@given(FINITE)
def test_bitwise_tells_the_next_float(value: float) -> None:
    assert verdict(Recorded(value, 1.0), value, "bitwise") == "holds"
    assert verdict(Recorded(value, 1.0), math.nextafter(value, math.inf), "bitwise") == "moved"


@given(FINITE, st.floats(1e-6, 10))
def test_numeric_tolerance_is_ten_spreads(value: float, spread: float) -> None:
    assert verdict(Recorded(value, spread), value + 9.9 * spread, "numeric", relative=0) == "holds"
    assert verdict(Recorded(value, spread), value + 10.1 * spread, "numeric", relative=0) == "moved"


def test_numeric_without_spread_allows_the_rounding_of_the_layer() -> None:
    assert verdict(Recorded(2.0), 2.0 + 1.9e-5, "numeric", relative=1e-5) == "holds"
    assert verdict(Recorded(2.0), 2.0 + 2.1e-5, "numeric", relative=1e-5) == "moved"
    assert verdict(Recorded(0.0), 0.9e-11, "numeric") == "holds"  # differences of equal things
    assert verdict(Recorded(0.0), 1.1e-11, "numeric") == "moved"


def test_counts_may_differ_by_one_picture_elsewhere_and_not_here() -> None:
    assert verdict(Recorded(7), 8, "numeric") == "holds"
    assert verdict(Recorded(7), 9, "numeric") == "moved"
    assert verdict(Recorded(7), 8, "bitwise") == "moved"
    assert verdict(Recorded(7), 8, "numeric", layer="data") == "moved"
    assert verdict(Recorded(1), 0.5, "numeric") == "moved"  # no count: a number that a hand has rounded


@pytest.mark.parametrize("mode", ["bitwise", "numeric", "statistical"])
def test_a_text_has_no_tolerance(mode: str) -> None:
    assert verdict(Recorded("a b", 0.0, ("a b", "a b")), "a b", mode) == "holds"
    assert verdict(Recorded("a b", 0.0, ("a b", "a b")), "a c", mode) == "moved"


def test_a_text_that_the_seed_changes_is_left_out_for_another_seed() -> None:
    recorded = Recorded("a b", 0.0, ("a c", "b b", "c a"))
    assert verdict(recorded, "d d", "statistical") == "not compared"
    assert verdict(recorded, "d d", "numeric") == "moved"


def test_undefined_stays_undefined() -> None:
    assert verdict(Recorded(None), math.nan, "numeric") == "holds"
    assert verdict(Recorded(None), 1.0, "numeric") == "moved"
    assert verdict(Recorded(1.0), math.nan, "bitwise") == "moved"


def test_a_quantity_that_came_or_went_is_told() -> None:
    lines = compare({"old": Recorded(1.0)}, {"new": 2.0}, layer="ssim", mode="bitwise", relative=0, num_compared=1)
    assert [(line.name, line.verdict) for line in lines] == [("old", "gone"), ("new", "not recorded")]


def test_statistical_interval_is_that_of_one_more_draw() -> None:
    draws = (1.0, 1.2, 0.7, 1.1, 0.9)
    level, mean, number = 1e-3 / 10, sum(draws) / 5, 5
    deviation = math.sqrt(sum((draw - mean) ** 2 for draw in draws) / (number - 1))
    half = stats.t.isf(level / 2, number - 1) * deviation * math.sqrt(1 + 1 / number)
    recorded = Recorded(draws[0], 0.0, draws[1:])
    assert verdict(recorded, mean + 0.999 * half, "statistical") == "holds"
    assert verdict(recorded, mean + 1.001 * half, "statistical") == "moved"
    assert verdict(recorded, mean - 1.001 * half, "statistical") == "moved"


def test_a_quantity_that_no_seed_changes_is_compared_as_a_number() -> None:
    assert verdict(Recorded(1.0, 0.0, (1.0, 1.0)), 1.001, "statistical") == "moved"


def test_statistical_needs_three_draws() -> None:
    assert verdict(Recorded(1.0, 0.0, (2.0,)), 1.5, "statistical") == "not compared"


def test_record_has_spread_and_seeds() -> None:
    record = make_record(
        {"ssim": {"a": 1.0, "b": "x", "c": math.nan}},
        [{"ssim": {"a": 1.5, "b": "x", "c": 1.0}}, {"ssim": {"a": 0.9, "b": "y", "c": 1.0}}],
        [{"ssim": {"a": 2.0, "b": "z", "c": 3.0}}],
        origin={"seed": 0},
    )
    assert record.layers["ssim"] == {
        "a": Recorded(1.0, 0.5, (2.0,)),
        "b": Recorded("x", 0.0, ("z",)),
        "c": Recorded(None, 0.0, (3.0,)),
    }


def test_record_keeps_no_seeds_of_a_constant() -> None:
    record = make_record(
        {"ssim": {"a": 1.0, "b": "x"}},
        [],
        [{"ssim": {"a": 1.0, "b": "x"}}, {"ssim": {"a": 1.0, "b": "y"}}],
        origin={},
    )
    assert record.layers["ssim"] == {"a": Recorded(1.0), "b": Recorded("x", 0.0, ("x", "y"))}


def test_record_survives_the_disk(tmp_path: Path) -> None:
    layers = {"ssim": {"a": Recorded(0.1, 1e-17, (0.3, None)), "b": Recorded("x")}, "balls": {"c": Recorded(3)}}
    record = Record(layers, environment(), {"seed": 0})
    write_record(record, tmp_path / "folder" / "quick.json")
    assert read_record(tmp_path / "folder" / "quick.json") == record
    write_record(record, tmp_path / "folder" / "quick.json")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["quick.json"]


def test_no_record_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="record with `perceptlib check --update`"):
        read_record(tmp_path / "quick.json")


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "[" * 200_000, '{"layers": {"a": {"b": 3}}}', '{"layers": {"a": {"b": []}}}']
)
def test_a_damaged_record_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "quick.json").write_text(text)
    with pytest.raises(ValueError, match="is no record of a check"):
        read_record(tmp_path / "quick.json")


def test_environment_holds_what_bits_depend_on() -> None:
    here = environment()
    assert {"processor", "instructions", "threads", "python", "versions"} <= here.keys()
    assert json.loads(json.dumps(here)) == here
    assert differing(here, here) == []
    there = here | {"threads": -1, "versions": here["versions"] | {"torch": "0.0"}}
    assert differing(there, here) == [
        f"threads -1 recorded, {here['threads']} here",
        f"torch 0.0 recorded, {here['versions']['torch']} here",
    ]


def test_processors_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "processor\t: 0\nmodel name\t: AMD EPYC\ncpu family\t: {}\nmodel\t\t: 2\n\nprocessor\t: 1\ncpu family\t: 0\n"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", lambda path: text.format(25))
        older = check_record._processor()
        patch.setattr(Path, "read_text", lambda path: text.format(26))
        newer = check_record._processor()
    assert (older, newer) == ("AMD EPYC, cpu family 25, model 2", "AMD EPYC, cpu family 26, model 2")


def test_processor_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **options: object) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", missing)
    assert check_record._processor()
