from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from perceptlib.records import FolderInUse, claimed
from perceptlib.records.provenance import command
from perceptlib.runs import notebook as runs
from perceptlib.runs.notebook import NotebookError, execute, plain_text, write_numbers, write_page
from perceptlib.runs.parameters import ParameterError
from perceptlib.study.presets import Pictures

PARAMETERS = """\
preset = "shapes"  # input, shapes = default
seed = 0  # of everything
budget = 0.01  # SSIM distance
out = "."  # folder that receives numbers.json
"""
LOOK_ABOUT = """\
import os, sys
seen = {"interpreter": sys.executable, "folder": os.getcwd(), "threads": os.environ["OMP_NUM_THREADS"]}
"""
WRITE = """\
from perceptlib.runs import notebook as runs
runs.write_numbers(out, {"budget": budget, "undefined": float("nan"), **seen}, preset=preset, seed=seed)
"""
SCRIPT = "</script><script>alert(1)</script>"


def write_notebook(path: Path, *cells: str) -> Path:
    codes = [new_code_cell(source) for source in cells]
    codes[0].metadata["tags"] = ["parameters"]
    # A kernel of that name need not be installed.
    metadata = {"kernelspec": {"name": "of-the-author", "display_name": "Mine", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Question"), *codes], metadata=metadata), path)
    return path


@pytest.fixture
def foreign_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whose own `python3` kernel is another program."""
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": ["/bin/false"], "display_name": "Not this", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")


@pytest.fixture
def package_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel finds this package also where it is not installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(runs.__file__).parents[2]))


@pytest.mark.usefixtures("foreign_kernels", "package_on_path")
def test_execute_leaves_notebook_page_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    source = write_notebook(tmp_path / "02_attack.ipynb", PARAMETERS, LOOK_ABOUT, "print(preset)", WRITE)
    out = Path("results {1}")  # braces have a meaning for papermill
    out.mkdir()
    (out / "02_attack.failed.ipynb").write_text("of an earlier run")

    run = execute(source, {"budget": 1, "preset": SCRIPT}, out)

    assert run == runs.Run(out / "02_attack.ipynb", out / "02_attack.html", out / "numbers.json")
    assert sorted(path.name for path in out.glob("[!.]*")) == ["02_attack.html", "02_attack.ipynb", "numbers.json"]
    content = json.loads((out / "numbers.json").read_text())
    assert content["numbers"] == {
        "budget": 1.0,
        "undefined": None,
        "interpreter": sys.executable,
        "folder": str(tmp_path.resolve()),
        "threads": "1",
    }
    assert content["provenance"]["preset"] == SCRIPT
    assert content["provenance"]["command"] == command()  # of this process, which started the kernel
    executed = nbformat.read(run.notebook, as_version=4)
    assert [cell.execution_count for cell in executed.cells if cell.cell_type == "code"] == [1, 2, 3, 4, 5]
    assert executed.metadata.papermill["input_path"] == "02_attack.ipynb"
    assert str(tmp_path) not in run.notebook.read_text()
    page = (out / "02_attack.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert nbformat.read(source, as_version=4).cells[1].execution_count is None


@pytest.mark.usefixtures("package_on_path")
def test_execute_keeps_half_run_copy_and_earlier_results(tmp_path: Path) -> None:
    source = write_notebook(tmp_path / "a.ipynb", 'out = "."', "done = 1", "1 / 0\nleft = 2", "never = 3")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.ipynb").write_text("of an earlier run")
    with pytest.raises(NotebookError, match=r"a\.ipynb: cell In \[4\], `1 / 0`, raised ZeroDivisionError: .*; the"):
        execute(source, {}, out)
    assert (out / "a.ipynb").read_text() == "of an earlier run"
    assert sorted(path.name for path in out.glob("[!.]*")) == ["a.failed.ipynb", "a.ipynb"]
    cells = nbformat.read(out / "a.failed.ipynb", as_version=4).cells
    counts = {cell.source: cell.execution_count for cell in cells if cell.cell_type == "code"}
    assert counts["done = 1"] is not None
    assert counts["never = 3"] is None


def test_execute_says_when_kernel_dies(tmp_path: Path) -> None:
    source = write_notebook(tmp_path / "a.ipynb", "x = 1", "import os; os._exit(9)")
    with pytest.raises(NotebookError, match=r"the kernel died .*; the half-run copy is"):
        execute(source, {}, tmp_path / "out")
    assert (tmp_path / "out" / "a.failed.ipynb").exists()


@pytest.mark.usefixtures("package_on_path")
def test_page_that_cannot_be_made_costs_nothing_else(tmp_path: Path) -> None:
    write = "import json, os\nnumbers = {'device': os.environ['PERCEPTLIB_DEVICE']}\n"
    write += "json.dump({'numbers': numbers}, open(f'{out}/numbers.json', 'w'))"
    shown = "from IPython.display import display\ndisplay({'text/plain': 'a', 'text/csv': 'x\\n1\\n'}, raw=True)"
    source = write_notebook(tmp_path / "a.ipynb", 'out = "."', write, shown, shown + "  # unnamed")
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[0].source = "![](attachment:image.png)"  # which a merge has stripped
    notebook.cells[3].metadata["mystnb"] = {"figure": {"name": "fig-one"}}
    notebook.cells[2].metadata["mystnb"] = ["of another program"]
    nbformat.write(notebook, source)
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.html").write_text("of an earlier run")
    told = r"a\.html could not be made \(\w+: .*image\.png\); .*a\.ipynb and all else in .*out are kept"
    with pytest.raises(NotebookError, match=told):
        execute(source, {}, out, device="cpu")
    assert sorted(path.name for path in out.glob("[!.]*")) == ["a.ipynb", "fig-one.csv", "numbers.json"]
    assert json.loads((out / "numbers.json").read_text()) == {"numbers": {"device": "cpu"}}
    assert (out / "fig-one.csv").read_text() == "x\n1\n"
    outputs = [output for cell in nbformat.read(out / "a.ipynb", 4).cells for output in cell.get("outputs", ())]
    assert [list(output.data) for output in outputs] == [["text/plain"]] * 2  # the numbers are in a file


def test_execute_without_html_or_numbers_reports_none(tmp_path: Path) -> None:
    source = write_notebook(tmp_path / "a.ipynb", "x = 1  # a number")
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    (out / "numbers.json").write_text("of an earlier run")
    run = execute(source, {}, out, html=False)
    assert (run.page, run.numbers) == (None, None)
    assert sorted(path.name for path in out.glob("[!.]*")) == ["a.ipynb", "numbers.json"]


def test_execute_refuses_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_notebook(tmp_path / "a.ipynb", PARAMETERS)
    out = tmp_path / "out"
    with pytest.raises(ParameterError, match="no parameter `budgte`; did you mean `budget`"):
        execute(source, {"budgte": 1.0}, out)
    with pytest.raises(ParameterError, match=r"parameter `seed` of a is 1\.5; a value of type int"):
        execute(source, {"seed": 1.5}, out)
    with pytest.raises(ParameterError, match="parameter `out` is the output folder; set it with --out DIR"):
        execute(source, {"out": "elsewhere"}, out)
    with pytest.raises(FileNotFoundError, match="no notebook"):
        execute(tmp_path / "b.ipynb", {}, out)
    with pytest.raises(ValueError, match="device is 'gpu'; cpu, cuda"):
        execute(source, {}, out, device="gpu")
    monkeypatch.setenv("PERCEPTLIB_DEVICE", "cuda:99")
    with pytest.raises(ValueError, match="PERCEPTLIB_DEVICE: device is 'cuda:99', but torch finds"):
        execute(source, {}, out)
    with pytest.raises(ValueError, match=r"the name .* is no UTF-8; rename it"):
        execute(source, {}, tmp_path / "caf\udce9")
    assert not out.exists()
    with claimed(out), pytest.raises(FolderInUse, match=r"another run is writing into .*out; wait for it"):
        execute(source, {}, out, device="cpu")


def test_execute_refuses_to_overwrite_the_notebook(tmp_path: Path) -> None:
    source = write_notebook(tmp_path / "a.ipynb", "x = 1")
    before = source.read_bytes()
    with pytest.raises(ValueError, match=r"would overwrite the notebook .* itself; pass another --out"):
        execute(source, {}, tmp_path)
    assert source.read_bytes() == before


def test_write_numbers_makes_folder_and_keeps_provenance(tmp_path: Path) -> None:
    classifier = SimpleNamespace(name="shapes", source="shipped", sha256="00", mean=torch.zeros(1))
    two = Pictures(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]), ((0,), (1,)), ("a", "b"))
    path = write_numbers(
        tmp_path / "new" / "out",
        {"energy": {"ssim": 0.5}},
        preset="shapes",
        seed=1,
        classifier=classifier,  # type: ignore[arg-type]
        pictures=two,
    )
    assert path == tmp_path / "new" / "out" / "numbers.json"
    content = json.loads(path.read_text())
    assert content["numbers"] == {"energy": {"ssim": 0.5}}
    assert content["provenance"]["weights"] == {"name": "shapes", "source": "shipped", "sha256": "00"}
    assert content["provenance"]["pictures"] == two.listing()
    assert os.listdir(path.parent) == ["numbers.json"]


def test_write_numbers_refuses_before_it_writes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="number ratio is inf; JSON has no infinity"):
        write_numbers(tmp_path, {"ratio": float("inf")}, preset="shapes", seed=0)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def page_of(prose: str, printed: str = "") -> str:
        code = new_code_cell(f"text = {printed!r}", execution_count=1)
        code.outputs = [new_output("stream", name="stdout", text=printed)]
        path = tmp_path / "01_ssim.ipynb"
        nbformat.write(new_notebook(cells=[new_markdown_cell(prose), code]), path)
        (tmp_path / "numbers.json").write_text('{"numbers": {"share": 0.25}}')
        write_page(path, tmp_path / "01_ssim.html", tmp_path / "numbers.json")
        return (tmp_path / "01_ssim.html").read_text(encoding="utf-8")

    return page_of


def test_page_loads_nothing_from_another_host_and_escapes_what_cells_hold(write) -> None:  # type: ignore[no-untyped-def]
    page = write("# Question\n\nIt is {num}`01_ssim.share:.0%`.", printed=SCRIPT)
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", page)
    assert not re.findall(r"import\s*\(|@import|url\(\s*[\"']?(?:https?:)?//", page)
    assert "<title>01_ssim</title>" in page
    assert "It is 25%." in page
    assert "MathJax" not in page and "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 2


def test_page_has_mathjax_for_formulas(write, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("sphinx-mathjax-offline")
    page = write(r"$\mu_x$ and prose")
    assert "startup: {elements: ['.jp-MarkdownOutput']}" in page
    assert r"inlineMath: [['$', '$'], ['\\(', '\\)']]" in page
    assert len(page) > 2e6
    assert not re.findall(r"""<script[^>]*\bsrc\s*=""", page)
    monkeypatch.setattr(runs.importlib.util, "find_spec", lambda name: None)
    page = write(r"$\mu_x$ and prose")
    assert r"$\mu_x$" in page and "MathJax" not in page


def test_plain_text_has_the_numbers_of_its_run() -> None:
    source = (
        "(label)=\n# Title\n\n{num}`01_ssim.pair.distance:.2f` of {num}`01_ssim.num`, {num}`01_ssim.none:.2f`, "
        "{num}`11_claims.a.verdict`, {num}`01_ssim.pair.none.deeper`; as {cite}`wang2004image` says "
        "in {numref}`fig-one` "
        "([Method](#method-page), [](#eq-ssim), [there](https://example.org))."
    )
    numbers = {"pair": {"distance": 0.123}, "num": 32, "none": None}
    assert plain_text(source, "01_ssim", numbers) == (
        "# Title\n\n0.12 of 32, undefined, (in the book), (in the book); as (wang2004image) says in the figure "
        "(Method, the book, [there](https://example.org))."
    )


def test_plain_text_opens_boxes() -> None:
    source = "Before.\n\n:::{admonition} Try it\n:class: tip\nRun it.\nTwice.\n:::\n\nAfter."
    opened = "Before.\n\n**Try it.**\n\nRun it.\nTwice.\n\n\nAfter."
    assert plain_text(source, "a", {}) == opened
    folded = source.replace(":::{admonition}", "```{dropdown}").replace(":::", "```")
    assert plain_text(folded, "a", {}) == opened
