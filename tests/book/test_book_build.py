"""The book's own tools: staleness by content, quoted numbers, pages of one notebook, checks of the result."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]

from perceptlib.records import manifest  # noqa: E402

import build  # noqa: E402
import experiments  # noqa: E402
import quoted_numbers  # noqa: E402
import staging  # noqa: E402

v4 = nbformat.v4
RECORD = Path("data/recorded/02_photos")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two notebooks, a library and a lock, and no weights at hand."""
    monkeypatch.chdir(tmp_path)
    for name in ("PERCEPTLIB_WEIGHTS", "PERCEPTLIB_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for folder in ("notebooks", "book", "perceptlib", "data/recorded", ".requirements"):
        Path(folder).mkdir(parents=True)
    for name in ("01_ssim", "02_attack"):
        nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell(f"# {name}")]), f"notebooks/{name}.ipynb")
    Path("perceptlib/ssim.py").write_text("one = 1\n")
    Path(".requirements/lock.txt").write_text("torch==2.13.0\n")
    Path("book/runs.yml").write_text("- {page: 02_photos, notebook: 02_attack, parameters: {preset: photos}}\n")
    return tmp_path


def numbers(folder: Path, run: str, content: dict[str, Any]) -> None:
    (folder / run).mkdir(parents=True)
    provenance = {"date": "2026-01-02T03:04:05+00:00", "versions": {"torch": "2.13.0"}, "weights": None}
    (folder / run / "numbers.json").write_text(json.dumps({"numbers": content, "provenance": provenance}))


# Pages


def test_pages_are_the_notebooks_then_the_other_runs(repository: Path) -> None:
    assert [page.document for page in experiments.pages()] == [
        "notebooks/01_ssim",
        "notebooks/02_attack",
        "notebooks/02_photos",
    ]
    Path("book/runs.yml").write_text("- {page: 02_photos, notebook: 02_attack, needs: imagenet}\n")
    assert experiments.pages()[-1].document == "data/recorded/02_photos/02_photos"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{page: a, notebook: 09_none}", "page a names notebook 09_none; there are 01_ssim, 02_attack"),
        ("{page: 01_ssim, notebook: 01_ssim}", "page 01_ssim is there twice"),
        ("{page: a, notebook: 01_ssim, needs: moon}", "needs neither imagenet nor photographs: 'moon'"),
        ("{page: a, notebook: 01_ssim, colour: red}", "page a: .* unexpected keyword argument 'colour'"),
    ],
)
def test_pages_refuse_a_wrong_entry(repository: Path, entry: str, message: str) -> None:
    Path("book/runs.yml").write_text(f"- {entry}\n")
    with pytest.raises(ValueError, match=message):
        experiments.pages()


def test_wrong_entry_ends_the_command_with_its_sentence(repository: Path) -> None:
    Path("book/runs.yml").write_text("- {page: a, notebook: 09_none}\n")
    with pytest.raises(SystemExit, match="page a names notebook 09_none"):
        build.main(["check"])


# What is built again


@pytest.fixture
def book(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Build a staged page and a notebook: returns which pages, and of what age, Sphinx would find."""
    told: list[str] = []

    def jupyter_book(*options: str) -> None:
        built = build.SPHINX.exists()
        old = [path.name for path in sorted(pages.rglob("*.*")) if path.stat().st_mtime == 0]
        told.append(f"all but {', '.join(old)}" if built else "all")
        build.SPHINX.mkdir(parents=True, exist_ok=True)
        (build.SPHINX / "index.html").touch()

    monkeypatch.setattr(build, "jupyter_book", jupyter_book)
    monkeypatch.setattr(build, "finish", lambda html, kept: None)
    Path("book/first.html").touch()
    pages = build.SOURCE / "book"
    (pages / "_static").mkdir(parents=True)
    for name in ("a.md", "b.md", "_static/book.css"):
        (pages / name).write_text("# Title\n\nWords.\n")
    numbers(experiments.RUNS, "01_ssim", {"share": 1})

    def built() -> str:
        for path in pages.glob("*.md"):
            os.utime(path)  # staging writes all anew
        build.build_html([])
        return told.pop() if told else "nothing"

    assert built() == "all"
    return built


def test_links_to_the_source_of_a_run_page_are_to_its_notebook(book: Callable[[], str]) -> None:
    page = experiments.pages()[-1]
    built = build.SPHINX / "notebooks" / "02_photos.html"
    built.parent.mkdir()
    own = '<a href="../_sources/notebooks/02_photos.ipynb"></a><a href="https://host/edit/main/{}.ipynb"></a>'
    built.write_text(own.format(page.document))
    Path("build/src/book/a.md").write_text("# Title\n\nOther words.\n")
    build.build_html([page])
    assert (build.HTML / "notebooks" / "02_photos.html").read_text() == own.format("notebooks/02_attack")


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("build/src/book/a.md", "# Title\n\nWords.\n", "nothing"),
        ("build/src/book/a.md", "# Title\n\nOther words.\n", "all but book.css, b.md"),
        ("build/src/book/a.md", "# Another title\n\nWords.\n", "all"),  # which other pages show
        ("build/src/book/a.md", "(label)=\n# Title\n\nWords.\n", "all"),
        ("build/src/book/c.md", "# Title\n", "all"),
        ("build/src/book/_static/book.css", "a {}", "all"),
        ("build/src/_toc.yml", "", "all"),
        ("build/runs/01_ssim/numbers.json", "{}", "all but book.css, a.md, b.md"),  # Sphinx knows who quotes them
        ("perceptlib/ssim.py", "one = 2\n", "all"),
    ],
)
def test_pages_that_changed_are_built_or_all(book: Callable[[], str], path: str, text: str, expected: str) -> None:
    Path(path).write_text(text)
    assert book() == expected
    assert book() == "nothing"


def test_a_build_of_some_pages_leaves_the_age_of_other_peoples_files(book: Callable[[], str]) -> None:
    ages = {path: path.stat().st_mtime_ns for path in (Path("perceptlib/ssim.py"), Path(".requirements/lock.txt"))}
    Path("build/src/book/a.md").write_text("# Title\n\nOther words.\n")
    assert book() == "all but book.css, b.md"
    assert {path: path.stat().st_mtime_ns for path in ages} == ages


def test_after_a_build_that_failed_all_pages_are_built(
    book: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(*options: str) -> None:
        raise SystemExit("a warning")

    Path("build/src/book/a.md").write_text("# Title\n\nOther words.\n")
    with monkeypatch.context() as failing:
        failing.setattr(build, "jupyter_book", failed)
        with pytest.raises(SystemExit):
            book()
    assert book() == "all"


# Staleness


def test_default_of_a_parameter_that_a_run_is_given_is_none_of_its_code(tmp_path: Path) -> None:
    def code(default: str, given: tuple[str, ...]) -> list[str]:
        cells = [v4.new_code_cell(source) for source in (f"network = {default}\nseed = 0  # of all", "network = 1")]
        cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(v4.new_notebook(cells=cells), tmp_path / "it.ipynb")
        return experiments.code_of(tmp_path / "it.ipynb", given)

    assert code("0", ("network",)) == code("''", ("network",)) == ["seed = 0", "network = 1"]
    assert code("0", ()) != code("''", ())


def test_inputs_digest_follows_content_and_not_time(repository: Path) -> None:
    before = experiments.inputs_digest()
    os.utime("perceptlib/ssim.py", (0, 0))
    assert experiments.inputs_digest() == before
    Path("perceptlib/ssim.py").write_text("one = 2\n")
    assert experiments.inputs_digest() != before


@pytest.mark.parametrize("path", ["perceptlib/new.py", "data/weights.bin", ".requirements/lock.txt"])
def test_inputs_digest_sees_each_input(repository: Path, path: str) -> None:
    before = experiments.inputs_digest()
    Path(path).write_text("changed")
    assert experiments.inputs_digest() != before


def test_page_without_weights_and_record_stops_with_a_sentence(repository: Path) -> None:
    page = experiments.Page("02_photos", "02_attack", needs="imagenet")
    with pytest.raises(SystemExit, match="needs ImageNet weights, and no record of it is kept"):
        experiments.bring_up_to_date([page])


def test_record_without_weights_stops_with_a_sentence(repository: Path) -> None:
    with pytest.raises(SystemExit, match="name a file of them: make record PERCEPTLIB_WEIGHTS=PATH"):
        experiments.record(experiments.pages())


def test_page_that_needs_photographs_is_run_by_record_alone(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = Path("weights.safetensors")
    weights.touch()
    monkeypatch.setenv("PERCEPTLIB_WEIGHTS", str(weights))
    page = experiments.Page("02_imagenet", "02_attack", needs="photographs")
    with pytest.raises(SystemExit, match=r"needs ImageNet photographs.*make record PERCEPTLIB_ASSETS=FOLDER"):
        experiments.bring_up_to_date([page])
    experiments.record([page])
    assert "kept data/recorded/02_imagenet: PERCEPTLIB_ASSETS names no folder" in capsys.readouterr().out

    ran: list[str] = []
    monkeypatch.setattr(experiments, "_run_all", lambda stale: ran.extend(page.name for page in stale))
    assert experiments.bring_up_to_date([page], is_recording=True) == {"02_imagenet": False}
    assert ran == ["02_imagenet"]


def test_inputs_digest_sees_recorded_rows_and_not_the_records_of_pages(repository: Path) -> None:
    before = experiments.inputs_digest()
    page = Path("data/recorded/page")
    page.mkdir(parents=True)
    for name in ("page.ipynb", "rows.csv"):
        (page / name).write_text("{}")
    assert experiments.inputs_digest() == before
    rows = Path("data/recorded/rows")
    rows.mkdir()
    (rows / "rows.csv").write_text("a\n1\n")
    assert experiments.inputs_digest() != before


def test_inputs_digest_does_not_see_a_renewed_manifest(repository: Path) -> None:
    before = experiments.inputs_digest()
    Path("data/manifest.json").write_text("{}")
    Path("data/recorded/ro-crate-metadata.json").write_text("{}")
    assert experiments.inputs_digest() == before
    Path("data/recorded/manifest.json").write_text("{}")  # another file of this name is data
    assert experiments.inputs_digest() != before


# Records and the manifest


@pytest.fixture
def listed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> experiments.Page:
    """A page with a record, all of whose files the manifest lists, and a run that has other files."""
    monkeypatch.setattr(manifest, "data_dir", lambda: repository / "data")
    Path("data/manifest.json").write_text('{"files": {}, "pictures": {}}')
    monkeypatch.setenv("PERCEPTLIB_WEIGHTS", str(repository / "weights"))
    Path("weights").touch()
    page = experiments.Page("02_photos", "02_attack", needs="imagenet")
    for folder in (RECORD, page.run):
        folder.mkdir(parents=True)
    for name in ("02_photos.ipynb", "old.csv", "numbers.json"):
        (RECORD / name).write_text("{}")
    manifest.renew(RECORD.iterdir(), licence="CC0", source="make record")
    for name, text in {"02_attack.ipynb": "[1]", "new.csv": "a", "numbers.json": "{}"}.items():
        (page.run / name).write_text(text)
    monkeypatch.setattr(experiments, "_run_all", lambda stale: None)
    return page


def test_record_renews_the_manifest(listed: experiments.Page) -> None:
    unchanged = manifest.entries()["recorded/02_photos/numbers.json"]
    experiments.record([listed])
    files = manifest.entries()
    assert list(files) == [f"recorded/02_photos/{name}" for name in ("02_photos.ipynb", "new.csv", "numbers.json")]
    assert files["recorded/02_photos/numbers.json"] == unchanged
    assert {entry["licence"] for entry in files.values()} == {"CC0"}
    for path in RECORD.iterdir():
        manifest.read_verified(path)


def test_record_of_a_new_page_asks_for_its_licence(listed: experiments.Page) -> None:
    Path("data/manifest.json").write_text('{"files": {}, "pictures": {}}')
    with pytest.raises(ValueError, match=r"02_photos\.ipynb is new in its folder; write .*licence='MIT'"):
        experiments.record([listed])
    assert (RECORD / "new.csv").is_file()


@pytest.mark.parametrize("name", ["02_photos.ipynb", "numbers.json"])
def test_changed_record_is_not_shown(listed: experiments.Page, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("PERCEPTLIB_WEIGHTS")
    assert experiments.bring_up_to_date([listed]) == {"02_photos": True}
    assert (listed.run / "old.csv").is_file()
    (RECORD / name).write_text("[2]")
    with pytest.raises(ValueError, match=f"data/recorded/02_photos/{name} is not as it was recorded"):
        experiments.bring_up_to_date([listed])


def test_stale_page_is_run_once_and_again_when_its_parameters_change(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run_all(stale: dict[experiments.Page, str]) -> None:
        for page, key in stale.items():
            ran.append(page.name)
            page.run.mkdir(parents=True, exist_ok=True)
            page.executed.touch()
            (page.run / "key").write_text(key)

    monkeypatch.setattr(experiments, "_run_all", run_all)
    experiments.bring_up_to_date(experiments.pages())
    experiments.bring_up_to_date(experiments.pages())
    assert ran == ["01_ssim", "02_attack", "02_photos"]
    Path("book/runs.yml").write_text("- {page: 02_photos, notebook: 02_attack, parameters: {preset: shapes}}\n")
    experiments.bring_up_to_date(experiments.pages())
    assert ran[3:] == ["02_photos"]


def test_run_that_fails_is_told_and_the_others_are_kept(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(source: Path, parameters: dict[str, Any], out: Path, *, html: bool) -> None:
        assert not out.exists() and not html
        if out.name == "02_photos":
            raise RuntimeError(f"cell 1 of {source.stem} with {parameters} raised")
        out.mkdir(parents=True)
        (out / source.name).touch()

    monkeypatch.setattr("perceptlib.runs.notebook.execute", execute)
    monkeypatch.setattr(experiments, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(workers))
    Path("build/runs/01_ssim").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"^02_photos: cell 1 of 02_attack with {'preset': 'photos'} raised$"):
        experiments.bring_up_to_date(experiments.pages())
    assert sorted(path.parent.name for path in experiments.RUNS.glob("*/key")) == ["01_ssim", "02_attack"]


# Staging


@pytest.fixture
def recorded(repository: Path) -> experiments.Page:
    """A page that shows its record."""
    page = experiments.Page("02_photos", "02_attack", {"preset": "photos"}, needs="imagenet", title="On photographs")
    figure = {"caption": "Share {num}`02_attack.share`", "name": "fig-share"}
    cells = [
        v4.new_markdown_cell("# Attack\n\nSee {numref}`fig-share`, not fig-share-of."),
        v4.new_code_cell("preset = 'photos'", metadata={"tags": ["injected-parameters"]}, execution_count=1),
        v4.new_code_cell("1", metadata={"mystnb": {"figure": figure}}, execution_count=2),
    ]
    RECORD.mkdir(parents=True)
    nbformat.write(v4.new_notebook(cells=cells), RECORD / "02_photos.ipynb")
    numbers(RECORD.parent, "other", {})
    (RECORD.parent / "other" / "numbers.json").rename(RECORD / "numbers.json")
    return page


def staged(page: experiments.Page) -> list[Any]:
    Path("_toc.yml").touch()
    for name in ("_config.yml", "CITATION.cff"):
        shutil.copyfile(ROOT / name, name)
    staging.stage([page], experiments.bring_up_to_date([page]))
    return nbformat.read(f"build/src/{page.document}.ipynb", as_version=4).cells


@pytest.mark.parametrize(
    ("commit", "told"),
    [("0123456789abcd-dirty", "commit `0123456789ab` with changes"), (None, "files without a history")],
)
def test_copy_says_its_commit(
    recorded: experiments.Page, monkeypatch: pytest.MonkeyPatch, commit: str | None, told: str
) -> None:
    monkeypatch.setattr(staging, "commit", lambda: commit)
    staged(recorded)
    assert Path("build/src/book/this_copy.txt").read_text() == f"This copy of the book was built from {told}.\n"


def test_recorded_page_says_when_it_was_run_and_how_to_run_it(recorded: experiments.Page) -> None:
    banner = staged(recorded)[1].source
    assert "A recorded run" in banner and "2026-01-02" in banner
    assert "perceptlib run notebooks/02_attack.ipynb -p preset photos --out 02_photos" in banner
    assert "code has changed since" in banner  # the notebook has no such cells


def test_banner_quotes_values_with_spaces_and_says_why_a_long_run_is_recorded(recorded: experiments.Page) -> None:
    page = replace(recorded, parameters={"budgets": [0.1, 0.2]}, needs="photographs")
    banner = staged(page)[1].source
    assert "-p budgets '[0.1, 0.2]'" in banner
    assert "It takes too long, so" in banner and "make record PERCEPTLIB_ASSETS=FOLDER" in banner


def test_page_of_the_same_notebook_refers_to_itself(recorded: experiments.Page) -> None:
    cells = staged(recorded)
    assert cells[0].source == "# On photographs\n\nSee {numref}`fig-share-02_photos`, not fig-share-of."
    figure = cells[3].metadata.mystnb.figure
    assert figure == {"caption": "Share {num}`02_photos.share`", "name": "fig-share-02_photos"}


def test_label_is_renamed_where_it_is_one_and_not_where_it_is_a_word(recorded: experiments.Page) -> None:
    path = RECORD / "02_photos.ipynb"
    notebook = nbformat.read(path, as_version=4)
    text = "See [this](#agreement), {ref}`here <agreement>`: agreement, (agreement), `agreement`."
    notebook.cells[0].source = f"(agreement)=\n# Agreement\n\n{text}"
    notebook.cells[2].metadata.mystnb.figure.caption = "Right of it is agreement; see {ref}`agreement`."
    nbformat.write(notebook, path)
    cells = staged(recorded)
    assert cells[0].source == (
        "(agreement-02_photos)=\n# On photographs\n\nSee [this](#agreement-02_photos), "
        "{ref}`here <agreement-02_photos>`: agreement, (agreement), `agreement`."
    )
    caption = "Right of it is agreement; see {ref}`agreement-02_photos`."
    assert cells[3].metadata.mystnb.figure.caption == caption


def test_exercise_stands_on_the_page_of_its_notebook_alone(recorded: experiments.Page) -> None:
    path = RECORD / "02_photos.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(v4.new_markdown_cell(":::{admonition} Try it\nCompare with this page.\n:::"))
    nbformat.write(notebook, path)
    assert not any("Try it" in cell.source for cell in staged(recorded))


def test_page_offers_the_numbers_of_its_run(recorded: experiments.Page) -> None:
    assert "{download}`numbers.json </runs/02_photos/numbers.json>`" in staged(recorded)[-1].source
    assert Path("build/src/runs/02_photos/numbers.json").exists()


def test_page_has_the_prose_of_its_notebook_and_the_outputs_of_its_run(recorded: experiments.Page) -> None:
    figure = {"caption": "Better {num}`02_attack.share`", "name": "fig-share"}
    cells = [
        v4.new_markdown_cell("# Attack\n\nBetter words."),
        v4.new_code_cell("preset = 'shapes'", metadata={"tags": ["parameters"]}),
        v4.new_code_cell("!install", metadata={"tags": ["install"]}),
        v4.new_markdown_cell("New."),
        v4.new_code_cell("1  # the same code", metadata={"mystnb": {"figure": figure}}),
    ]
    nbformat.write(v4.new_notebook(cells=cells), recorded.source)
    ran = nbformat.read(RECORD / "02_photos.ipynb", as_version=4)
    ran.cells.insert(1, v4.new_code_cell("preset = 'shapes'", metadata={"tags": ["parameters"]}, execution_count=9))
    ran.cells.insert(3, v4.new_code_cell("!install this", metadata={"tags": ["install"]}, execution_count=9))
    ran.cells[-1].outputs = [v4.new_output("stream", text="of the run")]
    nbformat.write(ran, RECORD / "02_photos.ipynb")
    page = staged(recorded)
    sources = [cell.source for cell in page]
    assert sources[0] == "# On photographs\n\nBetter words." and "has changed since" not in sources[1]
    assert sources[2:7] == ["preset = 'shapes'", "preset = 'photos'", "!install", "New.", "1  # the same code"]
    assert page[6].outputs[0].text == "of the run"
    assert page[6].metadata.mystnb.figure.caption == "Better {num}`02_photos.share`"


def test_page_is_stale_when_its_code_changes_and_not_when_its_prose_does(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []
    monkeypatch.setattr(experiments, "_run_all", lambda stale: keys.extend(stale.values()))
    page = experiments.pages()[0]
    for cell in (v4.new_markdown_cell("a"), v4.new_markdown_cell("b"), v4.new_code_cell("1"), v4.new_code_cell("2")):
        nbformat.write(v4.new_notebook(cells=[cell]), page.source)
        experiments.bring_up_to_date([page])
    assert keys[0] == keys[1] and len(set(keys)) == 3


def test_figure_offers_the_numbers_that_it_shows(recorded: experiments.Page) -> None:
    (RECORD / "fig-share.csv").write_text("x,y\n1,2\n")
    (RECORD / "rows.csv").write_text("a\n1\n")
    cells = staged(recorded)
    offered = "{download}`Data (CSV) </runs/02_photos/fig-share.csv>`"
    assert cells[3].metadata.mystnb.figure.caption == f"Share {{num}}`02_photos.share` {offered}"
    assert Path("build/src/runs/02_photos/fig-share.csv").is_file()
    assert "rows.csv" in cells[-1].source and "fig-share" not in cells[-1].source


def test_code_and_parameters_are_folded_away(recorded: experiments.Page) -> None:
    ran = nbformat.read(RECORD / "02_photos.ipynb", as_version=4)
    ran.cells[-1].outputs = [v4.new_output("display_data", data={"image/jpeg": "AAEC"})]
    ran.cells.append(v4.new_code_cell("write_csv(rows, path);", execution_count=3))
    nbformat.write(ran, RECORD / "02_photos.ipynb")
    cells = [cell for cell in staged(recorded) if cell.cell_type == "code"]
    assert {cell.source: (cell.metadata.tags, cell.metadata.mystnb.code_prompt_show) for cell in cells} == {
        "preset = 'photos'": (["injected-parameters", "hide-input"], "Parameters"),
        "1": (["hide-input"], "Code"),
        "write_csv(rows, path);": (["hide-cell"], "Code"),
    }


def test_one_small_table_a_section_is_shown_and_the_others_are_folded() -> None:
    def shown(rows: int, caption: str = "") -> Any:
        html = f"<table>{caption}<thead><tr></tr></thead>{'<tr></tr>' * rows}</table>"
        return v4.new_code_cell("1", outputs=[v4.new_output("display_data", data={"text/html": html})])

    cells = [v4.new_markdown_cell("# Page"), shown(9), shown(8), v4.new_markdown_cell("Words"), shown(1)]
    cells += [v4.new_markdown_cell("Words\n\n## Section"), shown(2), shown(2, "<caption>Rates</caption>")]
    staging._fold(cells)
    code = [cell.metadata for cell in cells if cell.cell_type == "code"]
    told = [(metadata.tags, metadata["mystnb"]["code_prompt_show"]) for metadata in code]
    folded, shown_here = (["hide-cell"], "Table"), (["hide-input"], "Code")
    assert told == [folded, shown_here, folded, shown_here, (["hide-cell"], "Table: Rates")]


def test_figure_of_a_notebook_can_be_shown_on_a_page_of_text(recorded: experiments.Page) -> None:
    ran = nbformat.read(RECORD / "02_photos.ipynb", as_version=4)
    ran.cells[-1].outputs = [v4.new_output("display_data", data={"image/jpeg": "AAEC"})]
    nbformat.write(ran, RECORD / "02_photos.ipynb")
    shown = "figures/02_photos/fig-share.jpg"
    Path("book/intro.md").write_text(f"```{{figure}} {shown}\n```\n")
    staged(recorded)
    assert Path("build/src/book", shown).read_bytes() == b"\x00\x01\x02"


# Quoted numbers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("02_attack.share:.1%", "43.2%"),
        ("02_attack.num", "12"),
        ("02_attack.group.ratio:.2f", "0.31"),
        ("02_attack.group.empty:.2f", "undefined"),
    ],
)
def test_quoted_number_is_that_of_the_run(tmp_path: Path, text: str, shown: str) -> None:
    numbers(tmp_path, "02_attack", {"share": 0.432, "num": 12, "group": {"ratio": 0.3104, "empty": None}})
    assert quoted_numbers.quote(tmp_path, text) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("share", "write {num}`RUN.KEY:FORMAT`"),
        ("03_none.share", "no run and number '03_none.share': .* there are the runs 02_attack"),
        ("02_attack.shade", "has no number '02_attack.shade' .*: share, group"),
        ("02_attack.share.more", "no further level"),
        ("02_attack.group", "is a group of numbers: ratio"),
        ("02_attack.share:.2q", "format"),
    ],
)
def test_quoted_number_that_is_not_there_is_refused(tmp_path: Path, text: str, message: str) -> None:
    numbers(tmp_path, "02_attack", {"share": 0.432, "group": {"ratio": 0.31}})
    with pytest.raises((LookupError, ValueError), match=message):
        quoted_numbers.quote(tmp_path, text)
