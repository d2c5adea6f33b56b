"""Build the book: run stale notebooks, stage, build strictly, check.

python book/build.py           build/html/index.html
python book/build.py check     check the book that was built
python book/build.py links     ask every other host that the book links to (Sphinx's linkcheck; needs the network)
python book/build.py record    run the pages of book/runs.yml and keep them under data/recorded
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.chdir(ROOT)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded, here or in a worker

import nbformat  # noqa: E402
from finishing import finish  # noqa: E402
from verify import problems  # noqa: E402
from your_runs import stage_own_runs  # noqa: E402

from experiments import RUNS, Page, bring_up_to_date, digest, pages, record  # noqa: E402
from staging import SOURCE, stage  # noqa: E402

HTML = Path("build/html")
SPHINX = Path("build/_build/html")  # what Sphinx wrote, and compares with at the next build
KEY = Path("build/html.json")  # what the book was built from: digests by name
# What concerns only the pages that Sphinx knows to depend on it. All else (settings, styles, library) concerns all.
_OF_SOME_PAGES = re.compile(r"build/(runs/|src/(?!book/_|_)).*\.(ipynb|md|csv|json|txt|html|jpg|svg)")
# Headings and labels, which other pages may show or link: where one changes, all pages are built.
_NAMED = re.compile(r"^#+ .*|^\([\w:-]+\)=$|^:(?:label|name): .*", re.MULTILINE)


def jupyter_book(out: str, *options: str) -> None:
    """Run jupyter-book on the staged tree; what it warns of is a SystemExit."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(SOURCE), "--path-output", out]
    log = Path("build/jupyter-book.log")
    with log.open("w") as output:
        status = subprocess.run([*command, *options], stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        told = re.sub(r"\x1b\[[\d;]*m", "", log.read_text()).replace(f"{SOURCE.resolve()}/", "").splitlines()
        print(*([line for line in told if re.search("WARNING|ERROR|broken", line)] or told[-30:]), sep="\n")
        raise SystemExit(f"see the lines above, or all of {log}")


def build_html(wanted: list[Page]) -> None:
    """Build the pages that are not built from the same content: those that changed, or all."""
    # The library: its docstrings and its help are pages. A commit that changes none of this makes no new book.
    shown = [*Path("perceptlib").rglob("*.py"), Path(".requirements/lock.txt"), *RUNS.glob("*/numbers.json")]
    files = [path for path in (*SOURCE.rglob("*"), *shown) if path.is_file()]
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix == ".md"]
    notebooks = [nbformat.read(path, as_version=4) for path in files if path.suffix == ".ipynb"]
    texts += [cell.source for notebook in notebooks for cell in notebook.cells if cell.cell_type == "markdown"]
    named = digest([], *sorted(found for text in texts for found in _NAMED.findall(text)))
    now = {path.as_posix(): digest([path]) for path in files} | {"named": named}
    before = json.loads(KEY.read_text()) if KEY.exists() and (HTML / "index.html").exists() else {}
    if now == before:
        print("book: nothing has changed since it was built")
        return
    # While there is no key, Sphinx reads all pages: it tells the warnings of a page only when it reads it.
    KEY.unlink(missing_ok=True)
    changed = {name for name in {*now, *before} if now.get(name) != before.get(name)}
    if all(map(_OF_SOME_PAGES.fullmatch, changed)):
        print("book: building the pages that changed", flush=True)
        for path in SOURCE.rglob("*"):
            if path.is_file() and path.as_posix() not in changed:
                os.utime(path, (0, 0))  # Sphinx goes by times, and staging wrote the file anew
    else:
        print("book: building the pages", flush=True)
        shutil.rmtree(SPHINX.parent, ignore_errors=True)
    jupyter_book("build", "-W", "-n", "--keep-going")
    shutil.rmtree(HTML, ignore_errors=True)
    shutil.copytree(SPHINX, HTML)
    finish(HTML, Path("build/figures"))
    for page in wanted:
        if not Path(f"{page.document}.ipynb").is_file():  # git holds no such file: links to it are to the notebook
            built, links = HTML / f"{page.document}.html", rf'(href="https://[^"]*){page.document}\.ipynb'
            text = re.sub(links, rf"\g<1>{page.source.as_posix()}", built.read_text(encoding="utf-8"))
            built.write_text(text, encoding="utf-8")
    shutil.copyfile("book/first.html", HTML / "index.html")  # jupyter-book's has neither language nor title nor icon
    KEY.write_text(json.dumps(now))


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["check"], ["links"], ["record"]):
        raise SystemExit(__doc__)
    try:
        wanted = pages()
        if arguments == ["record"]:
            return record(wanted)
        is_recorded = {} if arguments else bring_up_to_date(wanted)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if not arguments:
        stage(wanted, is_recorded)
        stage_own_runs(SOURCE, wanted)
        build_html(wanted)
    if not (HTML / "index.html").exists():
        raise SystemExit("there is no book yet; run `make book`")
    if arguments == ["links"]:
        jupyter_book("build/links", "--all", "--builder", "linkcheck")
        print("links: every other host answers")
    elif found := problems(SOURCE, HTML):
        raise SystemExit("\n".join(["the book was built, but:", *found]))
    else:
        print(f"book: checked; open {HTML / 'index.html'}")


if __name__ == "__main__":
    main(sys.argv[1:])
