"""The numbers of a figure as rows."""

from __future__ import annotations

from perceptlib.drawing.figure_rows import curve_rows, nested_rows


def test_nested_rows_have_a_column_for_each_level() -> None:
    nested = {"here": {"l2": {"value": 1.0, "low": 0.5}, "ssim": {"value": 2, "rates": {"1e-03": {"rate": 0.1}}}}}
    assert nested_rows(nested, "study", "ball") == [
        {"study": "here", "ball": "l2", "value": 1.0, "low": 0.5},
        {"study": "here", "ball": "ssim", "value": 2, "rates_1e-03_rate": 0.1},
    ]


def test_nested_rows_leave_out_what_is_no_number_and_no_text() -> None:
    assert nested_rows({"a": {"b": [1], "c": None, "d": "text", "e": True}, "f": {}}, "key") == [
        {"key": "a", "c": None, "d": "text", "e": True}
    ]


def test_curve_rows_are_points_with_their_intervals() -> None:
    series = {"l2": ([1, 2], [3, 4]), "ssim": ([5], [6])}
    assert curve_rows(series, {"l2": ([0, 1], [7, 8])}) == [
        {"series": "l2", "x": 1.0, "y": 3.0, "low": 0.0, "high": 7.0},
        {"series": "l2", "x": 2.0, "y": 4.0, "low": 1.0, "high": 8.0},
        {"series": "ssim", "x": 5.0, "y": 6.0},
    ]
