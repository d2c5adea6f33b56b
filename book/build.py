"""Build the book: run stale notebooks, stage, build strictly, check.

python book/build.py           build/html/index.html
python book/build.py check     check the book that was built
python book/build.py links     ask every other host that the book links to (Sphinx's linkcheck; needs the network)
python book/build.py record    run the pages of book/runs.yml and keep them under data/recorded
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.chdir(ROOT)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded, here or in a worker

from finishing import finish  # noqa: E402
from verify import problems  # noqa: E402
from your_runs import stage_own_runs  # noqa: E402

from experiments import Page, bring_up_to_date, digest, pages, record  # noqa: E402
from staging import SOURCE, stage  # noqa: E402

HTML = Path("build/html")
KEY = Path("build/html.key")


def jupyter_book(out: str, *options: str) -> None:
    """Run jupyter-book on the staged tree; what it warns of is a SystemExit."""
    # --all: an incremental strict build hides the warnings of pages that it does not read again.
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(SOURCE), "--path-output", out, "--all"]
    log = Path("build/jupyter-book.log")
    with log.open("w") as output:
        status = subprocess.run([*command, *options], stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    told = re.sub(r"\x1b\[[\d;]*m", "", log.read_text()).replace(f"{SOURCE.resolve()}/", "").splitlines()
    if status:
        print(*([line for line in told if re.search("WARNING|ERROR|broken", line)] or told[-30:]), sep="\n")
        raise SystemExit(f"see the lines above, or all of {log}")


def build_html(wanted: list[Page]) -> None:
    """Build the pages, unless they were built from the same content."""
    staged = [path for path in SOURCE.rglob("*") if path.is_file()]
    # The library: its docstrings and its help are pages. A commit that changes none of this makes no new book.
    shown = [*Path("perceptlib").rglob("*.py"), Path("book/finishing.py"), Path(".requirements/lock.txt")]
    key = digest([*staged, *shown], "\n".join(sorted(map(str, staged))))
    if KEY.exists() and KEY.read_text() == key and (HTML / "index.html").exists():
        print("book: nothing has changed since it was built")
        return
    KEY.unlink(missing_ok=True)
    print("book: building the pages", flush=True)
    jupyter_book("build", "-W", "-n", "--keep-going")
    shutil.rmtree(HTML, ignore_errors=True)
    Path("build/_build/html").rename(HTML)
    finish(HTML)
    for page in wanted:
        link_to_source(page)
    shutil.copyfile("book/first.html", HTML / "index.html")  # jupyter-book's has neither language nor title nor icon
    KEY.write_text(key)


def link_to_source(page: Page) -> None:
    """Let links of a page to the repository point at its notebook, where git holds no file under the page's name."""
    if not Path(f"{page.document}.ipynb").is_file():
        built = HTML / f"{page.document}.html"
        links, text = rf'(href="https://[^"]*){page.document}\.ipynb', built.read_text(encoding="utf-8")
        built.write_text(re.sub(links, rf"\g<1>{page.source.as_posix()}", text), encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Do what the command line asks."""
    if arguments not in ([], ["check"], ["links"], ["record"]):
        raise SystemExit(__doc__)
    if arguments == ["record"]:
        record(pages())
        return
    if not arguments:
        wanted = pages()
        stage(wanted, bring_up_to_date(wanted))
        stage_own_runs(SOURCE, wanted)
        build_html(wanted)
    if not (HTML / "index.html").exists():
        raise SystemExit("there is no book yet; run `make book`")
    if arguments == ["links"]:
        jupyter_book("build/links", "--builder", "linkcheck")
        print("links: every other host answers")
    elif found := problems(SOURCE, HTML):
        raise SystemExit("\n".join(["the book was built, but:", *found]))
    else:
        print(f"book: checked; open {HTML / 'index.html'}")


if __name__ == "__main__":
    main(sys.argv[1:])
