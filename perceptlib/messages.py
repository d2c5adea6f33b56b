"""What messages quote of a user's input."""

from __future__ import annotations

MOST_LETTERS = 80


def short(value: object) -> str:
    """A value as Python writes it, of a long one the beginning: what a damaged file holds must not fill the screen."""
    text = repr(value)
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 3]}..."
