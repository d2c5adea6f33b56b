"""The grid of a sweep, as it is written on the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from perceptlib.runs.parameters import ParameterError, listing, parameters_of, parse_parameters

_CLOSING = {"(": ")", "[": "]", "{": "}"}


def parse_grid(notebook: str | os.PathLike[str], texts: Iterable[tuple[str, str]]) -> dict[str, list[Any]]:
    """Turn words of a command line into the values of a grid.

    Parameters
    ----------
    notebook
        Path of an ``.ipynb`` file.
    texts
        Pairs of a parameter's name and its values, apart by commas. Commas within brackets or quotes belong to a
        value: ``[0.1, 0.2],[0.3]`` are two lists.

    Returns
    -------
    dict of str to list
        Parameter -> its values, in the order given.

    Raises
    ------
    ParameterError
        Unknown name, a name or value given twice, a value of another type or none, brackets that do not close, no
        parameter at all, or ``out``: the folders are the sweep's own.
    """
    grid: dict[str, list[Any]] = {}
    declared = parameters_of(notebook)
    for name, text in texts:
        if name == "out":
            raise ParameterError("parameter `out` is the output folder; set it with --out DIR")
        if name in grid:
            raise ParameterError(f"parameter `{name}` is given twice; write its values behind one -p, apart by commas")
        is_text = name in declared and isinstance(declared[name].default, str)
        words = [_unquoted(word) if is_text else word for word in split_values(text)]
        grid[name] = [parse_parameters(notebook, [(name, word)])[name] for word in words]
        for place, value in enumerate(grid[name]):
            if value in grid[name][:place]:
                raise ParameterError(f"parameter `{name}` has the value {value!r} twice; give each value once")
    if not grid:
        raise ParameterError(f"a sweep needs a parameter; write -p NAME VALUE,VALUE\n{listing(notebook)}")
    return grid


def split_values(text: str) -> list[str]:
    """Split a text at its commas outside brackets and quotes.

    Raises
    ------
    ParameterError
        An empty value, or a bracket or quote that is not closed.
    """
    values, start, open_ones, quote = [], 0, "", ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'" and not text[start:place].strip(" ([{,"):
            quote = letter  # an apostrophe within a word is none
        elif letter in _CLOSING:
            open_ones += _CLOSING[letter]
        elif open_ones and letter == open_ones[-1]:
            open_ones = open_ones[:-1]
        elif letter == "," and not open_ones:
            values.append(text[start:place].strip())
            start = place + 1
    values.append(text[start:].strip())
    if open_ones or quote:
        raise ParameterError(f"`{(open_ones or quote)[-1]}` is missing in {text!r}; close brackets and quotes")
    if "" in values:
        raise ParameterError(f"{text!r} has an empty value; write values apart by single commas, '' for an empty text")
    return values


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word
