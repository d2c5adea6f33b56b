"""The form of the book: every page asks and answers, words and letters are explained, what is cited can be found."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from perceptlib.analysis import verdicts

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]

import glossary_links  # noqa: E402

NOTEBOOK_OF = {entry["page"]: entry["notebook"] for entry in yaml.safe_load((ROOT / "book" / "runs.yml").read_text())}
# Pages to look things up in, and pages made from docstrings and programs, whose end is not ours.
LOOKED_UP = ("book/glossary", "book/symbols", "book/references")
MADE = re.compile(r"book/(api_\w+|commands)")
BIBLIOGRAPHY = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")


def documents(entry: Any) -> Iterator[str]:
    """Pages of the table of contents, in its order."""
    if isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        entry = list(entry.values())
    if isinstance(entry, list):
        for part in entry:
            yield from documents(part)


PAGES = list(documents(yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())))


def prose(document: str) -> str:
    """Text of a page; of a notebook that of its Markdown cells and captions."""
    name = NOTEBOOK_OF.get(Path(document).name, Path(document).name)
    path = ROOT / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        return (ROOT / f"{document}.md").read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    captions = {cell.id: cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "") for cell in cells}
    return "\n\n".join(cell.source if cell.cell_type == "markdown" else captions[cell.id] for cell in cells)


ALL = {document: prose(document) for document in PAGES}


@pytest.mark.parametrize("document", PAGES)
def test_page_opens_with_its_question(document: str) -> None:
    opened = re.search(r"^# .+\n\n(.+)$", ALL[document], re.MULTILINE)
    assert opened is not None and opened[1].startswith("**Question.** ") and "?" in opened[1]


@pytest.mark.parametrize("document", [page for page in PAGES if page not in LOOKED_UP and not MADE.fullmatch(page)])
def test_page_ends_with_its_answer_and_its_limits(document: str) -> None:
    headings = re.findall(r"^## (.+)$", ALL[document], re.MULTILINE)
    answers = [place for place, heading in enumerate(headings) if re.match(r"Answer\b", heading)]
    assert len(answers) == 1 and re.match(r"Limits\b", headings[-1]) and answers[0] < len(headings) - 1
    sections = re.split(r"^## .+$", ALL[document], flags=re.MULTILINE)[1:]
    assert len(sections[answers[0]].split()) > 20 and len(sections[-1].split()) > 10


@pytest.mark.parametrize("document", [page for page in PAGES if MADE.fullmatch(page)])
def test_page_of_the_library_answers_and_says_where_it_is_used(document: str) -> None:
    assert "\n**Answer.** " in ALL[document]
    assert document == "book/commands" or re.search(r"^\*\*Used on\*\* .*[.]$", ALL[document], re.MULTILINE)


def test_conclusion_is_written_for_the_verdicts_that_are_recorded() -> None:
    """The sentences of the last pages hold for these; with others they must be written anew."""
    found = {claim: verdict.verdict for claim, verdict in verdicts.all_verdicts().items()}
    assert found == {
        "a": "supported with limits",
        "b": "supported",
        "c": "supported",
        "d": "supported with limits",
    }


# Glossary and symbols


def test_glossary_explains_each_word_once_and_explains_it() -> None:
    page = ALL["book/glossary"]
    terms = glossary_links.terms_of(page)
    assert len(terms) == len({term.casefold() for term in terms}) > 40
    known = {term.casefold() for term in terms}
    assert {match.casefold() for match in re.findall(r"\{term\}`([^`<]+)`", page)} <= known
    block = page.split("```{glossary}\n")[1].split("\n```")[0]
    assert all(len(" ".join(entry).split()) > 5 for entry in re.findall(r"(?:^\S.*\n)+((?:^ +\S.*\n?)+)", block, re.M))


def test_every_word_of_the_glossary_is_used() -> None:
    others = "\n".join(text for document, text in ALL.items() if document not in LOOKED_UP)
    unused = [
        term
        for term in glossary_links.terms_of(ALL["book/glossary"])
        if not glossary_links.pattern_of([term]).search(others)
    ]
    assert set(unused) <= {"adversarial image", "projected gradient"}  # by their other names they are


def test_terms_are_found_in_either_case_and_in_the_plural_and_the_longest_first() -> None:
    pattern = glossary_links.pattern_of(["ball", "SSIM ball", "CAM"])
    found = [match[0] for match in pattern.finditer("SSIM balls, Ball, ballot, CAMs, cam, Grad-CAM")]
    assert found == ["SSIM balls", "Ball", "CAMs"]


def test_first_use_of_a_term_is_a_link(tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "book").mkdir(parents=True)
    (source / "conf.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions = ['myst_parser', 'glossary_links']\nroot_doc = 'book/intro'\n"
    )
    words = "# On balls\n\nA ball and `a margin`; another ball. Margins are linked.\n"
    (source / "book" / "intro.md").write_text(words)
    (source / "book" / "glossary.md").write_text(
        "# Glossary\n\n```{glossary}\nball\n  A set.\n\nmargin\n  A {term}`ball`.\n```\n"
    )
    command = [sys.executable, "-m", "sphinx", "-n", "-q", str(source), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html" / "book" / "intro.html").read_text()
    links = re.findall(
        r'<a class="[^"]*" href="glossary.html#term-(\w+)"><span class="std std-term">(\w+)</span>', page
    )
    assert links == [("ball", "ball"), ("margin", "Margins")]


def test_every_symbol_is_defined_once_and_linked() -> None:
    lines = [line for line in ALL["book/symbols"].splitlines() if line.startswith("| ")][1:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    symbols = [symbol for row in rows for symbol in re.findall(r"\$[^$]+\$", row[0])]
    assert len(symbols) == len(set(symbols)) > 25
    assert all(len(row[1]) > 5 and "](#" in row[2] for row in rows)


# References


def entries() -> dict[str, str]:
    found = re.findall(r"^@\w+\{([\w-]+),\n(.*?)^\}$", BIBLIOGRAPHY, re.MULTILINE | re.DOTALL)
    assert len(found) == BIBLIOGRAPHY.count("\n@") + BIBLIOGRAPHY.startswith("@")
    return dict(found)


def cited() -> set[str]:
    text = "\n".join(ALL.values())
    return {key.strip() for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text) for key in keys.split(",")}


def test_every_reference_can_be_found() -> None:
    without = [
        key for key, entry in entries().items() if not re.search(r"^\s*(doi|url|eprint)\s*=", entry, re.MULTILINE)
    ]
    assert without == []
    dois = re.findall(r"doi\s*=\s*\{([^}]+)\}", BIBLIOGRAPHY)
    assert [doi for doi in dois if not re.fullmatch(r"10\.\d{4,9}/\S+", doi)] == [] and len(dois) == len(set(dois))


def test_every_reference_is_cited_and_every_citation_is_there() -> None:
    assert cited() == set(entries())
