"""Build the book: run stale notebooks, stage, build strictly, check.

python book/build.py           build/html/index.html
python book/build.py check     check the book that was built
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

from experiments import bring_up_to_date, digest, pages, record  # noqa: E402
from mending import mend_pages  # noqa: E402
from staging import SOURCE, stage  # noqa: E402
from trimming import trim  # noqa: E402
from verify import problems  # noqa: E402
from your_runs import stage_own_runs  # noqa: E402

HTML = Path("build/html")
KEY = Path("build/html.key")
AFTERWARDS = [Path("book/mending.py"), Path("book/trimming.py")]  # change the pages that jupyter-book wrote
# jupyter-book's own page that leads to the first one has neither language nor title nor icon.
FIRST = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Can perceptual guidance explain adversarial perturbations?</title>
<link rel="icon" href="_static/favicon.svg">
<meta http-equiv="refresh" content="0; url=book/intro.html">
</head>
<body><p><a href="book/intro.html">The first page of the book</a></p></body>
</html>
"""


def build_html() -> None:
    """Run jupyter-book on the staged tree, unless the book was built from the same content.

    Raises
    ------
    SystemExit
        jupyter-book warned or failed.
    """
    staged = [path for path in SOURCE.rglob("*") if path.is_file()]
    layout = "\n".join(sorted(str(path) for path in staged))
    # The library: its docstrings and its help are pages. A commit that changes none of this makes no new book.
    shown = [Path("CITATION.cff"), *Path("perceptlib").glob("*.py")]
    key = digest([*staged, *shown, Path(".requirements/lock.txt"), *AFTERWARDS], layout)
    if KEY.exists() and KEY.read_text() == key and (HTML / "index.html").exists():
        print("book: nothing has changed since it was built")
        return
    KEY.unlink(missing_ok=True)
    print("book: building the pages", flush=True)
    # --all: an incremental strict build hides the warnings of pages that it does not read again.
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(SOURCE), "--path-output", "build"]
    log = Path("build/jupyter-book.log")
    with log.open("w") as output:
        options = ["--all", "-W", "-n", "--keep-going"]
        status = subprocess.run([*command, *options], stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        told = re.sub(r"\x1b\[[\d;]*m", "", log.read_text()).replace(f"{SOURCE.resolve()}/", "").splitlines()
        print(*([line for line in told if "WARNING" in line or "ERROR" in line] or told[-30:]), sep="\n")
        raise SystemExit(f"the book was not built: see the warnings above, or all of {log}")
    shutil.rmtree(HTML, ignore_errors=True)
    Path("build/_build/html").rename(HTML)
    mend_pages(HTML)
    trim(HTML)
    (HTML / "index.html").write_text(FIRST, encoding="utf-8")
    KEY.write_text(key)


def check() -> None:
    """Check the built book.

    Raises
    ------
    SystemExit
        Something is wrong with it.
    """
    if not (HTML / "index.html").exists():
        raise SystemExit("there is no book to check; run `make book`")
    found = problems(SOURCE, HTML)
    if found:
        raise SystemExit("\n".join(["the book was built, but:", *found]))
    print(f"book: checked; open {HTML / 'index.html'}")


def main(arguments: list[str]) -> None:
    """Do what the command line asks."""
    if arguments == ["check"]:
        check()
    elif arguments == ["record"]:
        record(pages())
    elif not arguments:
        wanted = pages()
        stage(wanted, bring_up_to_date(wanted))
        stage_own_runs(SOURCE, wanted)
        build_html()
        check()
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
