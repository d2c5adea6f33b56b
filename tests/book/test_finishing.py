"""What the theme writes is put right and made lighter, and keeps what its pages use."""

from __future__ import annotations

from pathlib import Path

import finishing
import pytest

SIGNATURE = (
    '<dl class="py"><dt class="sig sig-object py" id="a">a(<dl>\n<dd><em>b</em>,</dd>\n</dl>\n)</dt>'
    "<dd><p>A.</p></dd></dl>"
)


def test_signature_of_several_lines_is_no_list_without_terms() -> None:
    mended = finishing.mend(SIGNATURE)
    assert "<div>\n<div><em>b</em>,</div>\n</div>\n)</dt><dd><p>A.</p></dd></dl>" in mended
    assert mended.count("<dl") == mended.count("</dl>") == 1


@pytest.mark.parametrize(("title", "kept"), [("A title", '<p class="print-title">A title</p>'), ("", "")])
def test_heading_for_print_is_no_second_h1(title: str, kept: str) -> None:
    page = f'<div id="jb-print-docs-body" class="onlyprint">\n    <h1>{title}</h1>\n<h1>Title</h1>'
    assert finishing.mend(page) == f'<div id="jb-print-docs-body" class="onlyprint">{kept}\n<h1>Title</h1>'


def test_arrow_that_unfolds_says_what() -> None:
    link = '<a class="reference internal" href="a.html">Attack</a><details><summary><span></span></summary>'
    assert '<summary aria-label="Pages below: Attack"><span>' in finishing.mend(link)


def test_side_bar_and_entries_of_the_bibliography_have_roles_that_fit() -> None:
    mended = finishing.mend(
        '<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar">a</div>'
        '<div role="list" class="citation-list"><div class="citation" role="doc-biblioentry">b</div></div>'
    )
    assert 'role="complementary" aria-label="Search and contents"' in mended
    assert '<div role="list" class="citation-list"><div class="citation" role="listitem">b</div></div>' in mended


def test_address_of_an_issue_is_escaped_once() -> None:
    page = '<!DOCTYPE html><title>t</title><a href="https://a.b/new?title=c&body=d">e</a>'
    assert "title=c&amp;body=d" in finishing.mend(page)
    assert finishing.mend(finishing.mend(page)) == finishing.mend(page)


def test_page_without_any_of_it_stays_as_it_is() -> None:
    page = "<dl><dt>a</dt><dd>b</dd></dl><h1>c</h1><h2> Contents </h2><details><summary>d</summary></details>"
    assert finishing.mend(page) == page


def test_cell_is_not_broken_within_an_interval() -> None:
    page = (
        "<td>0.68 (0.66 to 0.71)</td><td>the rule of D (see the study of the photographs in this book)</td><p>(a b)</p>"
    )
    mended = finishing.mend(page)
    assert mended == page.replace("(0.66 to 0.71)", '<span class="whole">(0.66 to 0.71)</span>')


def test_cell_is_not_broken_within_a_number() -> None:
    mended = finishing.mend("<td>6.0e-09</td><td>8.3e-06 (6e-06 to 1e-05)</td><td>8-bit grid</td><p>1e-05</p>")
    whole = '<span class="whole">{}</span>'.format
    assert mended == (
        f"<td>{whole('6.0e-09')}</td><td>{whole('8.3e-06')} {whole('(6e-06 to 1e-05)')}</td>"
        "<td>8-bit grid</td><p>1e-05</p>"
    )


ICONS = (
    'var a={"angle-left":[320,512,[8249],"f104","M41 "],sun:[512,512,[9728],"f185",["M1","M2"]],'
    '"pencil":[512,512,[9999,"pencil-alt"],"f303","M3"]};'
)
RULES = '.a{b:c}.fa-sun:before{content:"\\f185"}.fa-pencil-alt:before,.fa-pencil:before{content:"\\f303"}.d{e:f}'
SEARCH = '<script src="../_static/searchtools.js"></script>\n<script src="../searchindex.js"></script>'
MATHJAX = (
    '<script>window.MathJax = {"a": 1}</script>\n<script defer src="../_static/mathjax/tex-chtml-full.js?v=9"></script>'
)


@pytest.mark.parametrize(
    ("page", "kept"),
    [
        (f"<p>a</p>{SEARCH}", "<p>a</p>"),
        (f'{SEARCH}<div id="search-results">', f'{SEARCH}<div id="search-results">'),
        (f"<p>a</p>{MATHJAX}", "<p>a</p>"),
        (f'<span class="math notranslate">a</span>{MATHJAX}', f'<span class="math notranslate">a</span>{MATHJAX}'),
    ],
)
def test_page_keeps_the_scripts_that_it_uses(page: str, kept: str) -> None:
    assert finishing.mend(page) == kept


def test_book_is_trimmed_where_it_lies(tmp_path: Path) -> None:
    for name, text in {
        "a.html": '<i class="fa-solid fa-sun"></i>',
        "_static/mine.html": MATHJAX,
        "_static/scripts/fontawesome.js": ICONS,
        "_static/scripts/theme.js": 'classList="fa-solid fa-angle-left"',
        "_static/scripts/theme.js.map": "{}",
        "_static/styles/pydata-sphinx-theme.css": RULES,
        "_static/vendor/fonts/a.ttf": "",
        "_static/vendor/fonts/a.woff2": "",
        "_downloads/b.map": "",
        "_images/share.svg": "<svg></svg>",
        "_images/4f.svg": "<svg></svg>",
        "b.html": '<img src="_images/share.svg"><img src="_images/4f.svg">',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    kept = tmp_path / "kept"
    finishing.finish(tmp_path, kept)
    icons = (tmp_path / "_static/scripts/fontawesome.js").read_text()
    assert "sun" in icons and "angle-left" in icons and "pencil" not in icons
    assert "pencil" not in (tmp_path / "_static/styles/pydata-sphinx-theme.css").read_text()
    assert (tmp_path / "_static/mine.html").read_text() == MATHJAX
    left = {path.name for path in tmp_path.rglob("*") if path.suffix in (".map", ".ttf", ".woff2")}
    assert left == {"a.woff2", "b.map"}
    [drawing] = (tmp_path / "_images").iterdir()  # of one content, one file
    page = (tmp_path / "b.html").read_text()
    assert [path.name for path in kept.iterdir()] == [drawing.name]
    assert page.count(f'"_images/{drawing.name}"') == page.count(f'"_images/{drawing.name}#dark"') == 2


def test_figure_has_a_twin_for_dark_mode_and_is_one_file_on_two_pages(tmp_path: Path) -> None:
    names = {"share.svg": ("1.svg", "1.svg#dark"), "cat.jpg": ("2.webp", "2-dark.webp")}
    figure = '<img alt="A" src="../_images/share.svg" /><img src="../_images/cat.jpg"><img src="a.png">'
    assert finishing.with_dark_figures(figure, names) == (
        '<img class="in-light dark-light" alt="A" src="../_images/1.svg">'
        '<img loading="lazy" class="in-dark dark-light" alt="A" src="../_images/1.svg#dark">'
        '<img class="in-light dark-light" src="../_images/2.webp">'
        '<img loading="lazy" class="in-dark dark-light" src="../_images/2-dark.webp"><img src="a.png">'
    )


def test_figure_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []
    monkeypatch.setattr(finishing.dark, "both_pictures", lambda picture: (made.append(picture), (b"light", b"dark"))[1])
    for _ in range(2):
        figure = tmp_path / "html" / "a.jpg"
        figure.parent.mkdir(exist_ok=True)
        figure.write_bytes(b"picture")
        light, dark = finishing._figure(tmp_path, figure)
        assert (figure.with_name(light).read_bytes(), figure.with_name(dark).read_bytes()) == (b"light", b"dark")
    assert made == [b"picture"] and not figure.exists()


def test_long_name_in_a_cell_may_be_broken() -> None:
    row = '<td>digits/small_digits_l2_seed0.safetensors</td><td><a href="a/long/address/of/a/page.html">b</a></td>'
    mended = finishing.mend(row)
    assert "digits/<wbr>small_<wbr>digits_<wbr>l2_<wbr>seed0.<wbr>safetensors" in mended
    assert 'href="a/long/address/of/a/page.html"' in mended
