"""What the book adds to Sphinx: names of the library, terms and citations of this copy as links."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml

import staging

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "book" / "_ext"))

import building  # noqa: E402

import links  # noqa: E402


def test_book_links_names_and_terms_and_lists_commands(tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "book").mkdir(parents=True)
    (source / "conf.py").write_text(
        f"import sys; sys.path[:0] = [{str(ROOT / 'book' / '_ext')!r}, {str(ROOT)!r}]\n"
        "extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinxcontrib.typer',\n"
        "              'sphinx_multitoc_numbering', 'building']\n"
        "autodoc_default_options = {'members': True}\nnapoleon_use_ivar = True\ndefault_role = 'py:obj'\n"
        "nitpick_ignore_regex = [['py:.*', r'(?!perceptlib\\.).*']]\nroot_doc = 'book/intro'\n"
    )
    (source / "book" / "intro.md").write_text(
        "# On balls\n\nA ball and `a margin`; another ball. Margins are linked.\n\n"
        "`perceptlib.ssim.measure.distance(a, b)`, `perceptlib.ssim.distanc`, `perceptlib.ssim.measure.C1`,\n"
        "no `perceptlib run`.\n\n"
        "At worst {verdict}`run.d.badge_1.verdict`.\n\n```{verdicts} run.d\n```\n\n```{verdicts} run.e\n```\n\n"
        "```{eval-rst}\n.. automodule:: perceptlib.ssim\n\n.. typer:: perceptlib.cli.main:app\n   :prog: perceptlib\n"
        "   :preferred: text\n   :markup-mode: rich\n   :console-kwargs: building.reflowed\n"
        "   :make-sections:\n   :show-nested:\n```\n"
    )
    (source / "book" / "glossary.md").write_text(
        "---\norphan: true\n---\n# Glossary\n\n```{glossary}\nball\n  A set.\n\nmargin\n  A {term}`ball`.\n```\n"
    )
    badges = {"badge_1": {"where": "a set", "verdict": "not supported", "note": "2 of 3"}}
    badges["badge_2"] = {"where": "another", "verdict": "supported", "note": ""}
    (tmp_path / "build" / "runs" / "run").mkdir(parents=True)
    (tmp_path / "build" / "runs" / "run" / "numbers.json").write_text(json.dumps({"numbers": {"d": badges}}))
    command = [sys.executable, "-m", "sphinx", "-n", "-q", str(source), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    unknown, warning = (line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line)
    assert "verdicts 'run.e'" in unknown and "has no number" in unknown
    assert "target not found: perceptlib.ssim.distanc" in warning
    page = (tmp_path / "html" / "book" / "intro.html").read_text()
    terms = re.findall(r'href="glossary.html#term-(\w+)"><span class="std std-term">(\w+)</span>', page)
    assert terms == [("ball", "ball"), ("margin", "Margins")]
    shown = re.findall(r'<span class="verdict (verdict-[\w-]+)">([\w ]+)</span>', page)
    assert shown == [("verdict-not-supported", "not supported")] * 2 + [("verdict-supported", "supported")]
    assert '<span class="verdict-note"> 2 of 3</span>' in page and page.count("verdict-note") == 1
    assert re.search(r'<a class="reference internal" href="#perceptlib\.ssim\.distance"[^>]*><code', page)
    assert "Usage: perceptlib sweep [OPTIONS]" in page and 'id="perceptlib-sweep"' in page


def test_entries_of_the_search_s_index_are_there_at_the_next_build(tmp_path: Path) -> None:
    app = SimpleNamespace(doctreedir=tmp_path, env={"ball": "book/glossary"})
    building.keep(app, None)
    assert pickle.loads((tmp_path / "environment.pickle").read_bytes()) == app.env


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("perceptlib.SSIMBall", "perceptlib.balls.SSIMBall"),
        ("perceptlib.ssim.measure.distance", "perceptlib.ssim.distance"),
        ("perceptlib.attacks.AttackResult.rows", "perceptlib.attacks.AttackResult.rows"),
        ("perceptlib.attacks.AttackResult.labels", "perceptlib.attacks.AttackResult.labels"),
    ],
)
def test_name_is_found_where_it_is_described(name: str, found: str) -> None:
    assert links.described(name) == found


@pytest.mark.parametrize("name", ["perceptlib.ball", "perceptlib.balls.SSIMBal", "perceptlib.ssim.distance.none"])
def test_name_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises((ImportError, AttributeError)):
        links.described(name)


def test_names_that_a_notebook_uses_are_listed(tmp_path: Path) -> None:
    code = [
        "%matplotlib inline\n!pip install perceptlib\nfrom perceptlib.drawing import figures as f\nimport torch",
        "from perceptlib import smallest\nfrom perceptlib.ssim import distance\nf.grid([torch.ones(1)])",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in code]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    names = ["perceptlib.drawing.figures", "perceptlib.smallest", "perceptlib.ssim.distance"]
    assert staging.library_names(tmp_path / "a.ipynb") == names


def test_copy_is_cited_as_the_citation_file_says() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    page = (ROOT / "book" / "references.md").read_text()
    assert all(f"{name} = {{{citation[name]}}}" in page for name in ("title", "version", "url"))


def test_conclusion_is_written_for_the_verdicts_that_are_recorded() -> None:
    """The sentences of the last pages hold for these; with others they must be written anew."""
    recorded = json.loads((ROOT / "data" / "recorded" / "check" / "full.json").read_text())
    claims = recorded["layers"]["notebook 11_claims"]
    found = [claims[f"{claim}.verdict"] for claim in "abcd"]
    assert found == [["supported with limits"], ["supported"], ["supported"], ["supported with limits"]]
    # book/report.md has the failures first: on digits, on shapes, by other measures, beyond the CAM.
    badges = [f"first.badges.d.badge_{number}" for number in (5, 4)]
    assert [claims[f"{badge}.where"] for badge in badges] == [["Handwritten digits"], ["Drawn shapes"]]
    failures = [claims[f"{claim}.verdict"] for claim in (*badges, "c_prime_ssim", "f_ssim")]
    assert failures == [["not supported"], ["not supported"], ["reversed"], ["not supported"]]


def test_every_reference_is_cited() -> None:
    pages = [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    cited = {key.strip() for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text) for key in keys.split(",")}
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert cited == {*re.findall(r"^@\w+\{([\w-]+),", bibliography, re.MULTILINE)}
