"""What the theme writes wrongly is put right, and nothing else is touched."""

from __future__ import annotations

import markup
import mending
import pytest

SIGNATURE = (
    '<dl class="py"><dt class="sig sig-object py" id="a">a(<dl>\n<dd><em>b</em>,</dd>\n</dl>\n)</dt>'
    "<dd><p>A.</p></dd></dl>"
)


def test_signature_of_several_lines_is_no_list_without_terms() -> None:
    mended = mending.mend(SIGNATURE)
    assert '<div class="sig-parts">\n<div><em>b</em>,</div>\n</div>\n)</dt><dd><p>A.</p></dd></dl>' in mended
    assert mended.count("<dl") == mended.count("</dl>") == 1


@pytest.mark.parametrize(("title", "kept"), [("A title", '<p class="print-title">A title</p>'), ("", "")])
def test_heading_for_print_is_no_second_h1(title: str, kept: str) -> None:
    page = f'<div id="jb-print-docs-body" class="onlyprint">\n    <h1>{title}</h1>\n<h1>Title</h1>'
    assert mending.mend(page) == f'<div id="jb-print-docs-body" class="onlyprint">{kept}\n<h1>Title</h1>'


def test_arrow_that_unfolds_says_what() -> None:
    link = '<a class="reference internal" href="a.html">Attack</a><details><summary><span></span></summary>'
    assert '<summary aria-label="Pages below: Attack"><span>' in mending.mend(link)


def test_side_bar_and_entries_of_the_bibliography_have_roles_that_fit() -> None:
    mended = mending.mend(
        '<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar">a</div>'
        '<div role="list" class="citation-list"><div class="citation" role="doc-biblioentry">b</div></div>'
    )
    assert 'role="complementary" aria-label="Search and contents"' in mended
    assert '<div role="list" class="citation-list"><div class="citation" role="listitem">b</div></div>' in mended


def test_address_of_an_issue_is_escaped_once() -> None:
    page = '<!DOCTYPE html><title>t</title><a href="https://a.b/new?title=c&body=d">e</a>'
    assert list(markup.parse(mending.mend(page)).addresses()) == [("a", "https://a.b/new?title=c&body=d")]
    assert mending.mend(mending.mend(page)) == mending.mend(page)


def test_page_without_any_of_it_stays_as_it_is() -> None:
    page = "<dl><dt>a</dt><dd>b</dd></dl><h1>c</h1><h2> Contents </h2><details><summary>d</summary></details>"
    assert mending.mend(page) == page


def test_a_list_leaves_its_paragraph() -> None:
    page = '<dd><p>one</p>\n<p><ul class="simple">\n<li><p>a</p></li>\n<li><p>b</p></li>\n</ul>\n</p>\n</dd>'
    mended = mending.mend(page)
    assert mended == '<dd><p>one</p>\n<ul class="simple">\n<li><p>a</p></li>\n<li><p>b</p></li>\n</ul>\n\n</dd>'


def test_cell_is_not_broken_within_an_interval() -> None:
    page = (
        "<td>0.68 (0.66 to 0.71)</td><td>the rule of D (see the study of the photographs in this book)</td><p>(a b)</p>"
    )
    mended = mending.mend(page)
    assert mended == page.replace("(0.66 to 0.71)", '<span class="whole">(0.66 to 0.71)</span>')


def test_cell_is_not_broken_within_a_number() -> None:
    mended = mending.mend("<td>6.0e-09</td><td>8.3e-06 (6e-06 to 1e-05)</td><td>8-bit grid</td><p>1e-05</p>")
    whole = '<span class="whole">{}</span>'.format
    assert mended == (
        f"<td>{whole('6.0e-09')}</td><td>{whole('8.3e-06')} {whole('(6e-06 to 1e-05)')}</td>"
        "<td>8-bit grid</td><p>1e-05</p>"
    )
