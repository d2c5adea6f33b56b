"""Make another repository the home of this book: buttons, badges, links, citation and the notebooks' first cells.

The book's own address then is that of its GitHub Pages, https://OWNER.github.io/NAME/. Both stand in _config.yml, and
everything else is tested to agree with it: python book/fork.py https://github.com/OWNER/NAME
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
_ADDRESS = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?")


def files(root: Path) -> list[Path]:
    """Return the files that name the repository."""
    names = ["_config.yml", "README.md", "CITATION.cff", "pyproject.toml", "book/references.md", "book/run.md"]
    names.append("data/recorded/ro-crate-metadata.json")  # which repeats CITATION.cff
    return [root / name for name in names] + sorted((root / "notebooks").glob("*.ipynb"))


def forms(url: str) -> list[str]:
    """Return how a repository is named: its address, in those of Binder and Colab, and its GitHub Pages."""
    match = _ADDRESS.fullmatch(url)
    if match is None:
        raise ValueError(f"{url} is no repository at GitHub; write its address")
    owner, name = match["owner"], match["name"]
    # A repository that is called like the pages' host is their root.
    place = "" if name.lower() == f"{owner}.github.io".lower() else f"{name}/"
    hosts = ("https://github.com", "mybinder.org/v2/gh", "colab.research.google.com/github")
    return [*(f"{host}/{owner}/{name}" for host in hosts), f"https://{owner.lower()}.github.io/{place}"]


def rename(root: Path, url: str) -> list[Path]:
    """Write another repository's address wherever this one's stands; return the files that changed."""
    config = yaml.safe_load((root / "_config.yml").read_text())
    new = dict(zip(forms(config["repository"]["url"]), forms(url), strict=True))
    # All at once, so that nothing is replaced twice; and whole: /perceptlib is not /perceptlib-2.
    old = re.compile("|".join(re.escape(form) + ("" if form.endswith("/") else r"(?![\w-])") for form in new))
    changed = []
    for path in files(root):
        text, count = old.subn(lambda match: new[match[0]], path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
        changed += [path] * (count > 0)
    return changed


def main(arguments: list[str]) -> None:
    try:
        changed = rename(ROOT, arguments[0] if arguments else "this")
    except ValueError as error:
        raise SystemExit(f"{error}: make fork URL=https://github.com/OWNER/NAME") from error
    print(f"{len(changed)} files name {arguments[0]} now; look at them with git diff, and commit them")


if __name__ == "__main__":
    main(sys.argv[1:])
