"""The library's pages: every module on one of them, names in code ticks as links, the commands' help as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]

import command_help  # noqa: E402
import library_pages  # noqa: E402
import staging  # noqa: E402

from perceptlib.attacks import AttackResult, Status  # noqa: E402
from perceptlib.cli.main import app  # noqa: E402

PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "book").glob("api_*.md"))}
LISTED = re.compile(r"^```\{library-modules\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def modules_of(page: str) -> list[str]:
    return [name for block in LISTED.findall(page) for name in block.split()]


def test_every_public_module_is_on_one_page() -> None:
    there = {path.stem for path in (ROOT / "perceptlib").glob("*.py") if not path.stem.startswith("_")}
    commands = {name for name in there if name == "cli" or name.endswith("_cli")}  # the page of the commands has them
    listed = [name for page in PAGES.values() for name in modules_of(page)]
    assert sorted(listed) == sorted(there - commands), "add the module to one of book/api_*.md"


def test_contents_list_the_pages() -> None:
    contents = (ROOT / "book" / "_toc.yml").read_text()
    for name in ("api", *PAGES, "commands", "your_runs", "own_pictures"):
        assert f"- file: book/{name}\n" in contents
        assert name in ("api", "your_runs", "own_pictures") or f"({name}.md)" in (ROOT / "book" / "api.md").read_text()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("perceptlib.balls.protocol", ("mod", "perceptlib.balls.protocol")),
        ("perceptlib.balls.protocol.SSIMBall", ("obj", "perceptlib.balls.ssim_ball.SSIMBall")),
        ("perceptlib.ssim.measure.distance", ("obj", "perceptlib.ssim.measure.distance")),
        ("perceptlib.attacks.result.AttackResult.rows", ("obj", "perceptlib.attacks.result.AttackResult.rows")),
        ("perceptlib.attacks.result.AttackResult.labels", ("", "")),
        ("perceptlib.ssim.measure.C1", ("", "")),
    ],
)
def test_name_is_found_where_it_is_described(name: str, found: tuple[str, str]) -> None:
    assert library_pages.described(name) == found


@pytest.mark.parametrize(
    "name", ["perceptlib.ball", "perceptlib.balls.protocol.SSIMBal", "perceptlib.ssim.measure.distance.none"]
)
def test_name_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(LookupError, match=f"the library has no {name}; .* has no {name.rpartition('.')[2]}"):
        library_pages.described(name)


def test_page_describes_a_module_and_prose_links_to_it(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "conf.py").write_text(
        f"import sys; sys.path[:0] = [{str(ROOT / 'book' / '_ext')!r}, {str(ROOT)!r}]\n"
        "extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'library_pages', 'command_help']\n"
        "autodoc_default_options = {'members': True, 'ignore-module-all': True}\nnapoleon_use_ivar = True\n"
        "nitpick_ignore_regex = [['py:.*', r'(?!perceptlib\\.).*']]\ndefault_role = 'py:obj'\n"
    )
    (source / "index.md").write_text(
        "# Library\n\n```{library-modules}\nparameters\n```\n\n# Commands\n\n```{command-help}\n```\n\n# Prose\n\n"
        '`perceptlib.runs.parameters.listing("02_attack")` and `perceptlib.runs.parameters.listin`, not `perceptlib run`.\n'
    )
    command = [sys.executable, "-m", "sphinx", "-n", "-q", str(source), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line]
    # The second: a docstring refers to a module that this small book does not describe.
    assert len(warnings) == 2 and "perceptlib.runs.parameters has no listin" in warnings[0], done.stderr
    assert "target not found: perceptlib.runs.notebook.execute" in warnings[1], done.stderr
    page = (tmp_path / "html" / "index.html").read_text()
    assert 'id="perceptlib.runs.parameters.check_parameters"' in page
    assert re.search(r'<a class="reference internal" href="#perceptlib\.parameters\.listing"[^>]*><code', page)
    assert 'id="help-perceptlib-sweep"' in page and "Usage: perceptlib sweep [OPTIONS]" in page
    assert '<code class="docutils literal notranslate"><span class="pre">perceptlib</span> <span' in page


def test_bars_of_docstrings_are_absolute_values() -> None:
    lines = ["|a - b| < c, but ``|x|`` stays"]
    library_pages.escape_bars(None, "function", "f", None, None, lines)  # type: ignore[arg-type]
    assert lines == [r"\|a - b\| < c, but ``|x|`` stays"]


def test_variables_that_share_a_line_are_described_one_by_one() -> None:
    lines = [
        ":ivar mean, variance: mu_x",
        "    and var_x.",
        ":vartype mean, variance: Tensor",
        ":ivar n: Count.",
        "",
        "End.",
    ]
    library_pages.split_variables(None, "class", "c", None, None, lines)  # type: ignore[arg-type]
    described = [f":ivar {name}: mu_x\n    and var_x." for name in ("mean", "variance")]
    types = [f":vartype {name}: Tensor" for name in ("mean", "variance")]
    assert "\n".join(lines) == "\n".join([*described, *types, ":ivar n: Count.", "", "End."])


def test_enumeration_is_described_without_how_it_is_made() -> None:
    told = [
        library_pages.no_signature(None, "class", "c", thing, None, "(value)", None)  # type: ignore[arg-type]
        for thing in (Status, AttackResult)
    ]
    assert told == [("", None), None]


def test_help_of_every_command_is_what_it_prints() -> None:
    told = command_help.helps(typer.main.get_command(app), "perceptlib")
    assert max(len(line) for text in told.values() for line in text.splitlines()) <= 76  # what a column of text holds
    assert set(told) >= {"perceptlib", *(f"perceptlib {name}" for name in ("attack", "run", "sweep", "study", "train"))}
    for words, text in told.items():
        asked = [*words.split()[1:], "--help"]
        printed = CliRunner().invoke(app, asked, prog_name="perceptlib", terminal_width=76, max_content_width=76).output
        assert text == printed.rstrip("\n")


def test_names_that_code_uses_are_listed() -> None:
    code = [
        "%matplotlib inline\n!pip install perceptlib\nfrom perceptlib import attacks, figures as f\nimport torch",
        "from perceptlib.ssim.measure import distance\nattacks.smallest(1)\nf.grid([torch.ones(1)])\nother.thing",
    ]
    assert staging.library_names(code) == [
        "perceptlib.attacks.maximize.smallest",
        "perceptlib.drawing.figures.grid",
        "perceptlib.ssim.measure.distance",
    ]
