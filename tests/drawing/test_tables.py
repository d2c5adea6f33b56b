from __future__ import annotations

import pandas as pd
import pytest

from perceptlib.drawing.tables import intervals, table


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ball": ["l2", "SSIM <b>"],
            "distance": [0.123456, float("inf")],
            "rate": [0.25, float("nan")],
            "pictures": [8, 12],
            "is_fooled": [True, False],
            "remark": ["0.3 (0.1 to 0.5)", None],
        }
    )


def test_table_formats_columns_and_prints_aligned(frame: pd.DataFrame) -> None:
    shown = table(frame, {"rate": "{:.0%}", "pictures": lambda count: f"{count} of 12"})
    assert repr(shown).splitlines()[1:] == [
        "      l2    0.123       25%  8 of 12       yes 0.3 (0.1 to 0.5)",
        "SSIM <b> infinite undefined 12 of 12        no                 ",
    ]


def test_table_is_the_same_html_again_with_scopes_and_classes(frame: pd.DataFrame) -> None:
    page = table(frame, caption="a < b")._repr_html_()
    assert page == table(frame.copy(), caption="a < b")._repr_html_()
    assert page.startswith('<table class="dataframe"><caption>a &lt; b</caption>')
    assert '<th scope="col">ball</th><th scope="col" class="number">distance</th>' in page
    assert '<tr><th scope="row">SSIM &lt;b&gt;</th><td class="number">infinite</td>' in page
    assert "<td>0.3 (0.1 to 0.5)</td>" in page


def test_a_named_index_is_shown_and_an_empty_frame_says_so(frame: pd.DataFrame) -> None:
    assert table(frame.set_index("ball"))._repr_html_() == table(frame)._repr_html_()
    assert '<th scope="row">not recorded</th><td></td>' in table(frame.iloc[:0])._repr_html_()


def test_intervals_are_words() -> None:
    nan, inf = float("nan"), float("inf")
    frame = pd.DataFrame({"value": [0.36, 1, nan, inf], "low": [0.318, nan, nan, 2], "high": [0.404, nan, nan, inf]})
    assert intervals(frame).tolist() == ["0.36 (0.32 to 0.40)", "1.00", "undefined", "infinite (2.00 to infinite)"]
    assert intervals(frame.iloc[:1], "{:+.0%}").tolist() == ["+36% (+32% to +40%)"]
