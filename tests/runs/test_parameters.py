from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook

from perceptlib.runs.parameters import (
    Parameter,
    ParameterError,
    _convert,
    _read_text,
    check_parameters,
    parameters_of,
    parse_parameters,
)

CELL = """\
preset = "shapes"  # input: shapes, photos or imagenet
budget: float = 0.01  # SSIM distance, budget >= 0
steps = 10  # number of steps
is_targeted = False
balls = [  # compared at equal budget
    "ssim",
    "l2",
]  # in this order
image = None  # index, or None for all
# a line of its own is no parameter
"""


def write_notebook(path: Path, *cells: str, num_tagged: int = 1) -> Path:
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    for cell in notebook.cells[:num_tagged]:
        cell.metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "02_attack.ipynb", CELL)


def test_parameters_of_reads_names_defaults_and_comments(notebook: Path) -> None:
    parameters = parameters_of(notebook)
    assert list(parameters) == ["preset", "budget", "steps", "is_targeted", "balls", "image"]
    assert parameters["preset"] == Parameter("preset", "shapes", "input: shapes, photos or imagenet")
    assert parameters["budget"] == Parameter("budget", 0.01, "SSIM distance, budget >= 0")
    assert parameters["is_targeted"].comment == ""
    assert parameters["balls"] == Parameter("balls", ["ssim", "l2"], "in this order")
    assert [parameter.type_name for parameter in parameters.values()] == [
        "str", "float", "int", "bool", "list", "any",
    ]  # fmt: skip


def test_parameters_of_notebook_without_cell_is_empty(tmp_path: Path) -> None:
    assert parameters_of(write_notebook(tmp_path / "a.ipynb", "x = 1", num_tagged=0)) == {}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("import os", "holds `import os`; only lines"),
        ("x = 1\ny = x + 1", r"holds `y = x \+ 1`; only lines"),
        ("a = b = 1", "holds `a = b = 1`; only lines"),
        ("x: int", "holds `x: int`; only lines"),
        ("%matplotlib inline", r"is not Python \(line 1\); only lines"),
    ],
)
def test_parameters_of_refuses_all_but_literals(tmp_path: Path, cell: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameters_of(write_notebook(tmp_path / "a.ipynb", cell))


def test_parameters_of_refuses_two_cells(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 2 cells tagged `parameters`; keep one"):
        parameters_of(write_notebook(tmp_path / "a.ipynb", "x = 1", "y = 1", num_tagged=2))


@pytest.mark.parametrize("content", ["", "not json", "[1]", '{"a": 1}', '{"nbformat": 4, "nbformat_minor": 5}'])
def test_parameters_of_refuses_what_is_no_notebook(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(ValueError, match=r"is not a Jupyter notebook .*; pass an .ipynb file"):
        parameters_of(tmp_path / "a.ipynb")


def test_parameters_of_missing_file_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no notebook .*; pass the path of an .ipynb file"):
        parameters_of(tmp_path / "a.ipynb")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("preset", "photos", "photos"),
        ("preset", "1", "1"),
        ("preset", "", ""),
        ("budget", "0.02", 0.02),
        ("budget", "1", 1.0),
        ("budget", "-1e-3", -1e-3),
        ("steps", "3", 3),
        ("is_targeted", "True", True),
        ("is_targeted", "false", False),
        ("balls", "['linf']", ["linf"]),
        ("balls", "'linf', 'l2'", ["linf", "l2"]),
        ("balls", "[]", []),
        ("image", "4", 4),
        ("image", "cat", "cat"),
        ("image", "None", None),
    ],
)
def test_parse_parameters_follows_type_of_default(notebook: Path, name: str, text: str, value: object) -> None:
    (parsed,) = parse_parameters(notebook, [(name, text)]).values()
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "needed"),
    [
        ("budget", "abc", "'abc'; a value of type float is needed, such as 0.01"),
        ("budget", "True", "True; a value of type float"),
        ("budget", "nan", "'nan'; a value of type float"),
        ("steps", "1.0", "1.0; a value of type int is needed, such as 10"),
        ("steps", "True", "True; a value of type int"),
        ("is_targeted", "1", "1; a value of type bool is needed, such as False"),
        ("balls", "ssim", "'ssim'; a value of type list is needed"),
        ("balls", "[1, 2]", r"\[1, 2\]; a value of type list"),
    ],
)
def test_parse_parameters_wrong_type_lists_parameters(notebook: Path, name: str, text: str, needed: str) -> None:
    with pytest.raises(ParameterError, match=f"parameter `{name}` of 02_attack is {needed}") as caught:
        parse_parameters(notebook, [(name, text)])
    assert "\n  budget = 0.01           # SSIM distance, budget >= 0\n" in str(caught.value)
    assert "\n  is_targeted = False\n" in str(caught.value)


def test_parse_parameters_unknown_name_suggests_and_lists(notebook: Path) -> None:
    with pytest.raises(ParameterError, match="no parameter `budgte`; did you mean `budget`") as caught:
        parse_parameters(notebook, [("budgte", "1")])
    for name, parameter in parameters_of(notebook).items():
        assert f"  {name} = {parameter.default!r}" in str(caught.value)
        assert parameter.comment in str(caught.value)


def test_parse_parameters_refuses_name_given_twice(notebook: Path) -> None:
    with pytest.raises(ParameterError, match="`steps` is given twice; pass it once"):
        parse_parameters(notebook, [("steps", "1"), ("steps", "2")])


def test_check_parameters_of_notebook_without_any_says_so(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "a.ipynb", "x = 1", num_tagged=0)
    assert check_parameters(path, {}) == {}
    with pytest.raises(ParameterError, match="a has no parameter `x`\na has no parameters"):
        check_parameters(path, {"x": 2})


scalars = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(scalars | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers()))
def test_literal_as_text_reads_back(value: object) -> None:
    text = value if isinstance(value, str) else repr(value)
    assert _convert(_read_text(text, value), value) == value


@given(scalars, scalars)
def test_convert_returns_type_of_default_or_raises(value: object, default: object) -> None:
    is_int_for_float = type(value) is int and type(default) is float
    if type(value) is type(default) or is_int_for_float:
        assert type(_convert(value, default)) is type(default)
    else:
        with pytest.raises(TypeError):
            _convert(value, default)
