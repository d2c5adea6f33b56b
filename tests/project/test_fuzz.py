"""Damaged files: every reader reads them or says in a sentence what is wrong with which file."""

from __future__ import annotations

import fuzzing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("kind", fuzzing.KINDS, ids=lambda kind: kind.name)
def test_damaged_file_is_read_or_refused_with_a_sentence(kind: fuzzing.Kind) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(st.integers(0, 2**48))
    def is_clear(seed: int) -> None:
        fuzzing.outcome(kind, seed)

    is_clear()


@pytest.mark.parametrize("kind", fuzzing.KINDS, ids=lambda kind: kind.name)
def test_valid_file_of_the_kind_is_read(kind: fuzzing.Kind) -> None:
    folder, content = fuzzing._valid(kind)
    (folder / kind.name).write_bytes(content)
    kind.read(folder / kind.name)


def test_fault_is_found() -> None:
    def careless(path: object) -> None:
        raise KeyError("a")

    kind = fuzzing.Kind("a.txt", lambda path: path.write_text("text"), careless)
    with pytest.raises(AssertionError, match=r"a\.txt, seed 3: KeyError: 'a'"):
        fuzzing.outcome(kind, 3)
    nameless = fuzzing.Kind("nameless.txt", lambda path: path.write_text("text"), lambda path: int("x"))
    with pytest.raises(AssertionError, match="the message does not name the file"):
        fuzzing.outcome(nameless, 3)
