"""What messages quote stays short and shows no control character."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perceptlib.records import printable, short
from perceptlib.records.messages import MOST_LETTERS


def test_long_values_are_cut() -> None:
    assert short("cat") == "'cat'"
    assert short("a" * 78) == repr("a" * 78)
    assert short("a" * 79) == "'" + "a" * 76 + "..."


@given(st.text() | st.lists(st.integers()) | st.dictionaries(st.text(), st.floats()))
def test_quoted_values_are_one_printable_line(value: object) -> None:
    text = short(value)
    assert len(text) <= MOST_LETTERS and text.isprintable()


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b[2J\x00\tb\nc é") == "a\\x1b[2J\\x00\\tb\nc é"
