"""Make another repository the home of this book: buttons, badges, links, citation and the notebooks' first cells.

python book/fork.py https://github.com/OWNER/NAME

The book's own address then is that of its GitHub Pages, https://OWNER.github.io/NAME/. Both stand in _config.yml, and
everything else is tested to agree with it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
_ADDRESS = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?")


def files(root: Path) -> list[Path]:
    """Return the files that name the repository."""
    names = ["_config.yml", "README.md", "CITATION.cff", "pyproject.toml"]
    return [root / name for name in names] + sorted((root / "notebooks").glob("*.ipynb"))


def forms(url: str) -> Iterator[str]:
    """Yield how a repository is named: its address, in those of Binder and Colab, and its GitHub Pages.

    Raises
    ------
    ValueError
        The address is none of a repository at GitHub.
    """
    match = _ADDRESS.fullmatch(url)
    if match is None:
        raise ValueError(f"{url} is no repository at GitHub; write https://github.com/OWNER/NAME")
    owner, name = match["owner"], match["name"]
    yield f"https://github.com/{owner}/{name}"
    yield f"mybinder.org/v2/gh/{owner}/{name}"
    yield f"colab.research.google.com/github/{owner}/{name}"
    # A repository that is called like the pages' host is their root.
    is_root = name.lower() == f"{owner}.github.io".lower()
    yield f"https://{owner.lower()}.github.io/{'' if is_root else f'{name}/'}"


def rename(root: Path, url: str) -> list[Path]:
    """Write another repository's address wherever this one's stands.

    Parameters
    ----------
    root
        Folder of the repository.
    url
        Address of the other one.

    Returns
    -------
    list of Path
        The files that changed.
    """
    config = yaml.safe_load((root / "_config.yml").read_text())
    pairs = list(zip(forms(config["repository"]["url"]), forms(url), strict=True))
    new = dict(pairs)
    # All at once, so that nothing is replaced twice; and whole: /perceptlib is not /perceptlib-2.
    old = re.compile("|".join(re.escape(form) + ("" if form.endswith("/") else r"(?![\w-])") for form in new))
    changed = []
    for path in files(root):
        text = path.read_text(encoding="utf-8")
        renamed = old.sub(lambda match: new[match[0]], text)
        if renamed != text:
            path.write_text(renamed, encoding="utf-8")
            changed.append(path)
    return changed


def main(arguments: list[str]) -> None:
    """Do it, and tell what changed.

    Raises
    ------
    SystemExit
        No address is given, or none of a repository.
    """
    if len(arguments) != 1:
        raise SystemExit("name the repository: make fork URL=https://github.com/OWNER/NAME")
    try:
        changed = rename(ROOT, arguments[0])
    except ValueError as error:
        raise SystemExit(str(error)) from error
    print(*(f"changed: {path.relative_to(ROOT)}" for path in changed), sep="\n")
    print(f"{len(changed)} files name {arguments[0]} now; look at them with git diff, and commit them")


if __name__ == "__main__":
    main(sys.argv[1:])
