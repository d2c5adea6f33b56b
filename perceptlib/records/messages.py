"""What messages quote of a user's input."""

from __future__ import annotations

MOST_LETTERS = 80


def printable(text: str) -> str:
    """A text whose control characters are written out, but for ends of lines: what a file holds moves no cursor."""
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def short(value: object) -> str:
    """A value as Python writes it, of a long one the beginning: what a damaged file holds must not fill the screen."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 3]}..."
