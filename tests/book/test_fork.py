"""The repository's address stands in _config.yml; all that names it agrees, and one command changes it everywhere."""

from __future__ import annotations

import ast
import re
import shutil
import tomllib
from pathlib import Path

import fork
import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
URL = CONFIG["repository"]["url"]
BRANCH = CONFIG["repository"]["branch"]
NAMED, BINDER, COLAB, PAGES = fork.forms(URL)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OTHER = "https://github.com/Someone/her.fork-2"


def install_cell(path: Path) -> nbformat.NotebookNode:
    [cell] = [cell for cell in nbformat.read(path, as_version=4).cells if "install" in cell.metadata.get("tags", [])]
    return cell


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for path in fork.files(ROOT):
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def test_everything_names_the_repository_of_the_config() -> None:
    assert NAMED == URL and CONFIG["html"]["baseurl"] == PAGES
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["repository-code"] == URL and citation["url"] == PAGES
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert urls == {"Homepage": PAGES, "Repository": URL, "Issues": f"{URL}/issues"}


def test_readme_has_badges_of_tests_book_binder_and_colab() -> None:
    badges = re.findall(r"\[!\[[^]]+\]\((\S+)\)\]\((\S+)\)", (ROOT / "README.md").read_text())
    targets = [target for _, target in badges]
    assert badges[0] == (f"{URL}/actions/workflows/book.yml/badge.svg", f"{URL}/actions/workflows/book.yml")
    assert targets[1] == PAGES
    assert targets[2] == f"https://{BINDER}/{BRANCH}?urlpath=lab/tree/notebooks/01_ssim.ipynb"
    assert targets[3] == f"https://{COLAB}/blob/{BRANCH}/notebooks/01_ssim.ipynb"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook_installs_the_project_where_it_is_missing(path: Path) -> None:
    cell = install_cell(path)
    assert cell.source == install_cell(NOTEBOOKS[0]).source
    assert "remove-cell" in cell.metadata.tags  # not in the book
    assert re.findall(r"https?://\S+", cell.source) == [URL]
    # Nothing at all happens where the library is there.
    tree = ast.parse(re.sub(r"^(\s*)[!%].*", r"\1pass", cell.source, flags=re.MULTILINE))
    assert [type(node) for node in tree.body] == [ast.Import, ast.ImportFrom, ast.If]
    assert ast.unparse(tree.body[2].test) == "find_spec('perceptlib') is None"  # type: ignore[attr-defined]
    # It comes before anything of the library is imported.
    cells = [each for each in nbformat.read(path, as_version=4).cells if each.cell_type == "code"]
    before = cells[: [each.id for each in cells].index(cell.id)]
    assert not any("perceptlib" in each.source for each in before)


def test_fork_changes_every_mention(copy: Path) -> None:
    changed = fork.rename(copy, OTHER)
    assert changed == fork.files(copy)
    texts = "\n".join(path.read_text() for path in changed)
    for old in fork.forms(URL):
        assert old not in texts
    config = yaml.safe_load((copy / "_config.yml").read_text())
    assert config["repository"]["url"] == OTHER
    assert config["html"]["baseurl"] == "https://someone.github.io/her.fork-2/"
    for name in (f"mybinder.org/v2/gh/Someone/her.fork-2/{BRANCH}", f"{OTHER}/actions/workflows/book.yml/badge.svg"):
        assert name in (copy / "README.md").read_text()
    assert OTHER in install_cell(copy / "notebooks" / NOTEBOOKS[0].name).source


def test_fork_and_back_leaves_no_trace(copy: Path) -> None:
    fork.rename(copy, OTHER)
    fork.rename(copy, f"{URL}.git")
    for path in fork.files(ROOT):
        assert (copy / path.relative_to(ROOT)).read_text() == path.read_text()


@pytest.mark.parametrize("url", ["", "https://gitlab.com/a/b", "https://github.com/a", "github.com/a/b"])
def test_fork_refuses_what_is_no_repository(copy: Path, url: str) -> None:
    with pytest.raises(ValueError, match="no repository at GitHub"):
        fork.rename(copy, url)


def test_fork_without_an_address_says_what_to_write() -> None:
    with pytest.raises(SystemExit, match=r"make fork URL=https://github\.com/OWNER/NAME"):
        fork.main([])


def test_pages_of_a_users_own_repository_are_at_the_root() -> None:
    assert list(fork.forms("https://github.com/Me/me.github.io"))[-1] == "https://me.github.io/"
