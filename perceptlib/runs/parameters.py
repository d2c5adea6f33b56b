"""Parameters of a notebook: what its parameters cell declares, and the check of values against it.

papermill accepts a misspelt parameter, and its reader of the cell trips over an ``=`` in a comment.
"""

from __future__ import annotations

import ast
import difflib
import io
import os
import tokenize
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

# What ast.literal_eval ends in: TypeError of a key without a hash, the last two of deep nesting.
_NOT_LITERAL = (ValueError, SyntaxError, TypeError, RecursionError, MemoryError)


class ParameterError(ValueError):
    """A parameter that the notebook does not have, or a value of another type; the message lists what it has."""


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell: ``name = default  # comment``, the default a literal."""

    name: str
    default: Any
    comment: str

    @property
    def type_name(self) -> str:
        """Name of the type that a value must have; ``any`` where the default is None."""
        return "any" if self.default is None else type(self.default).__name__


def parameters_of(notebook: str | os.PathLike[str]) -> dict[str, Parameter]:
    """Parameters by name, in the order of the notebook's cell tagged ``parameters``; none without such a cell."""
    path = Path(notebook)
    codes = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    sources = [cell.source for cell in codes if "parameters" in cell.metadata.get("tags", [])]
    if len(sources) > 1:
        raise ValueError(f"{path.name} has {len(sources)} cells tagged `parameters`; keep one")
    return _read_cell(sources[0], path.name) if sources else {}


def parse_parameters(notebook: str | os.PathLike[str], texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Turn names and values of a command line into values of the types that a notebook's parameters have.

    A str parameter takes the text as it is, one whose default is None a Python literal or else the text.
    """
    declared = parameters_of(notebook)
    values: dict[str, Any] = {}
    for name, text in texts:
        if name in values:
            raise ParameterError(f"parameter `{name}` is given twice; pass it once")
        values[name] = _read_text(text, declared[name].default) if name in declared else text
    return check_parameters(notebook, values)


def check_parameters(notebook: str | os.PathLike[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, converted: int for float and tuple for list are accepted, anything where the default is None."""
    declared, name_of_notebook = parameters_of(notebook), Path(notebook).stem
    checked = {}
    for name, value in values.items():
        if name not in declared:
            close = difflib.get_close_matches(name, declared, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise ParameterError(f"{name_of_notebook} has no parameter `{name}`{hint}\n{listing(notebook)}")
        try:
            checked[name] = _convert(value, declared[name].default)
        except TypeError:
            needed = f"{declared[name].type_name} is needed, such as {declared[name].default!r}"
            told = f"parameter `{name}` of {name_of_notebook} is {value!r}; a value of type {needed}"
            raise ParameterError(f"{told}\n{listing(notebook)}") from None
    return checked


def listing(notebook: str | os.PathLike[str]) -> str:
    """Show the parameters of a notebook, one a line, with defaults and comments."""
    declared = {f"{name} = {each.default!r}": each.comment for name, each in parameters_of(notebook).items()}
    if not declared:
        return f"{Path(notebook).stem} has no parameters"
    width = max(map(len, declared))
    lines = [f"  {text:<{width}}  # {comment}" if comment else f"  {text}" for text, comment in declared.items()]
    return "\n".join([f"parameters of {Path(notebook).stem}, with defaults:", *lines])


def read_notebook(path: Path) -> NotebookNode:
    """Read an ``.ipynb`` file; FileNotFoundError or ValueError where there is none, or something else."""
    import nbformat
    from nbformat import reader

    if not path.is_file():
        raise FileNotFoundError(f"no notebook {path}; pass the path of an .ipynb file")
    try:
        # nbformat.read only logs what is wrong with a notebook, and returns it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of cells without ids, once for each
            notebook = nbformat.convert(reader.reads(path.read_text(encoding="utf-8")), 4)
            nbformat.validate(notebook, relax_add_props=True)
    except Exception as error:  # a damaged file can end in any exception
        raise ValueError(f"{path} is not a Jupyter notebook ({type(error).__name__}); pass an .ipynb file") from error
    return notebook


def _read_cell(source: str, file_name: str) -> dict[str, Parameter]:
    """Read lines ``NAME = LITERAL  # comment``."""
    allowed = "only lines `NAME = LITERAL  # comment` are allowed"
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # of zero bytes, and of deep nesting
        line = getattr(error, "lineno", None) or 1
        raise ValueError(f"the parameters cell of {file_name} is not Python (line {line}); {allowed}") from error
    comments = {
        token.start[0]: token.string.lstrip("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    parameters = {}
    for statement in statements:
        try:
            match statement:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    default = ast.literal_eval(value)
                case _:
                    raise ValueError
        except _NOT_LITERAL:
            line = (ast.get_source_segment(source, statement) or "").split("\n")[0][:80]
            raise ValueError(f"the parameters cell of {file_name} holds `{line}`; {allowed}") from None
        comment = comments.get(statement.end_lineno or statement.lineno, "")
        parameters[name] = Parameter(name, default, comment)
    return parameters


def _read_text(text: str, default: Any) -> Any:
    """Read a word of the command line; what does not read stays text, for the check to refuse."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool) and text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except _NOT_LITERAL:
        return text


def _convert(value: Any, default: Any) -> Any:
    """Return `value` in the type of `default`, or raise a bare TypeError."""
    if default is None:
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, float) and is_number:
        return float(value)
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        kinds = {type(entry) for entry in default}
        if len(kinds) == 1:
            value = [_convert(entry, default[0]) for entry in value]
        return type(default)(value)
    # bool is a subclass of int: True is no number of steps.
    if isinstance(value, type(default)) and isinstance(value, bool) == isinstance(default, bool):
        return value
    raise TypeError
