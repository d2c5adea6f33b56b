"""Frames as tables, in the site's style: one number format a column, the same HTML for the same frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment
from pandas.io.formats.style import Styler

Format = str | Callable[[Any], str]  # such as "{:.2f}"

MISSING = "not recorded"
_NUMBER = "{:.3g}"
_NUMBERS = ("floating", "integer", "mixed-integer-float")  # kinds of columns whose numbers stand to the right

# The first column heads its row. The class is the one that notebooks and the book have a style for, light and dark.
_TEMPLATE = """
{%- macro cell(tag, cell, scope, class) -%}
<{{ tag }}{% if scope %} scope="{{ scope }}"{% endif %}{% if "number" in class %} class="number"{% endif %}>
{{- cell.display_value }}</{{ tag }}>
{%- endmacro -%}
<table class="dataframe">
{%- if caption %}<caption>{{ caption }}</caption>{% endif -%}
<thead><tr>
{%- for each in head[0] if each.is_visible %}
{{- cell("th", each, "col", body[0][-loop.revindex]["class"]) }}
{%- endfor %}</tr></thead>
<tbody>
{%- for row in body -%}
<tr>
{%- for each in row if each.is_visible -%}
{{ cell("th", each, "row", "") if loop.first else cell("td", each, "", each["class"]) }}
{%- endfor -%}
</tr>
{%- endfor -%}
</tbody></table>"""


class Table(Styler):
    """A styled frame that also prints as aligned text."""

    template_html = Environment(autoescape=True).from_string(_TEMPLATE)

    def _repr_html_(self) -> str:
        return str(self._render_html(sparse_index=True, sparse_columns=True))

    def __repr__(self) -> str:
        heading, *lines = [line.split("\t") for line in self.to_string(delimiter="\t").splitlines()]
        return pd.DataFrame(lines, columns=heading).to_string(index=False)


def table(frame: pd.DataFrame, formats: Mapping[str, Format] = {}, caption: str = "") -> Table:
    """A frame as a notebook shows it: an index that has a name comes first, another is hidden; numbers to the right.

    A column without a format shows three digits of a float. A missing number is "undefined"; None, in a column of
    objects, is empty. A frame without rows says that nothing is recorded.
    """
    shown = frame if frame.index.names == [None] else frame.reset_index()
    if shown.empty:
        shown = pd.DataFrame([[MISSING] + [""] * (shown.shape[1] - 1)], columns=shown.columns)
    is_number = [pd.api.types.infer_dtype(column, skipna=True) in _NUMBERS for _, column in shown.items()]
    classes = pd.DataFrame({name: "number" for name in shown.columns[is_number]}, index=shown.index)
    styled = Table(shown).hide(axis="index").set_td_classes(classes)
    styled.format({name: _formatter(formats.get(name), kind) for name, kind in shown.dtypes.items()})
    return styled.set_caption(caption) if caption else styled


def number(value: float, form: Format = _NUMBER) -> str:
    """A number in words of a table; `form` as "{:+.2f}", or a function."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return form.format(value) if isinstance(form, str) else form(value)


def interval(value: float, low: float, high: float, form: Format = "{:.2f}") -> str:
    """An estimate with its interval: "0.36 (0.32 to 0.40)"; alone where there is no interval, or nothing finite."""
    is_alone = math.isnan(low) or (math.isinf(value) and value == low == high)
    return number(value, form) + ("" if is_alone else f" ({number(low, form)} to {number(high, form)})")


def intervals(
    frame: pd.DataFrame, form: Format = "{:.2f}", columns: tuple[str, str, str] = ("value", "low", "high")
) -> pd.Series:
    """`interval` of every row, from three of its columns."""
    ends = (frame[name] for name in columns)
    texts = [interval(value, low, high, form) for value, low, high in zip(*ends, strict=True)]
    return pd.Series(texts, index=frame.index, dtype=object)


def _formatter(form: Format | None, kind: Any) -> Callable[[Any], str]:
    def text(value: Any) -> str:
        if value is None or (isinstance(kind, pd.StringDtype) and pd.isna(value)):
            return ""
        if isinstance(value, float | np.floating):
            return number(float(value), form or _NUMBER)
        if callable(form):
            return form(value)
        if isinstance(value, bool | np.bool_):
            return "yes" if value else "no"
        return str(value) if form is None or isinstance(value, str) else form.format(value)

    return text
