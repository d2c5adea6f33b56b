"""The checks of one built page find what they are for, and nothing else."""

from __future__ import annotations

import markup
import pytest

PAGE = "<!DOCTYPE html><html lang='en'><head><title>A page</title></head><body>{}</body></html>"


def told(content: str) -> list[str]:
    return markup.problems(markup.parse(PAGE.format(content)))


@pytest.mark.parametrize(
    "element",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//cdn.example/x.css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<img alt="x" src="http://cdn.example/x.png">',
        '<img alt="x" src="a.png" srcset="a.png 1x, https://cdn.example/b.png 2x">',
        '<p style="background: url(https://cdn.example/x.png)"></p>',
        "<style>@import '//cdn.example/x.css';</style>",
        '<img src="a.png">',
        '<img alt=" " src="a.png">',
    ],
)
def test_page_that_fetches_elsewhere_or_lacks_alt_text_is_found(element: str) -> None:
    assert len(told(element)) == 1


@pytest.mark.parametrize(
    "element",
    [
        '<a href="https://example.org">a link</a>',
        '<link rel="canonical" href="https://example.org">',
        '<img alt="x" src="data:image/png;base64,//8A,//">',
        '<script src="_static/x.js"></script>',
        "<h1>One</h1><h2>Two</h2><h3>Three</h3><h2>Two again</h2>",
        '<p id="a"></p><p id="b"></p>',
    ],
)
def test_page_without_fault_passes(element: str) -> None:
    assert told(element) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<p>a</div>", "no valid HTML: line 1, column 81: end-tag-too-early"),
        ("<p><ul><li>a</li></ul></p>", "no valid HTML"),
        ("<table><p>a</p></table>", "no valid HTML"),
        ('<p class="a" class="b">a</p>', "no valid HTML"),
        ('<p id="a"></p><p id="a"></p>', "id 'a' is there 2 times"),
        ("<h1>One</h1><h3>A <em>third</em></h3>", "<h3> 'A third' follows <h1>"),
        ("<h2>Two</h2><h1>One</h1>", "<h2> 'Two' follows <h0>"),
        ("<h1>One</h1><h1>Another</h1>", "2 <h1>, where a page has one"),
    ],
)
def test_fault_of_markup_is_found(content: str, message: str) -> None:
    found = told(content)
    assert found and found[0].startswith(message)


def test_page_without_a_doctype_is_found() -> None:
    assert markup.problems(markup.parse("<p>a</p>")) == [
        "no valid HTML: line 1, column 3: expected-doctype-but-got-start-tag"
    ]


def test_ids_and_addresses_are_those_of_the_page() -> None:
    page = markup.parse(PAGE.format('<a href=" b.html#c " id="a">b</a><img alt="d" src="d.png"><a name="e"></a>'))
    assert page.ids == ["a", "e"]
    assert list(page.addresses()) == [("a", "b.html#c"), ("img", "d.png")]
