"""What messages quote of a user's input."""

from __future__ import annotations

MOST_LETTERS = 80


def short(value: object) -> str:
    """A value as Python writes it, of a long one the beginning: what a damaged file holds must not fill the screen."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 3]}..."
